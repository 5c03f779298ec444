"""How a style moved over the years: each year's mean picture against the first year's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from search.web.engine_pool import OpenEngine

MAX_PICTURES_PER_YEAR = 200
MIN_YEARS = 3


class YearStyle(TypedDict):
    """A year; `percentile` places its likeness to the first year among background pairs."""

    year: int
    pictures_count: int
    similarity: float
    percentile: float
    picture_id: str


def drift(opened: OpenEngine, rows: Sequence[tuple[int, int | None, str]]) -> list[YearStyle]:
    """One entry for each year, oldest first; nothing when there are too few years.

    `rows` are (row id, year, picture id). A year stands for itself by the mean of its
    pictures, and is shown by the picture nearest to that mean.
    """
    years: dict[int, list[tuple[int, str]]] = {}
    for row_id, year, picture_id in rows:
        if year is not None and len(years.setdefault(year, [])) < MAX_PICTURES_PER_YEAR:
            years[year].append((row_id, picture_id))
    if len(years) < MIN_YEARS:
        return []
    calibration, stored = opened.engine.calibration, opened.engine.generation
    found: list[YearStyle] = []
    first: np.ndarray | None = None
    for year in sorted(years):
        vectors = stored.vectors([row for row, _ in years[year]])  # (N, D)
        mean = vectors.mean(axis=0)
        mean /= max(float(np.linalg.norm(mean)), 1e-6)
        first = mean if first is None else first
        similarity = float(first @ mean)
        typical = int(np.argmax(vectors @ mean))
        found.append(
            {
                "year": year,
                "pictures_count": len(vectors),
                "similarity": round(similarity, 4),
                "percentile": round(float(calibration.percentile(np.asarray(similarity))), 3),
                "picture_id": years[year][typical][1],
            }
        )
    return found
