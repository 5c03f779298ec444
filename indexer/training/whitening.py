"""The closed form that turns raw statistics into a space of hands: no gradient step.

What varies within one author's drawings (subject, paper, scanner) is nuisance; dividing by it
is worth five points of R@1 on authors that were never seen. Few hands are known, and books of
one hand often come from one scanner, so what changes with the scanner and with the part of a
drawing that is looked at is shown by copies as well (`nuisances.py`). As long as there are more
statistics than pictures, everything is computed between pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from indexer.labels.deviation import deviations_of
from indexer.training.model import CLIP, Projection
from schemas.errors import InputError

RIDGE = 3.0
"""Added to the within-author covariance of unit mean variance: directions that are quiet
within 36 hands need not be quiet within others."""

DIMENSION = 448
"""Directions kept: the most whose matrix leaves the shipped file below 20 MB."""

FLOOR = 1e-6
RANK_FLOOR = 1e-9
GRAM_ROWS = 20_000
"""Pictures and copies up to which everything is computed between them, in some 11 GB at most. More
of them are summed up into a matrix between statistics: 2 GB however many they are, beside the
statistics themselves (128 kB of each picture and copy), which are needed either way."""


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
    is x^T P y; the directions are the principal ones of that geometry. Up to GRAM_ROWS rows P is
    applied by Woodbury's identity, P X = (X - D^T (D D^T + ridge)^-1 D X) / ridge. D only mixes
    rows of Z and of the copies C, D = A [Z; C], so that one product of all rows with themselves
    is all that is ever multiplied between statistics (a quarter of the time of doing it four
    times).

    Shapes:  statistics (N, S), authors (N,), weights (S,)
             -> Projection (S,), (S,), (S, d), where d = dimension
    Errors:  InputError when the pictures span fewer directions than wanted
    Source:  ../shared/accuracy.md, "whitened"; Hatch et al. 2006 (within-class covariance
             normalisation), with a ridge; Schoelkopf et al. 1998 (kernel PCA)
    """
    x = np.asarray(statistics)
    center, scale = usual_statistics(x)
    weigh = np.ones(x.shape[1]) if weights is None else np.asarray(weights, np.float64)

    def standardized(rows: np.ndarray) -> np.ndarray:
        z = np.clip((rows - center.astype(x.dtype)) * scale.astype(x.dtype), -CLIP, CLIP)
        return np.asarray(z * weigh.astype(z.dtype))

    changed = [copies for copies in changed if copies.share > 0]
    count = len(x)
    z = np.empty((count * (1 + len(changed)), x.shape[1]), x.dtype)
    for number, rows in enumerate((x, *(copies.rows for copies in changed))):
        z[number * count : (number + 1) * count] = standardized(np.asarray(rows, x.dtype))
    shares = [copies.share for copies in changed]
    nuisance = _Nuisance(authors, z, float((weigh**2).sum()), shares)
    fit = _between_pictures if len(z) <= GRAM_ROWS else _between_statistics
    matrix = weigh[:, None] * fit(z, nuisance, ridge, dimension)
    # Cosines do not know the scale; with this one float16 storage keeps small entries.
    return Projection(center, scale, matrix / np.abs(matrix).max())


def usual_statistics(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Center and scale of statistics; (N, S) -> (S,) both"""
    return rows.mean(0, dtype=np.float64), 1.0 / (rows.std(0, dtype=np.float64) + FLOOR)


def deviations_from(rows: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """How unlike some of them (M,) the statistics of pictures are, as `indexer/labels/deviation.py` has
    it. Shapes:  (N, S) -> (N,)"""
    center, scale = (part.astype(np.float32) for part in usual_statistics(rows[learnt]))
    known = Projection(center, scale, np.empty((len(center), 0), np.float32))
    blocks = [rows[start : start + 512] for start in range(0, len(rows), 512)]
    return np.concatenate([deviations_of(known.standardized(block)) for block in blocks])


def _between_pictures(
    z: np.ndarray, nuisance: _Nuisance, ridge: float, dimension: int
) -> np.ndarray:
    """P Z^T E by Woodbury's identity; E are the principal directions of Z P Z^T.

    Shapes:  z (R, S), the first N rows being Z -> (S, d)
    """
    count = nuisance.count
    gram = (z @ z.T).astype(np.float64)  # G: (R, R), R = N and N more for each set of copies
    seen = nuisance.of(gram)  # A G: (M, R)
    kernel = gram[:count, :count].copy()  # Z Z^T, and soon Z P Z^T
    del gram  # each of these is gigabytes when thousands of pictures have several copies
    inner = nuisance.of(seen.T)  # A G A^T: (M, M)
    inner[np.diag_indices(len(inner))] += ridge
    seen = seen[:, :count].copy()
    solved = np.linalg.solve(inner, seen)  # (M, N)
    del inner
    directions = _principal((kernel - seen.T @ solved) / ridge, dimension)
    # P Z^T E = Z^T E / ridge - [Z; C]^T A^T (D D^T + ridge)^-1 D Z^T E / ridge
    mixed = -nuisance.back(solved @ directions, len(z))
    mixed[:count] += directions
    return np.asarray((z.T @ mixed.astype(z.dtype)).astype(np.float64) / ridge)


def _between_statistics(
    z: np.ndarray, nuisance: _Nuisance, ridge: float, dimension: int
) -> np.ndarray:
    """The same by the covariance of the statistics, whose size does not grow with the pictures."""
    covariance = np.zeros((z.shape[1], z.shape[1]))
    for block in nuisance.blocks(z):
        covariance += block.T @ block
    covariance[np.diag_indices(len(covariance))] += ridge
    rows = z[: nuisance.count]
    solved = np.linalg.solve(covariance, rows.T.astype(np.float64))  # P Z^T: (S, N)
    del covariance
    return np.asarray(solved @ _principal(rows @ solved, dimension))


def _principal(kernel: np.ndarray, dimension: int) -> np.ndarray:
    """The strongest directions of a kernel, each divided by its root.

    Shapes:  (N, N) -> (N, d)
    Errors:  InputError when it spans fewer
    """
    values, directions = np.linalg.eigh((kernel + kernel.T) / 2)
    values, directions = values[::-1][:dimension], directions[:, ::-1][:, :dimension]
    if len(values) < dimension or not values[-1] > RANK_FLOOR * values[0]:
        raise InputError(f"{len(kernel)} pictures do not span {dimension} dimensions")
    return np.asarray(directions / np.sqrt(values))


class _Nuisance:
    """The mixing A of D = A [Z; C]: deviations within authors, then those of each set of copies.

    Each part is scaled so that its squares sum to what it counts, times the sum of squared
    weights: unit mean variance.
    """

    def __init__(
        self, authors: np.ndarray, z: np.ndarray, total: float, shares: Sequence[float]
    ) -> None:
        own = [np.flatnonzero(authors == author) for author in np.unique(authors)]
        self.hands = [rows for rows in own if len(rows) >= 2]
        self.count = len(authors)
        self.sets = [slice(n * self.count, (n + 1) * self.count) for n in range(1, len(shares) + 1)]
        self.scales = [1.0] * (1 + len(shares))
        squares = [float(np.square(block).sum(dtype=np.float64)) for block in self.blocks(z)]
        within = sum(squares[: len(self.hands)])
        if not within > RANK_FLOOR * total:
            raise InputError("whitening needs an author with two different pictures")
        found = zip((1.0, *shares), (within, *squares[len(self.hands) :]), strict=True)
        self.scales = [
            float(np.sqrt(total * share / square)) if square > 0 else 0.0 for share, square in found
        ]

    def blocks(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """A @ values, part by part: (hand's pictures, X) for each hand, (N, X) for each set."""
        for rows in self.hands:
            block = values[rows]
            block -= block.mean(0)
            block *= self.scales[0] / np.sqrt(len(rows))
            yield block
        for copies, scale in zip(self.sets, self.scales[1:], strict=True):
            block = values[copies] - values[: self.count]
            block *= scale
            yield block

    def of(self, values: np.ndarray) -> np.ndarray:
        """A @ values. Shapes: (R, X) -> (M, X)"""
        height = sum(map(len, self.hands)) + len(self.sets) * self.count
        result = np.empty((height, values.shape[1]))
        start = 0
        for block in self.blocks(values):
            result[start : start + len(block)] = block
            start += len(block)
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
