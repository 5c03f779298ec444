"""Whose hand, which genre, which era: label probabilities of a query.

The nearest pictures vote (`indexer.labels.knn.vote`), and the catalog's own heads say what the
pictures of a label have in common; both were weighed against each other when the index was
built. How likely it is that none of the known authors drew the query is a question of its own,
and takes its share first. Of a picture of quite another kind than the catalog's nothing can be
told: its genre and its era fall back to how common each is in the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.labels.heads import Head
from indexer.labels.knn import fuse, humbled, sharpened
from indexer.labels.labels import KINDS, Calibration
from indexer.labels.open_set import HeadFeatures
from schemas.records import LabelProbability, Labels

SHOWN = 5


@dataclass(frozen=True)
class Neighbour:
    """What a neighbouring picture says about the query, None where it does not know."""

    author: str | None
    genre: str | None
    era: str | None


@dataclass(frozen=True)
class Distributions:
    """Every label with its probability, by kind and most probable first.

    Each kind sums to 1 or is empty; `unknown_author` is apart from the authors' sum.
    `foreign` is how much of genre and era is the catalog's own proportions (0 for its own kind).
    """

    by_kind: Mapping[str, Mapping[str, float]]
    unknown_author: float
    foreign: float = 0.0


def label_probabilities(
    similarity: np.ndarray,
    neighbours: Sequence[Neighbour],
    sizes: Mapping[str, Mapping[str, int]],
    calibration: Calibration,
    unknown_prior: float,
    heads: Mapping[str, Head] | None = None,
    vector: np.ndarray | None = None,
    deviation: float | None = None,
) -> Labels:
    """The most probable labels; see `distributions`.

    Shapes:  similarity (K,), nearest first, and K neighbours; vector (D,)
    """
    found = distributions(
        similarity, neighbours, sizes, calibration, unknown_prior, heads, vector, deviation
    )
    return Labels(
        authors=_top(found.by_kind["author"], 1.0 - found.unknown_author),
        unknown_author=found.unknown_author,
        genres=_top(found.by_kind["genre"]),
        eras=_top(found.by_kind["era"]),
        foreign=found.foreign,
    )


def distributions(
    similarity: np.ndarray,
    neighbours: Sequence[Neighbour],
    sizes: Mapping[str, Mapping[str, int]],
    calibration: Calibration,
    unknown_prior: float,
    heads: Mapping[str, Head] | None = None,
    vector: np.ndarray | None = None,
    deviation: float | None = None,
) -> Distributions:
    """Label probabilities from the nearest pictures of the whole index and from its heads.

    `sizes` says of each kind how many pictures carry each label. Without heads a kind has only
    the labels that a neighbour carries, and they sum to less than 1.
    Without any author in sight there is nothing to be unknown among: that mass is 0 then.
    `deviation` is that of the picture (`indexer/labels/deviation.py`), where it is known.

    Shapes:  similarity (K,), nearest first, and K neighbours; vector (D,)
    """
    by_kind: dict[str, Mapping[str, float]] = {}
    best_share, asked = 0.0, None
    for kind in KINDS:
        names = [getattr(n, kind) for n in neighbours]
        votes = calibration.vote(
            kind, similarity, [[] if name is None else [name] for name in names], sizes[kind]
        )
        head = (heads or {}).get(kind)
        if kind == "author":
            best_share = next(iter(votes.values()), 0.0)
        if head is None or vector is None or not votes:
            by_kind[kind] = votes
            continue
        scores = head.scores(vector[None])  # (1, C)
        fused = _fused(votes, head, scores, calibration, kind)  # (1, C)
        by_kind[kind] = ranked(head.labels, sharpened(fused, calibration.sharpness[kind])[0])
        if kind == "author":
            asked = HeadFeatures.of(scores, head.stranger(vector[None]), fused)
    unknown = 0.0
    if by_kind["author"]:
        unknown = calibration.unknown_author(
            similarity, best_share, unknown_prior, asked, deviation
        )
    foreign = calibration.foreign(similarity, best_share, asked, deviation)
    for kind in ("genre", "era"):
        by_kind[kind] = _of_a_catalog(by_kind[kind], sizes[kind], foreign)
    return Distributions(by_kind, unknown, foreign)


def _of_a_catalog(
    told: Mapping[str, float], sizes: Mapping[str, int], foreign: float
) -> Mapping[str, float]:
    """What is told of a picture that is `foreign` to the catalog; see `humbled`."""
    if not told or not foreign:
        return told
    labels = sorted({*told, *sizes})
    shares, counts = (np.asarray([of.get(label, 0) for label in labels]) for of in (told, sizes))
    return ranked(labels, humbled(shares[None], counts, np.asarray([foreign]))[0])


def _fused(
    votes: Mapping[str, float], head: Head, scores: np.ndarray, calibration: Calibration, kind: str
) -> np.ndarray:
    """Vote and head as one distribution over all labels of the catalog; (1, C)."""
    tail = calibration.tail[kind]
    shares = np.asarray([[votes.get(label, 0.0) for label in head.labels]]) / (1.0 - tail)
    return fuse(
        shares,
        scores,
        tail=tail,
        head_weight=calibration.head_weight[kind],
        vote_weight=calibration.vote_weight[kind],
        vote_kept=calibration.vote_kept[kind],
    )


def ranked(labels: Sequence[str], told: np.ndarray) -> dict[str, float]:
    """Labels (C,) with their probabilities (C,), most probable first."""
    order = np.argsort(-told, kind="stable")
    return {labels[place]: float(told[place]) for place in order.tolist()}


def _top(shares: Mapping[str, float], mass: float = 1.0) -> tuple[LabelProbability, ...]:
    best = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return tuple(LabelProbability(label, share * mass) for label, share in best)
