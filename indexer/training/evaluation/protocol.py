"""The whole protocol in one run: retrieval, labels, unknown hands, views, baselines.

`toonsearch evaluate` is its command; `python -m indexer.training.evaluation.protocol` is the same without
the catalog. Whatever is learnt is learnt on the training half of each split or on the other
series; the model as it is stands last, with a note when it has seen the authors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.embedding.models import DESCRIPTION_FILE
from indexer.training.augmentation import VIEWS
from indexer.training.cache import ArrayCache
from indexer.training.data import Benchmark
from indexer.training.evaluation.labels import (
    LabelFigures,
    LabelResult,
    measure_labels,
    measure_new_catalogs,
)
from indexer.training.evaluation.retrieval import CURVE_RANKS, Ground, TableRow, measure
from indexer.training.evaluation.titles import TitleRow, measure_titles, title_table
from indexer.training.features import FeatureStore, Progress
from indexer.training.spaces import FROZEN, METHOD, Space, standard_spaces

QUICK_VIEWS = ("grey", "mirrored")
QUICK_PICTURES = 1200


@dataclass
class Evaluation:
    """Every figure of a run, and what the report needs to draw it."""

    bench: Benchmark
    model: str
    model_note: str
    retrieval: list[TableRow]
    thumbnails: list[TableRow]
    long_lists: list[TableRow]
    titles: list[TitleRow]
    labels: LabelResult
    ground: Ground = field(repr=False)
    spaces: Sequence[Space] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """All figures, without pictures."""
        return {
            "format": "toonsearch.evaluation/1",
            "benchmark": {
                "name": Path(self.bench.name).name,
                "pictures": len(self.bench),
                "authors": len(np.unique(self.bench.manifest.authors)),
                "series": len(np.unique(self.bench.manifest.series)),
                "splits": len(self.bench.splits),
                "blank": int(self.ground.blank.sum()),
            },
            "model": {"id": self.model, "note": self.model_note},
            "ranks": CURVE_RANKS,
            "retrieval": [asdict(row) for row in self.retrieval],
            "retrieval_thumbnails": [asdict(row) for row in self.thumbnails],
            "retrieval_long_lists": [asdict(row) for row in self.long_lists],
            "titles": [asdict(row) for row in self.titles],
            "labels": [asdict(row) for row in self.labels.figures],
            "new_catalogs": self.labels.new_catalogs,
        }


def evaluate(
    bench: Benchmark,
    model: Path,
    *,
    cache: Path | None = None,
    quick: bool = False,
    earlier: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure everything on a benchmark, with the model of a folder beside the baselines.

    `earlier` also trains the networks of earlier practice on each split (hours on two cores).
    `quick` takes at most QUICK_PICTURES pictures, two splits, two views and the cheap
    baselines: enough to see that all is well, not to be quoted.

    Errors:  InputError when the benchmark cannot be used, NoIndexError when the model cannot
    """
    if quick:
        bench = smaller(bench)
    store = FeatureStore(bench, ArrayCache(cache), model, progress)
    ground = Ground(store, views=QUICK_VIEWS if quick else tuple(VIEWS))
    note = leakage(bench, model)
    spaces = standard_spaces(model.name, note, quick)
    if earlier:
        from indexer.training.evaluation.earlier import earlier_spaces

        # After what learns nothing, before what starts from ImageNet weights.
        at = next(n for n, s in enumerate(spaces) if s.feature in {"head", "statistics"})
        spaces = [*spaces[:at], *earlier_spaces(1 if quick else None), *spaces[at:]]
    by_name = {space.name: space for space in spaces}
    named = spaces[-1]
    # What has seen these authors would flatter itself: the same recipe, learnt on the others,
    # tells the labels.
    judged = by_name[METHOD] if note else named
    detailed = frozenset({FROZEN, judged.name})
    retrieval, thumbnails, long_lists = measure(ground, spaces, detailed)
    titles = measure_titles(ground, [by_name[FROZEN], judged])
    labels = measure_labels(ground, judged, by_name[FROZEN], _steps(progress, "labels"))
    labels.new_catalogs = measure_new_catalogs(ground, judged)
    return Evaluation(
        bench, model.name, note, retrieval, thumbnails, long_lists, titles, labels, ground, spaces
    )


def _steps(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)


def smaller(bench: Benchmark) -> Benchmark:
    """A part of a benchmark with all its series, evenly thinned, and two of its splits."""
    share = max(1, -(-len(bench) // QUICK_PICTURES))
    taken = []
    for series in np.unique(bench.manifest.series):
        own = np.flatnonzero(bench.manifest.series == series)
        taken.append(own[:: min(share, max(1, len(own) // 4))])
    part = bench.part(np.sort(np.concatenate(taken)))
    return replace(part, splits=bench.splits[:2])


def leakage(bench: Benchmark, model: Path) -> str:
    """Whether the model has learnt from authors of the benchmark, in words; "" if not."""
    try:
        about = json.loads((model / DESCRIPTION_FILE).read_bytes())
        seen = about["provenance"].get("authors")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        seen = None
    authors = set(bench.manifest.authors.tolist())
    if seen is None:
        return "which authors it learnt from is not recorded"
    shared = authors & set(seen)
    return f"it has learnt from {len(shared)} of these {len(authors)} authors" if shared else ""


def render(found: Evaluation) -> str:
    """All tables in Markdown."""
    parts = [
        _retrieval_table(found.retrieval),
        "Pictures first reduced to fit 200 x 120:",
        _retrieval_table(found.thumbnails),
        "Lists ordered as `toonsearch query --by picture` orders them after the first ten:",
        _retrieval_table(found.long_lists),
        "Titles, the query's own left out:",
        title_table(found.titles),
        "Loss of R@1 when only the query is changed:",
        _view_table(found.retrieval),
        "Held-out series:",
        _label_table(found.labels.figures),
        "Catalogs by authors that the space has never seen (the test halves):",
        _new_catalog_table(found.labels.new_catalogs),
    ]
    return "\n\n".join(parts)


def _retrieval_table(table: Sequence[TableRow]) -> str:
    lines = [
        "| features | R@1 | macro R@1 | R@10 | AP@100 | mAP@10 | R@1 by split | gain of R@1 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table:
        mean = row.mean
        values = (mean.r_at_1, mean.macro_r_at_1, mean.r_at_10, mean.ap_at_100, mean.map_at_10)
        cells = " | ".join(f"{value:.3f}" for value in values)
        by_split = " ".join(f"{split.r_at_1:.3f}" for split in row.splits)
        gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row.gain) if row.gain else ""
        name = f"{row.name} ({row.note})" if row.note else row.name
        lines.append(f"| {name} | {cells} | {by_split} | {gain} |")
    return "\n".join(lines)


def _view_table(table: Sequence[TableRow]) -> str:
    rows = [row for row in table if row.robustness]
    if not rows:
        return "(not measured)"
    views = list(rows[0].robustness)
    lines = [f"| features | {' | '.join(views)} |", "| --- " * (len(views) + 1) + "|"]
    for row in rows:
        cells = " | ".join(f"{100 * row.robustness[view]:+.1f}" for view in views)
        lines.append(f"| {row.name} | {cells} |")
    return "\n".join(lines)


def _label_table(figures: Sequence[LabelFigures]) -> str:
    lines = [
        "| label | told by | top-1 | top-5 | macro-F1 | calibration error (by chance) | years off"
        " | queries |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in figures:
        years = "" if row.years_error is None else f"{row.years_error:.1f}"
        top5 = "" if row.top5 is None else f"{row.top5:.3f}"
        lines.append(
            f"| {row.kind} | {row.name} | {row.top1:.3f} | {top5} | {row.macro_f1:.3f}"
            f" | {row.calibration} | {years} | {row.queries} |"
        )
    return "\n".join(lines)


NEW_CATALOG = (
    ("author_top1", "author of a new work, top-1"),
    ("author_vote_top1", "the same, by the neighbours' vote alone"),
    ("author_calibration_error", "calibration error of the author"),
    ("unknown_auroc_new_title", "unknown author against new work, AUROC"),
    ("unknown_fpr95_new_title", "the same, FPR at 95 % TPR (unknown is positive)"),
    ("unknown_passed95_new_title", "the same, FPR at 95 % TPR (known is positive)"),
    ("unknown_auroc_new_picture", "unknown author against new picture, AUROC"),
    ("unknown_fpr95_new_picture", "the same, FPR at 95 % TPR (unknown is positive)"),
    ("unknown_passed95_new_picture", "the same, FPR at 95 % TPR (known is positive)"),
)


def _new_catalog_table(measured: dict[str, float]) -> str:
    if not measured:
        return "(too few pictures)"
    lines = ["| what | measured |", "| --- | --- |"]
    lines += [f"| {what} | {measured[key]:.3f} |" for key, what in NEW_CATALOG if key in measured]
    return "\n".join(lines)
