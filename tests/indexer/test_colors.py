"""The colour stage: incremental, interrupted, and with files that went bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crawler.importers.folder import import_folder
from indexer.palette import color_pending, picture_palette
from schemas.images import decode_picture
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from tests.drawings import draw_folder

PICTURES = 8


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = draw_folder(tmp_path / "drawings", hands=2, titles=1)
    made = load_settings({"store.root": str(tmp_path / "data")}, environ={}, cwd=tmp_path)
    import_folder(made.layout, made, folder)
    return made


def test_each_picture_once(settings: Settings) -> None:
    layout = settings.layout
    assert color_pending(layout, settings, dry_run=True).counts == {
        "already": 0, "pending": PICTURES}  # fmt: skip
    assert color_pending(layout, settings, limit=3).counts["coloured"] == 3
    assert color_pending(layout, settings).counts == {
        "already": 3, "coloured": PICTURES - 3, "failed": 0}  # fmt: skip
    assert color_pending(layout, settings).counts["coloured"] == 0
    rows = Catalog(layout).read("colors").to_pylist()
    assert len(rows) == 18 * PICTURES
    assert len({(r["picture_id"], r["region"], r["rank"]) for r in rows}) == len(rows)

    picture = next(r for r in Catalog(layout).read("pictures").to_pylist())
    data = layout.picture(picture["file"]).read_bytes()
    expected = picture_palette(decode_picture(data, settings.decode.limits))
    for row in (r for r in rows if r["picture_id"] == picture["picture_id"]):
        place = row["region"], row["rank"]
        assert [row["r"], row["g"], row["b"]] == expected.rgb[place].tolist()
        assert row["share"] == expected.share[place]
        assert [row["h"], row["s"], row["v"]] == pytest.approx(expected.hsv[place])


def test_bad_files_are_counted_and_the_rest_is_done(settings: Settings) -> None:
    files = sorted(settings.layout.pictures.rglob("*.png"))
    files[0].unlink()
    files[1].write_bytes(b"not what it was")
    report = color_pending(settings.layout, settings)
    assert report.counts == {"already": 0, "coloured": PICTURES - 2, "failed": 2}
    assert len(report.problems) == 2


def test_ctrl_c_keeps_what_was_done(settings: Settings) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        color_pending(settings.layout, settings, progress=stop)
    report = color_pending(settings.layout, settings)
    assert report.counts["already"] == 5
    assert report.counts["coloured"] == PICTURES - 5
    shares = np.asarray(Catalog(settings.layout).read("colors")["share"])
    assert shares.sum() == pytest.approx(6 * PICTURES)
