"""From neighbours to probabilities: votes, the unknown hand, and percentiles.

A query's label probabilities come from its nearest pictures, weighted by a softmax over
their similarities, and from a head (`indexer/heads.py`) that knows what the pictures of a
label have in common; `fuse` multiplies both. Whether *any* known author drew it is a separate
question, answered by a logistic model of how near the nearest pictures and the likeliest
author are. All were fitted on held-out titles and held-out authors when the generation was
built (`indexer/calibration.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from schemas.errors import NoIndexError

KINDS = ("author", "genre", "era")

QUANTILE_LEVELS = np.concatenate(
    [np.linspace(0.0, 99.0, 100), 100.0 - np.geomspace(0.9, 0.001, 60), [100.0]]
)
"""Percent levels of the stored similarity quantiles: even, then ever finer towards the top,
where all hits lie. Shape (161,)."""


def era_of(year: int | None) -> str | None:
    """The decade as a label: 2005 -> "2000s"."""
    return None if year is None else f"{year // 10 * 10}s"


@dataclass(frozen=True)
class Calibration:
    """What was fitted when a generation was built, and on what.

    `background` holds similarities of pairs by different authors at QUANTILE_LEVELS.
    `tempering` is the power of a label's picture count that its votes are divided by, and
    `tail` the probability of a known label that none of the neighbours carries.
    `head_weight` and `vote_weight` are the powers of the head's likelihood and of the vote in
    their product; a head weight of 0 stands for "the vote alone".
    `unknown_weights` belong to `unknown_features`, in the log-odds that nobody in the catalog
    drew the query, at equal prior odds.
    `basis` says what stood in for a new picture: other_titles (the query's own title was
    left out), other_pictures (only its own copies were), or defaults (too few pictures).
    """

    background: tuple[float, ...]
    temperature: dict[str, float]
    tempering: dict[str, float]
    tail: dict[str, float]
    unknown_weights: tuple[float, ...]
    neighbours: int
    basis: str
    measured: dict[str, float] = field(default_factory=dict)
    head_weight: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    vote_weight: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 1.0))

    def percentile(self, similarity: np.ndarray) -> np.ndarray:
        """Share of background pairs that are less similar.

        Shapes:  (...) -> (...)
        Units:   similarity as cosine; percent 0..100
        """
        return np.asarray(np.interp(similarity, np.asarray(self.background), QUANTILE_LEVELS))

    def unknown_author(
        self,
        similarity_desc: np.ndarray,
        best_share: float,
        prior: float,
        likelihood: tuple[float, float] | None = None,
        best: float = 0.0,
    ) -> float:
        """Probability that nobody in the catalog drew the query.

        `best_share` is what `vote` gives its first author; `likelihood` holds the head's
        greatest score and that of a stranger, and `best` the greatest fused probability;
        `prior` is how often nobody did before looking; the fitted odds are for 0.5.

        Shapes:  similarity_desc (K,), nearest first
        """
        if similarity_desc.size == 0:
            return 1.0
        prior = min(max(prior, 1e-6), 1 - 1e-6)
        head = None
        if likelihood is not None:
            greatest, stranger = (np.asarray([value]) for value in likelihood)
            head = HeadFeatures(greatest, stranger, np.asarray([best]))
        features = unknown_features(similarity_desc[None, :], np.asarray([best_share]), head)
        odds = np.dot(self.unknown_weights, features[0, : len(self.unknown_weights)])
        odds += np.log(prior / (1.0 - prior))
        return float(1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0))))

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> Calibration:
        """Errors:  NoIndexError when a field is missing or not a number"""
        try:
            raw: dict[str, Any] = json.loads(text)
            weights = tuple(float(w) for w in raw["unknown_weights"])
            if len(weights) not in (VOTE_FEATURES, ALL_FEATURES):
                raise ValueError(f"{len(weights)} weights of the unknown author")
            return Calibration(
                background=tuple(float(v) for v in raw["background"]),
                temperature={kind: float(raw["temperature"][kind]) for kind in KINDS},
                tempering={kind: float(raw["tempering"][kind]) for kind in KINDS},
                tail={kind: float(raw["tail"][kind]) for kind in KINDS},
                unknown_weights=weights,
                neighbours=int(raw["neighbours"]),
                basis=str(raw["basis"]),
                measured={str(k): float(v) for k, v in raw["measured"].items()},
                # Generations of 0.1.0 have neither: their votes answer alone, as before.
                head_weight={k: float(raw.get("head_weight", {}).get(k, 0.0)) for k in KINDS},
                vote_weight={k: float(raw.get("vote_weight", {}).get(k, 1.0)) for k in KINDS},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoIndexError(
                f"the index's calibration cannot be read ({error})",
                "Run `toonsearch index build --force`.",
            ) from error


@dataclass(frozen=True)
class HeadFeatures:
    """What the author head says of queries. Shapes: all (Q,)

    `greatest` is the likeliest author's score, `stranger` that of a hand never seen, `best`
    the greatest fused probability.
    """

    greatest: np.ndarray
    stranger: np.ndarray
    best: np.ndarray


VOTE_FEATURES, ALL_FEATURES = 4, 7


def unknown_features(
    similarity_desc: np.ndarray, best_share: np.ndarray, head: HeadFeatures | None = None
) -> np.ndarray:
    """Features of the unknown-author model: one, nearest, mean of the nearest five, share of
    the author with most votes; then of the head, zeros without one: fused probability,
    likelihood ratio and likelihood.

    Shapes:  (Q, K) nearest first, (Q,) -> (Q, 7)
    """
    five = similarity_desc[:, :5].mean(axis=1)
    columns = [np.ones_like(five), similarity_desc[:, 0], five, best_share]
    if head is None:
        columns += [np.zeros_like(five)] * (ALL_FEATURES - VOTE_FEATURES)
    else:
        columns += [head.best, head.greatest - head.stranger, head.greatest]
    return np.stack(columns, axis=1)


def fuse(
    shares: np.ndarray,
    scores: np.ndarray | None,
    *,
    tail: float,
    head_weight: float,
    vote_weight: float,
) -> np.ndarray:
    """Probabilities of all labels from the vote and the head: a product of powers.

    The vote first gives `tail` to all labels evenly, so that no label is impossible.

    Shapes:  shares (Q, C) summing to 1, scores (Q, C) -> (Q, C) summing to 1
    """
    even = shares * (1.0 - tail) + tail / shares.shape[1]
    if scores is None or head_weight == 0.0:
        return np.asarray(even)
    log = vote_weight * np.log(even) + head_weight * scores
    likely = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True))


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
