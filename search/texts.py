"""Answers to a text alone: by names, or by what pictures show where a CLIP model knows that."""

from __future__ import annotations

import time

import numpy as np

from indexer.vector_index.generations import Generation
from indexer.vector_index.ranking import RankedTitle, top_titles
from schemas.records import Answer
from search.filters import NO_FILTERS, Filters, allowed, unknown_names
from search.results import Found, answer_without_style, picture_rows, share_below
from search.words import words_in


def query_by_text(
    generation: Generation, text: str, *, k: int, by: str, filters: Filters = NO_FILTERS
) -> Answer:
    """Titles or pictures whose names fit best; where none fits and a CLIP model made the subject
    vectors, those that show what the text says.

    Errors:  as of `query_by_words`; NoIndexError when that model is not there
    """
    started = time.perf_counter()
    answer = query_by_words(generation, text, k=k, by=by, filters=filters)
    if answer.candidates_count or generation.clip_id is None:
        return answer
    clip, subjects = generation.clip, generation.subjects
    if clip is None or subjects is None:
        return answer
    chosen, index = allowed(generation, filters), subjects.index
    vector = clip.encode_text(text)
    similarity, ids = (found[0] for found in index.search(vector[None], index.count, chosen))
    similarity, ids = similarity[ids >= 0], ids[ids >= 0]
    size = min(len(ids), max(200, 20 * k))
    rows = picture_rows(generation.meta, ids[:size])
    found = Found(similarity[:size], np.ones(size, bool), rows, share_below(similarity))
    titles = top_titles(found.similarity, found.title_ids, found.passed)
    notes = [
        *unknown_names(generation.meta, filters),
        "the words were looked for in what pictures show: no name has them",
    ]
    return answer_without_style(
        generation, text, found, titles, notes, k=k, by=by, count=len(ids), started=started
    )


NOT_SHOWN = "what pictures show cannot be searched here: see `toonsearch models add --help`"


def query_by_words(
    generation: Generation, text: str, *, k: int, by: str, filters: Filters = NO_FILTERS
) -> Answer:
    """Titles or pictures whose names fit best; no style is compared and no label predicted.

    `similarity` says how well the words fit, `percentile` is the share of the index's pictures
    that fit less well. A title is as good as its best picture.

    Errors:  InputError when there is no word, or a filter is wrong
    """
    started = time.perf_counter()
    words = words_in(generation)
    scores = words.scores(text)
    chosen = allowed(generation, filters)
    places = np.flatnonzero(scores)
    if chosen is not None:
        places = places[np.isin(words.row_ids[places], chosen)]
    places = places[np.argsort(-scores[places], kind="stable")]
    missing = words.missing(text) if not len(places) else []
    of: dict[int, list[int]] = {}
    for at, place in enumerate(places.tolist()):
        of.setdefault(int(words.title[place]), []).append(at)
    # All that is shown, and not the rows of everything that a short word fits.
    first = [at for some in list(of.values())[:k] for at in some[: max(k, 3)]]
    shown = places[np.unique(np.asarray(first + list(range(min(len(places), 20 * k))), np.int64))]
    rows = picture_rows(generation.meta, words.row_ids[shown])
    found = Found(scores[shown], np.ones(len(shown), bool), rows, share_below(scores))
    ranked: dict[str, RankedTitle] = {}
    for at, row in enumerate(rows):
        best = ranked.setdefault(
            row.title_id, RankedTitle(row.title_id, float(found.similarity[at]), [])
        )
        best.places.append(at)
    notes = [
        *unknown_names(generation.meta, filters),
        *(f"nothing here is called {word!r}" for word in missing),
        "words were compared with titles, authors, tags, genres and file names, and no style",
        *([NOT_SHOWN] if missing and generation.clip_id is None else []),
    ]
    return answer_without_style(
        generation,
        text,
        found,
        list(ranked.values()),
        notes,
        k=k,
        by=by,
        count=len(places),
        started=started,
    )
