"""The closed form that turns raw statistics into a space of hands: no gradient step.

What varies within one author's drawings (subject, paper, scanner) is nuisance; dividing by it
is worth five points of R@1 on authors that were never seen. There are more statistics than
pictures, so everything is computed between pictures and never between statistics.
"""

from __future__ import annotations

import numpy as np

from indexer.training.model import CLIP, Projection
from schemas.errors import InputError

RIDGE = 3.0
"""Added to the within-author covariance of unit mean variance: directions that are quiet
within 36 hands need not be quiet within others."""

FLOOR = 1e-6
RANK_FLOOR = 1e-9


def within_deviations(rows: np.ndarray, authors: np.ndarray, total: float) -> np.ndarray:
    """Rows D whose D^T D is the mean over authors of the covariance within an author.

    Shapes:  rows (N, S), authors (N,) -> (M, S), scaled so that its squares sum to `total`
    Errors:  InputError when no author has two different pictures
    """
    parts = []
    for author in np.unique(authors):
        own = rows[authors == author]
        if len(own) >= 2:
            parts.append((own - own.mean(0)) / np.sqrt(len(own)))
    found = float(sum((part**2).sum() for part in parts))
    if not found > 0:
        raise InputError("whitening needs an author with two different pictures")
    return np.asarray(np.concatenate(parts) * np.sqrt(total / found))


def fit_projection(
    statistics: np.ndarray,
    authors: np.ndarray,
    dimension: int = 256,
    ridge: float = RIDGE,
    weights: np.ndarray | None = None,
) -> Projection:
    """Standardise, weigh, whiten by what varies within authors, keep the strongest directions.

    With D = A Z the within-author deviations of the rows Z and P = (D^T D + ridge)^-1, the
    similarity of two pictures is x^T P y; the directions are the principal ones of that
    geometry. P is applied through Woodbury's identity, P X = (X - D^T (D D^T + ridge)^-1 D X)
    / ridge, and D only centres rows, so that one product G = Z Z^T is all that is ever
    multiplied between statistics (a quarter of the time of doing it four times).

    Shapes:  statistics (N, S), authors (N,), weights (S,) -> Projection (S,), (S,), (S, d),
             where d = dimension
    Errors:  InputError when the pictures span fewer directions than wanted
    Source:  ../shared/accuracy.md, "whitened"; Hatch et al. 2006 (within-class covariance
             normalisation), with a ridge; Schoelkopf et al. 1998 (kernel PCA)
    """
    x = np.asarray(statistics)
    center = x.mean(0, dtype=np.float64)
    scale = 1.0 / (x.std(0, dtype=np.float64) + FLOOR)
    weigh = np.ones(x.shape[1]) if weights is None else np.asarray(weights, np.float64)
    z = np.clip((x - center.astype(x.dtype)) * scale.astype(x.dtype), -CLIP, CLIP)
    z *= weigh.astype(z.dtype)
    gram = (z @ z.T).astype(np.float64)  # (N, N)
    hands = [rows for rows in _rows_by(authors) if len(rows) >= 2]
    seen = _deviations(gram, hands)  # A G: (M, N)
    inner = _deviations(seen.T, hands)  # A G A^T: (M, M)
    found = float(np.trace(inner)) if len(inner) else 0.0
    if not found > 0:
        raise InputError("whitening needs an author with two different pictures")
    share = float((weigh**2).sum()) / found
    inner = inner * share + ridge * np.eye(len(inner))
    solved = np.linalg.solve(inner, seen * share)  # (M, N)
    kernel = (gram - seen.T @ solved) / ridge  # Z P Z^T
    values, directions = np.linalg.eigh((kernel + kernel.T) / 2)
    values, directions = values[::-1][:dimension], directions[:, ::-1][:, :dimension]
    if len(values) < dimension or not values[-1] > RANK_FLOOR * values[0]:
        raise InputError(f"{len(x)} pictures do not span {dimension} dimensions")
    directions = directions / np.sqrt(values)
    # P Z^T E = Z^T (E - A^T (D D^T + ridge)^-1 D Z^T E) / ridge
    mixed = directions - _deviations_back(solved @ directions, hands, len(x))
    matrix = weigh[:, None] * (z.T @ mixed.astype(z.dtype)).astype(np.float64) / ridge
    # Cosines do not know the scale; with this one float16 storage keeps small entries.
    return Projection(center, scale, matrix / np.abs(matrix).max())


def _rows_by(authors: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(authors == author) for author in np.unique(authors)]


def _deviations(values: np.ndarray, hands: list[np.ndarray]) -> np.ndarray:
    """A @ values: each author's rows less their mean, over the root of their number.

    Shapes:  (N, X) -> (M, X)
    """
    if not hands:
        return np.empty((0, values.shape[1]))
    return np.concatenate(
        [(values[rows] - values[rows].mean(0)) / np.sqrt(len(rows)) for rows in hands]
    )


def _deviations_back(values: np.ndarray, hands: list[np.ndarray], count: int) -> np.ndarray:
    """A^T @ values. Shapes: (M, X) -> (N, X)"""
    result = np.zeros((count, values.shape[1]))
    start = 0
    for rows in hands:
        part = values[start : start + len(rows)]
        result[rows] = (part - part.mean(0)) / np.sqrt(len(rows))
        start += len(rows)
    return result
