"""Scores of probabilities and detectors, computed with numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-mass bins.

    Shapes:  (Q,), (Q,)
    Source:  Guo et al. 2017, with equal-mass bins
    """
    order = np.argsort(confidence, kind="stable")
    gaps = [
        len(part) * abs(confidence[part].mean() - correct[part].mean())
        for part in np.array_split(order, bins)
        if len(part)
    ]
    return float(sum(gaps) / max(1, len(confidence)))


def calibration_error_by_chance(
    confidence: np.ndarray,
    correct: np.ndarray,
    group: np.ndarray,
    bins: int = 15,
    draws: int = 2000,
) -> float:
    """What `expected_calibration_error` measures, on average, of answers that are right as often
    as they say: pictures of one group (a work) are right or wrong together, so a few dozen works
    leave gaps in every bin whatever the answers are worth.

    Shapes:  (Q,), (Q,), group (Q,) of any type
    Source:  the wild cluster bootstrap with Rademacher weights (Cameron, Gelbach and Miller
             2008): each group keeps the size of its gaps and draws their sign
    """
    if not len(confidence):
        return 0.0
    order = np.argsort(confidence, kind="stable")
    bin_of = np.empty(len(order), np.int64)
    for number, part in enumerate(np.array_split(order, bins)):
        bin_of[part] = number
    groups, group_of = np.unique(group, return_inverse=True)
    gaps = np.zeros((len(groups), bins))  # of sums, by group and bin
    np.add.at(gaps, (group_of.reshape(-1), bin_of), correct - confidence)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (draws, len(groups)))
    return float(np.abs(signs @ gaps).sum(1).mean() / len(confidence))


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    n_pos = positive.sum()
    n_neg = len(positive) - n_pos
    return float((rank[positive == 1].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def false_positive_rate(score: np.ndarray, positive: np.ndarray, tpr: float = 0.95) -> float:
    """Share of negatives above the threshold that keeps `tpr` of the positives."""
    threshold = np.quantile(score[positive == 1], 1.0 - tpr)
    return float((score[positive == 0] >= threshold).mean())


def missed_rate(score: np.ndarray, positive: np.ndarray, kept: float = 0.95) -> float:
    """Share of positives that pass where `kept` of the negatives do: the rate above with the
    parts exchanged, as detection of strangers is often told (Liang et al. 2018, ODIN)."""
    return false_positive_rate(-score, 1.0 - positive, kept)


def macro_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the labels that occur of F1, the harmonic mean of precision and recall.

    Shapes:  (Q,), (Q,)
    """
    scores = []
    for label in np.unique(truth):
        both = ((predicted == label) & (truth == label)).sum()
        scores.append(2.0 * both / ((predicted == label).sum() + (truth == label).sum()))
    return float(np.mean(scores))


def logistic(features: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted logistic regression by Newton's method, lightly ridged on standardised columns.

    The first column is the intercept.

    Shapes:  (N, F), (N,), (N,) -> (F,)
    """
    center, scale = features.mean(axis=0), features.std(axis=0)
    center[0], scale[0] = 0.0, 1.0
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = (features - center) / scale
    ridge = np.diag([0.0] + [1.0] * (x.shape[1] - 1))
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (weight * (target - p)) - ridge @ beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    beta = beta / scale
    beta[0] -= float((beta * center)[1:].sum())
    return beta


MAX_STEPS = 60
LEAST_SCALE = 1.0
"""In nats: scores that differ less than this are not blown up before a power is fitted, or a
head that says nothing would be given a power of a thousand million."""


def fit_power(likelihood: np.ndarray, truth: np.ndarray) -> float:
    """The power of likelihoods with the least log loss; 0 where none beats an even guess.

    Shapes:  likelihood (Q, C) logarithms, truth (Q,) int
    """
    rows = np.arange(len(truth))
    x = likelihood / (scale := max(float(likelihood.std(axis=1).mean()), LEAST_SCALE))

    def loss(of: float) -> float:
        told = _softmax(math.exp(of) * x)[rows, truth]
        return float(-np.log(np.maximum(told, 1e-300)).mean())

    found = _lowest(loss, -6.0, 4.0, within=0.001)
    return math.exp(found) / scale if loss(found) < math.log(x.shape[1]) else 0.0


def fit_mixture(
    head: np.ndarray, vote: np.ndarray, truth: np.ndarray
) -> tuple[float, float, float]:
    """Powers of head and vote in their product, and the share that the vote keeps beside it,
    of least log loss.

    Newton's method on the powers' logarithms and the share's logit, with the outer product of
    the gradients for the curvature and weak normal priors, which decide where there are few
    queries.

    Shapes:  head and vote (Q, C) logarithms, truth (Q,) int
    Source:  Berndt, Hall, Hall and Hausman 1974
    """
    rows = np.arange(len(truth))
    scale = max(float(head.std(axis=1).mean()), LEAST_SCALE)
    parts = (head / scale, vote)
    alone = np.exp(vote[rows, truth])
    start, stiff = np.array([0.0, -0.7, 0.0]), 1.0 / np.array([1.0, 1.0, 1.5]) ** 2 / len(rows)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        power, share = np.exp(at[:2]), 1.0 / (1.0 + math.exp(-at[2]))
        product = _softmax(power[0] * parts[0] + power[1] * parts[1])
        by_product = share * product[rows, truth]
        told = np.maximum(by_product + (1.0 - share) * alone, 1e-300)
        owed = by_product / told  # how much of the answer the product is to be thanked for
        slopes = [
            owed * power[i] * (np.einsum("qc,qc->q", product, part) - part[rows, truth])
            for i, part in enumerate(parts)
        ]
        value = float(-np.log(told).mean() + 0.5 * (stiff * (at - start) ** 2).sum())
        return value, np.stack([*slopes, share - owed], axis=1)

    at = start
    value, slopes = loss(at)
    for _ in range(MAX_STEPS):
        curve = slopes.T @ slopes / len(rows) + np.diag(stiff)
        step = np.linalg.solve(curve, slopes.mean(axis=0) + stiff * (at - start))
        step *= min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
        for _halving in range(12):
            new_value, new_slopes = loss(at - step)
            if new_value < value:
                break
            step = step / 2
        else:
            break
        done = value - new_value < 1e-6
        at, value, slopes = at - step, new_value, new_slopes
        if done:
            break
    powers = np.exp(at[:2])
    return float(powers[0] / scale), float(powers[1]), 1.0 / (1.0 + math.exp(at[2]))


def _softmax(log: np.ndarray) -> np.ndarray:
    likely = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True))


STEADY = 0.3
"""Standard deviation that the logarithm of a sharpness is expected to have: what a few dozen
queries say moves it little."""


def fit_power_of_best(told: np.ndarray, truth: np.ndarray) -> float:
    """The power of a distribution with which its likeliest label is as often right as it says:
    least log loss of "the likeliest label is right", by golden section between 1/e and e.

    Shapes:  told (Q, C) probabilities, truth (Q,) int
    """
    log = np.log(np.maximum(told, 1e-300))
    best = log.argmax(axis=1)
    right = best == truth
    ahead = log - log[np.arange(len(log)), best][:, None]  # (Q, C), all at most 0

    def loss(of: float) -> float:
        told = 1.0 / np.exp(math.exp(of) * ahead).sum(axis=1)
        told = np.clip(told, 1e-9, 1.0 - 1e-9)
        return float(-np.log(np.where(right, told, 1.0 - told)).sum() + 0.5 * (of / STEADY) ** 2)

    return math.exp(_lowest(loss, -1.0, 1.0, within=0.01))


def _lowest(loss: Callable[[float], float], low: float, high: float, within: float) -> float:
    """Where a function with one minimum is lowest, by golden section.

    Each step keeps one of two points inside: a loss is a pass over all labels.
    """
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    points = [high - golden * (high - low), low + golden * (high - low)]
    losses = [loss(point) for point in points]
    while high - low > within:
        if losses[0] < losses[1]:
            high = points[1]
            points = [high - golden * (high - low), points[0]]
            losses = [loss(points[0]), losses[0]]
        else:
            low = points[0]
            points = [points[1], low + golden * (high - low)]
            losses = [losses[1], loss(points[1])]
    return (low + high) / 2.0
