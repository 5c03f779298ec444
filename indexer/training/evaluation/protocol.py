"""The whole protocol in one run: retrieval, degraded copies, labels, baselines.

Whatever is fitted is fitted on the training authors of a split, and the test authors are asked;
labels are predicted for whole series that nothing was fitted on. The model of a folder stands
last, with a note when it was fitted on authors that are asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexer.embedding.models import DESCRIPTION_FILE
from indexer.training.augmentation import NUISANCE_VIEWS, VIEWS
from indexer.training.data import Benchmark
from indexer.training.evaluation.labels import LabelResult, Vectors, measure_labels
from indexer.training.evaluation.retrieval import (
    Gallery,
    QueryFigures,
    RetrievalFigures,
    near_duplicates,
    paired_interval,
)
from indexer.training.export import closed_form
from indexer.training.features import FeatureStore
from indexer.training.model import DIMENSION, Projection, fit_projection, unit
from schemas.errors import InputError
from schemas.progress import Progress

FORMAT = "toonsearch.evaluation/2"
QUICK_VIEWS = ("grey", "mirrored")
QUICK_PICTURES = 1200
Embed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Space:
    """A way of embedding pictures: `fit` makes it from the training rows of a benchmark.

    feature     what of a picture it starts from (`indexer/training/features.py`)
    with_views  whether degraded copies are measured, each of which is computed by itself
    """

    name: str
    feature: str
    fit: Callable[[FeatureStore, np.ndarray], Embed] = lambda store, train: unit
    with_views: bool = False
    note: str = ""


@dataclass(frozen=True)
class RetrievalRow:
    """One row of the table: means over splits, R@1 of each split, gain of R@1 over the row above
    with its 95 % interval over authors, R@1 of each degraded copy among clean pictures."""

    name: str
    note: str
    figures: RetrievalFigures
    by_split: tuple[float, ...]
    gain: tuple[float, float, float] | None
    views: dict[str, float]


class Table(NamedTuple):
    """A table of the report; the caption may be empty."""

    caption: str
    header: list[str]
    rows: list[list[str]]


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
        fitted = feature == "statistics" and view in (None, *NUISANCE_VIEWS)
        if fitted or (feature == "pixels" and view is None):  # known of all pictures anyway
            return np.asarray(self.store.get(feature, view)[chosen])
        found = self.store.part(self.asked).get(feature, view)
        return np.asarray(found[np.searchsorted(self.asked, chosen)])

    def catalog(self, space: Space, split: int) -> tuple[Benchmark, Vectors]:
        """The test pictures of a split, with embeddings and out-of-distribution scores."""
        train, test = self.splits[split]
        rows = self.rows(space.feature, None, test)
        if space.feature == "encoded":
            ood = rows[:, -1]
        else:
            ood = Projection.standardizing(self.rows(space.feature, None, train)).ood(rows)
        vectors = space.fit(self.store, train)(rows)
        return self.store.bench.part(test), (vectors.astype(np.float32), ood)

    def measure(
        self, space: Space, above: Sequence[QueryFigures] | None
    ) -> tuple[RetrievalRow, list[QueryFigures]]:
        """The figures of one space.

        Errors:  InputError when a split has no author with two series among those asked
        """
        views: dict[str, list[float]] = {view: [] for view in self.views if space.with_views}
        found: list[QueryFigures] = []
        for (train, test), gallery in zip(self.splits, self.galleries, strict=True):
            embed = space.fit(self.store, train)
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
            paired_interval(found, above) if above else None,
            {view: float(np.mean(figures)) for view, figures in views.items()},
        )
        return row, found


def standard_spaces(model: Path, note: str) -> list[Space]:
    """The rows of the table: baselines, the closed form in two widths, a model folder."""

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

    return [
        Space("raw pixels, 32 x 32", "pixels"),
        Space("color histogram", "colors"),
        Space("ImageNet head", "head"),
        Space("middle statistics, frozen", "statistics", standardized, True),
        Space("whitened by authors, 896 d", "statistics", without_views, True),
        Space("closed form, 896 d", "statistics", wide, True),
        Space(f"closed form, {DIMENSION} d", "statistics", narrow, True),
        Space(
            f"model {model.name}",
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
    retrieval: list[RetrievalRow]
    labels: LabelResult
    ground: Ground = field(repr=False)
    shown: Space = field(repr=False)
    """Whose retrievals and labels are shown: the model, or the closed form where the model has
    been fitted on the authors."""

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
            "model": {"id": self.model, "note": self.model_note},
            "retrieval": [asdict(row) for row in self.retrieval],
            "labels": [asdict(row) for row in self.labels.figures],
            "unknown_author": self.labels.unknown,
        }


def evaluate(
    bench: Benchmark,
    model: Path,
    *,
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
    store = FeatureStore(bench, cache, model, progress)
    ground = Ground(store, QUICK_VIEWS if quick else tuple(VIEWS))
    note = leakage(bench, model)
    spaces = standard_spaces(model, note)
    table: list[RetrievalRow] = []
    above: list[QueryFigures] | None = None
    for space in spaces:
        row, above = ground.measure(space, above)
        table.append(row)
    shown = spaces[-2] if note else spaces[-1]
    labels = measure_labels([ground.catalog(shown, n) for n in range(len(ground.splits))], progress)
    return Evaluation(bench, model.name, note, table, labels, ground, shown)


def smaller(bench: Benchmark) -> Benchmark:
    """A part of a benchmark with all its series, evenly thinned, and two of its splits."""
    share = max(1, -(-len(bench) // QUICK_PICTURES))
    taken = []
    for series in np.unique(bench.series):
        own = np.flatnonzero(bench.series == series)
        taken.append(own[:: min(share, max(1, len(own) // 4))])
    part = bench.part(np.sort(np.concatenate(taken)))
    return replace(part, splits=bench.splits[:2])


def leakage(bench: Benchmark, model: Path) -> str:
    """Whether the model was fitted on authors that are asked, in words; "" if not."""
    try:
        about = json.loads((model / DESCRIPTION_FILE).read_bytes())
        fitted = about["provenance"].get("authors")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        fitted = None
    if fitted is None:
        return "which authors it was fitted on is not recorded"
    asked = frozenset().union(*(split.test for split in bench.splits))
    shared = asked & set(fitted)
    return f"it was fitted on {len(shared)} of these {len(asked)} authors" if shared else ""


def tables(found: Evaluation) -> list[Table]:
    """All tables."""
    return [
        retrieval_table(found.retrieval),
        view_table(found.retrieval),
        label_table(found.labels),
    ]


def render(found: Evaluation) -> str:
    """All tables in Markdown."""
    return "\n\n".join([*map(markdown, tables(found)), unknown_line(found.labels)]).strip()


def markdown(table: Table) -> str:
    """A table with its caption."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table.caption}\n\n{rows}".strip()


def retrieval_table(table: Sequence[RetrievalRow]) -> Table:
    """R@1, R@10, macro R@1, AP@100, mAP@10; R@1 of each split; gain over the row above."""
    rows = []
    for row in table:
        f = row.figures
        values = (f.r_at_1, f.r_at_10, f.macro_r_at_1, f.ap_at_100, f.map_at_10)
        by_split = " ".join(f"{r_at_1:.3f}" for r_at_1 in row.by_split)
        gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row.gain) if row.gain else ""
        name = f"{row.name} ({row.note})" if row.note else row.name
        rows.append([name, *(f"{value:.3f}" for value in values), by_split, gain])
    header = ["features", "R@1", "R@10", "macro R@1", "AP@100", "mAP@10", "R@1 by split"]
    return Table("", [*header, "gain of R@1 over the row above"], rows)


def view_table(table: Sequence[RetrievalRow]) -> Table:
    """R@1 of each degraded copy."""
    rows = [row for row in table if row.views]
    cells = [
        [row.name, *(f"{r:.3f}" for r in (row.figures.r_at_1, *row.views.values()))] for row in rows
    ]
    header = ["features", "clean", *(rows[0].views if rows else ())]
    return Table("R@1 when only the query is changed:", header, cells)


def label_table(labels: LabelResult) -> Table:
    """Accuracy and calibration of each kind of label, by each way of predicting it."""
    rows = []
    for row in labels.figures:
        values = (row.top1, row.top5, row.macro_f1, row.calibration_error)
        shares = ["" if value is None else f"{value:.3f}" for value in values]
        rows.append([row.kind, row.method, *shares, str(row.queries)])
    header = ["label", "by", "top-1", "top-5", "macro-F1", "calibration error", "queries"]
    return Table("Labels of series held out:", header, rows)


def unknown_line(labels: LabelResult) -> str:
    """How well an unknown author is recognised, in a sentence."""
    if not labels.unknown:
        return ""
    return "Unknown authors: AUROC {auroc:.3f}, false positives at 95 % recall {fpr95:.3f}.".format(
        **labels.unknown
    )
