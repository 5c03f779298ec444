"""Embedding against real picture files: incremental, accounted for, and never stopped by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_listed, embed_pending, model_dir_of, open_encoder
from indexer.embedding.preprocess import picture_to_pixels
from indexer.monitoring import coverage
from schemas.errors import InputError
from schemas.settings import EncoderSettings, Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.drawings import drawing

SETTINGS = Settings()


def draw(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (int(rng.integers(80, 200)), int(rng.integers(80, 200))), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        pen.line([tuple(p) for p in rng.integers(0, 200, (3, 2)).tolist()], fill="black", width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for n in range(12):
        draw(tmp_path / f"pictures/author {n % 3}/title {n % 4}/{n}.png", n)
    layout = Layout(tmp_path / "root")
    import_folder(layout, SETTINGS, tmp_path / "pictures")
    return layout


def vectors(layout: Layout) -> dict[str, np.ndarray]:
    table = Catalog(layout).read("vectors")
    return {row["picture_id"]: np.asarray(row["vector"], np.float32) for row in table.to_pylist()}


def test_vectors_are_those_of_the_one_preprocessing_path(layout: Layout) -> None:
    report = embed_pending(layout, SETTINGS)
    assert report.counts == {"already": 0, "embedded": 12, "skipped": 0, "failed": 0}
    encoder = open_encoder(SETTINGS)
    stored = vectors(layout)
    table = Catalog(layout).read("vectors")
    scores = dict(zip(table["picture_id"].to_pylist(), table["ood"].to_pylist(), strict=True))
    for row in Catalog(layout).read("pictures").to_pylist():
        data = layout.picture(row["file"]).read_bytes()
        pixels = picture_to_pixels(data, SETTINGS.decode.limits, encoder.pixel_spec)
        alone = encoder.encode([pixels])
        assert float(alone.vectors[0] @ stored[row["picture_id"]]) > 0.9999
        assert scores[row["picture_id"]] == pytest.approx(alone.ood[0], rel=1e-5)


def test_a_second_run_embeds_nothing_and_a_new_picture_only_itself(layout: Layout) -> None:
    embed_pending(layout, SETTINGS)
    version = Catalog(layout).version("vectors")
    assert embed_pending(layout, SETTINGS).counts["already"] == 12
    assert Catalog(layout).version("vectors") == version
    folder = layout.root.parent / "pictures"
    draw(folder / "author 9/title 9/new.png", 99)
    import_folder(layout, SETTINGS, folder)
    assert embed_pending(layout, SETTINGS, dry_run=True).counts == {"already": 12, "pending": 1}
    assert embed_pending(layout, SETTINGS).counts["embedded"] == 1


def test_limits_and_progress(layout: Layout) -> None:
    seen: list[tuple[int, int]] = []
    report = embed_pending(layout, SETTINGS, limit=5, progress=lambda *step: seen.append(step))
    assert report.counts["embedded"] == 5
    assert seen == [(n, 5) for n in range(1, 6)]
    assert embed_pending(layout, SETTINGS).counts["embedded"] == 7


def test_a_damaged_store_is_a_row_with_a_reason_and_is_retried(layout: Layout) -> None:
    rows = Catalog(layout).read("pictures").to_pylist()
    gone, changed = (layout.picture(row["file"]) for row in rows[:2])
    kept = gone.read_bytes()
    gone.unlink()
    changed.write_bytes(changed.read_bytes()[:-1])
    report = embed_pending(layout, SETTINGS)
    assert (report.counts["embedded"], report.counts["failed"]) == (10, 2)
    covered = coverage(layout, SETTINGS)
    assert covered.failed == {"store": 2}
    assert covered.adds_up
    gone.write_bytes(kept)
    assert embed_pending(layout, SETTINGS).counts["embedded"] == 0
    report = embed_pending(layout, SETTINGS, retry_failed=True)
    assert (report.counts["embedded"], report.counts["failed"]) == (1, 1)
    covered = coverage(layout, SETTINGS)
    assert (covered.embedded, covered.failed) == (11, {"store": 1})


def test_ctrl_c_keeps_what_was_computed(layout: Layout) -> None:
    settings = Settings(encoder=EncoderSettings(batch=4))

    def stop(done: int, _total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_pending(layout, settings, progress=stop)
    assert len(vectors(layout)) == 8
    assert embed_pending(layout, settings).counts["embedded"] == 4


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    settings = Settings(encoder=EncoderSettings(model=str(tmp_path)))
    with pytest.raises(InputError, match=r"model\.json"):
        model_dir_of(settings)


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
        assert float(np.asarray(vector) @ encoder.encode([pixels]).vectors[0]) > 0.9999
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        embed_listed(SETTINGS, [], tmp_path / "nowhere" / "out.parquet")
