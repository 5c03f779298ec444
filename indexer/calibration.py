"""Fits a generation's calibration on its own pictures, with the answer hidden.

For each picture of a sample the search is repeated as if the picture were new
(`indexer/holdout.py`). Vote temperatures, and the powers of vote and head in their product,
minimise the log loss of new works by known hands; the unknown-author model separates those,
and new pictures of known works, from unknown hands. The figures in `measured` are
cross-fitted: each half of the authors is judged by parameters from the other half; those that
are kept come from all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from indexer.holdout import (
    Case,
    HeldOut,
    Labelled,
    author_half,
    background,
    folds_within,
    has_other,
    held_out_scores,
    hidden_neighbours,
    pick,
)
from indexer.labels import (
    KINDS,
    Calibration,
    HeadFeatures,
    fuse,
    unknown_features,
    vote_weights,
)
from indexer.scores import (
    auroc,
    expected_calibration_error,
    false_positive_rate,
    fit_powers,
    logistic,
)

TEMPERATURES = np.geomspace(0.01, 0.3, 18)
TEMPERINGS = (0.0, 0.25, 0.5, 0.75)
TAILS = (0.002, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
MIN_EXAMPLES = 30  # fewer held-out pictures than this say nothing: use DEFAULTS
DEFAULT_TEMPERATURE = 0.05
DEFAULT_TEMPERING = 0.25
DEFAULT_TAIL = 0.05
DEFAULT_UNKNOWN = (6.0, -6.0, -4.0, 0.0)  # even odds where the nearest ones are about 0.6
NEIGHBOURS = 200  # voters; the farther ones add nothing at any fitted temperature


def fit(
    data: Labelled,
    *,
    sample: int,
    seed: int,
    neighbours: int = NEIGHBOURS,
    among: np.ndarray | None = None,
) -> Calibration:
    """Fit percentiles, votes, heads' powers and the unknown-author model.

    `among` says which pictures may serve as queries: those that the space was not learnt from,
    where it was learnt from some.

    Shapes:  see Labelled; at most `sample` pictures serve as queries; among (N,) bool
    """
    rng = np.random.default_rng(seed)
    quantiles = background(data, rng)
    neighbours = max(1, min(neighbours, len(data.vectors) - 1))
    queries = pick(data, sample, rng, among)
    if len(queries) < MIN_EXAMPLES:
        return Calibration(
            quantiles, dict.fromkeys(KINDS, DEFAULT_TEMPERATURE),
            dict.fromkeys(KINDS, DEFAULT_TEMPERING), dict.fromkeys(KINDS, DEFAULT_TAIL),
            DEFAULT_UNKNOWN, neighbours, "defaults",
        )  # fmt: skip
    new_picture = hidden_neighbours(data, queries, data.picture, neighbours)
    new_title = hidden_neighbours(data, queries, data.title, neighbours)
    unknown = hidden_neighbours(data, queries, data.author, neighbours)
    other_title = has_other(data.author, data.title)[queries]
    other_picture = has_other(data.author, data.picture)[queries]
    by_title = bool(other_title.mean() >= 0.2)
    known, has_more = (new_title, other_title) if by_title else (new_picture, other_picture)
    folds = folds_within(data.author, data.title if by_title else data.picture)

    fitted: dict[str, Votes] = {}
    measured: dict[str, float] = {}
    held: dict[str, HeldOut | None] = {}
    for kind in KINDS:
        labels = data.codes(kind)
        usable = has_more if kind == "author" else labels[queries] >= 0
        held[kind] = held_out_scores(data, kind, queries, folds, rng)
        fitted[kind], figures = _fit_votes(known, labels, usable, data.author[queries], held[kind])
        measured |= {f"{kind}_{name}": value for name, value in figures.items()}
    cases = {
        "new_picture": _Asked(new_picture, held["author"]).part(other_picture),
        "new_title": _Asked(new_title, held["author"]).part(other_title),
    }
    hands = held["author"]
    stranger = None if hands is None else hands.without(data.author[queries])
    weights, figures = _fit_unknown(cases, _Asked(unknown, stranger), fitted["author"])
    return Calibration(
        quantiles,
        {kind: votes.temperature for kind, votes in fitted.items()},
        {kind: votes.tempering for kind, votes in fitted.items()},
        {kind: votes.tail for kind, votes in fitted.items()},
        weights, neighbours,
        "other_titles" if by_title else "other_pictures", measured | figures,
        {kind: votes.head_weight for kind, votes in fitted.items()},
        {kind: votes.vote_weight for kind, votes in fitted.items()},
    )  # fmt: skip


@dataclass(frozen=True)
class Votes:
    """How neighbours vote, and how much the head counts beside them: labels (N,)."""

    labels: np.ndarray
    temperature: float
    tempering: float
    tail: float = 0.0
    head_weight: float = 0.0
    vote_weight: float = 1.0

    def cast(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """Each neighbour's label and weight; those without a label weigh nothing.

        Shapes:  -> (Q, K) int, (Q, K) summing to 1
        """
        label = np.where(case.row >= 0, self.labels[case.row], -1)
        similarity = np.where(label >= 0, case.similarity, -10.0)
        weights = vote_weights(similarity.astype(np.float64), self.temperature)
        sizes = np.bincount(self.labels[self.labels >= 0], minlength=1)
        weights = weights / np.maximum(sizes[np.maximum(label, 0)], 1) ** self.tempering
        return label, weights / weights.sum(axis=1, keepdims=True)

    def true_share(self, case: Case) -> np.ndarray:
        """The true label's share of the votes; (Q,)."""
        label, weights = self.cast(case)
        truth = self.labels[case.query][:, None]
        return np.asarray(np.where(label == truth, weights, 0.0).sum(axis=1))

    def shares(self, case: Case, count: int) -> np.ndarray:
        """Every label's share of the votes; (Q, C)."""
        label, weights = self.cast(case)
        shares = np.zeros((len(label), count))
        row = np.repeat(np.arange(len(label)), label.shape[1])
        there = label.ravel() >= 0
        np.add.at(shares, (row[there], label.ravel()[there]), weights.ravel()[there])
        return shares

    def probabilities(self, case: Case, held: HeldOut | None) -> np.ndarray:
        """Probabilities of all labels; (Q, C)."""
        count = int(self.labels.max(initial=0)) + 1 if held is None else held.scores.shape[1]
        return fuse(
            self.shares(case, count),
            None if held is None else held.scores,
            tail=self.tail,
            head_weight=self.head_weight,
            vote_weight=self.vote_weight,
        )

    def best_share(self, case: Case) -> np.ndarray:
        """The share of the label with most votes, as the unknown-author model sees it; (Q,)."""
        count = int(self.labels.max(initial=0)) + 1
        return np.asarray(self.shares(case, count).max(axis=1) * (1.0 - self.tail))


def _fit_votes(
    case: Case, labels: np.ndarray, usable: np.ndarray, author: np.ndarray, held: HeldOut | None
) -> tuple[Votes, dict[str, float]]:
    """The votes of least log loss, with the head if it helps, and their figures on the other
    authors."""
    if usable.sum() < MIN_EXAMPLES:
        return Votes(labels, DEFAULT_TEMPERATURE, DEFAULT_TEMPERING, DEFAULT_TAIL), {}

    vote = _vote_chooser(case, labels)

    def with_head(votes: Votes, chosen: np.ndarray) -> Votes:
        if held is None:
            return votes
        part, scores = case.part(chosen), held.scores[chosen].astype(np.float64)
        even = fuse(votes.shares(part, scores.shape[1]), None, tail=votes.tail,
                    head_weight=0.0, vote_weight=1.0)  # fmt: skip
        head, votes_power = fit_powers(scores, np.log(even), labels[part.query])
        return replace(votes, head_weight=head, vote_weight=votes_power)

    half = author_half(author)
    folds = [(usable & half, usable & ~half), (usable & ~half, usable & half)]
    if min(fold[0].sum() for fold in folds) < MIN_EXAMPLES:
        return vote(usable), {}
    plain, fused, truth = [], [], []
    for fitted, asked in folds:
        part, scores = case.part(asked), None if held is None else held.part(asked)
        votes = vote(fitted)
        plain.append(votes.probabilities(part, scores))
        fused.append(with_head(votes, fitted).probabilities(part, scores))
        truth.append(labels[part.query])
    votes, of_votes = vote(usable), _figures(np.concatenate(plain), np.concatenate(truth))
    of_both = _figures(np.concatenate(fused), np.concatenate(truth))
    if held is None or of_both["log_loss"] >= of_votes["log_loss"]:
        return votes, of_votes
    return with_head(votes, usable), of_both | {"vote_top1": of_votes["top1"]}


def _vote_chooser(case: Case, labels: np.ndarray) -> Callable[[np.ndarray], Votes]:
    """A function that finds the votes of least log loss on chosen queries, (Q,) bool.

    What each setting gives the truth is computed once for all subsets that will be asked.
    """
    grid = [Votes(labels, float(t), g) for t in TEMPERATURES for g in TEMPERINGS]
    shares = np.stack([votes.true_share(case) for votes in grid])  # (G, Q)
    each = 1.0 / max(2, len(np.unique(labels[labels >= 0])))

    def choose(chosen: np.ndarray) -> Votes:
        part = shares[:, chosen]
        losses = np.stack(
            [-np.log(part * (1 - tail) + tail * each).mean(axis=1) for tail in TAILS], axis=1
        )  # (G, T)
        best, tail = np.unravel_index(int(losses.argmin()), losses.shape)
        return replace(grid[best], tail=TAILS[tail])

    return choose


def _figures(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    best = probabilities.argmax(axis=1)
    rows = np.arange(len(best))
    correct = (best == truth).astype(float)
    return {
        "top1": float(correct.mean()),
        "calibration_error": expected_calibration_error(probabilities[rows, best], correct),
        "log_loss": float(-np.log(np.maximum(probabilities[rows, truth], 1e-12)).mean()),
        "queries": float(len(best)),
    }


@dataclass(frozen=True)
class _Asked:
    """Queries under one way of hiding, with what heads say that were fitted the same way."""

    case: Case
    held: HeldOut | None

    def part(self, chosen: np.ndarray) -> _Asked:
        held = None if self.held is None else self.held.part(chosen)
        return _Asked(self.case.part(chosen), held)

    def features(self, votes: Votes) -> np.ndarray:
        """Shapes:  -> (Q, 7), or (Q, 4) without a head"""
        share = votes.best_share(self.case)
        if self.held is None:
            return unknown_features(self.case.similarity, share)[:, :4]
        best = votes.probabilities(self.case, self.held).max(axis=1)
        head = HeadFeatures(self.held.scores.max(axis=1), self.held.stranger, best)
        return unknown_features(self.case.similarity, share, head)


def _fit_unknown(
    known: dict[str, _Asked], unknown: _Asked, votes: Votes
) -> tuple[tuple[float, ...], dict[str, float]]:
    """Weights of the unknown-author model, each known case weighing the same."""
    known = {name: asked for name, asked in known.items() if len(asked.case.query) >= MIN_EXAMPLES}
    if not known:
        return DEFAULT_UNKNOWN, {}
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
    half = author_half(owner)
    if min(half.sum(), (~half).sum()) >= 2 * MIN_EXAMPLES:
        odds = np.empty(len(x))
        for fitted in (half, ~half):
            beta = logistic(x[fitted], target[fitted], weight[fitted])
            odds[~fitted] = x[~fitted] @ beta
        for case_name in known:
            shown = (name == case_name) | (name == "unknown")
            figures[f"unknown_auroc_{case_name}"] = auroc(odds[shown], target[shown])
            figures[f"unknown_fpr95_{case_name}"] = false_positive_rate(odds[shown], target[shown])
    return tuple(logistic(x, target, weight).tolist()), figures
