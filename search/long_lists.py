"""Long lists of pictures: the far end is ordered by what the head has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indexer.vector_index.ranking import KEPT
from indexer.vector_index.search import (
    Question,
    greys_for,
    nearest,
    selected,
    similarities,
    widened,
)
from search.evidence import Found, picture_rows
from search.ranking import top_pictures

if TYPE_CHECKING:
    from indexer.vector_index.generations import Generation
    from search.engine import QueryOptions


def list_pictures(
    generation: Generation,
    question: Question,
    found: Found,
    allowed: np.ndarray | None,
    options: QueryOptions,
) -> tuple[Found, list[int]]:
    """The pictures of a list, each once, as places in what was found.

    The first KEPT are the nearest; then, with `options.expand`, come those nearest to them and
    the query together. Everything keeps the similarity to the query that it has. Pictures that
    the expanded query does not reach within the same depth follow in the order they had.

    Shapes:  -> found with more rows after its own, at most k places in it
    """
    places = top_pictures(
        found.similarity, found.picture_ids, found.title_ids, found.passed, options.k
    )
    if not options.expand or len(places) <= KEPT:
        return found, places
    return _with_far_end(generation, question, found, places, allowed, options)


def _with_far_end(
    generation: Generation,
    question: Question,
    found: Found,
    places: list[int],
    allowed: np.ndarray | None,
    options: QueryOptions,
) -> tuple[Found, list[int]]:
    head = generation.vectors([found.rows[place].row_id for place in places[:KEPT]])
    in_grey = greys_for(generation, question)
    wider, params = widened(in_grey, question, head), selected(allowed)
    _, ids = nearest(generation.index, in_grey, wider, len(found.rows), params)

    known = {row.row_id: place for place, row in enumerate(found.rows)}
    new = np.asarray([row_id for row_id in ids.tolist() if row_id not in known], np.int64)
    near = similarities(in_grey, question, generation.vectors(new))
    similarity = np.concatenate([found.similarity, near])
    percentile = generation.calibration.percentile(similarity)
    rows = [*found.rows, *picture_rows(generation.meta, new)]
    known |= {int(row_id): len(found.rows) + n for n, row_id in enumerate(new.tolist())}
    passed = np.concatenate(
        [found.passed, percentile[len(found.rows) :] >= options.filters.min_percentile]
    )

    chosen = list(places[:KEPT])
    seen = {rows[place].picture_id for place in chosen}
    for place in [*(known[row_id] for row_id in ids.tolist()), *places]:
        if len(chosen) == options.k:
            break
        if passed[place] and rows[place].picture_id not in seen:
            seen.add(rows[place].picture_id)
            chosen.append(place)
    return Found(similarity, percentile, passed, rows), chosen
