"""Fits a generation's calibration on its own pictures, with the answer hidden.

For each picture of a sample the search is repeated as if the picture were new: with its
own title left out (a new work by a known hand), with only its own copies left out (a new
picture of a known work), and with its whole author left out (an unknown hand). Vote
temperatures minimise the log loss of the first case; the unknown-author model separates
the first two from the third. The figures in `measured` are cross-fitted: each half of the
authors is judged by parameters from the other half; those that are kept come from all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from indexer.labels import KINDS, QUANTILE_LEVELS, Calibration, unknown_features, vote_weights
from indexer.scores import auroc, expected_calibration_error, false_positive_rate

TEMPERATURES = np.geomspace(0.01, 0.3, 18)
TEMPERINGS = (0.0, 0.25, 0.5, 0.75)
TAILS = (0.002, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
MIN_EXAMPLES = 30  # fewer held-out pictures than this say nothing: use DEFAULTS
DEFAULT_TEMPERATURE = 0.05
DEFAULT_TEMPERING = 0.25
DEFAULT_TAIL = 0.05
DEFAULT_UNKNOWN = (6.0, -6.0, -4.0, 0.0)  # even odds where the nearest ones are about 0.6
NEIGHBOURS = 200  # voters; the farther ones add nothing at any fitted temperature


@dataclass(frozen=True)
class Labelled:
    """The vectors of an index with integer labels; -1 stands for "has none".

    Shapes:  vectors (N, D) float32 unit rows; all others (N,) int
    """

    vectors: np.ndarray
    picture: np.ndarray
    title: np.ndarray
    author: np.ndarray
    genre: np.ndarray
    era: np.ndarray


@dataclass(frozen=True)
class _Case:
    """Neighbours of sample queries under one way of hiding.

    Shapes:  query (Q,), similarity and row (Q, K) nearest first
    """

    query: np.ndarray
    similarity: np.ndarray
    row: np.ndarray


def fit(data: Labelled, *, sample: int, seed: int, neighbours: int = NEIGHBOURS) -> Calibration:
    """Fit percentiles, temperatures and the unknown-author model.

    Shapes:  see Labelled; at most `sample` pictures serve as queries
    """
    rng = np.random.default_rng(seed)
    background = _background(data, rng)
    neighbours = max(1, min(neighbours, len(data.vectors) - 1))
    queries = _pick(data, sample, rng)
    if len(queries) < MIN_EXAMPLES:
        return Calibration(
            background, dict.fromkeys(KINDS, DEFAULT_TEMPERATURE),
            dict.fromkeys(KINDS, DEFAULT_TEMPERING), dict.fromkeys(KINDS, DEFAULT_TAIL),
            DEFAULT_UNKNOWN, neighbours, "defaults",
        )  # fmt: skip
    new_picture = _neighbours(data, queries, data.picture, neighbours)
    new_title = _neighbours(data, queries, data.title, neighbours)
    unknown = _neighbours(data, queries, data.author, neighbours)
    other_title = _has_other(data.author, data.title)[queries]
    other_picture = _has_other(data.author, data.picture)[queries]
    by_title = other_title.mean() >= 0.2
    known, has_more = (new_title, other_title) if by_title else (new_picture, other_picture)

    fitted: dict[str, _Votes] = {}
    measured: dict[str, float] = {}
    for kind in KINDS:
        labels = getattr(data, kind)
        usable = has_more if kind == "author" else labels[queries] >= 0
        fitted[kind], figures = _fit_votes(known, labels, usable, data.author[queries])
        measured |= {f"{kind}_{name}": value for name, value in figures.items()}
    cases = {
        "new_picture": _part(new_picture, other_picture),
        "new_title": _part(new_title, other_title),
    }
    weights, figures = _fit_unknown(cases, unknown, fitted["author"])
    return Calibration(
        background,
        {kind: votes.temperature for kind, votes in fitted.items()},
        {kind: votes.tempering for kind, votes in fitted.items()},
        {kind: votes.tail for kind, votes in fitted.items()},
        weights, neighbours,
        "other_titles" if by_title else "other_pictures", measured | figures,
    )  # fmt: skip


def _pick(data: Labelled, sample: int, rng: np.random.Generator) -> np.ndarray:
    """Sample queries, square-root weighted by author so that one hand does not rule."""
    rows = np.flatnonzero(data.author >= 0)
    if rows.size == 0 or len(np.unique(data.author[rows])) < 3:
        return np.empty(0, dtype=np.int64)
    _, inverse, counts = np.unique(data.author[rows], return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(counts[inverse])
    size = min(sample, rows.size)
    return np.sort(rng.choice(rows, size=size, replace=False, p=weight / weight.sum()))


def _has_other(author: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Whether the author has a picture in another group; shape (N,) bool."""
    pairs = np.unique(np.stack([author, group], axis=1), axis=0)
    owners, counts = np.unique(pairs[:, 0], return_counts=True)
    many = owners[(counts > 1) & (owners >= 0)]
    return np.isin(author, many)


def _neighbours(data: Labelled, queries: np.ndarray, hide: np.ndarray, k: int) -> _Case:
    """Exact neighbours with the query's own group left out, block by block."""
    similarity = np.full((len(queries), k), -1.0, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(queries), 128):
        block = queries[start : start + 128]
        scores = data.vectors[block] @ data.vectors.T  # (B, N)
        scores[hide[block][:, None] == hide[None, :]] = -2.0
        scores[data.picture[block][:, None] == data.picture[None, :]] = -2.0
        top = np.argpartition(scores, -k, axis=1)[:, -k:]  # (B, K)
        values = np.take_along_axis(scores, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        similarity[start : start + len(block)] = np.take_along_axis(values, order, axis=1)
        rows[start : start + len(block)] = np.take_along_axis(top, order, axis=1)
    # A hidden row that had to fill the list must not vote: far away and without a label.
    rows[similarity < -1.5] = -1
    return _Case(queries, np.maximum(similarity, -1.0), rows)


def _background(data: Labelled, rng: np.random.Generator) -> tuple[float, ...]:
    """Similarity quantiles of random pairs by different authors (or titles)."""
    count = len(data.vectors)
    left = rng.integers(0, count, 400_000)
    right = rng.integers(0, count, 400_000)
    different = data.title[left] != data.title[right]
    known = (data.author[left] >= 0) & (data.author[right] >= 0)
    different &= ~known | (data.author[left] != data.author[right])
    left, right = left[different], right[different]
    if left.size < 100:  # one title only: nothing to compare with
        return tuple(np.interp(QUANTILE_LEVELS, [0, 100], [-1.0, 1.0]).tolist())
    pairs = [
        np.einsum("nd,nd->n", data.vectors[left[s : s + 20_000]], data.vectors[right[s:][:20_000]])
        for s in range(0, left.size, 20_000)
    ]
    quantiles = np.quantile(np.concatenate(pairs), QUANTILE_LEVELS / 100.0)
    return tuple(np.round(quantiles, 6).tolist())


@dataclass(frozen=True)
class _Votes:
    """How neighbours vote: labels (N,), temperature, tempering and tail."""

    labels: np.ndarray
    temperature: float
    tempering: float
    tail: float = 0.0

    def cast(self, case: _Case) -> tuple[np.ndarray, np.ndarray]:
        """Each neighbour's label and weight; those without a label weigh nothing.

        Shapes:  -> (Q, K) int, (Q, K) summing to 1
        """
        label = np.where(case.row >= 0, self.labels[case.row], -1)
        similarity = np.where(label >= 0, case.similarity, -10.0)
        weights = vote_weights(similarity.astype(np.float64), self.temperature)
        sizes = np.bincount(self.labels[self.labels >= 0], minlength=1)
        weights = weights / np.maximum(sizes[np.maximum(label, 0)], 1) ** self.tempering
        return label, weights / weights.sum(axis=1, keepdims=True)

    def true_share(self, case: _Case) -> np.ndarray:
        """The true label's share of the votes; (Q,)."""
        label, weights = self.cast(case)
        truth = self.labels[case.query][:, None]
        return np.asarray(np.where(label == truth, weights, 0.0).sum(axis=1))

    def with_best_tail(self, case: _Case) -> tuple[float, _Votes]:
        """The least log loss over TAILS, each spread evenly over all labels."""
        share = self.true_share(case)
        each = 1.0 / max(2, len(np.unique(self.labels[self.labels >= 0])))
        losses = [float(-np.log(share * (1 - tail) + tail * each).mean()) for tail in TAILS]
        best = int(np.argmin(losses))
        return losses[best], replace(self, tail=TAILS[best])

    def best(self, case: _Case) -> tuple[np.ndarray, np.ndarray]:
        """The most probable label's probability, and whether it is right; both (Q,)."""
        label, weights = self.cast(case)
        confidence, correct = np.zeros(len(label)), np.zeros(len(label))
        for q, truth in enumerate(self.labels[case.query]):
            names, inverse = np.unique(label[q], return_inverse=True)
            share = np.bincount(inverse, weights=weights[q])
            top = int(np.argmax(share))
            confidence[q] = share[top] * (1 - self.tail)
            correct[q] = names[top] == truth
        return confidence, correct


def _fit_votes(
    case: _Case, labels: np.ndarray, usable: np.ndarray, author: np.ndarray
) -> tuple[_Votes, dict[str, float]]:
    """The votes of least log loss, and their figures on the other authors."""
    if usable.sum() < MIN_EXAMPLES:
        return _Votes(labels, DEFAULT_TEMPERATURE, DEFAULT_TEMPERING, DEFAULT_TAIL), {}

    def best_votes(chosen: np.ndarray) -> _Votes:
        part = _part(case, chosen)
        grid = [_Votes(labels, float(t), g) for t in TEMPERATURES for g in TEMPERINGS]
        return min((votes.with_best_tail(part) for votes in grid), key=lambda found: found[0])[1]

    figures: dict[str, float] = {}
    half = _half(author)
    if min((usable & half).sum(), (usable & ~half).sum()) >= MIN_EXAMPLES:
        folds = [
            best_votes(usable & fitted).best(_part(case, usable & ~fitted))
            for fitted in (half, ~half)
        ]
        confidence = np.concatenate([fold[0] for fold in folds])
        correct = np.concatenate([fold[1] for fold in folds])
        figures = {
            "top1": float(correct.mean()),
            "calibration_error": expected_calibration_error(confidence, correct),
            "queries": float(len(correct)),
        }
    return best_votes(usable), figures


def _part(case: _Case, chosen: np.ndarray) -> _Case:
    return _Case(case.query[chosen], case.similarity[chosen], case.row[chosen])


def _half(author: np.ndarray) -> np.ndarray:
    """A fixed half of the authors: odd ones of a multiplicative hash; shape (Q,) bool."""
    mixed = author.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(mixed >> np.uint64(63) == 1)


def _fit_unknown(
    known: dict[str, _Case], unknown: _Case, votes: _Votes
) -> tuple[tuple[float, float, float, float], dict[str, float]]:
    """Weights of the unknown-author model, each known case weighing the same."""
    known = {name: case for name, case in known.items() if len(case.query) >= MIN_EXAMPLES}
    if not known:
        return DEFAULT_UNKNOWN, {}

    def features(case: _Case) -> np.ndarray:
        return unknown_features(case.similarity, votes.best(case)[0])

    parts = {"unknown": unknown, **known}
    x = np.concatenate([features(case) for case in parts.values()])
    name = np.concatenate([[name] * len(case.query) for name, case in parts.items()])
    owner = np.concatenate([votes.labels[case.query] for case in parts.values()])
    target = (name == "unknown").astype(float)
    weight = np.where(target == 1, 1.0 / max(1, len(unknown.query)), 0.0)
    for case_name, case in known.items():
        weight[name == case_name] = 1.0 / len(known) / len(case.query)
    weight *= len(x) / weight.sum()

    figures: dict[str, float] = {}
    half = _half(owner)
    if min(half.sum(), (~half).sum()) >= 2 * MIN_EXAMPLES:
        odds = np.empty(len(x))
        for fitted in (half, ~half):
            beta = _logistic(x[fitted], target[fitted], weight[fitted])
            odds[~fitted] = x[~fitted] @ np.asarray(beta)
        for case_name in known:
            shown = (name == case_name) | (name == "unknown")
            figures[f"unknown_auroc_{case_name}"] = auroc(odds[shown], target[shown])
            figures[f"unknown_fpr95_{case_name}"] = false_positive_rate(odds[shown], target[shown])
    return _logistic(x, target, weight), figures


def _logistic(
    features: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> tuple[float, float, float, float]:
    """Weighted logistic regression by Newton's method, lightly ridged."""
    ridge = np.diag([0.0, 1e-2, 1e-2, 1e-2])
    beta = np.zeros(features.shape[1])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(features @ beta, -30, 30)))
        gradient = features.T @ (weight * (target - p)) - ridge @ beta
        hessian = (features * (weight * p * (1 - p))[:, None]).T @ features + ridge
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[0]), float(beta[1]), float(beta[2]), float(beta[3])
