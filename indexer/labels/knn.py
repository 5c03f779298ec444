"""From neighbours and head scores to probabilities: votes, their fusion with a head, powers.

A query's nearest pictures vote, weighted by a softmax over their similarities; `fuse` multiplies
that with what a head (`indexer/labels/heads.py`) says. How strongly each counts is fitted in
`indexer/labels/votes.py` and kept in `indexer/labels/labels.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.records import era_start


def vote_weights(similarity: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax over neighbours.

    Shapes:  (..., K) -> (..., K), sums to 1 along the last axis
    """
    scaled = (similarity - similarity.max(axis=-1, keepdims=True)) / temperature
    weights = np.exp(scaled)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def vote(
    similarity: np.ndarray,
    labels: Sequence[Sequence[str]],
    temperature: float,
    *,
    sizes: Mapping[str, int] | None = None,
    tempering: float = 0.0,
    tail: float = 0.0,
) -> dict[str, float]:
    """Label probabilities from neighbours, most probable first.

    A neighbour with several labels splits its weight among them; those without a label
    do not take part. Votes for a label are divided by its number of pictures (`sizes`) to
    the power of `tempering`: 0 trusts the catalog's proportions, 1 ignores them. Sums to
    1 - `tail`, or is empty when no neighbour carries a label.

    Shapes:  similarity (K,), K lists of labels
    """
    kept = [row for row, names in enumerate(labels) if names]
    if not kept:
        return {}
    weights = vote_weights(np.asarray(similarity, dtype=np.float64)[kept], temperature)
    shares: dict[str, float] = {}
    for weight, row in zip(weights, kept, strict=True):
        for name in labels[row]:
            shares[name] = shares.get(name, 0.0) + float(weight) / len(labels[row])
    if sizes is not None and tempering:
        shares = {n: share / max(1, sizes.get(n, 1)) ** tempering for n, share in shares.items()}
    total = sum(shares.values())
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return {name: share / total * (1.0 - tail) for name, share in ranked}


def era_kernel(labels: Sequence[str], spread: float) -> np.ndarray:
    """What a vote for one era says of all: it falls by e with each `spread` decades.

    Who drew like this in the 1890s drew much like it in the 1900s.

    Shapes:  C labels as `schemas.records.era_of` gives them -> (C, C), rows summing to 1
    Units:   spread in decades from start to start, however wide the eras are
    """
    if not spread:
        return np.eye(len(labels))
    start = np.asarray([era_start(label) / 10.0 for label in labels])
    kernel = np.exp(-np.abs(start[:, None] - start) / spread)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))


def fuse(
    shares: np.ndarray,
    scores: np.ndarray | None,
    *,
    tail: float,
    head_weight: float,
    vote_weight: float,
    vote_kept: float = 0.0,
) -> np.ndarray:
    """Probabilities of all labels from the vote and the head: a product of powers, of which
    the vote alone keeps a share: a head that is surely wrong cannot take that away.

    The vote first gives `tail` to all labels evenly, so that no label is impossible.

    Shapes:  shares (Q, C) summing to 1, scores (Q, C) -> (Q, C) summing to 1
    """
    even = shares * (1.0 - tail) + tail / shares.shape[1]
    if scores is None or head_weight == 0.0:
        return np.asarray(even)
    log = vote_weight * np.log(even) + head_weight * scores
    likely = np.exp(log - log.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    return np.asarray(vote_kept * even + (1.0 - vote_kept) * likely)


def sharpened(fused: np.ndarray, sharpness: float) -> np.ndarray:
    """Probabilities to a power, with which the likeliest label is right as often as it says.

    Shapes:  (Q, C) summing to 1 -> (Q, C) summing to 1
    """
    if sharpness == 1.0:
        return fused
    power = (fused / fused.max(axis=1, keepdims=True)) ** sharpness
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def humbled(told: np.ndarray, sizes: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    """What is told of pictures that are `foreign` (0..1) to the catalog: so much of it becomes the
    catalog's own proportions, `sizes` being how many pictures carry each label.

    The nearest pictures of such a one are merely the least far: an engraving of 1880 that is
    asked of clip art was "computer 54 %".

    Shapes:  told (Q, C), sizes (C,), foreign (Q,) -> (Q, C) with the sums of `told`
    """
    total = sizes.sum()
    if not total:
        return told
    own = told.sum(axis=1, keepdims=True) * sizes / total
    return np.asarray(told + foreign[:, None] * (own - told))
