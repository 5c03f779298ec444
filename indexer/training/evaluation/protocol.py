"""The whole protocol in one run: retrieval, degraded copies, content, colour, labels, baselines.

Whatever is fitted is fitted on the training authors of a split, and the test authors are asked;
labels are predicted for whole series that nothing was fitted on. The model of a folder stands
last, with a note when it was fitted on authors that are asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from indexer.embedding.models import DESCRIPTION_FILE
from indexer.training.augmentation import VIEWS, hangul_font
from indexer.training.data import Benchmark
from indexer.training.evaluation.baselines import (
    BASELINES_VERSION,
    RECIPES,
    Recipe,
    Softmax,
    train_softmax,
)
from indexer.training.evaluation.confounders import (
    CLIPART_QUERIES,
    DRAWING_QUERIES,
    MOST_PICTURES,
    Kept,
    Shown,
    of_contents,
    of_folder,
    plain_name,
)
from indexer.training.evaluation.labels import Classifier, LabelPart, LabelResult, measure_labels
from indexer.training.evaluation.retrieval import (
    Failure,
    Gallery,
    QueryFigures,
    RetrievalFigures,
    near_duplicates,
    paired_interval,
    worst_authors,
)
from indexer.training.export import closed_form
from indexer.training.features import FeatureStore, cached, digest_of
from indexer.training.model import DIMENSION, Projection, fit_projection
from indexer.vector_index.ranking import unit
from schemas.errors import InputError
from schemas.progress import Progress

FORMAT = "toonsearch.evaluation/3"
QUICK_VIEWS = ("grey", "mirrored")
QUICK_PICTURES = 1200
QUICK_SHOWN = 300
"""Pictures with contents, and pieces of clip art, of a quick run."""
WHITENED = "whitened by authors, 896 d"
"""The simple closed form, which every row is compared with."""
CLOSED = "closed form, 896 d"
Embed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Space:
    """A way of embedding pictures: `fit` makes it from the training rows of a benchmark.

    feature     what of a picture it starts from (`indexer/training/features.py`)
    with_views  whether degraded copies are measured, each of which is computed by itself
    shown       whether content and colour are measured, on pictures of their own
    """

    name: str
    feature: str
    fit: Callable[[FeatureStore, np.ndarray], Embed] = lambda store, train: unit
    with_views: bool = False
    note: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Beside:
    """What is measured beside the drawings and the quick baselines.

    content  manifest or folder of pictures in several styles, with the column `content`
    clipart  manifest or folder of clip art, whose hues are turned
    vgg      weights of VGG16 or VGG19, for its Gram matrices
    trained  whether the softmax networks are trained, which takes minutes
    steps    of each of them; None: as many as each recipe has
    views    whether degraded queries are asked, which takes most of the time
    """

    content: Path | None = None
    clipart: Path | None = None
    vgg: Path | None = None
    trained: bool = False
    steps: int | None = None
    views: bool = True


Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Gain:
    """How much more one space finds than another, with 95 % intervals over authors."""

    name: str
    over: str
    r_at_1: Interval
    ap_at_100: Interval


@dataclass(frozen=True)
class RetrievalRow:
    """One row of the table: means over splits, R@1 of each split, R@1 of each degraded copy
    among clean pictures."""

    name: str
    note: str
    figures: RetrievalFigures
    by_split: tuple[float, ...]
    views: dict[str, float]


@dataclass(frozen=True)
class ShownRow:
    """Content and colour of one space; None or absent where nothing was asked.

    content   share of pictures whose nearest neighbour of another content has their style
    by_style  the same by style
    colour    what stays among the first results, by kind of picture
    """

    name: str
    content: float | None
    by_style: dict[str, float]
    colour: dict[str, Kept]


class Ground:
    """A benchmark's splits as galleries, and the features of what they ask."""

    def __init__(self, store: FeatureStore, views: Sequence[str]) -> None:
        self.store, self.views = store, tuple(views)
        authors, shown = store.bench.authors, ~store.blank()
        self.splits = [
            tuple(
                np.flatnonzero(np.isin(authors, sorted(side)) & shown)
                for side in (split.train, split.test)
            )
            for split in store.bench.splits
        ]
        self.asked = np.unique(np.concatenate([test for _, test in self.splits]))
        self._embeds: dict[tuple[str, int], Embed] = {}

    def embed(self, space: Space, split: int) -> Embed:
        """The space as it is fitted on the training side of a split."""
        key = space.name, split
        if key not in self._embeds:
            self._embeds[key] = space.fit(self.store, self.splits[split][0])
        return self._embeds[key]

    @cached_property
    def galleries(self) -> list[Gallery]:
        """The test pictures of each split."""
        bench, grey = self.store.bench, self.store.get("pixels")
        return [
            Gallery(bench.authors[test], bench.series[test], near_duplicates(grey[test]))
            for _, test in self.splits
        ]

    def rows(self, feature: str, view: str | None, chosen: np.ndarray) -> np.ndarray:
        """Features of some of the asked pictures; (M,) -> (M, F)"""
        if feature in ("statistics", "pixels", "letterboxed") and view is None:  # known of all
            return np.asarray(self.store.get(feature, view)[chosen])
        found = self.store.part(self.asked).get(feature, view)
        return np.asarray(found[np.searchsorted(self.asked, chosen)])

    def catalog(self, space: Space, split: int) -> LabelPart:
        """The test pictures of a split, with embeddings and out-of-distribution scores."""
        train, test = self.splits[split]
        rows = self.rows(space.feature, None, test)
        if space.feature == "encoded":
            ood = rows[:, -1]
        else:
            ood = Projection.standardizing(self.rows(space.feature, None, train)).ood(rows)
        vectors = self.embed(space, split)(rows).astype(np.float32)
        return LabelPart(self.store.bench.part(test), vectors, ood)

    def drawings(self, split: int) -> Shown:
        """The test pictures of a split, to be asked in other colours."""
        test = self.splits[split][1]
        store = self.store.part(test)
        return Shown(store, self.galleries[split], lambda kind: self.rows(kind, None, test))

    def measure(self, space: Space) -> tuple[RetrievalRow, list[QueryFigures]]:
        """The figures of one space.

        Errors:  InputError when a split has no author with two series among those asked
        """
        views: dict[str, list[float]] = {view: [] for view in self.views if space.with_views}
        found: list[QueryFigures] = []
        for number, ((_, test), gallery) in enumerate(
            zip(self.splits, self.galleries, strict=True)
        ):
            embed = self.embed(space, number)
            vectors = embed(self.rows(space.feature, None, test))
            found.append(gallery.figures(vectors))
            for view, figures in views.items():
                queries = embed(self.rows(space.feature, view, test))
                figures.append(float(gallery.figures(vectors, queries).right_at_1.mean()))
        if not all(len(figures.rows) for figures in found):
            raise InputError("a split has no author with two series on its test side")
        several = [figures.summary() for figures in found]
        row = RetrievalRow(
            space.name,
            space.note,
            RetrievalFigures.mean(several),
            tuple(figures.r_at_1 for figures in several),
            {view: float(np.mean(figures)) for view, figures in views.items()},
        )
        return row, found

    def shown(self, space: Space, content: Shown | None, clipart: Shown | None) -> ShownRow:
        """Content and colour of one space: means over splits."""
        feature, contents, styles = space.feature, [], []
        kept: dict[str, list[Kept]] = {"drawings": [], "clip art": []}
        for number in range(len(self.splits)):
            embed = self.embed(space, number)
            if content:
                share, by_style = content.content(feature, embed)
                contents.append(share)
                styles.append(by_style)
            asked: dict[str, tuple[Shown | None, int]] = {"clip art": (clipart, CLIPART_QUERIES)}
            if not space.note:  # a model that knows these drawings is not asked
                asked["drawings"] = self.drawings(number), DRAWING_QUERIES
            for kind, (shown, count) in asked.items():
                if shown and (found := shown.colour(feature, embed, count)):
                    kept[kind].append(found)
        return ShownRow(
            space.name,
            float(np.mean(contents)) if contents else None,
            {
                style: float(np.mean([one[style] for one in styles]))
                for style in (styles or [{}])[0]
            },
            {
                kind: replace(several[0], share=float(np.mean([one.share for one in several])))
                for kind, several in kept.items()
                if several
            },
        )

    def softmax(
        self, recipe: Recipe, rows: np.ndarray, authors: np.ndarray, steps: int | None
    ) -> Softmax:
        """A network trained on letterboxed pictures (N, F) and their authors (N,), or the one in
        the cache."""
        data = digest_of([blake3(rows.tobytes()).hexdigest(), authors.tolist()])
        key = [recipe.name, recipe.lr, steps or recipe.steps(len(rows)), BASELINES_VERSION, data]
        return train_softmax(
            recipe,
            rows,
            authors,
            lambda compute: cached(self.store.cache, "softmax", {"softmax": key}, compute),
            steps,
            progress=self.store.progress,
        )

    def classifier(self, recipe: Recipe, split: int, steps: int | None) -> Classifier:
        """A softmax network as a way of naming authors of a split's test pictures."""
        test = self.splits[split][1]
        rows, authors = self.rows("letterboxed", None, test), self.store.bench.authors[test]

        def ask(catalog: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            fitted = self.softmax(recipe, rows[catalog], authors[catalog], steps)
            return fitted.names, fitted.probabilities(rows[asked])

        return ask


def standard_spaces(ground: Ground, note: str, beside: Beside) -> list[Space]:
    """The rows of the table: baselines, the closed form in two widths, a model folder."""
    assert ground.store.model is not None

    def standardized(store: FeatureStore, train: np.ndarray) -> Embed:
        projection = Projection.standardizing(store.get("statistics")[train])
        return lambda rows: unit(projection.standardized(rows))

    def without_views(store: FeatureStore, train: np.ndarray) -> Embed:
        authors = store.bench.authors[train]
        return fit_projection(store.get("statistics")[train], authors, (), None).apply

    def wide(store: FeatureStore, train: np.ndarray) -> Embed:
        return closed_form(store, train, None).apply

    def narrow(store: FeatureStore, train: np.ndarray) -> Embed:
        most = min(DIMENSION, *store.get("statistics")[train].shape)  # of a small benchmark
        return closed_form(store, train, most).apply

    def learnt(recipe: Recipe) -> Callable[[FeatureStore, np.ndarray], Embed]:
        def fit(store: FeatureStore, train: np.ndarray) -> Embed:
            rows, authors = store.get("letterboxed")[train], store.bench.authors[train]
            fitted = ground.softmax(recipe, rows, authors, beside.steps)
            return lambda rows: unit(fitted.features(rows))

        return fit

    others = []
    if beside.vgg:
        others.append(Space("VGG's Gram matrices", "gram", shown=False))
    if beside.trained:
        others += [Space(one.name, "letterboxed", learnt(one), True) for one in RECIPES]
    return [
        Space("raw pixels, 32 x 32", "pixels"),
        Space("color histogram", "colors"),
        *others,
        Space("ImageNet head", "head"),
        Space("middle statistics, frozen", "statistics", standardized, True),
        Space(WHITENED, "statistics", without_views, True),
        Space(CLOSED, "statistics", wide, True),
        Space(f"closed form, {DIMENSION} d", "statistics", narrow, True),
        Space(
            f"model {ground.store.model.name}",
            "encoded",
            lambda store, train: lambda rows: unit(rows[:, :-1]),
            not note,
            note,
        ),
    ]


@dataclass
class Evaluation:
    """Every figure of a run, and what the report needs to draw it."""

    bench: Benchmark
    model: str
    model_note: str
    model_authors: str
    """Which authors the model was trained on, in words."""
    retrieval: list[RetrievalRow]
    gains: list[Gain]
    confounded: list[ShownRow]
    labels: LabelResult
    failures: list[Failure]
    """The worst authors of the first split, as `shown` finds them."""
    notes: list[str]
    ground: Ground = field(repr=False)
    shown: Space = field(repr=False)
    """Whose retrievals, failures and labels are shown: the model, or the closed form where the
    model has been fitted on the authors."""

    def to_json(self) -> dict[str, Any]:
        """All figures, without pictures."""
        return {
            "format": FORMAT,
            "benchmark": {
                "name": Path(self.bench.name).name,
                "pictures": len(self.bench),
                "authors": len(np.unique(self.bench.authors)),
                "series": len(np.unique(self.bench.series)),
                "splits": len(self.bench.splits),
                "asked": len(self.ground.asked),
            },
            "model": {
                "id": self.model,
                "note": self.model_note,
                "trained_on": self.model_authors,
            },
            "notes": self.notes,
            "retrieval": [asdict(row) for row in self.retrieval],
            "gains": [asdict(row) for row in self.gains],
            "content_and_color": [asdict(row) for row in self.confounded],
            "labels": [asdict(row) for row in self.labels.figures],
            "labels_and_failures_of": self.shown.name,
            "unknown_author": [asdict(row) for row in self.labels.unknown],
            "conclusions": [asdict(row) for row in self.labels.said],
            "failures": [asdict(row) for row in self.failures],
        }


def evaluate(
    bench: Benchmark,
    model: Path,
    *,
    beside: Beside = Beside(),
    cache: Path | None = None,
    quick: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure everything on a benchmark, with the model of a folder beside the baselines.

    `quick` takes at most QUICK_PICTURES pictures, two splits and two views: enough to see that
    all is well, not to be quoted.

    Errors:  InputError when the benchmark cannot be used, NoIndexError when the model cannot
    """
    if quick:
        bench = smaller(bench)
    most = QUICK_SHOWN if quick else MOST_PICTURES
    contents = of_contents(beside.content, most) if beside.content else None
    learnt = hands_of(model)
    pieces = of_folder(beside.clipart, most, learnt) if beside.clipart else None
    store = FeatureStore(bench, cache, model, progress, vgg=beside.vgg)
    views = QUICK_VIEWS if quick else tuple(VIEWS)
    ground = Ground(store, views if beside.views else ())
    note = leakage(bench, model)
    spaces = standard_spaces(ground, note, beside)
    table, found = [], {}
    for space in spaces:
        row, found[space.name] = ground.measure(space)
        table.append(row)
    shown = next(s for s in reversed(spaces) if not s.note)
    labels = measure_labels(
        [ground.catalog(shown, number) for number in range(len(ground.splits))],
        progress,
        {
            one.name: [
                ground.classifier(one, number, beside.steps) for number in range(len(ground.splits))
            ]
            for one in (RECIPES if beside.trained else ())
        },
    )
    asked = [Shown.of(replace(store, bench=b)) if b else None for b in (contents, pieces)]
    return Evaluation(
        bench,
        model.name,
        note,
        trained_on(bench, model),
        table,
        gains(found, spaces[-1].name),
        [ground.shown(space, *asked) for space in spaces if space.shown],
        labels,
        worst_authors(found[shown.name][0]),
        notes_on(learnt, contents),
        ground,
        shown,
    )


def gains(found: Mapping[str, Sequence[QueryFigures]], model: str) -> list[Gain]:
    """Every space against the simple closed form, and the model against the others."""
    pairs = [(name, WHITENED) for name in found if name != WHITENED]
    pairs += [(model, name) for name in found if name.startswith("closed form")]
    return [
        Gain(
            name,
            over,
            paired_interval(found[name], found[over]),
            paired_interval(found[name], found[over], "average_precision"),
        )
        for name, over in pairs
    ]


def smaller(bench: Benchmark) -> Benchmark:
    """A part of a benchmark with all its series, evenly thinned, and two of its splits."""
    share = max(1, -(-len(bench) // QUICK_PICTURES))
    taken = []
    for series in np.unique(bench.series):
        own = np.flatnonzero(bench.series == series)
        taken.append(own[:: min(share, max(1, len(own) // 4))])
    part = bench.part(np.sort(np.concatenate(taken)))
    return replace(part, splits=bench.splits[:2])


def authors_of(model: Path, kind: str = "authors") -> frozenset[str] | None:
    """The authors that a model was trained on, or its "other_hands", as its description says;
    None where it does not."""
    try:
        found = json.loads((model / DESCRIPTION_FILE).read_bytes())["provenance"].get(kind)
        return None if found is None else frozenset(str(name) for name in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def leakage(bench: Benchmark, model: Path) -> str:
    """Whether the model was fitted on authors that are asked, in words; "" if not."""
    fitted = authors_of(model)
    if fitted is None:
        return "which authors it was fitted on is not recorded"
    asked = frozenset().union(*(split.test for split in bench.splits))
    shared = asked & fitted
    return f"it was fitted on {len(shared)} of these {len(asked)} authors" if shared else ""


def trained_on(bench: Benchmark, model: Path) -> str:
    """Which authors the model was trained on, in a sentence."""
    fitted = authors_of(model)
    if fitted is None:
        return f"Which authors {model.name} was trained on is not recorded."
    asked = frozenset().union(*(split.test for split in bench.splits))
    learnt = frozenset().union(*(split.train for split in bench.splits)) - asked
    parts = [
        f"{len(fitted & asked)} of the {len(asked)} that are asked",
        f"{len(fitted & learnt)} of the {len(learnt)} that the closed form is fitted on",
        f"{len(fitted - asked - learnt)} others, and"
        f" {len(authors_of(model, 'other_hands') or ())} hands of other pictures",
    ]
    return f"{model.name} was trained on {len(fitted)} authors: {', '.join(parts)}."


def hands_of(model: Path) -> frozenset[str]:
    """The plain names of all hands that a model says it was trained on."""
    kinds = (authors_of(model, kind) or () for kind in ("authors", "other_hands"))
    return frozenset(plain_name(name) for names in kinds for name in names)


def notes_on(learnt: frozenset[str], contents: Benchmark | None) -> list[str]:
    """What a reader of the figures has to know about this run."""
    notes = []
    if hangul_font() is None:
        notes.append(
            "No font with Hangul is installed: the lettering is Latin only (Debian: fonts-nanum)."
        )
    asked = {plain_name(name) for name in contents.authors.tolist()} if contents else set()
    if known := asked & learnt:
        notes.append(
            f"The model was trained on {len(known)} of the {len(asked)} styles of the contents."
        )
    return notes
