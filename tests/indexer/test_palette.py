"""Dominant colours against scikit-learn's k-means, and drawings of known colours; the
colour stage: incremental, interrupted, and with files that went bad."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crawler.importers.folder import import_folder
from indexer.palette import (
    COLORS,
    COLUMNS,
    REGIONS,
    ROWS,
    color_pending,
    palette_of,
    picture_palette,
)
from indexer.panels import picture as panel_picture
from schemas.images import decode_picture
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from tests.drawings import HANDS, draw_folder, drawing
from tests.small_model import ENVIRON

PICTURES = 8


def region(pixels: np.ndarray, number: int) -> np.ndarray:
    """Pixels of a region; (N, 3) float64."""
    height, width, _ = pixels.shape
    row, column = divmod(number, COLUMNS)
    rows = np.arange(height) * ROWS // height == row
    columns = np.arange(width) * COLUMNS // width == column
    return pixels[rows][:, columns].reshape(-1, 3).astype(np.float64)


def inertia(points: np.ndarray, centres: np.ndarray) -> float:
    gap = points[:, None] - centres[None].astype(np.float64)
    return float((gap**2).sum(axis=2).min(axis=1).sum())


@pytest.mark.slow
def test_as_good_as_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is not installed")
    ours = theirs = 0.0
    rng = np.random.default_rng(5)
    for hand in range(HANDS):
        for seed in range(2):
            picture = np.asarray(drawing(hand, seed, 160), dtype=np.float64)
            noisy = picture + rng.normal(0, 6, picture.shape)  # as JPEG and paper make it
            pixels = np.clip(noisy, 0, 255).astype(np.uint8)
            palette = palette_of(pixels)
            for number in range(REGIONS):
                points = region(pixels, number)
                ours += inertia(points, palette.rgb[number])
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # fewer distinct colours than clusters
                    fitted = cluster.KMeans(COLORS, n_init=4, random_state=0).fit(points)
                theirs += float(fitted.inertia_)
    assert ours <= 1.02 * theirs


def test_known_colours_are_found_exactly() -> None:
    pixels = np.zeros((90, 120, 3), dtype=np.uint8)
    pixels[:, :] = (250, 240, 230)
    pixels[:45, :20] = (200, 30, 40)
    pixels[:9, :40] = (10, 20, 30)
    palette = palette_of(pixels)
    assert palette.rgb[0].tolist() == [[250, 240, 230], [200, 30, 40], [10, 20, 30]]
    assert palette.share[0] == pytest.approx([0.4, 0.4, 0.2])
    # one colour alone: repeated with a share of 0
    assert palette.rgb[5].tolist() == [[250, 240, 230]] * 3
    assert palette.share[5].tolist() == [1.0, 0.0, 0.0]


def test_shares_add_up_and_fall() -> None:
    palette = picture_palette(drawing(2, 1))
    assert palette.share.sum(axis=1) == pytest.approx(np.ones(REGIONS))
    assert (np.diff(palette.share, axis=1) <= 1e-9).all()
    again = picture_palette(drawing(2, 1))
    assert np.array_equal(palette.rgb, again.rgb)


@pytest.mark.parametrize("size", [(3, 2), (8, 600), (700, 8), (9, 9), (8, 9000), (9000, 8)])
def test_odd_shapes(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    palette = picture_palette(image)
    assert palette.rgb.shape == (REGIONS, COLORS, 3)
    assert np.isfinite(palette.share).all()


def test_hsv_of_primaries() -> None:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[0] = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pixels[1] = [(255, 255, 255), (0, 0, 0), (128, 0, 128)]
    found = palette_of(pixels).hsv[:, 0]
    assert found[:3].tolist() == [[0, 1, 1], [120, 1, 1], [240, 1, 1]]
    assert found[3:5].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert found[5] == pytest.approx([300, 1, 128 / 255])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = draw_folder(tmp_path / "drawings", hands=2, titles=1)
    made = load_settings({"store.root": str(tmp_path / "data")}, environ=ENVIRON, cwd=tmp_path)
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


def test_an_unforeseen_error_costs_one_picture(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = panel_picture.decode_picture, []

    def odd(*arguments: Any, **options: Any) -> Image.Image:
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError
        return real(*arguments, **options)

    monkeypatch.setattr(panel_picture, "decode_picture", odd)
    report = color_pending(settings.layout, settings)
    assert (report.counts["coloured"], report.counts["failed"]) == (PICTURES - 1, 1)
    assert "MemoryError" in report.problems[0]
    assert color_pending(settings.layout, settings).counts["coloured"] == 1


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
