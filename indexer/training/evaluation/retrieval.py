"""The headline: retrieval among authors that nothing was learnt from, own series masked.

Each space learns on the training authors of a split and is measured on its test authors: at
full size, with all pictures reduced to thumbnails, and with the queries alone in other views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from indexer.embedding.in_grey import InGrey
from indexer.embedding.models import ModelDescription, read_in_grey
from indexer.embedding.restoration import Seen
from indexer.training.augmentation import THUMBNAIL, VIEWS, named
from indexer.training.cache import digest_of
from indexer.training.evaluation.metrics import (
    Gallery,
    QueryFigures,
    Questions,
    RetrievalFigures,
    near_duplicates,
    paired_interval,
    query_figures,
    summarize,
    unit,
)
from indexer.training.features import FeatureStore
from indexer.training.grey_parts import GREY_PART
from indexer.training.kept_spaces import Kept, Learnt, stacked, unstacked
from indexer.training.nuisances import NUISANCES
from indexer.training.restoring import copies_of
from indexer.training.spaces import RECIPE, RESTORED_RECIPE, Space
from indexer.training.whitening import Changed
from schemas.errors import InputError

VIEW_QUERIES = 4500
"""Pictures at most that the robustness views are computed of, spread over the benchmark: all of
the drawings. Among a quarter of them a point of R@1 is within chance, and what grey costs came
out a point too low."""
WHOLE_VIEWS = {"thumbnails": THUMBNAIL, **{n: each.view for n, each in NUISANCES.items()}}
"""Views that are taken of every picture."""
CURVE_RANKS = (1, 2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class SpaceVectors:
    """A space on one split: its vectors of all pictures, and how sampled ones ask in views."""

    full: Gallery
    thumbnails: Gallery | None
    views: dict[str, Questions]


@dataclass(frozen=True)
class TableRow:
    """One way of describing pictures, over all splits."""

    name: str
    note: str
    mean: RetrievalFigures
    splits: tuple[RetrievalFigures, ...]
    gain: tuple[float, float, float] | None = None
    """R@1 over the row above, with the 95 % interval of paired queries."""
    robustness: dict[str, float] = field(default_factory=dict)
    """Loss of R@1 for each view, of the sampled queries."""
    curve: tuple[float, ...] = ()
    """Share of queries with a hit among the first CURVE_RANKS."""


@dataclass
class Ground:
    """What every space is measured against: blanks, near-duplicates, splits."""

    store: FeatureStore
    thumbnails: bool = True
    views: tuple[str, ...] = tuple(VIEWS)

    def __post_init__(self) -> None:
        bench = self.store.bench
        facts = self.store.get("facts")
        self.grey = facts[:, :-1].reshape(-1, 32, 32)
        self.blank = facts[:, -1].astype(bool)
        self.train, self.test = [], []
        for split in bench.splits:
            authors = bench.manifest.authors
            train = np.flatnonzero(np.isin(authors, sorted(split.train)) & ~self.blank)
            test = np.flatnonzero(np.isin(authors, sorted(split.test)) & ~self.blank)
            if not len(train) or not len(test):
                raise InputError("a split names authors that the manifest does not have")
            self.train.append(train)
            self.test.append(test)
        step = max(1, -(-len(bench) // VIEW_QUERIES))
        self.sample = np.arange(0, len(bench), step)
        self._copies: dict[int, np.ndarray] = {}

    def copies(self, split: int) -> np.ndarray:
        """Near-duplicates among a split's test pictures; (T, T) bool."""
        if split not in self._copies:
            self._copies[split] = near_duplicates(self.grey[self.test[split]])
        return self._copies[split]

    def raw(self, space: Space, view: str | None = None) -> np.ndarray:
        """A space's features of all pictures, or of the sampled ones in a view."""
        if space.feature == "pixels":
            if view is not None:
                raise ValueError("raw pixels are only measured as they are")
            return self.store.pixels()
        if view is None:
            return space.rows(self.store.get(space.feature))
        if view in WHOLE_VIEWS:
            return space.rows(self.store.get(space.feature, (view, WHOLE_VIEWS[view])))
        return space.rows(self.store.get(space.feature, (view, VIEWS[view]), self.sample))

    def identity(self, space: Space) -> str:
        """What a space's vectors depend on beside the pictures."""
        views = [named(name, view) for name, view in {**WHOLE_VIEWS, **VIEWS}.items()]
        restored = [*RESTORED_RECIPE, GREY_PART[0]] if space.restored else []
        recipe = [*RECIPE, *restored]
        shares = [NUISANCES[name].share for name in space.nuisances]
        return digest_of([space.name, recipe, shares, views, self.store.version(space.feature)])

    def changed(self, space: Space, rows: np.ndarray) -> list[Changed]:
        """A space's features of changed copies of some pictures, as far as it learns from those."""
        return [
            Changed(self.raw(space, name)[rows], NUISANCES[name].share) for name in space.nuisances
        ]

    def conditions(self, view: str | None = None) -> np.ndarray:
        """How enlarged and how grey pictures are in a view; (N, 2), or of the sampled ones."""
        if view is None:
            return self.store.get("conditions")
        if view in WHOLE_VIEWS:
            return self.store.get("conditions", (view, WHOLE_VIEWS[view]))
        return self.store.get("conditions", (view, VIEWS[view]), self.sample)

    def learnt(self, space: Space, train: np.ndarray) -> Learnt:
        """A space that learns on some pictures (M,), or a model that has learnt before."""
        if space.feature == "vectors":
            model = self.store.model
            return self._as_model(self._seen, read_in_grey(model, ModelDescription.read(model)))
        authors = self.store.bench.manifest.authors
        mapped = space.fit(self.raw(space)[train], authors[train], self.changed(space, train))
        if not space.restored:
            return Learnt(lambda view: Questions.plain(mapped(self.raw(space, view))))
        copies = copies_of(self.store, train, space.rows)
        restoration = copies.restoration(mapped)

        def seen(view: str | None) -> Seen:
            return Seen(unit(mapped(self.raw(space, view))), self.conditions(view), restoration)

        return self._as_model(seen, copies.in_grey(mapped, restoration))

    @staticmethod
    def _as_model(seen: Callable[[str | None], Seen], in_grey: InGrey | None) -> Learnt:
        def questions(view: str | None) -> Questions:
            found = seen(view)
            if in_grey is None:
                return Questions.plain(found.vectors)
            return Questions(found.vectors, found.without_colours, found.grey)

        return Learnt(questions, in_grey)

    def _seen(self, view: str | None) -> Seen:
        """What the model says of all pictures, or of the sampled ones in a view."""
        if view is None:
            return self.store.seen()
        if view in WHOLE_VIEWS:
            return self.store.seen((view, WHOLE_VIEWS[view]))
        return self.store.seen((view, VIEWS[view]), self.sample)

    def vectors(self, space: Space, split: int, wanted: bool) -> SpaceVectors:
        """A space's vectors when it learns on a split's training half; `wanted` says whether
        thumbnails and views are."""
        thumbnails = wanted and self.thumbnails and space.feature != "pixels"
        views = self.views if wanted and space.feature != "pixels" else ()
        whole: list[str | None] = [None, "thumbnails"] if thumbnails else [None]
        found = self.kept("space", space, self.train[split], whole, views)
        small = found.galleries[1] if thumbnails else None
        return SpaceVectors(found.galleries[0], small, found.views)

    def kept(
        self, name: str, space: Space, train: np.ndarray, whole: Sequence[str | None] = (None,),
        views: Sequence[str] = (),
    ) -> Kept:  # fmt: skip
        """What a space that learns on some pictures (M,) says, from the cache where it is."""

        def compute() -> np.ndarray:
            return stacked(self.learnt(space, train), [*whole, *views])

        key: dict[str, Any] = {
            **self.store.key(None), "space": self.identity(space), "whole": whole, "views": views,
            "train": digest_of(train.tolist()),
        }  # fmt: skip
        if views:
            key["sample"] = self.store.key(self.sample)
        rows = self.store.cache.get(name, key, compute) if space.learns else compute()
        return unstacked(rows, len(self.store.bench), len(self.sample), whole, views)

    def figures(self, split: int, found: Gallery, expand: bool = False) -> QueryFigures:
        """Every test picture asks for all others; N pictures."""
        manifest, test = self.store.bench.manifest, self.test[split]
        authors, series = manifest.authors[test], manifest.series[test]
        return query_figures(found.part(test), authors, series, self.copies(split), expand)

    def view_loss(self, split: int, found: SpaceVectors) -> dict[str, tuple[float, int]]:
        """Loss of R@1 over the sampled queries that count, and how many they are.

        Only the query changes: a thumbnail asks among pictures of full size.
        """
        manifest, test = self.store.bench.manifest, self.test[split]
        place = {row: number for number, row in enumerate(test.tolist())}
        chosen = [n for n, row in enumerate(self.sample.tolist()) if row in place]
        rows = np.array([place[int(self.sample[n])] for n in chosen], np.int64)
        gallery = found.full.part(test)
        authors, series = manifest.authors[test], manifest.series[test]
        allowed = (series[rows, None] != series[None]) & ~self.copies(split)[rows]
        same = authors[rows, None] == authors[None]
        asks = (allowed & same).any(1)

        def right(questions: Questions) -> np.ndarray:
            similarity = np.where(allowed, gallery.similarity(questions), -np.inf)
            return np.asarray(same[np.arange(len(rows)), similarity.argmax(1)][asks])

        before, views = right(gallery.questions.part(rows)), dict(found.views)
        if found.thumbnails is not None:
            views["thumbnail"] = found.thumbnails.questions.part(self.sample)
        picked = np.array(chosen, np.int64)
        return {
            view: (float((before.astype(float) - right(q.part(picked))).mean()), int(asks.sum()))
            for view, q in views.items()
            if asks.any()
        }


def measure(
    ground: Ground, spaces: Sequence[Space], detailed: frozenset[str]
) -> tuple[list[TableRow], list[TableRow], list[TableRow]]:
    """The table at full size, at thumbnail size, and (with only AP changed) of long lists.

    `detailed` names the spaces whose thumbnails, views and long lists are measured.
    """
    tables: tuple[list[TableRow], list[TableRow], list[TableRow]] = ([], [], [])
    above: list[list[np.ndarray]] = [[], []]
    for space in spaces:
        found = [
            ground.vectors(space, split, space.name in detailed)
            for split in range(len(ground.test))
        ]
        sizes = [[f.full for f in found]]
        if found[0].thumbnails is not None:
            sizes.append([f.thumbnails for f in found if f.thumbnails is not None])
        for number, galleries in enumerate(sizes):
            results = [ground.figures(split, each) for split, each in enumerate(galleries)]
            right = [result.right_at_1 for result in results]
            gain = paired_interval(right, above[number]) if above[number] else None
            loss = _mean_loss([ground.view_loss(s, f) for s, f in enumerate(found)])
            row = table_row(space.name, space.note, results, gain, loss if number == 0 else {})
            tables[number].append(row)
            above[number] = right
        if space.name in detailed:
            long = [ground.figures(s, f.full, expand=True) for s, f in enumerate(found)]
            tables[2].append(table_row(space.name, space.note, long))
    return tables


def _mean_loss(splits: Sequence[dict[str, tuple[float, int]]]) -> dict[str, float]:
    names = splits[0] if splits else {}
    return {name: float(np.mean([split[name][0] for split in splits if name in split]))
            for name in names}  # fmt: skip


def table_row(
    name: str,
    note: str,
    results: Sequence[QueryFigures],
    gain: tuple[float, float, float] | None = None,
    robustness: dict[str, float] | None = None,
) -> TableRow:
    """Means over splits, with each split behind."""
    if not all(len(result.rows) for result in results):
        raise InputError("a split has no author with two series on its test side")
    figures = tuple(summarize(result) for result in results)
    mean = RetrievalFigures(
        *(
            float(np.mean(column))
            for column in zip(*(asdict(f).values() for f in figures), strict=True)
        )
    )
    curve = tuple(
        float(np.mean([(result.first_right <= rank).mean() for result in results]))
        for rank in CURVE_RANKS
    )
    return TableRow(name, note, mean, figures, gain, robustness or {}, curve)
