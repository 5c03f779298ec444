"""Whose hand, which genre, which era: label probabilities of a query.

The nearest pictures vote (`indexer.labels.vote`), with temperatures that were fitted when
the index was built. How likely it is that none of the known authors drew the query is a
question of its own, and takes its share first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.labels import Calibration, vote
from schemas.records import LabelProbability, Labels

SHOWN = 5


@dataclass(frozen=True)
class Neighbour:
    """What a neighbouring picture says about the query, None where it does not know."""

    author: str | None
    genre: str | None
    era: str | None


def label_probabilities(
    similarity: np.ndarray,
    neighbours: Sequence[Neighbour],
    sizes: Mapping[str, Mapping[str, int]],
    calibration: Calibration,
    unknown_prior: float,
) -> Labels:
    """Label probabilities from the nearest pictures of the whole index.

    `sizes` says of each kind how many pictures carry each label.
    Without any author in sight there is nothing to be unknown among: that mass is 0 then.

    Shapes:  similarity (K,), nearest first, and K neighbours
    """

    def votes(kind: str) -> dict[str, float]:
        names = [getattr(n, kind) for n in neighbours]
        labels = [[] if name is None else [name] for name in names]
        return vote(
            similarity,
            labels,
            calibration.temperature[kind],
            sizes=sizes[kind],
            tempering=calibration.tempering[kind],
            tail=calibration.tail[kind],
        )

    authors = votes("author")
    best = next(iter(authors.values()), 0.0)
    unknown = calibration.unknown_author(similarity, best, unknown_prior) if authors else 0.0
    return Labels(
        authors=_top(authors, 1.0 - unknown),
        unknown_author=unknown,
        genres=_top(votes("genre")),
        eras=_top(votes("era")),
    )


def _top(shares: Mapping[str, float], mass: float = 1.0) -> tuple[LabelProbability, ...]:
    best = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return tuple(LabelProbability(label, share * mass) for label, share in best)
