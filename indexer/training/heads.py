"""The heads that a model carries: fitted on all of its pictures, calibrated on held-out series.

Softmax heads only steer training. What is published are the closed-form heads of
`indexer.labels.heads` on the final vectors.
"""

from __future__ import annotations

import numpy as np

from indexer.labels.deviation import UsualDeviation
from indexer.labels.head_files import HeadCalibration, Heads
from indexer.labels.heads import Head, fit_head
from indexer.labels.holdout import HeldOut, Labelled, folds_within, held_out_scores
from indexer.labels.knn import fuse, sharpened
from indexer.labels.labels import KINDS
from indexer.labels.metrics import (
    auroc,
    expected_calibration_error,
    fit_power,
    fit_power_of_best,
    logistic,
    macro_f1,
)
from indexer.training.data import Classes

MIN_QUERIES = 30
SEED = 20051


def labelled(vectors: np.ndarray, classes: Classes) -> Labelled:
    """Pictures with their classes, as the calibration takes them; the first genre counts."""
    genre = (
        np.where(classes.genre.any(1), classes.genre.argmax(1), -1)
        if classes.genre.size
        else (np.full(len(vectors), -1))
    )
    return Labelled(
        vectors, np.arange(len(vectors)), classes.series, classes.author, genre, classes.era,
        classes.names,
    )  # fmt: skip


def fit_heads(vectors: np.ndarray, ood: np.ndarray, classes: Classes) -> Heads:
    """Heads of every kind that has two labels, with their calibration.

    Shapes:  vectors (N, D) unit, ood (N,)
    """
    data = labelled(vectors, classes)
    rng = np.random.default_rng(SEED)
    heads: dict[str, Head] = {}
    power: dict[str, float] = {}
    sharpness: dict[str, float] = {}
    measured: dict[str, float] = {}
    unknown = (0.0, 0.0, 0.0, 0.0)
    for kind in KINDS:
        codes = data.codes(kind)
        head = fit_head(data.vectors, codes, data.title, data.labels(kind))
        if head is None:
            continue
        heads[kind], power[kind] = head, 1.0
        queries = _queries(codes, data.title)
        if len(queries) < MIN_QUERIES:
            continue
        held = held_out_scores(data, kind, queries, folds_within(data.author, data.title), rng)
        if held is None:
            continue
        scores, truth = held.scores.astype(np.float64), codes[queries]
        power[kind] = fit_power(scores, truth)
        told = _probabilities(scores, power[kind])
        sharpness[kind] = fit_power_of_best(told, truth)
        told = sharpened(told, sharpness[kind])
        best = told.argmax(1)
        right = (best == truth).astype(float)
        measured |= {
            f"{kind}_top1": float(right.mean()),
            f"{kind}_macro_f1": macro_f1(best, truth),
            f"{kind}_calibration_error": expected_calibration_error(told.max(1), right),
            f"{kind}_queries": float(len(queries)),
        }
        if kind == "author":
            unknown, measured["unknown_auroc"] = _fit_unknown(held, truth, power[kind])
    usual = UsualDeviation.of(ood)
    return Heads(heads, HeadCalibration(power, unknown, measured, sharpness, usual))


def _probabilities(scores: np.ndarray, power: float) -> np.ndarray:
    even = np.full(scores.shape, 1.0 / scores.shape[1])
    if power == 0.0:
        return even
    return fuse(even, scores, tail=0.0, head_weight=power, vote_weight=0.0)


def _queries(codes: np.ndarray, series: np.ndarray) -> np.ndarray:
    """Pictures whose label has another series as well: it can be learnt without their own."""
    pairs = np.unique(np.stack([codes, series], 1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.flatnonzero(np.isin(codes, names[(counts > 1) & (names >= 0)]))


def _fit_unknown(
    held: HeldOut, truth: np.ndarray, power: float
) -> tuple[tuple[float, float, float, float], float]:
    """Weights of the unknown author, own label known against own label struck out."""
    parts = []
    for answers in (held, held.without(truth)):
        greatest = answers.scores.max(1).astype(np.float64)
        best = _probabilities(answers.scores.astype(np.float64), power).max(1)
        parts.append(
            np.stack([np.ones(len(truth)), greatest - answers.stranger, greatest, best], 1)
        )
    x = np.concatenate(parts)
    target = np.repeat([0.0, 1.0], len(truth))
    beta = logistic(x, target, np.ones(len(x)))
    return (
        (float(beta[0]), float(beta[1]), float(beta[2]), float(beta[3])),
        auroc(x @ beta, target),
    )
