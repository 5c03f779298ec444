"""The closed form that turns raw statistics into a space of hands: no gradient step.

What varies within one author's drawings (subject, paper, scanner) is nuisance; dividing by it
is worth five points of R@1 on authors that were never seen. Few hands are known, and books of
one hand often come from one scanner, so what changes with the scanner and with the part of a
drawing that is looked at is shown by copies as well (`nuisances.py`). There are more statistics
than pictures, so everything is computed between pictures and never between statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from indexer.training.model import CLIP, Projection
from schemas.errors import InputError

RIDGE = 3.0
"""Added to the within-author covariance of unit mean variance: directions that are quiet
within 36 hands need not be quiet within others."""

DIMENSION = 448
"""Directions kept: the most whose matrix leaves the shipped file below 20 MB."""

FLOOR = 1e-6
RANK_FLOOR = 1e-9


class Changed(NamedTuple):
    """The same pictures after a change that is not the hand's.

    What it moves counts `share` times what varies within authors, both of unit mean variance.
    """

    rows: np.ndarray  # (N, S)
    share: float


def fit_projection(
    statistics: np.ndarray,
    authors: np.ndarray,
    dimension: int = DIMENSION,
    ridge: float = RIDGE,
    weights: np.ndarray | None = None,
    changed: Sequence[Changed] = (),
) -> Projection:
    """Standardise, weigh, whiten by what varies within authors, keep the strongest directions.

    With D the deviations of the rows Z within authors, and below them those of each set of
    changed copies from their pictures, and P = (D^T D + ridge)^-1, the similarity of two pictures
    is x^T P y; the directions are the principal ones of that geometry. P is applied through
    Woodbury's identity, P X = (X - D^T (D D^T + ridge)^-1 D X) / ridge. D only mixes rows of Z
    and of the copies C, D = A [Z; C], so that one product of all rows with themselves is all that
    is ever multiplied between statistics (a quarter of the time of doing it four times).

    Shapes:  statistics (N, S), authors (N,), weights (S,)
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

    changed = [copies for copies in changed if copies.share > 0]
    count = len(x)
    z = np.empty((count * (1 + len(changed)), x.shape[1]), x.dtype)
    for number, rows in enumerate((x, *(copies.rows for copies in changed))):
        z[number * count : (number + 1) * count] = standardized(np.asarray(rows, x.dtype))
    gram = (z @ z.T).astype(np.float64)  # G: (R, R), R = N and N more for each set of copies
    shares = [copies.share for copies in changed]
    nuisance = _Nuisance(authors, gram, float((weigh**2).sum()), shares)
    seen = nuisance.of(gram)  # A G: (M, R)
    kernel = gram[:count, :count].copy()  # Z Z^T, and soon Z P Z^T
    del gram  # each of these is gigabytes when thousands of pictures have several copies
    inner = nuisance.of(seen.T)  # A G A^T: (M, M)
    inner[np.diag_indices(len(inner))] += ridge
    seen = seen[:, :count].copy()
    solved = np.linalg.solve(inner, seen)  # (M, N)
    del inner
    kernel = (kernel - seen.T @ solved) / ridge
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
    """The mixing A of D = A [Z; C]: deviations within authors, then those of each set of copies.

    Each part is scaled so that its squares sum to what it counts, times the sum of squared
    weights: unit mean variance.
    """

    def __init__(
        self, authors: np.ndarray, gram: np.ndarray, total: float, shares: Sequence[float]
    ) -> None:
        own = [np.flatnonzero(authors == author) for author in np.unique(authors)]
        self.hands = [rows for rows in own if len(rows) >= 2]
        self.count = len(authors)
        self.sets = [slice(n * self.count, (n + 1) * self.count) for n in range(1, len(shares) + 1)]
        found = self._squares(gram)
        if not found[0] > 0:
            raise InputError("whitening needs an author with two different pictures")
        self.scales = [
            float(np.sqrt(total * share / square)) if square > 0 else 0.0
            for share, square in zip((1.0, *shares), found, strict=True)
        ]

    def _squares(self, gram: np.ndarray) -> list[float]:
        own = np.diagonal(gram)
        within = sum(own[rows].mean() - gram[np.ix_(rows, rows)].mean() for rows in self.hands)
        found = [float(within)]
        for copies in self.sets:
            across = np.diagonal(gram[: self.count, copies])
            found.append(float((own[: self.count] + own[copies] - 2 * across).sum()))
        return found

    def of(self, values: np.ndarray) -> np.ndarray:
        """A @ values. Shapes: (R, X) -> (M, X)"""
        rows_in_all = sum(map(len, self.hands)) + len(self.sets) * self.count
        result = np.empty((rows_in_all, values.shape[1]))
        start = 0
        for rows in self.hands:
            part = result[start : start + len(rows)]
            part[:] = values[rows]
            part -= part.mean(0)
            part *= self.scales[0] / np.sqrt(len(rows))
            start += len(rows)
        for copies, scale in zip(self.sets, self.scales[1:], strict=True):
            part = result[start : start + self.count]
            np.subtract(values[copies], values[: self.count], out=part)
            part *= scale
            start += self.count
        return result

    def back(self, values: np.ndarray, rows_in_all: int) -> np.ndarray:
        """A^T @ values. Shapes: (M, X) -> (R, X)"""
        result = np.zeros((rows_in_all, values.shape[1]))
        start = 0
        for rows in self.hands:
            part = values[start : start + len(rows)]
            result[rows] = (part - part.mean(0)) * (self.scales[0] / np.sqrt(len(rows)))
            start += len(rows)
        for copies, scale in zip(self.sets, self.scales[1:], strict=True):
            part = values[start : start + self.count] * scale
            result[copies] += part
            result[: self.count] -= part
            start += self.count
        return result
