"""What tells a hand that no picture of the catalog is by: the features of a logistic model.

Its weights are fitted in `indexer/calibration.py` and stored with the generation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeadFeatures:
    """What the author head says of queries. Shapes: all (Q,)

    `greatest` is the likeliest author's score, `lead` by how much it is ahead of the next one,
    `stranger` the score of a hand never seen; `best` is the greatest fused probability.
    """

    greatest: np.ndarray
    lead: np.ndarray
    stranger: np.ndarray
    best: np.ndarray

    @staticmethod
    def of(scores: np.ndarray, stranger: np.ndarray, fused: np.ndarray) -> HeadFeatures:
        """Shapes:  scores and fused (Q, C), stranger (Q,)"""
        ordered = np.sort(scores, axis=1).astype(np.float64)
        lead = ordered[:, -1] - ordered[:, -2] if ordered.shape[1] > 1 else ordered[:, -1] * 0.0
        return HeadFeatures(ordered[:, -1], np.minimum(lead, MAX_LEAD), stranger, fused.max(axis=1))


MAX_LEAD = 50.0
"""In nats: a label that no picture carries is infinitely far behind."""
VOTE_FEATURES = 4
FEATURES = (VOTE_FEATURES, 7, 9)
"""How many features a generation's unknown-author model may have: those without a head, those
of 0.1.0, all."""


def unknown_features(
    similarity_desc: np.ndarray, best_share: np.ndarray, head: HeadFeatures | None = None
) -> np.ndarray:
    """Features of the unknown-author model: one, nearest, mean of the nearest five, share of
    the author with most votes; then, zeros without a head: fused probability, likelihood ratio,
    likelihood and lead, and the mean of the nearest fifty.

    None may depend on how many labels there are (an entropy does): a hand that is hidden for a
    trial leaves one label less, and would be recognised by that alone.

    Shapes:  (Q, K) nearest first, (Q,) -> (Q, 9)
    """
    five = similarity_desc[:, :5].mean(axis=1)
    columns = [np.ones_like(five), similarity_desc[:, 0], five, best_share]
    if head is None:
        columns += [np.zeros_like(five)] * (FEATURES[-1] - VOTE_FEATURES)
    else:
        fifty = similarity_desc[:, :50].mean(axis=1)
        columns += [
            head.best, head.greatest - head.stranger, head.greatest, head.lead, fifty,
        ]  # fmt: skip
    return np.stack(columns, axis=1)
