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
from indexer.embedding.embed import in_order
from indexer.palette import COLORS, COLUMNS, REGIONS, ROWS, SIDE_PX, palette_of

PICTURES = 40
TURNS = 3


def measure() -> list[Figure]:
    """Both on the same pictures of 256 px and all cores, in turns.

    Units:   pictures a second; ratios
    """
    pictures = [np.asarray(drawing(seed, SIDE_PX)) for seed in range(PICTURES)]

    def timed(work: Callable[[np.ndarray], Any]) -> tuple[float, list[Any]]:
        started = time.perf_counter()
        found = [one for _, one in in_order(work, pictures, PICTURES)]
        return time.perf_counter() - started, found

    ours, theirs = [], []
    for _ in range(TURNS):
        own, palettes = timed(lambda pixels: palette_of(pixels).rgb)
        other, fitted = timed(_with_sklearn)
        ours.append(own)
        theirs.append(other)
    inertia = sum(_inertia(p, c) for p, c in zip(pictures, palettes, strict=True))
    reference = sum(_inertia(p, c) for p, c in zip(pictures, fitted, strict=True))
    speed = PICTURES / statistics.median(ours)
    ratio = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    return [
        Figure("color_extraction", speed, "1/s", 60, "more", "decoded pictures of 256 px"),
        Figure(
            "color_over_sklearn", ratio, "x", 5, "more",
            f"KMeans(3) for each region: {PICTURES / statistics.median(theirs):.1f} pictures/s",
        ),
        Figure("color_inertia", inertia / reference, "x", 1.02, "less", "of the same pictures"),
    ]  # fmt: skip


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
