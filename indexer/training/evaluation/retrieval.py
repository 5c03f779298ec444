"""Retrieval figures among authors that nothing was fitted on, own series masked.

A hit counts when it is by the query's author. Hits of the query's own series and its
near-duplicates are no candidates; only queries whose author has another series count.

Source:  Somepalli et al. 2024 (CSD) for `map_at_10`, the mean of precision@1..10 that its
         published code computes; the other figures are textbook definitions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

DEPTH = 100
DUPLICATE_CORRELATION = 0.98
"""Grey 32 x 32 copies that correlate above this are the same picture."""
RESAMPLES = 2000
BLOCK_ROWS = 512


@dataclass(frozen=True)
class Gallery:
    """Pictures that are looked for and query themselves.

    Shapes:  authors and series (N,), copies (N, N) bool, True on the diagonal
    """

    authors: np.ndarray
    series: np.ndarray
    copies: np.ndarray

    def figures(self, vectors: np.ndarray, queries: np.ndarray | None = None) -> QueryFigures:
        """What each picture finds among all others, when asked with its vector or with that of a
        changed copy of itself.

        Equal similarities are ranked by position, so that figures are the same everywhere.

        Shapes:  vectors and queries (N, D) unit
        """
        asked = vectors if queries is None else queries
        _, author = np.unique(self.authors, return_inverse=True)
        _, serial = np.unique(self.series, return_inverse=True)
        columns: list[list[np.ndarray]] = [[], [], [], [], [], []]
        ranks = np.arange(1, DEPTH + 1)
        for start in range(0, len(author), BLOCK_ROWS):
            rows = np.arange(start, min(start + BLOCK_ROWS, len(author)))
            allowed = (serial[rows, None] != serial[None]) & ~self.copies[rows]
            relevant = allowed & (author[rows, None] == author[None])
            counts = relevant.any(1)
            rows, allowed, relevant = rows[counts], allowed[counts], relevant[counts]
            similarity = np.where(allowed, asked[rows] @ vectors.T, -np.inf)
            order = np.argsort(-similarity, axis=1, kind="stable")[:, :DEPTH]
            right = np.take_along_axis(relevant, order, 1)
            if right.shape[1] < DEPTH:  # a gallery smaller than the depth
                right = np.pad(right, ((0, 0), (0, DEPTH - right.shape[1])))
            precision = np.cumsum(right, 1) / ranks
            reachable = np.minimum(relevant.sum(1), DEPTH)
            columns[0].append(rows)
            columns[1].append(right[:, 0])
            columns[2].append(np.asarray(right[:, :10].any(1)))
            columns[3].append((precision * right).sum(1) / reachable)
            columns[4].append(precision[:, :10].mean(1))
            columns[5].append(order[:, 0])
        rows, first, tenth, average, mean, hit = (np.concatenate(column) for column in columns)
        names = np.asarray(self.authors)
        return QueryFigures(rows, names[rows], first, tenth, average, mean, names[hit])

    def nearest(
        self, vectors: np.ndarray, row: int, count: int, query: np.ndarray | None = None
    ) -> np.ndarray:
        """The first hits of one picture, or of its changed copy's vector `query` (D,).

        Shapes:  vectors (N, D) -> at most (count,) rows
        """
        allowed = (self.series != self.series[row]) & ~self.copies[row]
        asked = vectors[row] if query is None else query
        similarity = np.where(allowed, asked @ vectors.T, -np.inf)
        order = np.argsort(-similarity, kind="stable")[:count]
        return np.asarray(order[np.isfinite(similarity[order])])


@dataclass(frozen=True)
class QueryFigures:
    """What each query that counts found; `rows` are positions in the gallery, `found` the author of
    the first hit.

    Shapes:  all (Q,)
    """

    rows: np.ndarray
    authors: np.ndarray
    right_at_1: np.ndarray
    right_at_10: np.ndarray
    average_precision: np.ndarray
    mean_precision: np.ndarray
    found: np.ndarray

    def summary(self) -> RetrievalFigures:
        """Means over queries, and over authors for the macro figure.

        Errors:  ValueError when no query counts
        """
        if not len(self.rows):
            raise ValueError("no author has two series")
        macro = [self.right_at_1[self.authors == a].mean() for a in np.unique(self.authors)]
        return RetrievalFigures(
            float(self.right_at_1.mean()),
            float(self.right_at_10.mean()),
            float(np.mean(macro)),
            float(self.average_precision.mean()),
            float(self.mean_precision.mean()),
        )


@dataclass(frozen=True)
class RetrievalFigures:
    """One row of the table; every figure is a share from 0 to 1."""

    r_at_1: float
    r_at_10: float
    macro_r_at_1: float
    ap_at_100: float
    map_at_10: float

    @classmethod
    def mean(cls, several: Sequence[RetrievalFigures]) -> RetrievalFigures:
        """The mean over splits."""
        return cls(*np.mean([list(vars(one).values()) for one in several], axis=0).tolist())


def near_duplicates(grey: np.ndarray) -> np.ndarray:
    """Which pictures are copies of each other; flat pictures are copies of none.

    Shapes:  grey (N, h, w) or (N, h w) -> (N, N) bool, True on the diagonal
    """
    flat = grey.reshape(len(grey), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    copies = flat @ flat.T > DUPLICATE_CORRELATION
    np.fill_diagonal(copies, True)
    return np.asarray(copies)


@dataclass(frozen=True)
class Failure:
    """An author who is found badly, and the authors found instead with their share of the
    queries, the most frequent first."""

    author: str
    queries: int
    r_at_1: float
    instead: tuple[tuple[str, float], ...]


def worst_authors(figures: QueryFigures, count: int = 10, confused: int = 3) -> list[Failure]:
    """The authors of lowest R@1, the lowest first; those of more queries first among equals."""
    failures = []
    for author in np.unique(figures.authors):
        own = figures.authors == author
        wrong = figures.found[own & ~figures.right_at_1.astype(bool)]
        names, often = np.unique(wrong, return_counts=True)
        order = np.argsort(-often, kind="stable")[:confused]
        share = often / own.sum()
        instead = tuple((str(names[place]), float(share[place])) for place in order)
        right = float(figures.right_at_1[own].mean())
        failures.append(Failure(str(author), int(own.sum()), right, instead))
    return sorted(failures, key=lambda one: (one.r_at_1, -one.queries))[:count]


def paired_interval(
    ours: Sequence[QueryFigures],
    theirs: Sequence[QueryFigures],
    figure: Literal["right_at_1", "average_precision"] = "right_at_1",
) -> tuple[float, float, float]:
    """Mean gain of a figure over splits with its 95 % interval: authors are resampled in pairs.

    Errors:  ValueError when the sides do not pair up
    """
    if [a.rows.tolist() for a in ours] != [b.rows.tolist() for b in theirs]:
        raise ValueError("both sides need the same queries")
    rng = np.random.default_rng(0)
    means, gain = np.zeros(RESAMPLES), 0.0
    for a, b in zip(ours, theirs, strict=True):
        _, author = np.unique(a.authors, return_inverse=True)
        difference = getattr(a, figure).astype(float) - getattr(b, figure)
        total, size = np.bincount(author, difference), np.bincount(author)
        drawn = rng.integers(0, len(size), (RESAMPLES, len(size)))
        means += total[drawn].sum(1) / size[drawn].sum(1) / len(ours)
        gain += float(difference.mean()) / len(ours)
    low, high = np.quantile(means, [0.025, 0.975])
    return gain, float(low), float(high)
