"""From pictures found to titles found; their scores are those of `indexer/vector_index/ranking.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from indexer.vector_index.ranking import title_scores


class RankedTitle(NamedTuple):
    """A title with its score and the places of its pictures in the list, best first."""

    title_id: str
    score: float
    places: list[int]


def top_titles(
    similarity: np.ndarray,
    titles: np.ndarray,
    passed: np.ndarray,
    manner: Mapping[str, float] | None = None,
) -> list[RankedTitle]:
    """All titles, best first; equal scores are ordered by title id. See `title_scores`.

    A picture that has not `passed` counts in the scores but carries no title by itself.

    Shapes:  similarity (K,), titles (K,) str, passed (K,) bool
    """
    names, scores = title_scores(similarity, titles, manner)
    score_of = dict(zip(names.tolist(), scores.tolist(), strict=True))
    places: dict[str, list[int]] = {}
    for place in np.argsort(-similarity, kind="stable").tolist():
        if passed[place]:
            places.setdefault(str(titles[place]), []).append(place)
    ranked = sorted(places, key=lambda name: (-score_of[name], name))
    return [RankedTitle(name, score_of[name], places[name]) for name in ranked]


def top_pictures(
    similarity: np.ndarray,
    picture_ids: np.ndarray,
    titles: np.ndarray,
    passed: np.ndarray,
    k: int,
) -> list[int]:
    """Places of the k best pictures, each picture once though it be in several titles.

    Shapes:  similarity (K,), picture_ids and titles (K,) str, passed (K,) bool
    """
    seen: set[str] = set()
    chosen: list[int] = []
    for place in np.lexsort((titles, picture_ids, -similarity)).tolist():
        if len(chosen) == k:
            break
        if str(picture_ids[place]) not in seen and (passed[place]):
            seen.add(str(picture_ids[place]))
            chosen.append(place)
    return chosen
