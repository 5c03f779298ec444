"""Hides the answer: what a picture's neighbours and the heads would say if it were new.

Three ways of hiding stand for three kinds of query: its own title is left out (a new work by a
known hand), only its own copies are (a new picture of a known work), its whole author is (an
unknown hand). Neighbours are searched again for each; heads are fitted again without a fifth
of the titles, or of the authors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from indexer.labels.heads import Head, fit_head
from indexer.labels.labels import KINDS, QUANTILE_LEVELS
from schemas.records import DECADE

FOLDS = 5
MIN_HANDS = 3
"""Fewer known authors than this cannot be told apart in trials."""
FIT_ROWS = 30_000
"""Heads that are only fitted to be judged see at most this many pictures."""


@dataclass(frozen=True)
class Labelled:
    """The vectors of an index with integer labels; -1 stands for "has none".

    `names` says for each kind what the integers stand for, `era_years` how wide an era is.

    Shapes:  vectors (N, D) float32 unit rows; all others (N,) int
    """

    vectors: np.ndarray
    picture: np.ndarray
    title: np.ndarray
    author: np.ndarray
    genre: np.ndarray
    era: np.ndarray
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    era_years: int = DECADE

    def codes(self, kind: str) -> np.ndarray:
        """Integer labels of a kind; (N,)."""
        return np.asarray(getattr(self, kind))

    def labels(self, kind: str) -> tuple[str, ...]:
        """What the integers of a kind stand for."""
        count = int(self.codes(kind).max(initial=-1)) + 1
        return self.names.get(kind) or tuple(str(number) for number in range(count))


@dataclass(frozen=True)
class Case:
    """Neighbours of sample queries under one way of hiding.

    Shapes:  query (Q,), similarity and row (Q, K) nearest first
    """

    query: np.ndarray
    similarity: np.ndarray
    row: np.ndarray

    def part(self, chosen: np.ndarray) -> Case:
        """Some of the queries; chosen (Q,) bool."""
        return Case(self.query[chosen], self.similarity[chosen], self.row[chosen])


def joined(cases: Sequence[Case]) -> Case:
    """Queries of several searches as those of one."""
    parts = zip(*((case.query, case.similarity, case.row) for case in cases), strict=True)
    return Case(*(np.concatenate(part) for part in parts))


def pick(
    data: Labelled, sample: int, rng: np.random.Generator, among: np.ndarray | None = None
) -> np.ndarray:
    """Sample queries, square-root weighted by author so that one hand does not rule."""
    rows = np.flatnonzero(data.author >= 0 if among is None else (data.author >= 0) & among)
    if rows.size == 0 or len(np.unique(data.author[rows])) < MIN_HANDS:
        return np.empty(0, dtype=np.int64)
    _, inverse, counts = np.unique(data.author[rows], return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(counts[inverse])
    size = min(sample, rows.size)
    return np.sort(rng.choice(rows, size=size, replace=False, p=weight / weight.sum()))


def has_other(author: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Whether the author has a picture in another group; shape (N,) bool."""
    pairs = np.unique(np.stack([author, group], axis=1), axis=0)
    owners, counts = np.unique(pairs[:, 0], return_counts=True)
    many = owners[(counts > 1) & (owners >= 0)]
    return np.isin(author, many)


def hidden_neighbours(data: Labelled, queries: np.ndarray, hide: np.ndarray, k: int) -> Case:
    """Exact neighbours with the query's own group left out, block by block."""
    similarity = np.full((len(queries), k), -1.0, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(queries), 128):
        block = queries[start : start + 128]
        scores = data.vectors[block] @ data.vectors.T  # (B, N)
        scores[hide[block][:, None] == hide[None, :]] = -2.0
        scores[data.picture[block][:, None] == data.picture[None, :]] = -2.0
        top = np.argpartition(scores, -k, axis=1)[:, -k:]  # (B, K)
        values = np.take_along_axis(scores, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        similarity[start : start + len(block)] = np.take_along_axis(values, order, axis=1)
        rows[start : start + len(block)] = np.take_along_axis(top, order, axis=1)
    # A hidden row that had to fill the list must not vote: far away and without a label.
    rows[similarity < -1.5] = -1
    return Case(queries, np.maximum(similarity, -1.0), rows)


def background(data: Labelled, rng: np.random.Generator) -> tuple[float, ...]:
    """Similarity quantiles of random pairs by different authors (or titles)."""
    count = len(data.vectors)
    left = rng.integers(0, count, 400_000)
    right = rng.integers(0, count, 400_000)
    different = data.title[left] != data.title[right]
    known = (data.author[left] >= 0) & (data.author[right] >= 0)
    different &= ~known | (data.author[left] != data.author[right])
    left, right = left[different], right[different]
    if left.size < 100:  # one title only: nothing to compare with
        return tuple(np.interp(QUANTILE_LEVELS, [0, 100], [-1.0, 1.0]).tolist())
    pairs = [
        np.einsum("nd,nd->n", data.vectors[left[s : s + 20_000]], data.vectors[right[s:][:20_000]])
        for s in range(0, left.size, 20_000)
    ]
    quantiles = np.quantile(np.concatenate(pairs), QUANTILE_LEVELS / 100.0)
    return tuple(np.round(quantiles, 6).tolist())


def author_folds(author: np.ndarray) -> np.ndarray:
    """A fold for each picture, whole authors, evenly many in each; (Q,) int -> (Q,) int."""
    _, rank = np.unique(author, return_inverse=True)
    return np.asarray(rank.reshape(-1) % FOLDS)


def folds_within(author: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Folds that share no group and spread each author's groups; shape (N,) int.

    Groups without an author are spread evenly.
    """
    pairs, of = np.unique(np.stack([author, group], axis=1), axis=0, return_inverse=True)
    first = np.searchsorted(pairs[:, 0], pairs[:, 0])
    turn = (np.arange(len(pairs)) - first + pairs[:, 0]) % FOLDS
    # A group that two authors share must not be cut: all of it follows its first pair.
    fold_of_group = dict(zip(pairs[::-1, 1].tolist(), turn[::-1].tolist(), strict=True))
    return np.asarray([fold_of_group[g] for g in pairs[of.reshape(-1), 1].tolist()], np.int64)


def fitted_heads(data: Labelled, kinds: Sequence[str] = KINDS) -> dict[str, Head]:
    """Heads on all that is labelled, by kind; a kind with nothing to tell apart has none."""
    found = {
        kind: fit_head(data.vectors, data.codes(kind), data.title, data.labels(kind))
        for kind in kinds
    }
    return {kind: head for kind, head in found.items() if head is not None}


@dataclass(frozen=True)
class HeldOut:
    """What heads say of queries that they were not fitted on.

    Shapes:  scores (Q, C), stranger (Q,)
    """

    scores: np.ndarray
    stranger: np.ndarray

    def part(self, chosen: np.ndarray) -> HeldOut:
        return HeldOut(self.scores[chosen], self.stranger[chosen])

    def without(self, codes: np.ndarray) -> HeldOut:
        """The same queries as if their own label were not among the known ones.

        The head itself stays: one fitted without a fifth of the hands would score lower for
        that alone, and an unknown hand would be recognised by it.

        Shapes:  codes (Q,)
        """
        scores = self.scores.copy()
        scores[np.arange(len(codes)), codes] = -np.inf
        return HeldOut(scores, self.stranger)


def held_out_scores(
    data: Labelled, kind: str, queries: np.ndarray, folds: np.ndarray, rng: np.random.Generator
) -> HeldOut | None:
    """Scores of each query by a head that was fitted without the query's fold.

    None where no head can be fitted. A label that a fold's head has not seen scores like its
    least likely one.

    Shapes:  queries (Q,), folds (N,)
    """
    codes, labels = data.codes(kind), data.labels(kind)
    scores = np.empty((len(queries), len(labels)), np.float32)
    stranger = np.empty(len(queries), np.float32)
    for fold in np.unique(folds[queries]):
        rows = np.flatnonzero((folds != fold) & (codes >= 0))
        if len(rows) > FIT_ROWS:
            rows = np.sort(rng.choice(rows, FIT_ROWS, replace=False))
        head = fit_head(data.vectors[rows], codes[rows], data.title[rows], labels)
        if head is None:
            return None
        asked = folds[queries] == fold
        vectors = data.vectors[queries[asked]]
        found = head.scores(vectors)
        seen = np.isfinite(head.constant)
        found[:, ~seen] = found[:, seen].min(1, keepdims=True)
        scores[asked], stranger[asked] = found, head.stranger(vectors)
    return HeldOut(scores, stranger)


def joined_scores(parts: Sequence[HeldOut | None]) -> HeldOut | None:
    """Scores of several heads' queries as those of one; None where one of them has none."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    scores, stranger = ([getattr(part, name) for part in found] for name in ("scores", "stranger"))
    return HeldOut(np.concatenate(scores), np.concatenate(stranger))
