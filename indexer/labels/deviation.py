"""How unlike the pictures that a model has learnt from a picture is, and what a catalog has of it.

Unit vectors say in which direction a picture differs from what the model knows, and not how much:
clip art lies among book drawings then, nearer to most of them than another hand's drawings are.
The root mean square of a picture's standardised statistics says how much. It is no matter of
hands, so a catalog has a usual range of it, and what lies beyond that is of another kind than the
catalog's pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

LEAST = 64
"""From fewer pictures than this no range is told."""
TAIL_PERCENT = 2.5
TAIL_SPREADS = 0.6
"""A range ends this many standard deviations beyond what TAIL_PERCENT of the pictures are beyond.
With normal tails that is half a percent of them, and 512 pictures tell it twice as surely as they
tell that percentile itself (docs/model-card.md)."""
LEAST_SPREAD = 0.12
"""However alike the pictures of a catalog are, copies of them that are cropped, grey, turned or
compressed differ by as much: of drawings by one hand alone the deviation is 0.13."""


def deviations_of(standardized: np.ndarray) -> np.ndarray:
    """Root mean square of statistics in standard deviations of the model's own pictures, of which
    it is 1 on average.

    Shapes:  (B, S) -> (B,) float64
    """
    return np.asarray(np.sqrt(np.mean(np.square(standardized, dtype=np.float64), axis=1)))


def common_deviation(deviations: np.ndarray) -> float | None:
    """That of several pictures together, None where a model does not tell it; (B,)"""
    if not len(deviations) or not (np.isfinite(deviations) & (deviations > 0)).all():
        return None
    return float(np.exp(np.log(deviations).mean()))


def outside(usual: UsualDeviation | None, deviation: float | None) -> float:
    """By how many standard deviations a picture lies outside of what is usual; 0 within, and
    where either is not known."""
    if usual is None or deviation is None:
        return 0.0
    return float(usual.depth(np.asarray([deviation]))[0])


class UsualDeviation(NamedTuple):
    """What is usual in a catalog: ends of a range and standard deviation, of logarithms."""

    low: float
    high: float
    spread: float

    @classmethod
    def of(cls, deviations: np.ndarray) -> Self | None:
        """None where there are too few pictures of which it is known; (N,) -> a range"""
        known = deviations[np.isfinite(deviations) & (deviations > 0)]
        if len(known) < LEAST:
            return None
        logarithms = np.log(known)
        spread = max(float(logarithms.std()), LEAST_SPREAD)
        low, high = np.percentile(logarithms, [TAIL_PERCENT, 100.0 - TAIL_PERCENT]).tolist()
        return cls(low - TAIL_SPREADS * spread, high + TAIL_SPREADS * spread, spread)

    @classmethod
    def read(cls, numbers: Sequence[float]) -> Self | None:
        """As a file holds it; none at all in older ones.

        Errors:  ValueError when they are no range
        """
        if not numbers:
            return None
        found = cls(*(float(number) for number in numbers)) if len(numbers) == 3 else None
        if found is None or not np.isfinite(found).all():
            raise ValueError(f"a usual deviation of {list(numbers)}")
        if not (found.low < found.high and found.spread > 0):
            raise ValueError(f"a usual deviation from {found.low} to {found.high}")
        return found

    def depth(self, deviations: np.ndarray) -> np.ndarray:
        """By how many standard deviations pictures lie outside; 0 within, and for a picture of
        which it is not known (NaN). (B,) -> (B,)"""
        logarithms = np.log(np.where(deviations > 0, deviations, np.nan))
        outside = np.maximum(self.low - logarithms, logarithms - self.high) / self.spread
        return np.asarray(np.maximum(np.nan_to_num(outside, nan=0.0), 0.0))
