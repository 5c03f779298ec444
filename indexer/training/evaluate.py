"""The retrieval table of the frozen encoder on the author-disjoint splits.

`python -m indexer.training.evaluate --drawings DIR [--json FILE]`

Whatever is learnt (standardisation, whitening, directions) is learnt on the training half of
each split alone; the shipped model is then fitted on all hands and is not in this table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from indexer.training.dataset import (
    Manifest,
    Split,
    Statistics,
    compute_statistics,
    read_manifest,
    read_splits,
)
from indexer.training.export import DIMENSION, SHIPPED_SPEC, run_graph
from indexer.training.metrics import (
    QueryFigures,
    RetrievalFigures,
    near_duplicates,
    paired_interval,
    query_figures,
    summarize,
)
from indexer.training.model import GROUPS, StatisticsNetwork, statistics_weights
from indexer.training.onnx_graph import export_graph, serialize
from indexer.training.whitening import RIDGE, fit_projection
from schemas.errors import InputError, ToonsearchError

THUMBNAIL_BOX_PX = (200, 120)
Transform = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Rows of the test half from (train rows, train authors, test rows)."""


def pixels_of(statistics: Statistics) -> np.ndarray:
    """Grey 32 x 32 copies as a baseline: copies and layouts score, style does not."""
    flat = statistics.grey.reshape(len(statistics.grey), -1).astype(np.float64)
    return np.asarray(flat - flat.mean(1, keepdims=True))


def standardized(train: np.ndarray, authors: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Zero mean and unit deviation, as measured on the training half."""
    return np.asarray((test - train.mean(0)) / (train.std(0) + 1e-6))


def whitened(dimension: int, weights: np.ndarray | None = None) -> Transform:
    """The closed form of the shipped model, with the strongest directions."""

    def transform(train: np.ndarray, authors: np.ndarray, test: np.ndarray) -> np.ndarray:
        return fit_projection(train, authors, dimension, RIDGE, weights).apply(test)

    return transform


@dataclass(frozen=True)
class TableRow:
    """One way of describing pictures, over all splits."""

    name: str
    mean: RetrievalFigures
    splits: tuple[RetrievalFigures, ...]
    gain: tuple[float, float, float] | None = None
    """R@1 over the row above, with the 95 % interval of paired queries."""


def measure(
    rows: np.ndarray,
    statistics: Statistics,
    manifest: Manifest,
    splits: Sequence[Split],
    transform: Transform,
) -> list[QueryFigures]:
    """Figures of every query on the test half of each split.

    Shapes:  rows (N, S), in the manifest's order
    """
    results = []
    for split in splits:
        train = np.isin(manifest.authors, sorted(split.train)) & ~statistics.blank
        test = np.isin(manifest.authors, sorted(split.test)) & ~statistics.blank
        if not train.any() or not test.any():
            raise InputError("a split names authors that the manifest does not have")
        vectors = transform(
            rows[train].astype(np.float64), manifest.authors[train], rows[test].astype(np.float64)
        )
        copies = near_duplicates(statistics.grey[test])
        results.append(
            query_figures(vectors, manifest.authors[test], manifest.series[test], copies)
        )
    return results


def table_row(name: str, results: Sequence[QueryFigures]) -> TableRow:
    """Means over splits, with each split behind."""
    figures = tuple(summarize(result) for result in results)
    mean = RetrievalFigures(
        *(float(np.mean(column)) for column in zip(*(asdict(f).values() for f in figures)))  # noqa: B905
    )
    return TableRow(name, mean, figures)


def evaluate(drawings: Path, progress: Callable[[int, int], None] | None = None) -> list[TableRow]:
    """The whole table: at full size and with pictures first reduced to thumbnails.

    Errors:  InputError when the folder cannot be used
    """
    manifest, splits = read_manifest(drawings), read_splits(drawings)
    network = run_graph(serialize(export_graph(StatisticsNetwork())))
    output_weights = statistics_weights(tuple(g for g in GROUPS if g.kind == "output"))
    table: list[TableRow] = []
    for label, box in (("", None), (", thumbnails", THUMBNAIL_BOX_PX)):
        statistics = compute_statistics(manifest, SHIPPED_SPEC, network, box, progress)
        outputs = statistics.rows[:, output_weights > 0]
        shipped = whitened(DIMENSION, statistics_weights())
        above: list[np.ndarray] = []
        for name, values, transform in (
            ("grey pixels 32 x 32", pixels_of(statistics), standardized),
            ("outputs 1-5", outputs, standardized),
            (f"outputs 1-5, whitened, {DIMENSION} d", outputs, whitened(DIMENSION)),
            (f"all groups, whitened, {DIMENSION} d (shipped)", statistics.rows, shipped),
        ):
            results = measure(values, statistics, manifest, splits, transform)
            row, right = table_row(name + label, results), [r.right_at_1 for r in results]
            if above:
                row = replace(row, gain=paired_interval(right, above))
            table.append(row)
            above = right
    return table


def render(table: Sequence[TableRow]) -> str:
    """The table in Markdown."""
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
        lines.append(f"| {row.name} | {cells} | {by_split} | {gain} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.evaluate")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total} pictures", end="", file=sys.stderr)

    try:
        table = evaluate(options.drawings, show)
        print(render(table))
        if options.json:
            text = json.dumps([asdict(row) for row in table], indent=2)
            options.json.write_text(text + "\n", encoding="utf-8")
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {options.json}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
