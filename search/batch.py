"""Many queries, each about one picture: the answers of single queries, at the speed of the machine.

jobs                 any number
-> look_ahead        read, decoded and cut on all cores, a bounded window ahead of the network
-> styles            the network, every core with a picture of its own
-> answers           one search of the index for a batch
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from indexer.embedding.encoder import Encoded
from indexer.embedding.preprocess import PixelSpec
from schemas.attempt import attempt, concerns_all, in_order
from schemas.images import PictureError, PictureLimits
from schemas.records import Answer
from search.engine import Engine, Nearest, Neighbourhood, QueryOptions, StyleQuery
from search.filters import allowed
from search.inputs import QueryPicture
from search.panels import Cutting, Seen, see
from search.results import picture_rows

Job = TypeVar("Job")
CORES = len(os.sched_getaffinity(0))
BATCH = max(32, 4 * CORES)
"""Pictures and panels that the network sees before their queries are answered together."""
WINDOW = max(16, 2 * CORES)
"""Queries that are read ahead: their pixels are in memory, of a strip those of all its panels."""


class Looked(NamedTuple):
    """A picture, and what the network is to see of it."""

    picture: QueryPicture
    picture_id: str
    seen: Seen


class Asked(NamedTuple):
    """A picture and its answer."""

    picture: QueryPicture
    answer: Answer


def answer_each(
    engine: Engine,
    jobs: Iterable[Job],
    read: Callable[[Job], QueryPicture],
    options: QueryOptions,
    cutting: Cutting,
    *,
    keep: bool = False,
) -> Iterator[list[tuple[Job, Asked | PictureError]]]:
    """The answer to each job, or what is wrong with its picture, in their order, batch by batch.
    The files themselves are let go of as soon as they are decoded unless they are to be kept.

    Errors:  InputError when a filter cannot be used, and whatever else concerns all of them
    """
    rows = common_rows(engine, options)  # what is wrong with a filter concerns all
    engine.encoder.begin()

    def answered(
        batch: list[tuple[Job, Looked | PictureError]],
    ) -> list[tuple[Job, Asked | PictureError]]:
        good = [one for _, one in batch if isinstance(one, Looked)]
        found = iter(answers(engine, good, options, rows))
        return [
            (job, one if isinstance(one, PictureError) else _asked(one, next(found)))
            for job, one in batch
        ]

    ahead = look_ahead(jobs, read, engine.limits, engine.encoder.pixel_spec, cutting, keep=keep)
    return map(answered, ahead)


def look_ahead(
    jobs: Iterable[Job],
    read: Callable[[Job], QueryPicture],
    limits: PictureLimits,
    spec: PixelSpec,
    cutting: Cutting,
    *,
    keep: bool = False,
) -> Iterator[list[tuple[Job, Looked | PictureError]]]:
    """What the network is to see of each job, or what is wrong with its picture, as many as it
    takes at a time; a strip counts by its panels."""

    def look(job: Job) -> Looked:
        picture = read(job)
        seen = see([picture], limits, spec, cutting)
        seen.check()
        held = picture if keep else replace(picture, data=b"")
        return Looked(held, picture.picture_id, seen)

    batch: list[tuple[Job, Looked | PictureError]] = []
    views = 0
    for job, one in in_order(look, jobs, WINDOW, CORES):
        batch.append((job, one))
        views += 1 if isinstance(one, PictureError) else len(one.seen.pixels)
        if views >= BATCH:
            yield batch
            batch, views = [], 0
    if batch:
        yield batch


def _asked(looked: Looked, answer: Answer | PictureError) -> Asked | PictureError:
    return answer if isinstance(answer, PictureError) else Asked(looked.picture, answer)


def common_rows(engine: Engine, options: QueryOptions) -> np.ndarray | None:
    """The row ids that the filters leave to every query, None for all.

    Errors:  InputError when a filter cannot be used
    """
    return allowed(engine.generation, options.filters)


def answers(
    engine: Engine, looked: Sequence[Looked], options: QueryOptions, rows: np.ndarray | None
) -> list[Answer | PictureError]:
    """The answers to pictures, each by itself; `rows` are the `common_rows`."""
    encode = partial(engine.encoded, subject=options.subject > 0)
    known = styles(encode, [one.seen for one in looked])
    return answers_to(engine, looked, known, options, rows)


def styles(
    encode: Callable[[Sequence[np.ndarray]], Encoded], seen: Sequence[Seen]
) -> list[StyleQuery | PictureError]:
    """The style of each picture by itself; one that the network cannot take costs no other."""
    try:
        encoded = encode([one for each in seen for one in each.pixels])
    except Exception as error:
        if concerns_all(error):
            raise
        return [
            attempt(lambda each: Engine.style_of(each, encode(each.pixels)), one) for one in seen
        ]
    ends = np.cumsum([len(one.pixels) for one in seen]).tolist()
    return [
        attempt(Engine.style_of, one, encoded.part(end - len(one.pixels), end))
        for one, end in zip(seen, ends, strict=True)
    ]


def answers_to(
    engine: Engine,
    looked: Sequence[Looked],
    known: Sequence[StyleQuery | PictureError],
    options: QueryOptions,
    rows: np.ndarray | None,
) -> list[Answer | PictureError]:
    """The answers to styles, found by one search of the index, and one more where filters leave
    the same `rows` to all of them."""
    asking = [one for one in known if not isinstance(one, PictureError)]
    near = iter(_neighbourhoods(engine, asking, options, rows))
    made: list[Answer | PictureError] = []
    for one, style in zip(looked, known, strict=True):
        if isinstance(style, PictureError):
            made.append(style)
            continue
        answer = partial(engine.answer, style, options, near=next(near))
        made.append(attempt(answer, picture_ids=[one.picture_id], names=[one.picture.name]))
    return made


def _neighbourhoods(
    engine: Engine, asking: Sequence[StyleQuery], options: QueryOptions, rows: np.ndarray | None
) -> Iterator[Neighbourhood]:
    if not asking:
        return
    vectors = np.stack([one.vector for one in asking])  # (Q, D)
    wide = _searched(engine, vectors, engine.neighbours_count(options), None)
    if options.filters.exclude_same_author or options.filters.text:
        # Which rows may answer is another question for each, or for what is shown.
        yield from (Neighbourhood(one) for one in wide)
        return
    if rows is None or options.subject:
        yield from (Neighbourhood(one, (rows, None)) for one in wide)
        return
    narrow = _searched(engine, vectors, max(options.neighbours, options.k), rows)
    for one, among in zip(wide, narrow, strict=True):
        yield Neighbourhood(one, (rows, among))


def _searched(
    engine: Engine, vectors: np.ndarray, size: int, rows: np.ndarray | None
) -> list[Nearest]:
    """The nearest pictures of each vector, and their rows in one statement."""
    similarity, ids = engine.generation.index.search(vectors, size, rows)  # (Q, K)
    unique, inverse = np.unique(ids, return_inverse=True)
    known = picture_rows(engine.generation.meta, unique)
    places: Any = inverse.reshape(ids.shape).tolist()
    return [
        (near, [known[place] for place in row])
        for near, row in zip(similarity, places, strict=True)
    ]
