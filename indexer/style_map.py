"""A map of styles: vectors -> points on a plane on which neighbours stay neighbours."""

from __future__ import annotations

import importlib.util
import sqlite3

import numpy as np

MIN_FITTED = 40
"""Fewer vectors lie along their two main directions: a neighbourhood needs neighbours."""
MAX_FITTED = 5000
"""Vectors that the map is fitted to; the others are placed among them."""
MAX_NEW_SHARE = 0.05
"""Up to so many new pictures are placed on the map in use."""
MAX_COMPARED = 20_000
"""Known pictures that new ones are compared with, spread evenly over all."""
NEIGHBOURS = 5
DIRECTIONS = 64
"""Main directions of the known vectors in which others are compared with them: a place is a
median of five, and all numbers of a million vectors would take minutes."""
BLOCK_ROWS = 1024


def lay_out(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Lay vectors out on the unit square; the same input gives the same map.

    Shapes:  (N, D) float32 or float16 unit rows -> (N, 2) float32 in 0..1
    Source:  Policar, Strazar, Zupan 2024, "openTSNE"
    """
    rows = len(vectors)
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows)
    fitted, others = np.sort(order[:MAX_FITTED]), np.sort(order[MAX_FITTED:])
    some = vectors[fitted]
    if rows < 4 or np.array_equal(some.min(axis=0), some.max(axis=0)):  # nothing to tell apart
        return np.column_stack([np.linspace(0.4, 0.6, rows), np.full(rows, 0.5)]).astype("f4")
    if rows < MIN_FITTED:
        sides, sizes, _ = np.linalg.svd(
            vectors.astype(np.float64) - vectors.mean(0, np.float64), full_matrices=False
        )
        return _into_square(np.pad(sides * sizes, ((0, 0), (0, 2)))[:, :2])
    from openTSNE import TSNE

    places = np.empty((rows, 2))
    places[fitted] = TSNE(
        perplexity=min(30.0, (len(fitted) - 1) / 3),
        metric="cosine",
        negative_gradient_method="bh",
        n_jobs=1,  # several threads give another map each time
        random_state=seed,
    ).fit(np.asarray(some, np.float32))
    places[others] = _beside(vectors, others, some, places[fitted])
    return _into_square(places)


def map_places(
    vectors: np.ndarray,
    row_ids: np.ndarray,
    previous: sqlite3.Connection | None,
    seed: int,
) -> np.ndarray | None:
    """Places of an index's pictures; None when openTSNE is not installed.

    While few pictures are new, those of the previous index (its metadata) stay where they were
    and new ones are placed beside their nearest neighbours.

    Shapes:  (N, D), (N,) int64 -> (N, 2) float32 in 0..1
    """
    kinds = np.dtype([("row_id", "i8"), ("x", "f4"), ("y", "f4")])
    known = np.empty(0, kinds)
    if previous is not None:
        found = previous.execute(
            "select row_id, map_x, map_y from pictures where map_x is not null order by row_id"
        )
        known = np.fromiter(found, kinds)
    at = np.minimum(np.searchsorted(known["row_id"], row_ids), max(0, len(known) - 1))
    new = known["row_id"][at] != row_ids if len(known) else np.ones(len(row_ids), bool)
    if new.mean() > MAX_NEW_SHARE:
        return lay_out(vectors, seed) if importlib.util.find_spec("openTSNE") else None
    places = np.stack([known["x"][at], known["y"][at]], axis=1)
    stay = np.flatnonzero(~new)
    stay = stay[:: len(stay) // MAX_COMPARED + 1]
    places[new] = _beside(vectors, np.flatnonzero(new), vectors[stay], places[stay])
    return places


def _beside(
    vectors: np.ndarray, rows: np.ndarray, known: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Places of rows amid the nearest of known vectors; (N, D), (R,), (M, D), (M, 2) -> (R, 2)."""
    found = np.empty((len(rows), 2))
    known = np.asarray(known, np.float32)
    directions = np.linalg.eigh(known.T @ known)[1][:, -DIRECTIONS:]  # (D, E)
    known = known @ directions  # (M, E)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = np.asarray(vectors[rows[start : start + BLOCK_ROWS]], np.float32) @ directions
        similarity, at = block @ known.T, np.arange(len(block))  # (B, M)
        nearest = np.empty((min(NEIGHBOURS, len(known)), len(block)), np.int64)
        for place in range(len(nearest)):  # five maxima are sooner found than a partition
            nearest[place] = similarity.argmax(axis=1)
            similarity[at, nearest[place]] = -np.inf
        found[start : start + BLOCK_ROWS] = np.median(places[nearest], axis=0)
    return found


def _into_square(places: np.ndarray) -> np.ndarray:
    """Move and scale into the unit square, both axes by the same factor, centred.

    The outermost points are pulled to the rim: a few far islands must not squeeze the rest.
    """
    low, high = np.percentile(places, [0.2, 99.8], axis=0)
    size = max(float((high - low).max()), 1e-12)
    scaled = 0.5 + 0.94 * (places - (low + high) / 2) / size
    return np.asarray(np.clip(scaled, 0.0, 1.0), dtype=np.float32)
