"""The closed form that turns raw statistics into a space of hands: no gradient step.

What varies within one author's drawings (subject, paper, scanner) is nuisance; dividing by it
is worth five points of R@1 on authors that were never seen. Books of one hand often come from
one scanner, so what scanning changes is shown by copies as well (`scans.py`). There are more
statistics than pictures, so everything is computed between pictures and never between
statistics.
"""

from __future__ import annotations

import numpy as np

from indexer.training.model import CLIP, Projection
from schemas.errors import InputError

RIDGE = 3.0
"""Added to the within-author covariance of unit mean variance: directions that are quiet
within 36 hands need not be quiet within others."""

DIMENSION = 448
"""Directions kept: the most whose matrix leaves the shipped file below 20 MB."""

SCAN_SHARE = 0.1
"""What the covariance of scanning counts beside that within authors, both of unit mean
variance (docs/model-card.md)."""

FLOOR = 1e-6
RANK_FLOOR = 1e-9


def fit_projection(
    statistics: np.ndarray,
    authors: np.ndarray,
    dimension: int = DIMENSION,
    ridge: float = RIDGE,
    weights: np.ndarray | None = None,
    scans: np.ndarray | None = None,
    scan_share: float = SCAN_SHARE,
) -> Projection:
    """Standardise, weigh, whiten by what varies within authors, keep the strongest directions.

    With D the deviations of the rows Z within authors, and below them those of the same
    pictures' scans from the pictures, and P = (D^T D + ridge)^-1, the similarity of two pictures
    is x^T P y; the directions are the principal ones of that geometry. P is applied through
    Woodbury's identity, P X = (X - D^T (D D^T + ridge)^-1 D X) / ridge. D only mixes rows of Z
    and of the scans, D = A [Z; C], so that one product of all rows with themselves is all that
    is ever multiplied between statistics (a quarter of the time of doing it four times).

    Shapes:  statistics (N, S), authors (N,), weights (S,), scans (N, S) or None
             -> Projection (S,), (S,), (S, d), where d = dimension
    Errors:  InputError when the pictures span fewer directions than wanted
    Source:  ../shared/accuracy.md, "whitened"; Hatch et al. 2006 (within-class covariance
             normalisation), with a ridge; Schoelkopf et al. 1998 (kernel PCA)
    """
    x = np.asarray(statistics)
    center = x.mean(0, dtype=np.float64)
    scale = 1.0 / (x.std(0, dtype=np.float64) + FLOOR)
    weigh = np.ones(x.shape[1]) if weights is None else np.asarray(weights, np.float64)

    def standardized(rows: np.ndarray) -> np.ndarray:
        z = np.clip((rows - center.astype(x.dtype)) * scale.astype(x.dtype), -CLIP, CLIP)
        return np.asarray(z * weigh.astype(z.dtype))

    z = standardized(x)
    if scans is not None:
        z = np.concatenate([z, standardized(np.asarray(scans, x.dtype))])
    count, gram = len(x), (z @ z.T).astype(np.float64)  # G: (R, R), R = N, or 2 N with scans
    nuisance = _Nuisance(authors, gram, float((weigh**2).sum()), scan_share)
    seen = nuisance.of(gram)  # A G: (M, R)
    inner = nuisance.of(seen.T)  # A G A^T: (M, M)
    inner[np.diag_indices(len(inner))] += ridge
    seen = seen[:, :count]
    solved = np.linalg.solve(inner, seen)  # (M, N)
    kernel = (gram[:count, :count] - seen.T @ solved) / ridge  # Z P Z^T
    values, directions = np.linalg.eigh((kernel + kernel.T) / 2)
    values, directions = values[::-1][:dimension], directions[:, ::-1][:, :dimension]
    if len(values) < dimension or not values[-1] > RANK_FLOOR * values[0]:
        raise InputError(f"{len(x)} pictures do not span {dimension} dimensions")
    directions = directions / np.sqrt(values)
    # P Z^T E = Z^T E / ridge - [Z; C]^T A^T (D D^T + ridge)^-1 D Z^T E / ridge
    mixed = -nuisance.back(solved @ directions, len(z))
    mixed[:count] += directions
    matrix = weigh[:, None] * (z.T @ mixed.astype(z.dtype)).astype(np.float64) / ridge
    # Cosines do not know the scale; with this one float16 storage keeps small entries.
    return Projection(center, scale, matrix / np.abs(matrix).max())


class _Nuisance:
    """The mixing A of D = A [Z; C]: deviations within authors, then those of scans.

    Each part is scaled so that its squares sum to what it counts, times the sum of squared
    weights: unit mean variance.
    """

    def __init__(
        self, authors: np.ndarray, gram: np.ndarray, total: float, scan_share: float
    ) -> None:
        own = [np.flatnonzero(authors == author) for author in np.unique(authors)]
        self.hands = [rows for rows in own if len(rows) >= 2]
        self.count = len(authors)
        self.scales = [1.0, 1.0] if len(gram) > self.count and scan_share > 0 else [1.0]
        found = self._squares(gram)
        if not found[0] > 0:
            raise InputError("whitening needs an author with two different pictures")
        wanted = (total, total * scan_share)
        self.scales = [
            float(np.sqrt(want / square)) if square > 0 else 0.0
            for want, square in zip(wanted, found, strict=False)
        ]

    def _squares(self, gram: np.ndarray) -> list[float]:
        n, own = self.count, np.diagonal(gram)
        within = sum(own[rows].mean() - gram[np.ix_(rows, rows)].mean() for rows in self.hands)
        found = [float(within)]
        if len(self.scales) > 1:
            found.append(float((own[:n] + own[n:] - 2 * np.diagonal(gram[:n, n:])).sum()))
        return found

    def of(self, values: np.ndarray) -> np.ndarray:
        """A @ values. Shapes: (R, X) -> (M, X)"""
        parts = [
            (values[rows] - values[rows].mean(0)) * (self.scales[0] / np.sqrt(len(rows)))
            for rows in self.hands
        ]
        if len(self.scales) > 1:
            parts.append((values[self.count :] - values[: self.count]) * self.scales[1])
        return np.concatenate(parts)

    def back(self, values: np.ndarray, rows_in_all: int) -> np.ndarray:
        """A^T @ values. Shapes: (M, X) -> (R, X)"""
        result = np.zeros((rows_in_all, values.shape[1]))
        start = 0
        for rows in self.hands:
            part = values[start : start + len(rows)]
            result[rows] = (part - part.mean(0)) * (self.scales[0] / np.sqrt(len(rows)))
            start += len(rows)
        if len(self.scales) > 1:
            result[self.count :] += values[start:] * self.scales[1]
            result[: self.count] -= values[start:] * self.scales[1]
        return result
