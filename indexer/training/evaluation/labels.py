"""Author, genre and era of held-out series, predicted by the product's own code.

A catalog of authors that nothing was fitted on is built five times as `toonsearch index build`
does it, each time without a fifth of the series, a fifth of the authors, and a few pictures of the
other series. The held-out series of known authors are asked for labels. How unknown the missing
authors are said to be is compared with these new works of known authors, and with the new pictures
of known works. Beside the product stand the nearest picture and the most frequent label.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from indexer.labels.metrics import (
    auroc,
    calibration_error_of_chance,
    expected_calibration_error,
    false_positive_rate,
    macro_f1,
)
from indexer.labels.predict import LabelModel, Prediction, predict
from indexer.training.data import (
    FOLDS,
    NO_YEAR,
    Benchmark,
    LabelRules,
    apply_rules,
    series_folds,
)
from schemas.progress import Progress
from schemas.records import CONCLUSIONS, DECADE, era_of

SAMPLE = 2000
SEED = 20051
TOP = 5
NAMED = "looks like"
"""The conclusion that names an author."""
PRODUCT, NEAREST, MAJORITY = "neighbours and head", "the nearest picture", "the most frequent"
FRESH_FIRST, FRESH_EVERY = 3, 8
"""Of each series in the catalog the pictures left out of it as new ones."""
LONG_ERA = 20
NEW_WORKS, NEW_PICTURES = "new works of known authors", "new pictures of known works"
STRANGERS = "strangers' works"
Classifier = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Rows of a catalog (C,) and of what is asked (Q,) to names (L,) and probabilities (Q, L)."""


class LabelPart(NamedTuple):
    """Pictures with their embeddings (N, D) and out-of-distribution scores (N,)."""

    bench: Benchmark
    vectors: np.ndarray
    ood: np.ndarray


@dataclass(frozen=True)
class LabelFigures:
    """One way of predicting one kind of label; shares from 0 to 1. `chance_error` is the
    calibration error that perfect probabilities would show on as many answers."""

    kind: str
    method: str
    top1: float
    top5: float | None
    macro_f1: float
    calibration_error: float | None
    chance_error: float | None
    queries: int


@dataclass(frozen=True)
class UnknownFigures:
    """How well strangers, who are not in the catalog, are told from known authors; strangers
    count as positive. Numbers of pictures on both sides."""

    against: str
    auroc: float
    fpr95: float
    strangers: int
    known: int


@dataclass(frozen=True)
class SaidFigures:
    """What is concluded of one kind of pictures: how often each conclusion is drawn, as shares,
    and how often the author named by "looks like" is right, NaN where none is named."""

    asked: str
    said: dict[str, float]
    right: float
    pictures: int


@dataclass
class LabelResult:
    """The figures of all kinds; the confidence of the product's first label and whether it was
    right, by kind (Q,); how well unknown authors are recognised; what is concluded."""

    figures: list[LabelFigures] = field(default_factory=list)
    reliability: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    unknown: list[UnknownFigures] = field(default_factory=list)
    said: list[SaidFigures] = field(default_factory=list)


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
    parts: Sequence[LabelPart],
    progress: Progress | None = None,
    classifiers: Mapping[str, Sequence[Classifier]] | None = None,
) -> LabelResult:
    """All label figures of some catalogs, each of authors that its embeddings do not know.

    `classifiers` are other ways of naming authors, one for each part.
    """
    found: dict[tuple[str, str], list[_Answers]] = defaultdict(list)
    scores: dict[str, list[np.ndarray]] = {NEW_WORKS: [], NEW_PICTURES: [], STRANGERS: []}
    said: dict[str, list[tuple[str, bool]]] = {kind: [] for kind in scores}
    for number, part in enumerate(parts):
        bench = part.bench
        _, author = np.unique(bench.authors, return_inverse=True)
        series = series_folds(bench)
        for fold in range(FOLDS):
            missing = author % FOLDS == fold
            in_catalog = ~missing & (series != fold)
            fresh = _fresh(bench.series, in_catalog)
            catalog = np.flatnonzero(in_catalog & ~fresh)
            known = np.flatnonzero(~missing & (series == fold))
            if not len(known) or len(np.unique(author[catalog])) < 2:
                continue
            sides = [known, np.flatnonzero(fresh), np.flatnonzero(missing)]
            asked = np.concatenate(sides)
            one_fold, predicted = _ask(part, catalog, asked, len(known))
            for key, answers in one_fold.items():
                found[key].append(answers)
            ends = np.cumsum([len(side) for side in sides])
            rows = np.split(np.arange(len(asked)), ends[:-1])
            rows[0] = rows[0][np.isin(author[known], author[catalog])]
            for kind, of_kind in zip(scores, rows, strict=True):
                scores[kind].append(predicted.unknown_author[of_kind])
                said[kind] += [_said(predicted, row, bench.authors[asked[row]]) for row in of_kind]
            by_known = known[np.isin(author[known], author[catalog])]
            for name, several in (classifiers or {}).items():
                names, shares = several[number](catalog, by_known)
                truth = bench.authors[by_known]
                found["author", name].append(_Answers(truth, names.astype(np.str_), shares))
            if progress:
                progress(number * FOLDS + fold + 1, len(parts) * FOLDS, "labels")
    result = LabelResult()
    for (kind, method), of_folds in found.items():
        _add(result, kind, method, of_folds)
    for against in (NEW_WORKS, NEW_PICTURES):
        negative, positive = (
            np.concatenate(scores[key] or [np.zeros(0)]) for key in (against, STRANGERS)
        )
        if len(negative) and len(positive):
            score = np.concatenate([negative, positive])
            is_stranger = np.repeat([0.0, 1.0], [len(negative), len(positive)])
            result.unknown.append(
                UnknownFigures(
                    against,
                    auroc(score, is_stranger),
                    false_positive_rate(score, is_stranger),
                    len(positive),
                    len(negative),
                )
            )
    result.said = [_shares(kind, drawn) for kind, drawn in said.items() if drawn]
    return result


def _said(predicted: Prediction, row: int, author: str) -> tuple[str, bool]:
    """What is concluded of a query, and whether its first author is right."""
    labels = predicted.of_query(row, 1)
    return labels.conclusion, bool(labels.authors) and labels.authors[0].label == author


def _shares(kind: str, drawn: Sequence[tuple[str, bool]]) -> SaidFigures:
    named = [right for conclusion, right in drawn if conclusion == NAMED]
    return SaidFigures(
        kind,
        {what: sum(said == what for said, _ in drawn) / len(drawn) for what in CONCLUSIONS},
        sum(named) / len(named) if named else float("nan"),
        len(drawn),
    )


def _fresh(series: np.ndarray, in_catalog: np.ndarray) -> np.ndarray:
    """A few pictures of each series in the catalog; (N,) bool"""
    fresh = np.zeros(len(series), bool)
    for one in np.unique(series[in_catalog]):
        own = np.flatnonzero(in_catalog & (series == one))
        fresh[own[FRESH_FIRST::FRESH_EVERY]] = True
    return fresh


def _ask(
    part: LabelPart, catalog: np.ndarray, asked: np.ndarray, known: int
) -> tuple[dict[tuple[str, str], _Answers], Prediction]:
    """What a catalog says of pictures, of the first `known` of which labels are known."""
    bench, vectors, ood = part
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
            own = _Answers(truth[counts], names, shown[:known][counts])
            answers[kind, method] = own
            if kind == "era":
                answers[f"era of {LONG_ERA} years", method] = _long_eras(own)
    return answers, said


def _long_eras(decades: _Answers) -> _Answers:
    """Answers for LONG_ERA years: the sums of the decades'."""

    def long(names: np.ndarray) -> np.ndarray:
        return np.array([era_of(int(name[:4]), LONG_ERA) for name in names.tolist()], np.str_)

    names, place = np.unique(long(decades.names), return_inverse=True)
    scores = np.zeros((len(decades.scores), len(names)))
    for column, at in enumerate(place.tolist()):
        scores[:, at] += decades.scores[:, column]
    return _Answers(long(decades.truth), names, scores)


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
    error = chance = top5 = None
    if method not in (NEAREST, MAJORITY):
        confidence = np.concatenate([one.scores.max(1) for one in answers])
        error = expected_calibration_error(confidence, right)
        chance = calibration_error_of_chance(confidence)
        if method == PRODUCT:
            result.reliability[kind] = confidence, right
    if method != NEAREST:
        top5 = float(np.concatenate([one.among_top() for one in answers]).mean())
    result.figures.append(
        LabelFigures(
            kind,
            method,
            float(right.mean()),
            top5,
            macro_f1(best, truth),
            error,
            chance,
            len(truth),
        )
    )
