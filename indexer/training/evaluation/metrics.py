"""Retrieval figures among authors that nothing was learnt from, own series masked.

A hit counts when it is by the query's author. Hits of the query's own series and its
near-duplicates are no candidates; only queries whose author has another series count.

Source:  Somepalli et al. 2024 (CSD) for `map_at_10`, the mean of precision@1..10 that its
         published code computes; the other figures are textbook definitions
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from indexer.embedding.in_grey import InGrey
from indexer.vector_index.ranking import KEPT, expanded

# --- Pictures that ask for one another: how each is kept, how it asks, what it becomes in grey.
#
# The evaluation compares pictures as the product does: to who asks with a grey picture, another is
# as near as it is or as it becomes in grey (`indexer/vector_index/search.py`).


@dataclass(frozen=True)
class Questions:
    """How pictures ask.

    Shapes:  vectors (Q, D) unit; in_grey (Q, D) unit: the same without what grey pictures lack;
             grey (Q,) bool: which ask in grey as well
    """

    vectors: np.ndarray
    in_grey: np.ndarray
    grey: np.ndarray

    @classmethod
    def plain(cls, vectors: np.ndarray) -> Questions:
        """Those that never ask in grey."""
        rows = unit(vectors)
        return cls(rows, rows, np.zeros(len(rows), bool))

    def part(self, rows: np.ndarray) -> Questions:
        """Some of them."""
        return Questions(self.vectors[rows], self.in_grey[rows], self.grey[rows])


@dataclass(frozen=True)
class Gallery:
    """Pictures that are looked for and ask themselves.

    `map` says what vectors become in grey; None where colours make no difference.

    Shapes:  N questions, of which the vectors are kept
    """

    questions: Questions
    map: InGrey | None = None

    @classmethod
    def plain(cls, vectors: np.ndarray) -> Gallery:
        """One in which colours make no difference."""
        return cls(Questions.plain(vectors))

    @property
    def vectors(self) -> np.ndarray:
        """Of the pictures, as a catalog keeps them; (N, D) unit."""
        return self.questions.vectors

    def part(self, rows: np.ndarray) -> Gallery:
        """Some of the pictures."""
        return Gallery(self.questions.part(rows), self.map)

    @cached_property
    def in_grey(self) -> np.ndarray:
        """What the pictures become; (N, D) unit."""
        return self.vectors if self.map is None else self.map.apply(self.vectors)

    def similarity(self, questions: Questions, among: np.ndarray | None = None) -> np.ndarray:
        """How near all pictures are to questions, or other vectors among them (M, D); (Q, N) or
        (Q, M)."""
        vectors = self.vectors if among is None else among
        found = questions.vectors @ vectors.T
        if self.map is not None and questions.grey.any():
            greyed = self.in_grey if among is None else self.map.apply(among)
            in_grey = questions.in_grey[questions.grey] @ greyed.T
            found[questions.grey] = np.maximum(found[questions.grey], in_grey)
        return np.asarray(found)

    def expanded(self, row: int, nearest: np.ndarray) -> np.ndarray:
        """How near all pictures are to one's question and its nearest (K,) together; (N,)."""
        own = self.questions.part(np.array([row]))
        wider = [expanded(own.vectors[0], self.vectors[nearest])]
        if own.grey[0] and self.map is not None:
            wider.append(expanded(own.in_grey[0], self.in_grey[nearest]))
        asked = Questions(wider[0][None], wider[-1][None], own.grey)
        return np.asarray(self.similarity(asked)[0])


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; (B, D)"""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


DEPTH = 100
DUPLICATE_CORRELATION = 0.98
"""Grey 32 x 32 copies that correlate above this are the same picture."""
RESAMPLES = 2000
BLOCK_ROWS = 512


@dataclass(frozen=True)
class QueryFigures:
    """What each query that counts found.

    Shapes:  all (Q,); `rows` are positions in the gallery
    """

    rows: np.ndarray
    authors: np.ndarray
    right_at_1: np.ndarray
    right_at_10: np.ndarray
    average_precision: np.ndarray
    mean_precision: np.ndarray
    first_right: np.ndarray
    """Rank of the first right hit, DEPTH + 1 without one."""


@dataclass(frozen=True)
class RetrievalFigures:
    """One row of the table; every figure is a share from 0 to 1."""

    r_at_1: float
    r_at_10: float
    macro_r_at_1: float
    ap_at_100: float
    map_at_10: float


def near_duplicates(grey: np.ndarray) -> np.ndarray:
    """Which pictures are copies of each other; flat pictures are copies of none.

    Shapes:  grey (N, h, w) -> (N, N) bool, True on the diagonal
    """
    flat = grey.reshape(len(grey), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    copies = flat @ flat.T > DUPLICATE_CORRELATION
    np.fill_diagonal(copies, True)
    return np.asarray(copies)


def query_figures(
    gallery: Gallery,
    authors: np.ndarray,
    series: np.ndarray,
    copies: np.ndarray,
    expand: bool = False,
) -> QueryFigures:
    """Let every picture ask for all others.

    Equal similarities are ranked by position, so that the figures are the same everywhere.
    With `expand` the far end of each list is ordered as `toonsearch query --by picture` does.

    Shapes:  N pictures, authors (N,), series (N,), copies (N, N) bool
    """
    _, author = np.unique(authors, return_inverse=True)
    _, serial = np.unique(series, return_inverse=True)
    columns: list[list[np.ndarray]] = [[], [], [], [], [], []]
    ranks = np.arange(1, DEPTH + 1)
    for start in range(0, len(author), BLOCK_ROWS):
        rows = np.arange(start, min(start + BLOCK_ROWS, len(author)))
        allowed = (serial[rows, None] != serial[None]) & ~copies[rows]
        relevant = allowed & (author[rows, None] == author[None])
        asks = relevant.any(1)
        rows, allowed, relevant = rows[asks], allowed[asks], relevant[asks]
        similarity = np.where(allowed, gallery.similarity(gallery.questions.part(rows)), -np.inf)
        if expand:
            similarity = _far_end(similarity, gallery, rows)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :DEPTH]
        right = np.take_along_axis(relevant, order, 1)
        if right.shape[1] < DEPTH:  # a gallery smaller than the depth
            right = np.pad(right, ((0, 0), (0, DEPTH - right.shape[1])))
        precision = np.cumsum(right, 1) / ranks
        reachable = np.minimum(relevant.sum(1), DEPTH)
        columns[0].append(rows)
        columns[1].append(right[:, 0])
        columns[2].append(np.any(right[:, :10], axis=1))
        columns[3].append((precision * right).sum(1) / reachable)
        columns[4].append(precision[:, :10].mean(1))
        columns[5].append(np.where(right.any(1), right.argmax(1) + 1, DEPTH + 1))
    rows, first, tenth, average, mean, rank = (np.concatenate(column) for column in columns)
    return QueryFigures(rows, np.asarray(authors)[rows], first, tenth, average, mean, rank)


def _far_end(similarity: np.ndarray, gallery: Gallery, rows: np.ndarray) -> np.ndarray:
    """Scores whose order is that of long lists (`indexer/vector_index/ranking.py`).

    Shapes:  similarity (Q, N), -inf where a picture is no candidate; rows (Q,) -> (Q, N)
    """
    scores = np.full(similarity.shape, -np.inf)
    for query, row in enumerate(rows):
        own = similarity[query]
        head = np.argsort(-own, kind="stable")[:KEPT]
        head = head[np.isfinite(own[head])]
        scores[query] = np.where(np.isfinite(own), gallery.expanded(int(row), head), -np.inf)
        scores[query, head] = 2.0 + own[head]  # before everything else, in their own order
    return scores


def summarize(figures: QueryFigures) -> RetrievalFigures:
    """Means over queries, and over authors for the macro figure.

    Errors:  ValueError when no query counts
    """
    if not len(figures.rows):
        raise ValueError("no author has two series")
    macro = [
        figures.right_at_1[figures.authors == author].mean()
        for author in np.unique(figures.authors)
    ]
    return RetrievalFigures(
        float(figures.right_at_1.mean()),
        float(figures.right_at_10.mean()),
        float(np.mean(macro)),
        float(figures.average_precision.mean()),
        float(figures.mean_precision.mean()),
    )


def paired_interval(
    ours: list[np.ndarray], theirs: list[np.ndarray], seed: int = 0
) -> tuple[float, float, float]:
    """Mean gain over splits with its 95 % interval: queries are resampled in pairs.

    Shapes:  one (Q,) array of figures for each split on both sides, in the same order
    Errors:  ValueError when the sides do not pair up
    """
    if [len(a) for a in ours] != [len(b) for b in theirs]:
        raise ValueError("both sides need the same queries")
    random = np.random.default_rng(seed)
    gains = [np.asarray(a, float) - np.asarray(b, float) for a, b in zip(ours, theirs, strict=True)]
    means = np.zeros(RESAMPLES)
    for gain in gains:
        for number in range(RESAMPLES):
            means[number] += gain[random.integers(0, len(gain), len(gain))].mean() / len(gains)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([gain.mean() for gain in gains])), float(low), float(high)
