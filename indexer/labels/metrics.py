"""Scores of probabilities and detectors, computed with numpy alone."""

from __future__ import annotations

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


def calibration_error_of_chance(confidence: np.ndarray, trials: int = 50) -> float:
    """What `expected_calibration_error` would be on average if every answer were right exactly as
    often as it says: few answers in a bin are never right in quite that share. (Q,) -> float"""
    rng = np.random.default_rng(0)
    drawn = (rng.random(len(confidence)) < confidence for _ in range(trials))
    return float(np.mean([expected_calibration_error(confidence, right) for right in drawn]))


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
