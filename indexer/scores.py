"""Scores of probabilities and detectors, computed with numpy alone."""

from __future__ import annotations

import math

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


MAX_STEPS = 30


def fit_powers(head: np.ndarray, vote: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Powers of two likelihoods whose product has the least log loss; neither is negative.

    The loss is convex in both, so Newton's method with halved steps finds its only minimum.

    Shapes:  head and vote (Q, C) logarithms, truth (Q,) int
    """
    rows = np.arange(len(truth))
    scale = max(float(head.std(axis=1).mean()), 1e-9)
    parts = (head / scale, vote)

    def loss(power: np.ndarray) -> tuple[float, np.ndarray]:
        log = power[0] * parts[0] + power[1] * parts[1]
        log -= log.max(axis=1, keepdims=True)
        log -= np.log(np.exp(log).sum(axis=1, keepdims=True))
        return float(-log[rows, truth].mean()) + 1e-4 * float(power @ power), log

    power = np.array([0.5, 0.8])
    value, log = loss(power)
    for _ in range(MAX_STEPS):
        p = np.exp(log)
        means = [(p * part).sum(axis=1) for part in parts]
        gradient = (
            np.array(
                [
                    float((m - part[rows, truth]).mean())
                    for m, part in zip(means, parts, strict=True)
                ]
            )
            + 2e-4 * power
        )
        hessian = 2e-4 * np.eye(2)
        for i in range(2):
            for j in range(2):
                both = (p * parts[i] * parts[j]).sum(axis=1) - means[i] * means[j]
                hessian[i, j] += float(both.mean())
        step = np.linalg.solve(hessian, gradient)
        for _halving in range(12):
            tried = np.maximum(power - step, 0.0)
            new_value, new_log = loss(tried)
            if new_value < value:
                break
            step = step / 2
        else:
            break
        done = value - new_value < 1e-7
        power, value, log = tried, new_value, new_log
        if done:
            break
    return float(power[0] / scale), float(power[1])


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

    # Two points inside, of which the next step keeps one: a loss is a pass over all labels.
    low, high, golden = -1.0, 1.0, (math.sqrt(5.0) - 1.0) / 2.0
    points = [high - golden * (high - low), low + golden * (high - low)]
    losses = [loss(point) for point in points]
    while high - low > 0.01:
        if losses[0] < losses[1]:
            high = points[1]
            points = [high - golden * (high - low), points[0]]
            losses = [loss(points[0]), losses[0]]
        else:
            low = points[0]
            points = [points[1], low + golden * (high - low)]
            losses = [losses[1], loss(points[1])]
    return math.exp((low + high) / 2.0)
