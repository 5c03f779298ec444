"""How neighbours vote on held-out pictures, and the settings that lose least.

A vote's temperature, tempering, tail and (for eras) spread are chosen on a grid by the log loss
of the true label; then the powers of vote and head in their product and the share that the
vote keeps beside it are fitted, and kept unless they do harm on authors that they were not fitted
on (each fifth of them in turn). Log loss hedges against the worst queries, which leaves the
likeliest label right more often than it is said to be: the answer's own power is fitted last, by
that label alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from indexer.labels.holdout import Case, HeldOut, author_folds
from indexer.labels.knn import era_kernel, fuse, sharpened, vote_weights
from indexer.labels.metrics import expected_calibration_error, fit_mixture, fit_power_of_best

TEMPERATURES = np.geomspace(0.01, 0.3, 18)
TEMPERINGS = (0.0, 0.25, 0.5, 0.75)
TAILS = (0.002, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
ERA_SPREADS = (0.0, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5)
"""In decades."""
MIN_EXAMPLES = 30  # fewer held-out pictures than this say nothing: use DEFAULTS
DEFAULT_TEMPERATURE = 0.05
DEFAULT_TEMPERING = 0.25
DEFAULT_TAIL = 0.05


@dataclass(frozen=True)
class Votes:
    """How neighbours vote, and how much the head counts beside them.

    `eras` names the labels where they are eras, and their votes spread by `spread`.

    Shapes:  labels (N,) int, eras C names or empty
    """

    labels: np.ndarray
    temperature: float = DEFAULT_TEMPERATURE
    tempering: float = DEFAULT_TEMPERING
    tail: float = DEFAULT_TAIL
    head_weight: float = 0.0
    vote_weight: float = 1.0
    eras: tuple[str, ...] = ()
    spread: float = 0.0
    sharpness: float = 1.0
    vote_kept: float = 0.0

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

    def true_shares(self, case: Case, spreads: Sequence[float]) -> np.ndarray:
        """The true label's share of the votes with each spread, cast once; (S, Q)."""
        truth = self.labels[case.query]
        if not self.eras:
            label, weights = self.cast(case)
            return np.asarray(np.where(label == truth[:, None], weights, 0.0).sum(axis=1))[None]
        shares = replace(self, spread=0.0).shares(case, len(self.eras))  # (Q, C)
        near = [era_kernel(self.eras, spread)[:, np.maximum(truth, 0)] for spread in spreads]
        return np.stack([np.einsum("qc,cq->q", shares, kernel) for kernel in near])

    def shares(self, case: Case, count: int) -> np.ndarray:
        """Every label's share of the votes; (Q, C)."""
        label, weights = self.cast(case)
        shares = np.zeros((len(label), count))
        row = np.repeat(np.arange(len(label)), label.shape[1])
        there = label.ravel() >= 0
        np.add.at(shares, (row[there], label.ravel()[there]), weights.ravel()[there])
        return shares @ era_kernel(self.eras, self.spread) if self.spread else shares

    def probabilities(self, case: Case, held: HeldOut | None) -> np.ndarray:
        """Probabilities of all labels, as an answer says them; (Q, C)."""
        return sharpened(self.fused(case, held), self.sharpness)

    def fused(self, case: Case, held: HeldOut | None) -> np.ndarray:
        """Vote and head, before the answer's own power; (Q, C)."""
        return fuse(
            self.shares(case, self._count(held)),
            None if held is None else held.scores,
            tail=self.tail,
            head_weight=self.head_weight,
            vote_weight=self.vote_weight,
            vote_kept=self.vote_kept,
        )

    def best_share(self, case: Case) -> np.ndarray:
        """The share of the label with most votes, as the unknown-author model sees it; (Q,)."""
        return np.asarray(self.shares(case, self._count(None)).max(axis=1) * (1.0 - self.tail))

    def _count(self, held: HeldOut | None) -> int:
        if held is not None:
            return int(held.scores.shape[1])
        return max(len(self.eras), int(self.labels.max(initial=0)) + 1)


def fit_votes(
    case: Case,
    labels: np.ndarray,
    usable: np.ndarray,
    author: np.ndarray,
    held: HeldOut | None,
    eras: tuple[str, ...] = (),
) -> tuple[Votes, dict[str, float]]:
    """The votes of least log loss, with the head unless it does harm, and their figures on the
    other authors.

    Shapes:  labels (N,) int, usable and author (Q,)
    """
    if usable.sum() < MIN_EXAMPLES:
        return Votes(labels, eras=eras), {}

    choose = _chooser(case, labels, eras)

    def sharp(votes: Votes, chosen: np.ndarray, held: HeldOut) -> Votes:
        part = case.part(chosen)
        told = votes.fused(part, held.part(chosen))
        return replace(votes, sharpness=fit_power_of_best(told, labels[part.query]))

    def with_head(votes: Votes, chosen: np.ndarray, held: HeldOut) -> Votes:
        part, scores = case.part(chosen), held.scores[chosen].astype(np.float64)
        even = fuse(votes.shares(part, scores.shape[1]), None, tail=votes.tail,
                    head_weight=0.0, vote_weight=1.0)  # fmt: skip
        head, power, kept = fit_mixture(scores, np.log(even), labels[part.query])
        return replace(votes, head_weight=head, vote_weight=power, vote_kept=kept)

    of = author_folds(author)
    folds = [(usable & (of != fold), usable & (of == fold)) for fold in np.unique(of[usable])]
    if len(folds) < 2 or min(fitted.sum() for fitted, _ in folds) < MIN_EXAMPLES:
        return choose(usable), {}
    truth = np.concatenate([labels[case.part(asked).query] for _, asked in folds])
    asking = np.concatenate([author[asked] for _, asked in folds])

    def judged(made: Sequence[Votes]) -> np.ndarray:
        """What each fold's votes say of the fold's authors; (Q, C)."""
        told = [
            votes.probabilities(case.part(asked), None if held is None else held.part(asked))
            for votes, (_, asked) in zip(made, folds, strict=True)
        ]
        return np.concatenate(told)

    votes, made = choose(usable), [choose(fitted) for fitted, _ in folds]
    alone = judged(made)
    if held is None:  # an answer of the neighbours alone does not name all labels: no power
        return votes, _figures(alone, truth)
    told: dict[str, float] = {}
    with_heads = [
        with_head(one, fitted, held) for one, (fitted, _) in zip(made, folds, strict=True)
    ]
    lost = _log_losses(judged(with_heads), truth) - _log_losses(alone, truth)
    if not surely_positive(lost, asking):
        votes, made = with_head(votes, usable, held), with_heads
        told = {"vote_top1": _figures(alone, truth)["top1"]}
    made = [sharp(one, fitted, held) for one, (fitted, _) in zip(made, folds, strict=True)]
    return sharp(votes, usable, held), _figures(judged(made), truth) | told


def surely_positive(differences: np.ndarray, author: np.ndarray) -> bool:
    """Whether a mean is further above 0 than its standard error, where pictures of one author
    say much the same. A head's own fit leaves little harm to do, and what a few authors seem to
    say against it is mostly chance: so it is for the harm to be shown.

    Shapes:  differences and author (Q,)
    Source:  Liang and Zeger 1986 (clustered standard errors)
    """
    mean = differences.mean()
    _, of = np.unique(author, return_inverse=True)
    error = float(np.sqrt(np.square(np.bincount(of, differences - mean)).sum())) / len(of)
    return bool(mean > error)


def _chooser(
    case: Case, labels: np.ndarray, eras: tuple[str, ...]
) -> Callable[[np.ndarray], Votes]:
    """A function that finds the votes of least log loss on chosen queries, (Q,) bool.

    What each setting gives the truth is computed once for all subsets that will be asked.
    """
    spreads = ERA_SPREADS if eras else (0.0,)
    grid, rows = [], []
    for temperature, tempering in product(TEMPERATURES, TEMPERINGS):
        votes = Votes(labels, float(temperature), tempering, eras=eras)
        grid += [replace(votes, spread=spread) for spread in spreads]
        rows.append(votes.true_shares(case, spreads))
    shares = np.concatenate(rows)  # (G, Q)
    each = 1.0 / max(2, len(np.unique(labels[labels >= 0])))

    def choose(chosen: np.ndarray) -> Votes:
        part = shares[:, chosen]
        losses = np.stack(
            [-np.log(part * (1 - tail) + tail * each).mean(axis=1) for tail in TAILS], axis=1
        )  # (G, T)
        best, tail = np.unravel_index(int(losses.argmin()), losses.shape)
        return replace(grid[best], tail=TAILS[tail])

    return choose


def _log_losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    told = probabilities[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.maximum(told, 1e-12)))


def _figures(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    best = probabilities.argmax(axis=1)
    rows = np.arange(len(best))
    correct = (best == truth).astype(float)
    return {
        "top1": float(correct.mean()),
        "calibration_error": expected_calibration_error(probabilities[rows, best], correct),
        "log_loss": float(_log_losses(probabilities, truth).mean()),
        "queries": float(len(best)),
    }
