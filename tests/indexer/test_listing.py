"""Vectors of listed pictures: in order, complete, and those of the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from indexer.embedding.embed import open_encoder
from indexer.embedding.listing import embed_listed
from indexer.embedding.preprocess import picture_to_pixels
from schemas.errors import InputError
from schemas.settings import Settings
from tests.drawings import drawing

SETTINGS = Settings()


def test_rows_keep_the_order_and_bad_pictures_stay_null(tmp_path: Path) -> None:
    for hand in range(4):
        drawing(hand, hand, 100 + 40 * hand).save(tmp_path / f"{hand}.png")
    (tmp_path / "text.png").write_text("no picture")
    names = ["2.png", "gone.png", "0.png", "text.png", "3.png", "1.png"]
    out = tmp_path / "vectors.parquet"
    report = embed_listed(SETTINGS, [(name, tmp_path / name) for name in names], out)
    assert (report.embedded, report.failed) == (4, 2)
    assert [problem.split(":")[0] for problem in report.problems] == ["gone.png", "text.png"]
    table = pq.read_table(out)
    assert table.column_names == ["path", "vector"]
    assert table["path"].to_pylist() == names
    encoder = open_encoder(SETTINGS)
    assert table.schema.metadata[b"model_id"].decode() == encoder.model_id
    for name, vector in zip(names, table["vector"].to_pylist(), strict=True):
        if name in ("gone.png", "text.png"):
            assert vector is None
            continue
        data = (tmp_path / name).read_bytes()
        pixels = picture_to_pixels(data, SETTINGS.decode.limits, encoder.pixel_spec)
        assert float(np.asarray(vector) @ encoder.encode([pixels])[0]) > 0.9999
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        embed_listed(SETTINGS, [], tmp_path / "nowhere" / "out.parquet")
