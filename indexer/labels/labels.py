"""What was fitted for a generation's answers: votes, the unknown hand, and percentiles.

A query's label probabilities come from its nearest pictures, weighted by a softmax over
their similarities, and from a head (`indexer/labels/heads.py`) that knows what the pictures of a
label have in common; `indexer/labels/knn.py` multiplies both and keeps a part
of the vote. Whether *any* known author drew it is a separate question, answered by a logistic
model of how near the nearest pictures and the likeliest author are (`indexer/labels/open_set.py`).
All were fitted on held-out titles and held-out authors when the generation was built
(`indexer/labels/calibration.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from indexer.labels.deviation import UsualDeviation, outside
from indexer.labels.knn import era_kernel, vote
from indexer.labels.open_set import (
    FALLING,
    FEATURES,
    VOTE_FEATURES,
    HeadFeatures,
    depth_below,
    foreign_share,
    unknown_features,
    unknown_odds,
)
from schemas.errors import NoIndexError
from schemas.records import DECADE

KINDS = ("author", "genre", "era")

QUANTILE_LEVELS = np.concatenate(
    [np.linspace(0.0, 99.0, 100), 100.0 - np.geomspace(0.9, 0.001, 60), [100.0]]
)
"""Percent levels of the stored similarity quantiles: even, then ever finer towards the top,
where all hits lie. Shape (161,)."""


@dataclass(frozen=True)
class Calibration:
    """What was fitted when a generation was built, and on what.

    `background` holds similarities of pairs by different authors at QUANTILE_LEVELS.
    `tempering` is the power of a label's picture count that its votes are divided by, and
    `tail` the probability of a known label that none of the neighbours carries.
    `era_spread` is the width of `era_kernel`, and `era_years` that of the eras themselves: who
    turns years into labels beside this generation takes it from here.
    `head_weight` and `vote_weight` are the powers of the head's likelihood and of the vote in
    their product, and `vote_kept` the share of the answer that stays the vote's whatever the
    head says; a head weight of 0 stands for "the vote alone". `sharpness` is a power of the
    whole (see `sharpened`).
    `unknown_weights` belong to `unknown_features`, in the log-odds that nobody in the catalog
    drew the query, at equal prior odds; `unknown_by_vote` to the first of them, where no head
    is asked. `unknown_floor` and `unknown_spread` are those of `unknown_author.floor_of`; none in
    older generations. `usual_deviation` says how unlike what the model knows the catalog's
    pictures are, None where too few could be looked at.
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
    era_spread: float = 0.0
    unknown_by_vote: tuple[float, ...] = ()
    sharpness: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 1.0))
    vote_kept: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    era_years: int = DECADE
    unknown_floor: tuple[float, ...] = ()
    unknown_spread: tuple[float, ...] = ()
    usual_deviation: UsualDeviation | None = None

    def vote(
        self,
        kind: str,
        similarity: np.ndarray,
        labels: Sequence[Sequence[str]],
        sizes: Mapping[str, int],
    ) -> dict[str, float]:
        """`vote` as it was fitted for this kind; `sizes` names all labels of the catalog."""
        tail = self.tail[kind]
        shares = vote(
            similarity, labels, self.temperature[kind],
            sizes=sizes, tempering=self.tempering[kind], tail=tail,
        )  # fmt: skip
        if kind != "era" or not self.era_spread or not shares:
            return shares
        names = sorted({*sizes, *shares})
        spread = np.asarray([shares.get(name, 0.0) for name in names]) @ era_kernel(
            names, self.era_spread
        )
        ranked = zip(names, spread.tolist(), strict=True)
        return dict(sorted(ranked, key=lambda item: (-item[1], item[0])))

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
        head: HeadFeatures | None = None,
        deviation: float | None = None,
    ) -> float:
        """Probability that nobody in the catalog drew the query.

        `best_share` is what `vote` gives its first author; `prior` is how often nobody did
        before looking; the fitted odds are for 0.5. What lies outside the catalog's usual
        deviation speaks for nobody as what lies below the floor of similarities does.

        Shapes:  similarity_desc (K,), nearest first; head of one query
        """
        if similarity_desc.size == 0:
            return 1.0
        prior = min(max(prior, 1e-6), 1 - 1e-6)
        weights = self.unknown_weights if head is not None else self.unknown_by_vote
        weights = weights or self.unknown_weights
        features = unknown_features(similarity_desc[None, :], np.asarray([best_share]), head)
        odds = unknown_odds(
            features[:, : len(weights)], weights, self.unknown_floor, self.unknown_spread,
            outside(self.usual_deviation, deviation),
        )[0]  # fmt: skip
        odds += np.log(prior / (1.0 - prior))
        return float(1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0))))

    def foreign(
        self,
        similarity_desc: np.ndarray,
        best_share: float,
        head: HeadFeatures | None = None,
        deviation: float | None = None,
    ) -> float:
        """How surely the query is of quite another kind than the catalog's pictures, 0..1.

        Exactly 0 for nearly all pictures that are not; 0 where no floor was fitted.

        Shapes:  as of `unknown_author`
        """
        if similarity_desc.size == 0:
            return 0.0
        features = unknown_features(similarity_desc[None, :], np.asarray([best_share]), head)
        if head is None:
            features = features[:, :VOTE_FEATURES]
        return float(self.foreign_shares(features, np.asarray([deviation], float))[0])

    def foreign_shares(
        self, features: np.ndarray, deviations: np.ndarray | None = None
    ) -> np.ndarray:
        """The same from features of the unknown-author model and from deviations, NaN where they
        are not known; (Q, F), (Q,) -> (Q,)."""
        depth = depth_below(features, self.unknown_floor, self.unknown_spread)
        if deviations is not None and self.usual_deviation is not None:
            depth = np.maximum(depth, self.usual_deviation.depth(deviations))
        return foreign_share(depth)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> Calibration:
        """Errors:  NoIndexError when a field is missing or not a number"""
        try:
            raw: dict[str, Any] = json.loads(text)
            weights = tuple(float(w) for w in raw["unknown_weights"])
            by_vote = tuple(float(w) for w in raw.get("unknown_by_vote", ()))
            if len(weights) not in FEATURES or len(by_vote) not in (0, VOTE_FEATURES):
                raise ValueError(f"{len(weights)} weights of the unknown author")
            floor, spread = (
                tuple(float(value) for value in raw.get(f"unknown_{name}", ()))
                for name in ("floor", "spread")
            )
            if len(floor) != len(spread) or len(floor) not in (0, 2, len(FALLING)):
                raise ValueError(f"{len(floor)} floors of the unknown author")
            if not all(value > 0 for value in spread):
                raise ValueError("a spread of the unknown author is not above 0")
            return Calibration(
                background=tuple(float(v) for v in raw["background"]),
                temperature={kind: float(raw["temperature"][kind]) for kind in KINDS},
                tempering={kind: float(raw["tempering"][kind]) for kind in KINDS},
                tail={kind: float(raw["tail"][kind]) for kind in KINDS},
                unknown_weights=weights,
                neighbours=int(raw["neighbours"]),
                basis=str(raw["basis"]),
                measured={str(k): float(v) for k, v in raw["measured"].items()},
                # Generations of 0.1.0 lack these: their votes answer alone, as before.
                head_weight={k: power_of(raw.get("head_weight", {}).get(k, 0.0)) for k in KINDS},
                vote_weight={k: power_of(raw.get("vote_weight", {}).get(k, 1.0)) for k in KINDS},
                era_spread=float(raw.get("era_spread", 0.0)),
                unknown_by_vote=by_vote,
                sharpness={k: power_of(raw.get("sharpness", {}).get(k, 1.0)) for k in KINDS},
                vote_kept={k: _share_of(raw.get("vote_kept", {}).get(k, 0.0)) for k in KINDS},
                era_years=_years_of(raw.get("era_years", DECADE)),
                unknown_floor=floor,
                unknown_spread=spread,
                usual_deviation=UsualDeviation.read(raw.get("usual_deviation") or ()),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoIndexError(
                f"the index's calibration cannot be read ({error})",
                "Run `toonsearch index build --force`.",
            ) from error


def power_of(value: Any) -> float:
    """A power as a file holds it. Errors:  ValueError when no probability can have it"""
    power = float(value)
    if not 0.0 <= power < np.inf:
        raise ValueError(f"a power of {power}")
    return power


def _share_of(value: Any) -> float:
    if power_of(value) > 1.0:
        raise ValueError(f"a share of {value}")
    return power_of(value)


def _years_of(value: Any) -> int:
    if int(value) != value or value < 1:
        raise ValueError(f"eras of {value} years")
    return int(value)
