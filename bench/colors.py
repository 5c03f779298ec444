"""Colour extraction: pictures a second, against scikit-learn's KMeans for each region."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.catalog import drawing
from bench.figures import Figure
from indexer.palette import COLORS, COLUMNS, REGIONS, ROWS, SIDE_PX, palette_of
from schemas.attempt import in_order

PICTURES = 40
TURNS = 3


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    """Both on the same pictures and all cores, in turns."""
    drawings = [np.asarray(drawing(seed, SIDE_PX)) for seed in range(pictures)]

    def timed(work: Callable[[np.ndarray], Any]) -> tuple[float, list[Any]]:
        started = time.perf_counter()
        found = [one for _, one in in_order(work, drawings, pictures)]
        return time.perf_counter() - started, found

    ours, theirs = [], []
    for _ in range(TURNS):
        own, palettes = timed(lambda pixels: palette_of(pixels).rgb)
        other, fitted = timed(_with_sklearn)
        ours.append(own)
        theirs.append(other)
    inertia = sum(_inertia(p, c) for p, c in zip(drawings, palettes, strict=True))
    reference = sum(_inertia(p, c) for p, c in zip(drawings, fitted, strict=True))
    speed, other = (pictures / statistics.median(times) for times in (ours, theirs))
    ratio = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    return [
        Figure(
            "color_extraction", "colours of a decoded picture of 256 px", speed, "1/s", 60, "more"
        ),
        Figure(
            "color_over_sklearn",
            "the same against scikit-learn's KMeans for each region",
            ratio,
            "x",
            5,
            "more",
            f"scikit-learn: {other:.1f}/s",
        ),
        Figure("color_inertia", "its squared error against KMeans", inertia / reference, "x", 1.02),
    ]


def _regions(pixels: np.ndarray) -> list[np.ndarray]:
    height, width, _ = pixels.shape
    row, column = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    return [
        pixels[row == n // COLUMNS][:, column == n % COLUMNS].reshape(-1, 3).astype(np.float64)
        for n in range(REGIONS)
    ]


def _with_sklearn(pixels: np.ndarray) -> np.ndarray:
    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.stack(
            [
                KMeans(COLORS, random_state=0).fit(points).cluster_centers_
                for points in _regions(pixels)
            ]
        )


def _inertia(pixels: np.ndarray, centres: np.ndarray) -> float:
    total = 0.0
    for points, own in zip(_regions(pixels), centres, strict=True):
        gap = points[:, None] - own[None].astype(np.float64)
        total += float((gap * gap).sum(axis=2).min(axis=1).sum())
    return total
