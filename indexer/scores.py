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
