"""Fits a generation's calibration on its own pictures, with the answer hidden.

For each picture of a sample the search is repeated as if the picture were new: once with
its own title left out (its hand is known from other works) and once with its whole author
left out (its hand is unknown). Vote temperatures minimise the log loss of the first case;
the unknown-author model separates the two. Half of the authors fit, the other half give
the figures in `measured`; the shipped parameters are then fitted on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from indexer.labels import KINDS, QUANTILE_LEVELS, Calibration, unknown_features, vote_weights

TEMPERATURES = np.geomspace(0.005, 0.5, 25)
SMOOTHING = 1e-3  # mass for labels without any neighbour, keeps the log loss finite
MIN_EXAMPLES = 30  # fewer held-out pictures than this say nothing: use DEFAULTS
DEFAULT_TEMPERATURE = 0.05
DEFAULT_UNKNOWN = (6.0, -6.0, -4.0)  # even odds where the nearest pictures are about 0.6
NEIGHBOURS = 50  # voters; the farther ones add nothing at any fitted temperature


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
            background, dict.fromkeys(KINDS, DEFAULT_TEMPERATURE), DEFAULT_UNKNOWN,
            neighbours, "defaults",
        )  # fmt: skip
    by_title = _has_other_title(data)[queries].mean() >= 0.2
    hidden = data.title if by_title else data.picture
    known = _neighbours(data, queries, hidden, neighbours)
    has_more = _has_other(data.author, hidden)[queries]
    unknown = _neighbours(data, queries, data.author, neighbours)

    temperature: dict[str, float] = {}
    measured: dict[str, float] = {}
    for kind in KINDS:
        labels = getattr(data, kind)
        usable = has_more if kind == "author" else labels[queries] >= 0
        temperature[kind], figures = _fit_votes(known, labels, usable, data.author[queries])
        measured |= {f"{kind}_{name}": value for name, value in figures.items()}
    weights, figures = _fit_unknown(known, has_more, unknown, data.author[queries])
    return Calibration(
        background, temperature, weights, neighbours,
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


def _has_other_title(data: Labelled) -> np.ndarray:
    return _has_other(data.author, data.title)


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


def _votes(case: _Case, labels: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Each neighbour's label and weight; those without a label weigh nothing.

    Shapes:  -> (Q, K) int, (Q, K) summing to 1
    """
    label = np.where(case.row >= 0, labels[case.row], -1)
    similarity = np.where(label >= 0, case.similarity, -10.0)
    return label, vote_weights(similarity.astype(np.float64), temperature)


def _log_loss(case: _Case, labels: np.ndarray, temperature: float) -> float:
    label, weights = _votes(case, labels, temperature)
    truth = labels[case.query][:, None]
    share = np.where(label == truth, weights, 0.0).sum(axis=1)
    return float(-np.log(share * (1 - SMOOTHING) + SMOOTHING * 0.1).mean())


def _best(case: _Case, labels: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The most probable label's probability, and whether it is right; both (Q,)."""
    label, weights = _votes(case, labels, temperature)
    confidence, correct = np.zeros(len(label)), np.zeros(len(label))
    for q, truth in enumerate(labels[case.query]):
        names, inverse = np.unique(label[q], return_inverse=True)
        share = np.bincount(inverse, weights=weights[q])
        top = int(np.argmax(share))
        confidence[q], correct[q] = share[top], names[top] == truth
    return confidence, correct


def _fit_votes(
    case: _Case, labels: np.ndarray, usable: np.ndarray, author: np.ndarray
) -> tuple[float, dict[str, float]]:
    if usable.sum() < MIN_EXAMPLES:
        return DEFAULT_TEMPERATURE, {}
    fit_half = usable & _half(author)
    test_half = usable & ~_half(author)

    def best_temperature(chosen: np.ndarray) -> float:
        part = _part(case, chosen)
        losses = [_log_loss(part, labels, float(t)) for t in TEMPERATURES]
        return float(TEMPERATURES[int(np.argmin(losses))])

    figures: dict[str, float] = {}
    if min(fit_half.sum(), test_half.sum()) >= MIN_EXAMPLES:
        part = _part(case, test_half)
        confidence, correct = _best(part, labels, best_temperature(fit_half))
        figures = {
            "top1": float(correct.mean()),
            "calibration_error": expected_calibration_error(confidence, correct),
            "queries": float(test_half.sum()),
        }
    return best_temperature(usable), figures


def _part(case: _Case, chosen: np.ndarray) -> _Case:
    return _Case(case.query[chosen], case.similarity[chosen], case.row[chosen])


def _half(author: np.ndarray) -> np.ndarray:
    """A fixed half of the authors: odd ones of a multiplicative hash; shape (Q,) bool."""
    mixed = author.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(mixed >> np.uint64(63) == 1)


def _fit_unknown(
    known: _Case, has_more: np.ndarray, unknown: _Case, author: np.ndarray
) -> tuple[tuple[float, float, float], dict[str, float]]:
    if has_more.sum() < MIN_EXAMPLES:
        return DEFAULT_UNKNOWN, {}
    features = unknown_features(np.concatenate([known.similarity[has_more], unknown.similarity]))
    is_unknown = np.concatenate([np.zeros(has_more.sum()), np.ones(len(unknown.query))])
    owner = np.concatenate([author[has_more], author])

    figures: dict[str, float] = {}
    half = _half(owner)
    if min(half.sum(), (~half).sum()) >= 2 * MIN_EXAMPLES:
        odds = features[~half] @ np.asarray(_logistic(features[half], is_unknown[half]))
        figures = {
            "unknown_auroc": auroc(odds, is_unknown[~half]),
            "unknown_fpr95": false_positive_rate(odds, is_unknown[~half]),
        }
    return _logistic(features, is_unknown), figures


def _logistic(features: np.ndarray, target: np.ndarray) -> tuple[float, float, float]:
    """Class-balanced logistic regression by Newton's method, lightly ridged."""
    share = target.mean()
    weight = np.where(target == 1, 0.5 / share, 0.5 / (1 - share))
    ridge = np.diag([0.0, 1e-2, 1e-2])
    beta = np.zeros(features.shape[1])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(features @ beta, -30, 30)))
        gradient = features.T @ (weight * (target - p)) - ridge @ beta
        hessian = (features * (weight * p * (1 - p))[:, None]).T @ features + ridge
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[0]), float(beta[1]), float(beta[2])


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-mass bins.

    Shapes:  (Q,), (Q,)
    Source:  Guo et al. 2017, with equal-mass bins
    """
    order = np.argsort(confidence, kind="stable")
    gaps = [
        len(part) * abs(confidence[part].mean() - correct[part].mean())
        for part in np.array_split(order, bins)
        if len(part)
    ]
    return float(sum(gaps) / max(1, len(confidence)))


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    n_pos = positive.sum()
    n_neg = len(positive) - n_pos
    return float((rank[positive == 1].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def false_positive_rate(score: np.ndarray, positive: np.ndarray, tpr: float = 0.95) -> float:
    """Share of negatives above the threshold that keeps `tpr` of the positives."""
    threshold = np.quantile(score[positive == 1], 1.0 - tpr)
    return float((score[positive == 0] >= threshold).mean())
