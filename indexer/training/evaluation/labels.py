"""Author, genre and era of held-out series, predicted by the product's own code.

A catalog of authors that nothing was fitted on is built five times as `toonsearch index build`
does it, each time without a fifth of the series and without a fifth of the authors. The held-out
series of known authors are asked for labels; how unknown they are said to be is compared with the
pictures of the authors that are missing. Beside the product stand the nearest picture and the
most frequent label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from indexer.labels.metrics import (
    auroc,
    expected_calibration_error,
    false_positive_rate,
    macro_f1,
)
from indexer.labels.predict import LabelModel, predict
from indexer.training.data import (
    FOLDS,
    NO_YEAR,
    Benchmark,
    LabelRules,
    apply_rules,
    series_folds,
)
from schemas.progress import Progress
from schemas.records import DECADE, era_of

SAMPLE = 2000
SEED = 20051
TOP = 5
PRODUCT, NEAREST, MAJORITY = "neighbours and head", "the nearest picture", "the most frequent"
Vectors = tuple[np.ndarray, np.ndarray]
"""Embeddings (N, D) and out-of-distribution scores (N,)."""


@dataclass(frozen=True)
class LabelFigures:
    """One way of predicting one kind of label; shares from 0 to 1."""

    kind: str
    method: str
    top1: float
    top5: float | None
    macro_f1: float
    calibration_error: float | None
    queries: int


@dataclass
class LabelResult:
    """The figures of all kinds; the confidence of the product's first label and whether it was
    right, by kind (Q,); how well unknown authors are recognised."""

    figures: list[LabelFigures] = field(default_factory=list)
    reliability: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    unknown: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answers:
    """Answers of one fold: probabilities (Q, C) of names (C,), where the truth is (Q,)."""

    truth: np.ndarray
    names: np.ndarray
    scores: np.ndarray

    def best(self) -> np.ndarray:
        return np.asarray(self.names[self.scores.argmax(1)])

    def among_top(self) -> np.ndarray:
        order = np.argsort(-self.scores, 1, kind="stable")[:, :TOP]
        return np.asarray((self.names[order] == self.truth[:, None]).any(1))


def measure_labels(
    parts: Sequence[tuple[Benchmark, Vectors]],
    progress: Progress | None = None,
) -> LabelResult:
    """All label figures of some catalogs, each of authors that its embeddings do not know."""
    found: dict[tuple[str, str], list[_Answers]] = defaultdict(list)
    unknown: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number, (bench, vectors) in enumerate(parts):
        _, author = np.unique(bench.authors, return_inverse=True)
        series = series_folds(bench)
        for fold in range(FOLDS):
            missing = author % FOLDS == fold
            catalog = np.flatnonzero(~missing & (series != fold))
            known = np.flatnonzero(~missing & (series == fold))
            if not len(known) or len(np.unique(author[catalog])) < 2:
                continue
            asked = np.concatenate([known, np.flatnonzero(missing)])
            one_fold, unknown_author = _ask(bench, vectors, catalog, asked, len(known))
            for key, answers in one_fold.items():
                found[key].append(answers)
            by_known = np.isin(author[known], author[catalog])
            unknown[0].append(unknown_author[: len(known)][by_known])
            unknown[1].append(unknown_author[len(known) :])
            if progress:
                progress(number * FOLDS + fold + 1, len(parts) * FOLDS, "labels")
    result = LabelResult()
    for (kind, method), several in found.items():
        _add(result, kind, method, several)
    if any(map(len, unknown[1])):
        score = np.concatenate([*unknown[0], *unknown[1]])
        positive = np.repeat([0.0, 1.0], [sum(map(len, side)) for side in unknown])
        result.unknown = {
            "auroc": auroc(score, positive),
            "fpr95": false_positive_rate(score, positive),
        }
    return result


def _ask(
    bench: Benchmark, encoded: Vectors, catalog: np.ndarray, asked: np.ndarray, known: int
) -> tuple[dict[tuple[str, str], _Answers], np.ndarray]:
    """What a catalog says of pictures, of the first `known` of which labels are known; and how
    likely each is by nobody (Q,)."""
    vectors, ood = encoded
    classes = apply_rules(bench.part(catalog), LabelRules(min_pictures_per_author=1))
    data = classes.dataset(vectors[catalog], ood[catalog])
    model = LabelModel.fit(data, sample=SAMPLE, seed=SEED)
    similarity = vectors[asked] @ vectors[catalog].T
    order = np.argsort(-similarity, 1, kind="stable")[:, : max(1, model.calibration.neighbours)]
    codes = {kind: of[order] for kind, of in data.codes.items()}
    near = np.take_along_axis(similarity, order, 1)
    said = predict(model, near, codes, vectors[asked], ood[asked], unknown_prior=0.5)
    answers = {}
    for kind, scores in said.probabilities.items():
        names = np.array(model.labels[kind].names, np.str_)
        truth = _truth(bench.part(asked[:known]), kind)
        counts = np.isin(truth, names) if kind == "author" else truth != ""
        if not counts.any():
            continue
        nearest = np.zeros(scores.shape)
        first = codes[kind][:, 0]
        nearest[first >= 0, first[first >= 0]] = 1.0
        frequent = np.tile(np.asarray(model.labels[kind].counts, float), (len(scores), 1))
        for method, shown in ((PRODUCT, scores), (NEAREST, nearest), (MAJORITY, frequent)):
            answers[kind, method] = _Answers(truth[counts], names, shown[:known][counts])
    return answers, said.unknown_author


def _truth(bench: Benchmark, kind: str) -> np.ndarray:
    """The labels of pictures, empty where unknown; (N,) str"""
    if kind == "author":
        return bench.authors
    if kind == "genre":
        return np.array([next(iter(names), "") for names in bench.genres], np.str_)
    eras = [era_of(year, DECADE) if year != NO_YEAR else "" for year in bench.years.tolist()]
    return np.array(eras, np.str_)


def _add(result: LabelResult, kind: str, method: str, answers: Sequence[_Answers]) -> None:
    truth = np.concatenate([one.truth for one in answers])
    best = np.concatenate([one.best() for one in answers])
    right = (best == truth).astype(float)
    error = top5 = None
    if method == PRODUCT:
        confidence = np.concatenate([one.scores.max(1) for one in answers])
        error = expected_calibration_error(confidence, right)
        result.reliability[kind] = confidence, right
    if method != NEAREST:
        top5 = float(np.concatenate([one.among_top() for one in answers]).mean())
    result.figures.append(
        LabelFigures(
            kind, method, float(right.mean()), top5, macro_f1(best, truth), error, len(truth)
        )
    )
