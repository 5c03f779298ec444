"""Fits a generation's calibration on its own pictures, with the answer hidden.

For each picture of a sample the search is repeated as if the picture were new
(`indexer/labels/holdout.py`). The settings of the votes, and the powers of vote and head in their
product, minimise the log loss of new works by known hands (`indexer/labels/votes.py`); the
unknown-author model separates those, and new pictures of known works, from unknown hands. The
figures in `measured` are cross-fitted: each fifth of the authors is judged by parameters from
the others; those that are kept come from all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np

from indexer.labels.holdout import (
    MIN_HANDS,
    Case,
    HeldOut,
    Labelled,
    author_folds,
    background,
    folds_within,
    has_other,
    held_out_scores,
    hidden_neighbours,
    joined,
    joined_scores,
    pick,
)
from indexer.labels.labels import KINDS, Calibration
from indexer.labels.metrics import auroc, false_positive_rate, logistic, missed_rate
from indexer.labels.open_set import (
    VOTE_FEATURES,
    HeadFeatures,
    floor_of,
    unknown_features,
    unknown_odds,
)
from indexer.labels.votes import (
    DEFAULT_TAIL,
    DEFAULT_TEMPERATURE,
    DEFAULT_TEMPERING,
    MIN_EXAMPLES,
    Votes,
    fit_votes,
)

DEFAULT_UNKNOWN = (6.0, -6.0, -4.0, 0.0)  # even odds where the nearest ones are about 0.6
RECIPE = 6
"""Counts up when the same pictures are fitted otherwise: a generation of another recipe is
calibrated anew, however little has changed in its catalog."""
NEIGHBOURS = 200  # voters; the farther ones add nothing at any fitted temperature


def fit(
    data: Labelled,
    *,
    sample: int,
    seed: int,
    neighbours: int = NEIGHBOURS,
    among: np.ndarray | None = None,
    others: Sequence[tuple[Labelled, np.ndarray]] = (),
    kinds: Sequence[str] = KINDS,
) -> Calibration:
    """Fit percentiles, votes, heads' powers and the unknown-author model.

    `among` says which pictures may serve as queries: those that the space was not learnt from,
    where it was learnt from some. `others` are the same pictures in other spaces, learnt from
    other parts, each with the pictures that may ask in it. Only `kinds` are fitted, the others
    get what a tiny catalog does; without the author so does the unknown-author model. Where hardly
    any author is known, each title stands for a hand of its own: genres and eras are fitted on
    works that are hidden, and the author is not.

    Shapes:  see Labelled; at most `sample` pictures of a space serve as queries; among (N,) bool
    """
    nameless = len(np.unique(data.author[data.author >= 0])) < MIN_HANDS
    if nameless:
        data = replace(data, author=data.title)
        others = [(replace(space, author=space.title), some) for space, some in others]
        kinds = [kind for kind in kinds if kind != "author"]
    rng = np.random.default_rng(seed)
    quantiles = background(data, rng)
    neighbours = max(1, min(neighbours, len(data.vectors) - 1))
    asked = [(data, pick(data, sample, rng, among))]
    asked += [(space, pick(space, sample, rng, some)) for space, some in others]
    queries = np.concatenate([rows for _, rows in asked])
    if len(queries) < MIN_EXAMPLES:
        return Calibration(
            quantiles, dict.fromkeys(KINDS, DEFAULT_TEMPERATURE),
            dict.fromkeys(KINDS, DEFAULT_TEMPERING), dict.fromkeys(KINDS, DEFAULT_TAIL),
            DEFAULT_UNKNOWN, neighbours, "defaults", era_years=data.era_years,
        )  # fmt: skip

    @cache  # the search is what costs most
    def hiding(what: str) -> Case:
        group = data.codes(what)
        return joined([hidden_neighbours(d, rows, group, neighbours) for d, rows in asked])

    other_title = has_other(data.author, data.title)[queries]
    other_picture = has_other(data.author, data.picture)[queries]
    by_title = nameless or bool(other_title.mean() >= 0.2)
    has_more = other_title if by_title else other_picture
    own_group = "title" if by_title else "picture"
    folds = folds_within(data.author, data.codes(own_group))

    fitted = {kind: Votes(data.codes(kind)) for kind in KINDS}
    measured: dict[str, float] = {}
    held: dict[str, HeldOut | None] = {}
    for kind in kinds:
        labels = data.codes(kind)
        usable = has_more if kind == "author" else labels[queries] >= 0
        held[kind] = joined_scores(
            [held_out_scores(d, kind, rows, folds, rng) for d, rows in asked if len(rows)]
        )
        eras = data.labels(kind) if kind == "era" and kind in data.names else ()
        fitted[kind], figures = fit_votes(
            hiding(own_group), labels, usable, data.author[queries], held[kind], eras
        )
        measured |= {f"{kind}_{name}": value for name, value in figures.items()}
    unknown_hand = _UnknownHand()
    if "author" in kinds:
        hands, own = held["author"], data.author[queries]
        stranger = seen = None
        if hands is not None:
            # Both lack one label, or the count of labels would tell a hidden hand.
            stranger, seen = hands.without(own), hands.without(_another(own, hands, rng))
        cases = {
            "new_picture": Asked(hiding("picture"), seen).part(other_picture),
            "new_title": Asked(hiding("title"), seen).part(other_title),
        }
        unknown = Asked(hiding("author"), stranger)
        unknown_hand, figures = _fit_unknown(cases, unknown, fitted["author"])
        measured |= figures
    if not unknown_hand.floor:  # too few hands, or none: likeness alone tells another kind
        case = hiding(own_group)
        alone = unknown_features(case.similarity, np.zeros(len(case.query)))[:, :VOTE_FEATURES]
        floor, spread = floor_of(alone)
        unknown_hand = unknown_hand._replace(floor=floor, spread=spread)
    return Calibration(
        quantiles,
        {kind: votes.temperature for kind, votes in fitted.items()},
        {kind: votes.tempering for kind, votes in fitted.items()},
        {kind: votes.tail for kind, votes in fitted.items()},
        unknown_hand.weights, neighbours,
        f"other_{own_group}s", measured,
        {kind: votes.head_weight for kind, votes in fitted.items()},
        {kind: votes.vote_weight for kind, votes in fitted.items()},
        fitted["era"].spread, unknown_hand.by_vote,
        {kind: votes.sharpness for kind, votes in fitted.items()},
        {kind: votes.vote_kept for kind, votes in fitted.items()}, data.era_years,
        unknown_hand.floor, unknown_hand.spread,
    )  # fmt: skip


def _another(own: np.ndarray, held: HeldOut, rng: np.random.Generator) -> np.ndarray:
    """A label at random that is not a query's own; (Q,) -> (Q,)."""
    count = held.scores.shape[1]
    return np.asarray((own + rng.integers(1, count, len(own))) % count)


@dataclass(frozen=True)
class Asked:
    """Queries under one way of hiding, with what heads say that were fitted the same way."""

    case: Case
    held: HeldOut | None

    def part(self, chosen: np.ndarray) -> Asked:
        held = None if self.held is None else self.held.part(chosen)
        return Asked(self.case.part(chosen), held)

    def features(self, votes: Votes) -> np.ndarray:
        """Shapes:  -> (Q, 9), or (Q, 4) without a head"""
        share = votes.best_share(self.case)
        if self.held is None:
            return unknown_features(self.case.similarity, share)[:, :VOTE_FEATURES]
        # Not sharpened: how flat that makes it would tell how many labels there are.
        fused = votes.fused(self.case, self.held)
        head = HeadFeatures.of(self.held.scores, self.held.stranger, fused)
        return unknown_features(self.case.similarity, share, head)


class _UnknownHand(NamedTuple):
    """The unknown-author model, with the head and without it, and down to where it is used."""

    weights: tuple[float, ...] = DEFAULT_UNKNOWN
    by_vote: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()


def _fit_unknown(
    known: dict[str, Asked], unknown: Asked, votes: Votes
) -> tuple[_UnknownHand, dict[str, float]]:
    """The unknown-author model, each known case weighing the same, and how well it separates."""
    known = {name: asked for name, asked in known.items() if len(asked.case.query) >= MIN_EXAMPLES}
    if not known:
        return _UnknownHand(), {}
    parts = {"unknown": unknown, **known}
    x = np.concatenate([asked.features(votes) for asked in parts.values()])
    name = np.concatenate([[name] * len(a.case.query) for name, a in parts.items()])
    owner = np.concatenate([votes.labels[asked.case.query] for asked in parts.values()])
    target = (name == "unknown").astype(float)
    weight = np.where(target == 1, 1.0 / max(1, len(unknown.case.query)), 0.0)
    for case_name, asked in known.items():
        weight[name == case_name] = 1.0 / len(known) / len(asked.case.query)
    weight *= len(x) / weight.sum()

    figures: dict[str, float] = {}
    folds = author_folds(owner)
    numbers = np.unique(folds)
    if len(numbers) > 1 and min((folds != fold).sum() for fold in numbers) >= 2 * MIN_EXAMPLES:
        odds = np.empty(len(x))
        for fold in numbers:
            fitted = folds != fold
            beta = logistic(x[fitted], target[fitted], weight[fitted])
            odds[~fitted] = unknown_odds(x[~fitted], beta.tolist(), *floor_of(x[fitted]))
        for case_name in known:
            shown = (name == case_name) | (name == "unknown")
            figures[f"unknown_auroc_{case_name}"] = auroc(odds[shown], target[shown])
            figures[f"unknown_fpr95_{case_name}"] = false_positive_rate(odds[shown], target[shown])
            figures[f"unknown_passed95_{case_name}"] = missed_rate(odds[shown], target[shown])
    all_features, alone = (
        tuple(logistic(part, target, weight).tolist()) for part in (x, x[:, :VOTE_FEATURES])
    )
    return _UnknownHand(all_features, alone, *floor_of(x)), figures
