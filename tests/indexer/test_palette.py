"""Dominant colours against scikit-learn's k-means, colorsys, and drawings of known colours."""

from __future__ import annotations

import colorsys
import warnings

import numpy as np
import pytest
from PIL import Image

from indexer.palette import (
    COLORS,
    COLUMNS,
    REGIONS,
    ROWS,
    hsv_of,
    palette_of,
    picture_palette,
)
from tests.drawings import HANDS, drawing


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


@pytest.mark.parametrize("size", [(3, 2), (8, 600), (700, 8), (9, 9)])
def test_odd_shapes(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    palette = picture_palette(image)
    assert palette.rgb.shape == (REGIONS, COLORS, 3)
    assert np.isfinite(palette.share).all()


def test_hsv_against_colorsys() -> None:
    rng = np.random.default_rng(2)
    rgb = np.concatenate(
        [rng.integers(0, 256, (200, 3)), [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]]]
    ).astype(np.uint8)
    expected = [colorsys.rgb_to_hsv(*(value / 255 for value in row)) for row in rgb.tolist()]
    assert hsv_of(rgb) / [360, 1, 1] == pytest.approx(np.asarray(expected))
