"""A map of style: unit vectors -> points on a plane on which neighbours stay neighbours.

A graph of nearest neighbours is laid out by attraction along its edges and repulsion
between random pairs, starting from the two main axes of the data (the method of UMAP, in
numpy and FAISS: the package itself would bring a compiler and its runtime along).
Positions have no meaning of their own, only nearness has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NEIGHBOURS = 15
CURVE_A, CURVE_B = 1.577, 0.895  # UMAP's fit for min_dist 0.1, spread 1
NEGATIVES = 5  # repelling points drawn for each edge that attracts
STEP_LIMIT = 4.0  # of one move, in units of the layout (UMAP's clipping)
EXACT_ROWS = 20_000  # above, neighbours are looked for in the nearest cells only
START_WIDTH = 10.0


def project(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Lay vectors out on the unit square; the same input gives the same map.

    5,000 vectors take a few seconds on one core, 100,000 some minutes.

    Shapes:  (N, D) float32 unit rows -> (N, 2) float32 in [0, 1]
    Errors:  ValueError when `vectors` is not a matrix of finite numbers
    Source:  McInnes, Healy, Melville 2018, "UMAP", sections 3 and 4
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError("vectors must be a matrix of finite numbers")
    rows = len(vectors)
    if rows < 2 or vectors.shape[1] == 0:
        return np.full((rows, 2), 0.5, dtype=np.float32)
    start = _main_axes(vectors)  # (N, 2)
    if rows <= 3:
        return _into_square(start)
    distance, neighbour = _nearest(vectors, min(NEIGHBOURS, rows - 1))  # (N, K) each
    heads, tails, weights = _edges(distance, neighbour)  # (E,) each
    rng = np.random.default_rng(seed)
    rounds = 250 if rows <= 10_000 else 120
    return _into_square(_laid_out(start, heads, tails, weights, rounds, rng))


def _main_axes(vectors: np.ndarray) -> np.ndarray:
    """The two directions of largest variance, scaled; (N, D) -> (N, 2) float64."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])  # no mirror luck
    flat = centred @ axes
    if flat.shape[1] == 1:
        flat = np.column_stack([flat, np.zeros(len(flat))])
    return np.asarray(flat * (START_WIDTH / max(float(np.abs(flat).max()), 1e-12)))


def _nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distances and places of the nearest others; (N, D) -> (N, K), (N, K)."""
    import faiss

    rows, dimension = vectors.shape
    index: Any = faiss.IndexFlatL2(dimension)
    if rows > EXACT_ROWS:
        index = faiss.IndexIVFFlat(index, dimension, int(4 * np.sqrt(rows)))
        index.cp.seed = 1
        index.train(vectors)
        index.nprobe = 16
    index.add(vectors)
    squared, places = index.search(vectors, k + 1)
    # A point usually finds itself first; among equal vectors another may come before it.
    own = places == np.arange(rows)[:, None]
    own[~own.any(axis=1), -1] = True
    missing = places[~own].reshape(rows, k) < 0  # a cell with too few points
    places = np.where(missing, (np.arange(rows)[:, None] + 1) % rows, places[~own].reshape(rows, k))
    squared = np.where(missing, np.float32(4.0), squared[~own].reshape(rows, k))
    return np.sqrt(np.maximum(squared, 0.0)).astype(np.float64), places


def _edges(distance: np.ndarray, neighbour: np.ndarray) -> tuple[np.ndarray, ...]:
    """The neighbour graph with weights in (0, 1]; (N, K) twice -> heads, tails, weights (E,).

    Each point's nearest neighbour has weight 1, and its weights sum to log2(K): every point
    gets a surrounding, however dense its region is.
    """
    rows, k = distance.shape
    rest = distance - distance[:, :1]  # beyond the nearest
    low, high = np.zeros(rows), np.full(rows, np.inf)
    width = np.ones(rows)
    for _ in range(48):
        total = np.exp(-rest / width[:, None]).sum(axis=1)
        wide = total > np.log2(max(k, 2))
        high, low = np.where(wide, width, high), np.where(wide, low, width)
        width = np.where(np.isinf(high), width * 2, (low + high) / 2)
    width = np.maximum(width, 1e-3 * max(float(distance.mean()), 1e-12))
    one_way = np.exp(-rest / width[:, None]).ravel()
    heads, tails = np.repeat(np.arange(rows), k), neighbour.ravel()
    # a or b = a + b - ab, over both directions of an edge
    forth, back = heads * rows + tails, tails * rows + heads
    keys, place = np.unique(np.concatenate([forth, back]), return_inverse=True)
    one, other = np.zeros(len(keys)), np.zeros(len(keys))
    one[place[: len(forth)]] = one_way
    other[place[len(forth) :]] = one_way
    return keys // rows, keys % rows, one + other - one * other


def _laid_out(
    start: np.ndarray,
    heads: np.ndarray,
    tails: np.ndarray,
    weights: np.ndarray,
    rounds: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Stochastic descent: edges pull with probability `weights`, random pairs push.

    Shapes:  (N, 2), (E,) three times -> (N, 2)
    """
    rows = len(start)
    x, y = (start + rng.normal(0.0, 1e-4, start.shape)).astype(np.float32).T.copy()
    parts = max(1, round(len(heads) / rows))  # each point moves about once in a part
    weights = weights.astype(np.float32)
    for turn in range(rounds):
        rate = np.float32(1.0 - turn / rounds)
        drawn = np.flatnonzero(rng.random(len(weights), dtype=np.float32) < weights)
        rng.shuffle(drawn)
        for part in np.array_split(drawn, parts):
            head, tail = heads[part], tails[part]
            move_x, move_y = _pull(x[tail] - x[head], y[tail] - y[head])
            other = rng.integers(0, rows, (NEGATIVES, len(part)), dtype=np.int32)
            push_x, push_y = _push(x[head] - x[other], y[head] - y[other])
            x += rate * np.bincount(head, move_x + push_x, rows).astype(np.float32)
            y += rate * np.bincount(head, move_y + push_y, rows).astype(np.float32)
    return np.column_stack([x, y])


def _pull(dx: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attraction along edges; (E,) twice -> (E,) twice."""
    squared = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    power = squared ** np.float32(CURVE_B)
    pull = 2 * CURVE_A * CURVE_B * power / (squared * (1 + CURVE_A * power))
    return _limited(pull * dx), _limited(pull * dy)


def _push(dx: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Repulsion of random pairs, summed over the M drawn for an edge; (M, E) -> (E,)."""
    squared = dx * dx + dy * dy
    push = 2 * CURVE_B / ((0.001 + squared) * (1 + CURVE_A * squared ** np.float32(CURVE_B)))
    return _limited(push * dx).sum(axis=0), _limited(push * dy).sum(axis=0)


def _limited(move: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(move, -STEP_LIMIT, STEP_LIMIT))


def _into_square(place: np.ndarray) -> np.ndarray:
    """Move and scale into the unit square, both axes by the same factor, centred.

    The outermost points are pulled to the rim: a few far islands must not squeeze the rest.
    """
    low, high = np.percentile(place, [0.2, 99.8], axis=0)
    size = float((high - low).max())
    if not size > 0:
        return np.full(place.shape, 0.5, dtype=np.float32)
    scaled = 0.5 + 0.94 * (place - (low + high) / 2) / size
    return np.asarray(np.clip(scaled, 0.0, 1.0), dtype=np.float32)
