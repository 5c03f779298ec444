"""The whole search on one page: pictures in, similar titles and probable hands out.

pictures                          B files
-> Engine.question_of             their common style, a unit vector (D,)
-> Engine.labels_of               whose hand, which genre, which era
-> allowed                        the pictures that the filters leave
-> Engine.search                  the K nearest of those
-> top_titles, list_pictures      Answer
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.embedding.encoder import Encoder
from indexer.labels.deviation import common_deviation
from indexer.vector_index.generations import Generation
from indexer.vector_index.search import Question, greys_for, nearest, or_in_grey, selected
from schemas.errors import InputError, NoIndexError
from schemas.images import PictureLimits
from schemas.records import Answer, Labels
from schemas.settings import Settings
from schemas.storage.layout import Layout
from search.evidence import (
    Found,
    PictureRow,
    picture_rows,
    same_author,
    title_hits,
    title_manners,
    titles_holding,
    voters,
)
from search.filters import NO_FILTERS, Filters, allowed
from search.inputs import QueryPicture
from search.long_lists import list_pictures
from search.notes import notes_of
from search.probabilities import Distributions, distributions, label_probabilities
from search.ranking import top_titles

Nearest = tuple[np.ndarray, list[PictureRow]]
WIDENING = 4  # factor by which the list grows while it holds too few titles


@dataclass(frozen=True)
class QueryOptions:
    """What is asked besides the pictures: `neighbours` of the index are looked at first, more
    until `k` titles are found. `unknown_prior` is
    how often a query is by a hand the index lacks; `expand` orders the far end of a long list
    of pictures (`search/long_lists.py`).
    """

    k: int = 10
    by: str = "title"
    neighbours: int = 200
    unknown_prior: float = 0.5
    filters: Filters = NO_FILTERS
    expand: bool = True


class Engine:
    """One open generation and its encoder; may be used by several threads."""

    def __init__(self, generation: Generation, encoder: Encoder, limits: PictureLimits) -> None:
        if (encoder.model_id, encoder.preprocessing_digest) != (
            generation.model_id,
            generation.preprocessing_digest,
        ):
            raise NoIndexError(
                f"the index was made by model {generation.model_id}, not by {encoder.model_id}",
                "Run `toonsearch embed` and `toonsearch index build`.",
            )
        self.generation, self.encoder, self.limits = generation, encoder, limits
        self.calibration = generation.calibration

    @classmethod
    def open(
        cls,
        layout: Layout,
        settings: Settings,
        generation_id: str | None = None,
        *,
        bulk: bool = False,
    ) -> Engine:
        """Open the published generation, or a named one, with the encoder that it carries.

        `bulk` is for many queries at once: each then takes one core instead of all of them.

        Errors:  NoIndexError when it is missing, damaged or of another model
        """
        generation = Generation.open(layout, generation_id)
        try:
            encoder = Encoder.open(
                generation.model_dir,
                runtime=settings.encoder.runtime,  # type: ignore[arg-type]
                threads=settings.encoder.threads or None,
                bulk=bulk,
            )
            return cls(generation, encoder, settings.decode.limits)
        except BaseException:
            generation.close()
            raise

    def close(self) -> None:
        """Let go of the generation's files."""
        self.generation.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self, pictures: Sequence[QueryPicture], options: QueryOptions) -> Answer:
        """Find the titles (or pictures) drawn most like the pictures, taken together.

        Errors:  InputError when a picture or a filter cannot be used
        """
        started = time.perf_counter()
        return self.answer(
            self.question_of(pictures),
            options,
            picture_ids=[picture.picture_id for picture in pictures],
            names=[picture.name for picture in pictures],
            started=started,
        )

    def answer(
        self,
        question: Question,
        options: QueryOptions,
        *,
        picture_ids: Sequence[str] = (),
        names: Sequence[str] = (),
        started: float | None = None,
    ) -> Answer:
        """What `query` says about pictures whose common style is already known.

        Errors:  InputError when a filter cannot be used
        """
        started = time.perf_counter() if started is None else started
        meta = self.generation.meta
        size = max(options.neighbours, options.k)
        size = max(size, self.calibration.neighbours)
        # Votes are calibrated on vectors as they are: with likenesses in grey, hands that the
        # index lacks were believed to be known ones (docs/model-card.md).
        plain = self.neighbours(Question(question.vector), size)  # (K,)
        labels = self.labels_of(*plain, options.unknown_prior, question.vector, question.deviation)
        nearest = self._in_grey_too(question, plain)
        own = titles_holding(meta, picture_ids)
        same = same_author(labels, own) if options.filters.exclude_same_author else []
        rows = allowed(self.generation, options.filters.without_authors(same))  # (N,) or None
        count = self.generation.pictures_count if rows is None else len(rows)
        found = self.search(question, rows, options, nearest)  # K rows
        places: list[int] = []
        if options.by == "picture":
            found, places = list_pictures(self.generation, question, found, rows, options)
        manner = title_manners(self.generation, question, found.title_ids)
        ranked = top_titles(found.similarity, found.title_ids, found.passed, manner)  # T titles
        if options.by == "picture":
            shown = {found.rows[place].title_id for place in places}
            ranked = [title for title in ranked if title.title_id in shown]
        titles = title_hits(meta, found, ranked[: options.k])
        return Answer(
            titles=titles,
            pictures=tuple(found.hit(place) for place in places),
            labels=labels,
            generation_id=self.generation.id,
            model_id=self.generation.model_id,
            preprocessing=self.generation.preprocessing_digest,
            pictures_count=self.generation.pictures_count,
            candidates_count=count,
            elapsed_ms=(time.perf_counter() - started) * 1000.0,
            queries=tuple(names),
            notes=tuple(
                notes_of(
                    options,
                    own,
                    same,
                    (count, self.generation.pictures_count),
                    len(places or titles),
                    labels,
                )
            ),
        )

    def question_of(self, pictures: Sequence[QueryPicture]) -> Question:
        """The pictures' common style: the normalised mean of their unit vectors; also in grey
        when none of them has colours.

        Errors:  InputError when there is no picture, or one that cannot be used
        """
        if not pictures:
            raise InputError("there is no picture to search with")
        spec = self.encoder.pixel_spec
        self.encoder.begin()
        prepared = [picture.pixels(self.limits, spec) for picture in pictures]
        _ = self.generation.index  # mapped beside the network's loading
        seen = self.encoder.look(prepared)
        in_grey = _common(seen.without_colours) if seen.grey.all() else None
        return Question(_common(seen.vectors), in_grey, common_deviation(seen.deviation))

    def neighbours(self, question: Question, k: int, row_ids: np.ndarray | None = None) -> Nearest:
        """The nearest pictures, of all or of these row ids: similarity (K,) float32, nearest
        first, and K rows."""
        generation = self.generation
        greys = greys_for(generation, question)
        similarity, ids = nearest(generation.index, greys, question, k, selected(row_ids))
        return similarity, picture_rows(generation.meta, ids)

    def _in_grey_too(self, question: Question, found: Nearest) -> Nearest:
        """The nearest pictures, from as many that are so without regard to grey."""
        generation, (similarity, rows) = self.generation, found
        if question.in_grey is None:
            return found
        listed = similarity, np.asarray([row.row_id for row in rows], np.int64)
        either = or_in_grey(generation.index, generation.in_grey, question, listed, len(rows))
        return either[0], picture_rows(generation.meta, either[1])

    def labels_of(
        self, similarity: np.ndarray, rows: Sequence[PictureRow], unknown_prior: float,
        vector: np.ndarray | None = None, deviation: float | None = None,
    ) -> Labels:  # fmt: skip
        """Label probabilities; always from the whole index, for which they were calibrated.

        Shapes:  similarity (K,), nearest first, and K rows; vector (D,), or None for the vote
                 of the neighbours alone
        """
        evidence = voters(self.generation.meta, similarity, rows, self.calibration)
        return label_probabilities(*evidence, self.calibration, unknown_prior,
                                   self.generation.heads.heads, vector, deviation)  # fmt: skip

    def distributions_of(
        self, vector: np.ndarray, unknown_prior: float, deviation: float | None = None
    ) -> Distributions:
        """Every label of the catalog with its probability.

        Shapes:  vector (D,)
        """
        found = self.neighbours(Question(vector), self.calibration.neighbours)
        evidence = voters(self.generation.meta, *found, self.calibration)
        return distributions(*evidence, self.calibration, unknown_prior,
                             self.generation.heads.heads, vector, deviation)  # fmt: skip

    def search(
        self,
        question: Question,
        row_ids: np.ndarray | None,
        options: QueryOptions,
        nearest: Nearest,
    ) -> Found:
        """The nearest allowed pictures: as many as it takes to hold what was asked for.

        `nearest` are those of the whole index, which answer when nothing is filtered.

        Shapes:  -> K rows
        """
        size = max(options.neighbours, options.k)
        count = self.generation.pictures_count if row_ids is None else len(row_ids)
        while True:
            size = min(size, count)
            if size == 0:
                return Found(np.empty(0), np.empty(0), np.empty(0, bool), [])
            if row_ids is None and size <= len(nearest[1]):
                similarity, rows = nearest[0][:size], nearest[1][:size]
            else:
                similarity, rows = self.neighbours(question, size, row_ids)  # (K,)
            percentile = self.calibration.percentile(similarity)  # (K,)
            found = Found(
                similarity, percentile, percentile >= options.filters.min_percentile, rows
            )
            names = found.title_ids if options.by == "title" else found.picture_ids
            enough = len(np.unique(names[found.passed])) >= options.k
            if enough or size == count or not found.passed[-1]:
                return found
            size *= WIDENING


def _common(vectors: np.ndarray) -> np.ndarray:
    """The normalised mean of unit vectors (B, D); (D,) float32"""
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if not length > 1e-6:
        raise InputError("the pictures have nothing in common", "Ask about them one by one.")
    return np.asarray(mean / length, dtype=np.float32)
