"""By nobody known, or of another kind than the catalog: two single scores beside the labels.

*Unknown author*: how much likelier the likeliest author is than one never seen, calibrated by two
numbers. *Out of distribution*: how far the encoder's score, or the similarity to the nearest
picture, lies outside of what is usual in the catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

NEAREST = 5
UNFITTED = (6.0, -10.0)
"""Offset and slope where nothing could be fitted: even odds where the nearest pictures have a mean
similarity of 0.6."""
NOTHING_KNOWN = (0.0, 0.0)
"""The same where there are no nearest pictures either."""
LEAST_PICTURES = 64
"""From fewer pictures no range is taken."""
TAIL_PERCENT = 2.5
TAIL_SPREADS = 0.6
"""A range ends this many standard deviations beyond the TAIL_PERCENT percentile: with normal tails
that is half a percent of the pictures, estimated twice as surely as that percentile itself."""
LEAST_SPREAD = 0.12
"""Of the logarithm of the encoder's score: cropped, grayscale, turned or compressed copies of a
picture differ by as much."""
LEAST_NEAREST_SPREAD = 0.08
"""Of the nearest similarity. In a catalog of pictures all alike its range begins three of these
below the mean: a small JPEG file among PNG files is farther off by nearly as much."""
NEAREST_PERCENT = 0.5
LEAST_RATIO = -1000.0
"""In nats: where no author is left the ratio has no bound."""


def familiarity(similarity: np.ndarray, ratio: np.ndarray | None) -> np.ndarray:
    """How much a query is like the known authors: the log-likelihood ratio of the likeliest one
    to one never seen; without a head, the mean similarity of the nearest pictures.

    Shapes:  similarity (Q, K) nearest first, ratio (Q,) -> (Q,)
    """
    if ratio is not None:
        return np.asarray(np.maximum(ratio, LEAST_RATIO), np.float64)
    if not similarity.shape[1]:
        return np.zeros(len(similarity))
    return np.asarray(similarity[:, :NEAREST].mean(axis=1), np.float64)


def unknown_probability(
    familiar: np.ndarray, line: tuple[float, float], prior: float
) -> np.ndarray:
    """How probably nobody in the catalog drew the queries; offset and slope are fitted for a
    prior of 0.5. (Q,) -> (Q,)"""
    prior = min(max(prior, 1e-6), 1.0 - 1e-6)
    odds = line[0] + line[1] * familiar + np.log(prior / (1.0 - prior))
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0))))


class Usual(NamedTuple):
    """What is usual in a catalog: the ends of a range and a standard deviation.

    Units:   of the encoder's score in logarithms, of the nearest similarity as it is
    """

    low: float
    high: float
    spread: float

    @classmethod
    def of_scores(cls, ood: np.ndarray) -> Self | None:
        """The range of the encoder's score in a catalog; None where too few are known; (N,)"""
        known = ood[np.isfinite(ood) & (ood > 0)]
        if len(known) < LEAST_PICTURES:
            return None
        logarithms = np.log(known.astype(np.float64))
        spread = max(float(logarithms.std()), LEAST_SPREAD)
        low, high = np.percentile(logarithms, [TAIL_PERCENT, 100.0 - TAIL_PERCENT]).tolist()
        return cls(low - TAIL_SPREADS * spread, high + TAIL_SPREADS * spread, spread)

    @classmethod
    def of_nearest(cls, similarity: np.ndarray) -> Self | None:
        """The range of the nearest similarity of pictures whose own title is hidden; None where
        too few are known; (Q, K)"""
        if len(similarity) < LEAST_PICTURES or not similarity.shape[1]:
            return None
        nearest = similarity[:, 0].astype(np.float64)
        spread = max(float(nearest.std()), LEAST_NEAREST_SPREAD)
        low = float(np.percentile(nearest, NEAREST_PERCENT))
        return cls(min(low, float(nearest.mean()) - 3.0 * LEAST_NEAREST_SPREAD), 2.0, spread)

    @classmethod
    def read(cls, raw: Sequence[float] | None) -> Self | None:
        """As a file holds it. Errors:  ValueError when it is no range"""
        if raw is None:
            return None
        found = cls(*(float(number) for number in raw)) if len(raw) == 3 else None
        if found is None or not (found.low < found.high < np.inf and 0 < found.spread < np.inf):
            raise ValueError(f"a range of {list(raw)}")
        return found

    def depth(self, values: np.ndarray) -> np.ndarray:
        """By how many standard deviations values lie outside: 0 within, and where one is not
        known (NaN). (Q,) -> (Q,)"""
        outside = np.maximum(self.low - values, values - self.high) / self.spread
        return np.asarray(np.maximum(np.nan_to_num(outside, nan=0.0), 0.0))


def out_of_distribution(
    ood: np.ndarray, similarity: np.ndarray, score: Usual | None, nearest: Usual | None
) -> np.ndarray:
    """How surely queries are of another kind than the catalog's pictures, 0 to 1: exactly 0
    within both ranges, 0.76 one standard deviation outside of one.

    Shapes:  ood (Q,) as the encoder says it, NaN where unknown; similarity (Q, K) -> (Q,)
    """
    depth = np.zeros(len(ood))
    if score is not None:
        depth = score.depth(np.log(np.where(ood > 0, ood, np.nan)))
    if nearest is not None and similarity.shape[1]:
        depth = np.maximum(depth, nearest.depth(similarity[:, 0]))
    return np.asarray(np.tanh(depth))
