"""What tells a hand that no picture of the catalog is by: the features of a logistic model.

Its weights are fitted in `indexer/labels/calibration.py` and stored with the generation.
"""

from __future__ import annotations

from collections.abc import Sequence
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
FALLING = (1, 2, 5, 6, 8)
"""Features without a bound below that fall the farther a picture is from all others: similarities,
likelihood and likelihood ratio."""
FLOOR_PERCENT = 0.5
FOREIGN_ODDS = 2.0
"""What each standard deviation below the floor adds to the log-odds of an unknown hand."""
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


def floor_of(features: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How low the FALLING features of a catalog's own pictures go, whether their hand is known or
    not: what FLOOR_PERCENT of them are below, and the standard deviation.

    Shapes:  (Q, F) -> one number each for every FALLING feature among the F
    """
    part = features[:, [column for column in FALLING if column < features.shape[1]]]
    spread = part.std(axis=0)
    return (
        tuple(np.percentile(part, FLOOR_PERCENT, axis=0).tolist()),
        tuple(np.where(spread > 1e-9, spread, 1.0).tolist()),
    )


def depth_below(
    features: np.ndarray, floor: Sequence[float], spread: Sequence[float]
) -> np.ndarray:
    """By how many standard deviations queries lie below the floor, in the feature that is lowest.

    Shapes:  (Q, F) and what `floor_of` said, of which the first are used if F is smaller
             -> (Q,), 0 above it
    """
    columns = [column for column in FALLING if column < features.shape[1]][: len(floor)]
    if not columns:
        return np.zeros(len(features))
    count = len(columns)
    below = (np.asarray(floor[:count]) - features[:, columns]) / np.asarray(spread[:count])
    return np.asarray(np.maximum(below.max(axis=1), 0.0))


def foreign_share(depth: np.ndarray) -> np.ndarray:
    """How surely a picture is of another kind than the catalog's, from `depth_below`.

    Even odds at the floor, as anything above it is the catalog's own; what is beyond even is
    counted, so that nothing above the floor is touched: 0.76 at one standard deviation.

    Shapes:  (Q,) -> (Q,) in 0..1
    """
    return np.asarray(np.tanh(FOREIGN_ODDS / 2.0 * depth))


def unknown_odds(
    features: np.ndarray,
    weights: Sequence[float],
    floor: Sequence[float] = (),
    spread: Sequence[float] = (),
    outside: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Log-odds that nobody in the catalog drew the queries, at equal prior odds.

    A picture of quite another kind than the catalog's lies far below anything that the weights
    were fitted on, and what fits chance there would decide everything: of 62 book drawings that
    were asked of a catalog of clip art, none was called unknown. So the weights are used down to
    the floor only, and what is below it speaks for an unknown hand. So does what is `outside` of
    a range of another kind, by as many standard deviations; the greater of both counts.

    Shapes:  (Q, F), (F,) and what `floor_of` said, (Q,) or one for all -> (Q,)
    """
    if not floor:
        return np.asarray(features @ np.asarray(weights) + FOREIGN_ODDS * outside)
    columns = [column for column in FALLING if column < features.shape[1]][: len(floor)]
    familiar = features.copy()
    familiar[:, columns] = np.maximum(features[:, columns], np.asarray(floor[: len(columns)]))
    depth = np.maximum(depth_below(features, floor, spread), outside)
    return np.asarray(familiar @ np.asarray(weights) + FOREIGN_ODDS * depth)
