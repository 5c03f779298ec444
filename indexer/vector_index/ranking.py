"""From similar pictures to similar titles.

A title is as near as its best pictures: the best one alone would let a title with a thousand
pictures win by luck, and a mean over all would bury a title whose author also drew differently.
The score is a weighted mean of a title's three most similar pictures and of its centroid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

WEIGHTS = (0.5, 0.3, 0.2)
"""Of a title's best three pictures, falling so that the nearest rules (docs/decisions.md)."""
CENTROID_WEIGHT = 0.2
"""Of the title's centroid beside those, which add up to 1."""
CENTROID = np.dtype("<f2")
"""As the index stores vectors: half floats, little-endian."""
UNEXPANDED = 10
"""Pictures at the head of a list, which are ordered by similarity to the query alone."""


LIKED, DISLIKED = 1.0, 0.5
"""What the mean of the marked pictures weighs in a refined query, against 1 for the query itself."""


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; (..., D) -> (..., D)"""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-6))


def within(cosines: np.ndarray) -> np.ndarray:
    """Cosines of stored vectors: as half floats their lengths are up to 1.0001, and a picture
    would be nearer to itself than is possible."""
    return np.asarray(np.clip(cosines, -1.0, 1.0))


BLOCK_ROWS = 1 << 14
"""Rows that are worked on at a time: the vectors of a large catalog lie in a file."""


def group_sums(
    vectors: np.ndarray, groups: np.ndarray, count: int, rows: np.ndarray | None = None
) -> np.ndarray:
    """The sum of the vectors of each group, of all rows or of some, in float64.

    Shapes:  vectors (N, D) of any floats, rows (M,), groups (M,) int below `count`
             -> (count, D) float64
    """
    sums = np.zeros((count, vectors.shape[1]))
    for start in range(0, len(groups), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        some = vectors[block] if rows is None else vectors[rows[block]]
        # Sorting and np.add.reduceat take four times as long where groups are small.
        for group, row in zip(groups[block].tolist(), np.asarray(some, np.float32), strict=True):
            sums[group] += row
    return sums


def title_centroids(vectors: np.ndarray, titles: Sequence[str] | np.ndarray) -> np.ndarray:
    """The unit vector of the mean of each title's pictures, titles ascending.

    Shapes:  vectors (N, D), a title for each -> (T, D)
    """
    names, groups = np.unique(np.asarray(titles), return_inverse=True)
    return unit(group_sums(vectors, groups.reshape(-1), len(names))).astype(np.float32)


Hidden = Callable[[slice], np.ndarray]
"""Which rows of a block must not answer; -> (Q, B) bool"""


def exact_nearest(
    queries: np.ndarray, vectors: np.ndarray, k: int, hidden: Hidden | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar rows by plain matrix products, a block of rows at a time.

    Shapes:  queries (Q, D) float32, vectors (N, D) of any floats -> similarity (Q, K) float32,
             greatest first, and rows (Q, K); -2 and -1 where there are no more
    """
    return exact_nearest_each(queries, vectors, k, [hidden])[0]


def exact_nearest_each(
    queries: np.ndarray, vectors: np.ndarray, k: int, hidden: Sequence[Hidden | None]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same for several ways of hiding rows, from the same products."""
    found = [
        (np.full((len(queries), k), -2.0, np.float32), np.full((len(queries), k), -1, np.int64))
        for _ in hidden
    ]
    for start in range(0, len(vectors) if k else 0, BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, len(vectors)))
        scores = queries @ np.asarray(vectors[block], np.float32).T  # (Q, B)
        for at, hides in enumerate(hidden):
            seen = scores if hides is None else np.where(hides(block), np.float32(-2.0), scores)
            found[at] = _merged(*found[at], seen, start)
    return found


def _merged(
    best: np.ndarray, rows: np.ndarray, scores: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best so far with those of a block of rows; (Q, K), (Q, K), (Q, B) -> (Q, K), (Q, K)"""
    k = best.shape[1]
    least = best[:, -1:]
    if start == 0 and k < scores.shape[1]:  # all of them are better than nothing
        least = np.nextafter(-np.partition(-scores, k - 1, axis=1)[:, k - 1 : k], -3.0)
        least = np.maximum(least, best[:, -1:])
    # Few are nearer than what was found so far: they alone are put beside it and sorted.
    query, column = np.nonzero(scores > least)
    counts = np.bincount(query, minlength=len(scores))
    place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts) + k
    both = np.full((len(scores), k + int(counts.max(initial=0))), -2.0, np.float32)
    both_rows = np.full(both.shape, -1, np.int64)
    both[:, :k], both_rows[:, :k] = best, rows
    both[query, place], both_rows[query, place] = scores[query, column], column + start
    order = np.argsort(-both, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(both, order, axis=1), np.take_along_axis(both_rows, order, axis=1)


def expanded(query: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """The query and its nearest pictures as one query, each weighted by its similarity.

    One picture shows little of an author; ten that it resembles show what they have in common.
    This mean finds more by the same author far down a list, though not at its head.

    Shapes:  query (D,) unit, nearest (K, D) unit rows -> (D,) unit
    Source:  Chum et al. 2007 (average query expansion), weighted as in Radenovic et al. 2019
             with power 1
    """
    weights = np.maximum(nearest @ query, 0.0)
    return np.asarray(unit(query + weights @ nearest), np.float32)


def refined(query: np.ndarray, liked: np.ndarray, disliked: np.ndarray) -> np.ndarray:
    """The query moved towards pictures that were liked, half as far away from others.

    Shapes:  query (D,) unit, liked (L, D) and disliked (M, D) unit rows -> (D,) unit
    Source:  Rocchio 1971. On 564 drawings by 32 artists, two marks of each kind among the first
             ten raise the mean average precision of what is left from 0.36 to 0.63; other weights
             between 0.15 and 3 give 0.60 to 0.64.
    """
    moved = query.astype(np.float64)
    for vectors, weight in ((liked, LIKED), (disliked, -DISLIKED)):
        if len(vectors):
            moved = moved + weight * vectors.mean(axis=0)
    return np.asarray(unit(moved), np.float32)


def title_scores(
    similarity: np.ndarray,
    titles: np.ndarray,
    centroids: Mapping[str, float] | None = None,
    centroid_weight: float = CENTROID_WEIGHT,
) -> tuple[np.ndarray, np.ndarray]:
    """Score each title that has a picture in the list; `centroids` says how near the centroid of
    each is, None to leave them out.

    A picture that was not found counts as the least similar one that was: the score of a title
    can only rise when one of its pictures comes nearer.

    Shapes:  similarity (K,), titles (K,) str -> title ids (T,) ascending, scores (T,)
    """
    if similarity.size == 0:
        return titles[:0], np.empty(0)
    names, title = np.unique(titles, return_inverse=True)  # (T,), (K,)
    order = np.lexsort((-similarity, title))  # by title, best first
    _, first, count = np.unique(title[order], return_index=True, return_counts=True)
    best = np.full((len(names), len(WEIGHTS)), float(similarity.min()))  # (T, 3)
    for place in range(len(WEIGHTS)):
        has = count > place
        best[has, place] = similarity[order[first[has] + place]]
    scores = best @ np.asarray(WEIGHTS)
    if centroids is not None:
        near = np.asarray([centroids[name] for name in names.tolist()])
        scores = (scores + centroid_weight * near) / (1.0 + centroid_weight)
    return names, scores


class RankedTitle(NamedTuple):
    """A title with its score and the places of its pictures in the list, best first."""

    title_id: str
    score: float
    places: list[int]


def top_titles(
    similarity: np.ndarray,
    titles: np.ndarray,
    passed: np.ndarray,
    centroids: Mapping[str, float] | None = None,
    centroid_weight: float = CENTROID_WEIGHT,
) -> list[RankedTitle]:
    """All titles, best first; equal scores are ordered by title id. See `title_scores`.

    A picture that has not `passed` counts in the scores but carries no title by itself.

    Shapes:  similarity (K,), titles (K,) str, passed (K,) bool
    """
    names, scores = title_scores(similarity, titles, centroids, centroid_weight)
    score_of = dict(zip(names.tolist(), scores.tolist(), strict=True))
    places: dict[str, list[int]] = {}
    for place in np.argsort(-similarity, kind="stable").tolist():
        if passed[place]:
            places.setdefault(str(titles[place]), []).append(place)
    ranked = sorted(places, key=lambda name: (-score_of[name], name))
    return [RankedTitle(name, score_of[name], places[name]) for name in ranked]


def top_pictures(
    similarity: np.ndarray, picture_ids: np.ndarray, titles: np.ndarray, passed: np.ndarray, k: int
) -> list[int]:
    """Places of the k best pictures, each picture once though it be in several titles.

    Shapes:  similarity (K,), picture_ids and titles (K,) str, passed (K,) bool
    """
    order = [place for place in np.lexsort((titles, picture_ids, -similarity)) if passed[place]]
    first: dict[str, int] = {}
    for place in order:
        first.setdefault(str(picture_ids[place]), int(place))
    return list(first.values())[:k]
