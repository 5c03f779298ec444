"""The neighbours' vote, and its log-linear pool with what else tells a label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PARTS = ("vote", "head", "network")
"""What is pooled: the neighbours' vote, a head's log-likelihoods, and the log-probabilities of a
network's own softmax, where there is one."""

FLOOR = 0.1
"""Share of the vote that is spread evenly over all labels: none is impossible for want of votes."""
FAR = -10.0


def vote_shares(
    similarity: np.ndarray, codes: np.ndarray, count: int, temperature: float
) -> np.ndarray:
    """Each label's share of the neighbours' votes, weighted by a softmax over similarities.

    Neighbours without a label do not vote; where nobody does, all labels have equal shares.

    Shapes:  similarity (Q, K), codes (Q, K) int below `count` or -1 -> (Q, count), sums to 1
    """
    queries, voters = codes.shape
    there = codes >= 0
    shares = np.zeros((queries, count))
    if voters:
        scaled = np.where(there, similarity, FAR).astype(np.float64) / temperature
        weight = np.where(there, np.exp(scaled - scaled.max(axis=1, keepdims=True)), 0.0)
        row = np.repeat(np.arange(queries), voters).reshape(queries, voters)
        np.add.at(shares, (row[there], codes[there]), weight[there])
    total = shares.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, shares / np.maximum(total, 1e-300), 1.0 / count))


def log_votes(shares: np.ndarray) -> np.ndarray:
    """Logarithms of the shares after FLOOR; (Q, C) -> (Q, C)"""
    return np.asarray(np.log((1.0 - FLOOR) * shares + FLOOR / shares.shape[1]))


def pool(parts: Sequence[np.ndarray | None], weights: Sequence[float]) -> np.ndarray:
    """Log-linear pool of PARTS, of which some may be missing; a weight is 1 / temperature.

    Shapes:  each (Q, C) of logarithms, -inf for impossible labels -> (Q, C), sums to 1, or to 0
             where all are impossible
    """
    log = sum(
        weight * part
        for part, weight in zip(parts, weights, strict=False)
        if part is not None and weight > 0.0
    )
    log = log + np.zeros(next(part.shape for part in parts if part is not None))
    top = log.max(axis=1, keepdims=True)
    likely = np.exp(log - np.where(np.isfinite(top), top, 0.0))
    return np.asarray(likely / np.maximum(likely.sum(axis=1, keepdims=True), 1e-300))
