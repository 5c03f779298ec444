"""Figures of labels: what share was right, how sure the answer was, how many years off."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from indexer.scores import expected_calibration_error, macro_f1
from indexer.training.benchmark import Benchmark

ERA_YEARS = 20
TOP = 5


@dataclass(frozen=True)
class LabelFigures:
    """One way of telling one kind of label. Shares from 0 to 1; errors in years."""

    kind: str
    name: str
    top1: float
    top5: float | None
    macro_f1: float
    calibration_error: float | None
    queries: int
    years_error: float | None = None


@dataclass(frozen=True)
class Told:
    """What was told of the held-out pictures of one kind, by the whole product.

    Shapes:  truth, predicted (Q,) str; confidence (Q,); rows (Q,) in the benchmark
    """

    truth: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    rows: np.ndarray


@dataclass
class LabelResult:
    """The figures of all kinds, and what the report draws."""

    figures: list[LabelFigures] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)
    new_catalogs: dict[str, float] = field(default_factory=dict)
    """What an index of each split's unseen authors measures, mean."""


@dataclass(frozen=True)
class Answers:
    """Scores of labels for some pictures.

    Shapes:  rows, truth (Q,), names (C,), scores (Q, C)"""

    rows: np.ndarray
    truth: np.ndarray
    names: np.ndarray
    scores: np.ndarray


PROBABILITIES = frozenset(
    {"vote and head", "the neighbours' vote alone", "linear probe on frozen statistics"}
)


def add_figures(
    result: LabelResult, bench: Benchmark, kind: str, way: str, answers: list[Answers]
) -> None:
    rows = np.concatenate([a.rows for a in answers])
    if not len(rows):
        return
    truth = np.concatenate([a.truth for a in answers])
    best = np.concatenate([a.names[a.scores.argmax(1)] for a in answers])
    confidence = np.concatenate([a.scores.max(1) for a in answers])
    within = np.concatenate(
        [
            (a.names[np.argsort(-a.scores, 1, kind="stable")[:, :TOP]] == a.truth[:, None]).any(1)
            for a in answers
        ]
    )
    honest = way in PROBABILITIES
    many = way != "nearest frozen picture"
    error = expected_calibration_error(confidence, (best == truth).astype(float))
    result.figures.append(
        LabelFigures(
            kind,
            way,
            float((best == truth).mean()),
            float(within.mean()) if many else None,
            macro_f1(best, truth),
            error if honest else None,
            len(rows),
        )
    )
    if way == "vote and head":
        result.told[kind] = Told(truth, best, confidence, rows)
    if kind == "era" and way != "the head alone":  # log-likelihoods cannot be added up
        _add_ranges(result, bench, way, answers, honest)


def _add_ranges(
    result: LabelResult, bench: Benchmark, way: str, answers: list[Answers], honest: bool
) -> None:
    """Decades as 20-year ranges, and the error of the median year."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for a in answers:
        starts = np.array([int(name[:4]) for name in a.names])
        ranges = starts // ERA_YEARS * ERA_YEARS
        wide = np.unique(ranges)
        scores = np.stack([a.scores[:, ranges == start].sum(1) for start in wide], 1)
        share = a.scores / np.maximum(a.scores.sum(1, keepdims=True), 1e-12)
        order = np.argsort(starts)
        median = starts[order][(np.cumsum(share[:, order], 1) >= 0.5).argmax(1)] + 5
        years = bench.years[a.rows]
        truth = years // ERA_YEARS * ERA_YEARS
        parts.append((truth, wide[scores.argmax(1)], scores.max(1), np.abs(median - years), a.rows))
    truth, best, confidence, error, rows = (
        np.concatenate([part[i] for part in parts]) for i in range(5)
    )
    right = (best == truth).astype(float)
    result.figures.append(
        LabelFigures(
            "era, 20 years",
            way,
            float(right.mean()),
            None,
            macro_f1(best, truth),
            expected_calibration_error(confidence, right) if honest else None,
            len(rows),
            float(error.mean()),
        )
    )
    if way == "vote and head":
        result.told["era, 20 years"] = Told(truth.astype(str), best.astype(str), confidence, rows)
