"""The whole search on one page: pictures in, similar titles and probable labels out.

pictures                          B files
-> Engine.encode                  their common style: a unit vector (D,) and its ood score
-> Engine.predict                 who drew it, which genre, which era
-> allowed                        the pictures that the filters leave
-> Engine.search                  the K nearest of those
-> top_titles, list_pictures      Answer
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np

from indexer.embedding.encoder import Device, Encoded, Encoder
from indexer.labels.predict import Prediction, predict, products_on_one_thread
from indexer.vector_index.generations import Generation
from indexer.vector_index.ranking import (
    CENTROID_WEIGHT,
    UNEXPANDED,
    RankedTitle,
    expanded,
    top_pictures,
    top_titles,
    unit,
    within,
)
from indexer.vector_index.subjects import Mixture
from schemas.errors import InputError, NoIndexError, UsageError
from schemas.images import PictureLimits
from schemas.records import LABEL_KINDS, Answer, AskedPanel, Hit, Labels, TitleHit
from schemas.settings import QuerySettings, Settings
from schemas.storage.layout import Layout
from search.filters import NO_FILTERS, Filters, allowed, unknown_names
from search.inputs import QueryPicture
from search.panels import AUTO, Cutting, PanelVectors, Seen, pooled, see
from search.results import (
    Found,
    PictureRow,
    Scale,
    centroid_similarity,
    notes_of,
    picture_rows,
    same_author,
    title_hits,
    titles_holding,
)

Nearest = tuple[np.ndarray, list[PictureRow]]
WIDENING = 4  # factor by which the list grows while it holds too few titles
LABELS_SHOWN = 5
MOST_WEIGHT = 1e6
TEXT_SUBJECT = 0.5
"""How much a text counts beside a picture where nobody said."""


class Neighbourhood(NamedTuple):
    """What was found of a style before it is answered, where many are searched at once: the
    nearest pictures of the whole index, and, where filters leave the same to all, the row ids that
    may answer (None: all) with the nearest of those as far as that was looked for."""

    nearest: Nearest
    left: tuple[np.ndarray | None, Nearest | None] | None = None


class Asking(NamedTuple):
    """How the nearest pictures are found, of all or of some row ids; how large what comes of it
    is; and the mixture with the subject, None by style alone."""

    nearest: Callable[[int, np.ndarray | None], Nearest]
    scale: Scale
    mixture: Mixture | None = None


class StyleQuery(NamedTuple):
    """A style that is asked about, the encoder's out-of-distribution score, NaN where it is not
    known, notes on how its pictures were seen, its panels where some were cut, and its subject
    where that is known.

    Shapes:  vector (D,) and subject (S,) float32, unit
    """

    vector: np.ndarray
    ood: float = float("nan")
    notes: tuple[str, ...] = ()
    panels: PanelVectors | None = None
    subject: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        encoded: Encoded,
        notes: tuple[str, ...] = (),
        panels: PanelVectors | None = None,
        shares: Sequence[float] | None = None,
    ) -> StyleQuery:
        """What these pictures have in common, each by its share.

        Errors:  InputError when that is nothing
        """
        vector, ood = pooled(encoded.vectors, encoded.ood, shares)
        subject = None
        if encoded.subjects is not None:
            mean = np.average(encoded.subjects, axis=0, weights=shares)
            subject = np.asarray(unit(mean), np.float32)
        return cls(vector, ood, notes, panels, subject)

    @property
    def pictures_count(self) -> int:
        """How many pictures it was made of, as far as they can be told apart."""
        return 1 if self.panels is None else self.panels.pictures_count

    def by_panels(self, numbers: Sequence[int]) -> StyleQuery:
        """What these panels alone ask; all of them when none are named.

        Errors:  InputError when there is no such panel
        """
        if not numbers:
            return self
        if self.panels is None or not self.panels.is_cut:
            raise InputError("the pictures were not cut into panels")
        chosen = self.panels.chosen(numbers)
        encoded = Encoded(chosen.vectors, chosen.ood, chosen.subjects)
        return StyleQuery.of(encoded, self.notes, chosen)

    def mixed(
        self,
        weights: Sequence[float],
        others: np.ndarray | None = None,
        subjects: np.ndarray | None = None,
    ) -> StyleQuery:
        """What its pictures and others ask together, each by its weight however many panels it
        has; `weights` are those of its pictures and then of the others, none: all count alike.
        Of the others the `subjects` may be known.

        Shapes:  others (W, D) and subjects (W, S) float32 unit
        Errors:  UsageError when one is below 0 or their number is another one; InputError when
                 they all are 0
        """
        others = np.empty((0, len(self.vector)), np.float32) if others is None else others
        if not weights and not len(others):
            return self
        own = self.pictures_count
        count = own + len(others)
        weights = weights or (1.0,) * count
        if not all(0 <= weight < MOST_WEIGHT for weight in weights):
            raise UsageError("a weight is below 0, or no number", "Give numbers from 0 on.")
        if len(weights) != count:
            raise UsageError(
                f"pictures and weights are not equally many: {count} and {len(weights)}",
                "Give a weight for each picture, in their order.",
            )
        if self.panels is None:
            vectors, ood, shares = self.vector[None], np.asarray([self.ood]), [weights[0]]
            about = None if self.subject is None else self.subject[None]
        else:
            vectors, ood, about = self.panels.vectors, self.panels.ood, self.panels.subjects
            shares = self.panels.shares(weights)
        vectors = np.concatenate([vectors, others])
        ood = np.concatenate([ood, np.full(len(others), np.nan)])
        if len(others) and about is not None:
            is_known = subjects is not None and len(subjects) == len(others)
            about = np.concatenate([about, subjects]) if is_known else None
        encoded = Encoded(vectors, ood, about)
        return StyleQuery.of(encoded, self.notes, self.panels, [*shares, *weights[own:]])


@dataclass(frozen=True)
class QueryOptions:
    """What is asked besides the pictures: `neighbours` of the index are searched first, more
    until `k` titles are found. `unknown_prior` is how often a query is by an author whom the index
    lacks; `expand` orders the far end of a long list of pictures by what its head has in common.
    `subject`, 0 to 1, is how much what is shown counts besides style.
    """

    k: int = 10
    by: str = "title"
    neighbours: int = 200
    unknown_prior: float = 0.5
    filters: Filters = NO_FILTERS
    expand: bool = True
    subject: float = 0.0

    @classmethod
    def of(cls, settings: QuerySettings, filters: Filters) -> QueryOptions:
        """Those of the settings, with these filters."""
        return cls(
            k=settings.k,
            by=settings.by,
            neighbours=settings.neighbours,
            unknown_prior=settings.unknown_prior,
            filters=filters,
            expand=settings.expand,
        )


def check_devices(settings: Settings) -> None:
    """See that there are the GPUs that the settings insist on, before anybody waits for answers.

    Errors:  UsageError for cuda without one
    """
    from indexer.embedding.embed import open_encoder
    from indexer.vector_index.faiss_index import gpus_for

    if settings.index.device == "cuda":
        gpus_for("cuda")
    if settings.encoder.device == "cuda":
        encoder = open_encoder(settings, bulk=True)
        side = encoder.pixel_spec.multiple_px
        encoder.encode([np.zeros((side, side, 3), np.uint8)])


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
        self.model = generation.labels
        self.calibration = self.model.calibration
        self.scale = Scale(self.calibration.percentile, self.calibration.closeness)

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
            if uri := settings.index.milvus:
                from indexer.vector_index.milvus import MilvusIndex, collection_of

                local = generation.index
                generation.index = MilvusIndex(local, uri, collection_of(generation.id))
            if bulk:
                products_on_one_thread()
                generation.index.use(settings.index.device, first=True)
            encoder = Encoder.open(
                generation.model_dir,
                device=cast(Device, settings.encoder.device),
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

    def query(
        self,
        pictures: Sequence[QueryPicture],
        options: QueryOptions,
        cutting: Cutting = AUTO,
        weights: Sequence[float] = (),
    ) -> Answer:
        """Find the titles (or pictures) drawn most like the pictures, taken together, each by its
        weight where some are given. Of strips and pages each panel asks.

        Errors:  InputError when a picture or a filter cannot be used
        """
        started = time.perf_counter()
        return self.answer(
            self.encode(pictures, cutting, subject=options.subject > 0).mixed(weights),
            options,
            picture_ids=[picture.picture_id for picture in pictures],
            names=[picture.name for picture in pictures],
            started=started,
        )

    def answer(
        self,
        query: StyleQuery,
        options: QueryOptions,
        *,
        picture_ids: Sequence[str] = (),
        names: Sequence[str] = (),
        started: float | None = None,
        near: Neighbourhood | None = None,
    ) -> Answer:
        """What `query` says about pictures whose common style is already known, and perhaps what
        is `near` it.

        Errors:  InputError when a filter cannot be used
        """
        started = time.perf_counter() if started is None else started
        generation, meta = self.generation, self.generation.meta
        text = self.described(options.filters)
        if text is not None:
            without = replace(options.filters, text=None)
            options = replace(options, filters=without, subject=options.subject or TEXT_SUBJECT)
            query = query._replace(subject=text)
        filters = options.filters
        if near is None:
            near = Neighbourhood(self.neighbours(query.vector, self.neighbours_count(options)))
        nearest = near.nearest  # (K,)
        labels = labels_of(self.predict(query, options.unknown_prior, nearest))
        own = titles_holding(meta, picture_ids)
        same = same_author(labels, own) if filters.exclude_same_author else []
        if near.left is None:
            rows, among = allowed(generation, filters.without_authors(same)), None  # (N,) or None
        else:
            rows, among = near.left
        count = generation.pictures_count if rows is None else len(rows)
        ask = (
            self.by_style(query, nearest, among)
            if not options.subject
            else self.by_both(query, options, text)
        )
        found = self.search(ask, rows, options)  # K rows
        places: list[int] = []
        plain = 0
        if options.by == "picture":
            found, places, plain = self.list_pictures(query.vector, found, rows, options)
        centroids = centroid_similarity(generation, query.vector, found.title_ids)
        # A title's centroid is of style alone: it draws many subjects.
        weight = CENTROID_WEIGHT * (1.0 - options.subject)
        ranked = top_titles(found.similarity, found.title_ids, found.passed, centroids, weight)
        if options.by == "picture":
            shown = {found.rows[place].title_id for place in places}
            ranked = [title for title in ranked if title.title_id in shown]
        else:
            ranked = near_enough(ranked, filters.min_percentile, ask.scale)
        titles = title_hits(meta, found, ranked[: options.k])
        notes = unknown_names(meta, filters)
        if generation.index.trouble:
            notes.append(generation.index.trouble)
        if ask.mixture is not None:
            notes.append(self.mixture_note(options.subject))
        if text is not None:
            notes.append("the words were looked for in what pictures show: no name has them")
        if labels.by_softmax:
            kinds = " and ".join(f"{LABEL_KINDS[kind].word}s" for kind in labels.by_softmax)
            notes.append(f"the trained model's own softmax took part in the {kinds}")
        notes += notes_of(
            own=own,
            same=same,
            wanted_others=filters.exclude_same_author,
            left=count,
            total=generation.pictures_count,
            shown=len(places or titles),
            # Nobody asked for the usual number: a small index is no news.
            k=options.k if options.k != QueryOptions.k else 0,
            by=options.by,
        )
        pictures = tuple(found.hit(place, expanded=at >= plain) for at, place in enumerate(places))
        panels: tuple[AskedPanel, ...] = ()
        if query.panels is not None and query.panels.is_cut:
            titles, pictures, panels = self.carried(query.panels, found, titles, pictures, ask)
        return Answer(
            titles=titles,
            pictures=pictures,
            labels=labels,
            generation_id=generation.id,
            model_id=generation.model_id,
            preprocessing=generation.preprocessing_digest,
            pictures_count=generation.pictures_count,
            candidates_count=count,
            elapsed_ms=(time.perf_counter() - started) * 1000.0,
            queries=tuple(names),
            notes=(*query.notes, *notes),
            panels=panels,
            subject=options.subject,
        )

    def encode(
        self, pictures: Sequence[QueryPicture], cutting: Cutting = AUTO, *, subject: bool = True
    ) -> StyleQuery:
        """The common style of the pictures, and of the panels of strips and pages; their subject
        too unless it is not wanted and would take another network.

        Errors:  InputError when there is no picture, or one that cannot be used
        """
        self.encoder.begin()
        seen = see(pictures, self.limits, self.encoder.pixel_spec, cutting)
        return self.encode_seen(seen, len(pictures), subject=subject)

    def encode_seen(
        self, seen: Seen, pictures_count: int = 1, *, subject: bool = True
    ) -> StyleQuery:
        """The common style of what was decoded and cut already, of so many pictures; see `encode`.

        Errors:  InputError when there is no picture, or one that cannot be used
        """
        seen.check()
        return self.style_of(seen, self.encoded(seen.pixels, subject=subject), pictures_count)

    def encoded(self, pixels: Sequence[np.ndarray], *, subject: bool = True) -> Encoded:
        """What the network says of prepared pictures; see `encode`."""
        self.encoder.begin()
        _ = self.generation.index  # mapped beside the network's loading
        by_clip = self.generation.clip_id is not None
        clip = self.generation.clip if by_clip and subject else None
        found = self.encoder.encode(pixels, None if clip is None else clip.encode_picture)
        # Those of the encoder are of another space.
        return found._replace(subjects=None) if by_clip and clip is None else found

    @staticmethod
    def style_of(seen: Seen, encoded: Encoded, pictures_count: int = 1) -> StyleQuery:
        """The common style of what was seen and encoded.

        Errors:  InputError when that is nothing
        """
        panels = None
        if seen.is_cut or pictures_count > 1:
            panels = PanelVectors(seen.panels, *encoded, seen.is_cut, pictures_count)
        return StyleQuery.of(encoded, seen.notes, panels)

    def carried(
        self,
        query: PanelVectors,
        found: Found,
        titles: tuple[TitleHit, ...],
        pictures: tuple[Hit, ...],
        ask: Asking,
    ) -> tuple[tuple[TitleHit, ...], tuple[Hit, ...], tuple[AskedPanel, ...]]:
        """The same hits with the panel nearest to each, and the panels with how near they are to
        the first title."""
        row_of = {row.picture_id: row.row_id for row in found.rows}
        hits = [*pictures, *(hit for title in titles for hit in title.hits)]
        ids = list(dict.fromkeys(hit.picture_id for hit in hits))
        if not ids:
            return titles, pictures, query.panels
        row_ids = np.asarray([row_of[one] for one in ids], np.int64)
        near = query.vectors @ self.generation.index.vectors(row_ids).T  # (P, hits)
        if ask.mixture is not None and query.subjects is not None:
            subjects = self.generation.subjects
            assert subjects is not None  # or nothing were mixed
            near = ask.mixture.similarity(near, subjects.cosines(query.subjects, row_ids))
        asked = [panel.number for panel in query.panels if panel.asks]  # (P,), as near's rows
        by = {one: asked[int(near[:, at].argmax())] for at, one in enumerate(ids)}
        first = [ids.index(hit.picture_id) for hit in (titles[0].hits if titles else pictures[:1])]
        similarity = dict(zip(asked, within(near[:, first].max(axis=1)).tolist(), strict=True))

        def told(some: tuple[Hit, ...]) -> tuple[Hit, ...]:
            return tuple(replace(hit, asked_by=by[hit.picture_id]) for hit in some)

        return (
            tuple(replace(title, hits=told(title.hits)) for title in titles),
            told(pictures),
            tuple(replace(one, similarity=similarity.get(one.number)) for one in query.panels),
        )

    def neighbours_count(self, options: QueryOptions) -> int:
        """How many of the nearest pictures a query asks for at first."""
        return max(options.neighbours, options.k, self.calibration.neighbours)

    def neighbours(self, vector: np.ndarray, k: int, row_ids: np.ndarray | None = None) -> Nearest:
        """The nearest pictures, of all or of these row ids: similarity (K,) float32, nearest
        first, and K rows."""
        similarity, ids = self.generation.index.search(vector[None], k, row_ids)
        return similarity[0], picture_rows(self.generation.meta, ids[0])

    def by_style(self, query: StyleQuery, nearest: Nearest, among: Nearest | None = None) -> Asking:
        """Ask by style alone; `nearest` are those of the whole index, which answer when nothing
        is filtered, `among` those of what is left otherwise, where they are known."""

        def ask(size: int, row_ids: np.ndarray | None) -> Nearest:
            known = nearest if row_ids is None else among
            if known is not None and size <= len(known[1]):
                return known[0][:size], known[1][:size]
            return self.neighbours(query.vector, size, row_ids)

        return Asking(ask, self.scale)

    def described(self, filters: Filters) -> np.ndarray | None:
        """The words of a filter as a subject, where a CLIP model knows what pictures show and no
        name has them; (S,)"""
        if not filters.text or self.generation.clip_id is None:
            return None
        from search.words import matching

        if len(matching(self.generation, filters.text)):
            return None
        clip = self.generation.clip
        return None if clip is None else clip.encode_text(filters.text)

    def by_both(
        self, query: StyleQuery, options: QueryOptions, text: np.ndarray | None = None
    ) -> Asking:
        """Ask by style and subject together; no words for how near that is: they are of style.
        `text` says that the subject is that of a text.

        Errors:  InputError when the index or the query holds no subject vectors
        """
        subjects, meta, asked = self.generation.subjects, self.generation.meta, query.subject
        if subjects is None:
            raise InputError(
                "this index holds no subject vectors",
                "Run `toonsearch embed` and `toonsearch index build`.",
            )
        if not 0.0 <= options.subject <= 1.0:
            raise InputError(f"subject is {options.subject}", "It is a share, 0 to 1.")
        if asked is None:
            raise InputError("of this query only the style is known", "Ask with the picture again.")
        background = subjects.background if text is None else subjects.background_of(text)
        mixture = Mixture(options.subject, background)
        vectors = (query.vector, asked)

        def ask(size: int, row_ids: np.ndarray | None) -> Nearest:
            found = subjects.nearest(self.generation.index, mixture, vectors, size, row_ids)
            return found[0], picture_rows(meta, found[1])

        return Asking(ask, Scale(mixture.percentile), mixture)

    def mixture_note(self, weight: float) -> str:
        """How a list that is not of style alone is to be read."""
        subjects = self.generation.subjects
        known = 0 if subjects is None else subjects.index.count
        count = self.generation.pictures_count
        note = f"ranked {100 * weight:.0f} % by subject; the labels are of the style alone"
        return note if known == count else f"{note}; {known:,} of {count:,} pictures have a subject"

    def predict(
        self, query: StyleQuery, unknown_prior: float, nearest: Nearest | None = None
    ) -> Prediction:
        """Every label with its probability; always from the whole index, for which they were
        calibrated. `nearest` are at least as many of its pictures as vote."""
        count = self.calibration.neighbours
        similarity, rows = self.neighbours(query.vector, count) if nearest is None else nearest
        codes = np.asarray([row.codes for row in rows[:count]], np.int64)
        codes = codes.reshape(-1, len(LABEL_KINDS))  # (K, kinds)
        return predict(
            self.model,
            similarity[None, :count],
            {kind: codes[None, :, place] for place, kind in enumerate(LABEL_KINDS)},
            query.vector[None],
            np.asarray([query.ood]),
            unknown_prior,
        )

    def search(
        self,
        ask: Asking,
        row_ids: np.ndarray | None,
        options: QueryOptions,
    ) -> Found:
        """The nearest allowed pictures: as many as it takes to hold what was asked for.

        Shapes:  -> K rows
        """
        size = max(options.neighbours, options.k)
        count = self.generation.pictures_count if row_ids is None else len(row_ids)
        while True:
            size = min(size, count)
            if size == 0:
                return Found(np.empty(0), np.empty(0, bool), [], ask.scale)
            similarity, rows = ask.nearest(size, row_ids)  # (K,)
            passed = ask.scale.percentile(similarity) >= options.filters.min_percentile  # (K,)
            found = Found(similarity, passed, rows, ask.scale)
            names = found.title_ids if options.by == "title" else found.picture_ids
            enough = len(np.unique(names[found.passed])) >= options.k
            if enough or size == count or not found.passed[-1]:
                return found
            size *= WIDENING

    def list_pictures(
        self,
        vector: np.ndarray,
        found: Found,
        row_ids: np.ndarray | None,
        options: QueryOptions,
    ) -> tuple[Found, list[int], int]:
        """The pictures of a list, each once, as places in what was found, most similar first; and
        how many of them are among the k nearest.

        With `options.expand`, and by style alone, those after the first UNEXPANDED are chosen by nearness to these and
        the query together. What that brings in is less similar to the query than what is among
        the nearest anyway, and comes after it.

        Shapes:  -> found with more rows after its own, at most k places in it
        """
        places = top_pictures(
            found.similarity, found.picture_ids, found.title_ids, found.passed, options.k
        )
        if not options.expand or options.subject or len(places) <= UNEXPANDED:
            return found, places, len(places)
        index, meta = self.generation.index, self.generation.meta
        head = index.vectors([found.rows[place].row_id for place in places[:UNEXPANDED]])
        _, ids = index.search(expanded(vector, head)[None], len(found.rows), row_ids)
        known = {row.row_id: place for place, row in enumerate(found.rows)}
        new = np.asarray([one for one in ids[0].tolist() if one not in known], np.int64)
        known |= {int(row_id): len(found.rows) + n for n, row_id in enumerate(new.tolist())}
        similarity = np.concatenate([found.similarity, within(index.vectors(new) @ vector)])
        passed = self.scale.percentile(similarity) >= options.filters.min_percentile
        whole = Found(similarity, passed, [*found.rows, *picture_rows(meta, new)], self.scale)
        in_order = [*places[:UNEXPANDED], *(known[row_id] for row_id in ids[0].tolist()), *places]
        chosen: dict[str, int] = {}
        for place in in_order:
            if passed[place]:
                chosen.setdefault(whole.rows[place].picture_id, place)
        nearest = {found.rows[place].picture_id for place in places}
        shown = list(chosen.values())[: options.k]
        shown.sort(
            key=lambda place: (whole.rows[place].picture_id not in nearest, -similarity[place])
        )
        plain = sum(whole.rows[place].picture_id in nearest for place in shown)
        return whole, shown, plain


def near_enough(
    ranked: list[RankedTitle], min_percentile: float, scale: Scale
) -> list[RankedTitle]:
    """Titles that are as near as the filters ask, themselves and not by one picture alone."""
    if not min_percentile:
        return ranked
    percentile = scale.percentile(np.asarray([title.score for title in ranked]))
    return [one for one, at in zip(ranked, percentile, strict=True) if at >= min_percentile]


def labels_of(prediction: Prediction) -> Labels:
    """The most probable labels of the first query, as an answer shows them."""
    return prediction.of_query(0, LABELS_SHOWN)
