"""Figures of labels: what share was right, how sure the answer was, how many years off."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from indexer.scores import (
    calibration_error_by_chance,
    expected_calibration_error,
    macro_f1,
)
from indexer.training.benchmark import Benchmark
from schemas.eras import DECADE, era_of, era_start

WIDE_YEARS = 20
WIDE = f"era, {WIDE_YEARS} years"
"""The kind of label that the product tells when it is built with eras of this width."""
HEAD_ALONE = "the head alone"
TOP = 5


@dataclass(frozen=True)
class LabelFigures:
    """One way of telling one kind of label. Shares from 0 to 1; errors in years.

    `calibration_chance` is what an answer that is right as often as it says would measure.
    """

    kind: str
    name: str
    top1: float
    top5: float | None
    macro_f1: float
    calibration_error: float | None
    queries: int
    years_error: float | None = None
    calibration_chance: float | None = None

    @property
    def calibration(self) -> str:
        """The calibration error as tables show it, empty where there is none."""
        if self.calibration_error is None or self.calibration_chance is None:
            return ""
        return f"{100 * self.calibration_error:.1f} % ({100 * self.calibration_chance:.1f})"


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
    result: LabelResult,
    kind: str,
    way: str,
    answers: list[Answers],
    series: np.ndarray,
    years_error: float | None = None,
) -> None:
    """Add the figures of one way of telling a kind, over all folds; series (N,) of all pictures."""
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
    many = way != "nearest frozen picture" and kind != WIDE
    right = (best == truth).astype(float)
    error = expected_calibration_error(confidence, right)
    chance = calibration_error_by_chance(confidence, right, series[rows]) if honest else None
    result.figures.append(
        LabelFigures(
            kind,
            way,
            float(right.mean()),
            float(within.mean()) if many else None,
            macro_f1(best, truth),
            error if honest else None,
            len(rows),
            years_error,
            chance,
        )
    )
    if way == "vote and head":
        result.told[kind] = Told(truth, best, confidence, rows)


def summed(answers: Answers) -> Answers:
    """Decades as wide eras: what a way that knows only decades says of those."""
    names, truth = (
        np.array([era_of(era_start(name), WIDE_YEARS) for name in part.tolist()], np.str_)
        for part in (answers.names, answers.truth)
    )
    wide = np.unique(names)
    scores = np.stack([answers.scores[:, names == name].sum(1) for name in wide], 1)
    return Answers(answers.rows, truth, wide, scores)


def years_off(bench: Benchmark, decades: list[Answers]) -> float | None:
    """Mean error of the median year, from scores of decades that can be added up."""
    errors = []
    for a in decades:
        starts = np.array([era_start(name) for name in a.names.tolist()])
        share = a.scores / np.maximum(a.scores.sum(1, keepdims=True), 1e-12)
        order = np.argsort(starts)
        first = starts[order][(np.cumsum(share[:, order], 1) >= 0.5).argmax(1)]
        errors.append(np.abs(first + DECADE // 2 - bench.years[a.rows]))
    found = np.concatenate(errors)
    return float(found.mean()) if len(found) else None
