"""Fits how much vote and head count, and who is unknown, on pictures whose answer is hidden.

Two ways of hiding stand for two kinds of query: the picture's own title is left out (a new title
by a known author), its whole author is (an unknown author). The figures in `measured` are
cross-fitted: each fifth of the authors is judged by parameters from the others; those that are
stored come from all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexer.labels.heads import HINT, LABELS_FOLDER, MAX_LABELS, Head, LabelSet, fit_head
from indexer.labels.knn import PARTS, log_votes, pool, vote_shares
from indexer.labels.metrics import (
    auroc,
    expected_calibration_error,
    false_positive_rate,
    logistic,
)
from indexer.labels.open_set import Usual, familiarity
from indexer.vector_index.ranking import exact_nearest_each, title_centroids, title_scores
from schemas.errors import NoIndexError
from schemas.records import CLOSENESS, DECADE, LABEL_KINDS

CALIBRATION_FILE = "calibration.json"
RECIPE = 10
"""Counts up when the same pictures are fitted otherwise: a generation of another recipe is
calibrated again, however little has changed in its catalog."""
NEIGHBOURS = 200  # voters; the farther ones add nothing
SPREADS = 0.4
"""Temperature of the neighbours' softmax, in standard deviations of background similarities."""
QUANTILE_LEVELS = np.concatenate(
    [np.linspace(0.0, 99.0, 100), 100.0 - np.geomspace(0.9, 0.001, 60), [100.0]]
)
"""Percent levels of the stored similarity quantiles: even, then ever finer towards the top,
where all hits lie. Shape (161,)."""
MIN_EXAMPLES = 30  # fewer held-out pictures than this show nothing
MIN_AUTHORS = 3
"""Fewer known authors than this cannot be separated in trials."""
LEAST_TRIALS, MOST_COMPARED, MOST_SCORES = 300, 1_000_000_000, 20_000_000
"""Of a large catalog fewer sample pictures are tried than wanted: as many as cost so many
comparisons with others, or so many numbers of all labels; from a million pictures 1,000."""
FOLDS = 5
FIT_ROWS = 30_000
"""Heads that are only fitted to be judged see at most this many pictures."""
CLOSE_PERCENT, VERY_CLOSE_PERCENT = 50.0, 95.0
"""A result is close when it is nearer than the nearest by another author usually is: the median
over pictures of the catalog; it is very close when hardly any of those is as near."""
DEFAULT_CLOSE_PERCENT, DEFAULT_VERY_CLOSE_PERCENT = 99.0, 99.9
"""The same of all background pairs, for a catalog that is too small for trials."""
CLOSENESS_QUERIES = 500


@dataclass(frozen=True)
class LabelDataset:
    """The vectors of an index with integer labels; -1 stands for "has none".

    `names` says for each kind what the integers stand for, `era_years` how wide an era is, `ood`
    the encoder's out-of-distribution score, NaN where unknown. `network` holds log-probabilities
    that a network's own softmax gives by kind; rows of NaN where it has learnt from the picture's
    title, which says nothing of new ones.

    Shapes:  vectors (N, D) float32 or float16 unit rows, which may lie in a file; network kind ->
             (N, C); all others (N,)
    """

    vectors: np.ndarray
    picture: np.ndarray
    title: np.ndarray
    codes: Mapping[str, np.ndarray]
    names: Mapping[str, tuple[str, ...]]
    ood: np.ndarray
    era_years: int = DECADE
    network: Mapping[str, np.ndarray] = field(default_factory=dict)

    def label_sets(self) -> dict[str, LabelSet]:
        """The labels of each kind that has any, with their numbers of pictures."""
        counts = {
            kind: np.bincount(codes[codes >= 0], minlength=len(self.names[kind])).tolist()
            for kind, codes in self.codes.items()
        }
        return {
            kind: LabelSet(tuple(names), tuple(counts[kind]))
            for kind, names in self.names.items()
            if names
        }

    def fitted_heads(self, rows: np.ndarray | None = None) -> dict[str, Head]:
        """Heads on all that is labelled (or on some rows); a kind with less than two labels has
        none."""
        chosen = slice(None) if rows is None else rows
        vectors, title = self.vectors[chosen], self.title[chosen]
        found = {
            kind: fit_head(vectors, codes[chosen], title, len(self.names[kind]))
            for kind, codes in self.codes.items()
        }
        return {kind: head for kind, head in found.items() if head is not None}

    def folds(self) -> np.ndarray:
        """Folds that share no title and spread each author's titles; shape (N,) int."""
        return folds_within(self.codes["author"], self.title)


@dataclass(frozen=True)
class Calibration:
    """What was fitted when a generation was built, and on what.

    `background` holds similarities of pairs by different authors at QUANTILE_LEVELS; `lines` for
    "picture" and "title" the least similarities that are close and very close.
    `weights` are those of PARTS in the log-linear pool of each kind, each the inverse of a
    temperature. `unknown` are offset and slope of `familiarity` in the log-odds that nobody in the
    catalog drew the query, at equal prior odds; None where that was not fitted. `usual_ood` and
    `usual_nearest` are the ranges of the catalog's own pictures.
    `basis` says what stood in for a new picture: other_titles (the query's own title was
    left out), other_pictures (only its own copies were), or defaults (too few pictures).
    """

    background: tuple[float, ...]
    lines: dict[str, tuple[float, float]]
    weights: dict[str, tuple[float, ...]]
    unknown: tuple[float, float] | None
    neighbours: int
    basis: str
    usual_ood: Usual | None = None
    usual_nearest: Usual | None = None
    era_years: int = DECADE
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def temperature(self) -> float:
        """Of the neighbours' softmax."""
        return temperature_of(self.background)

    def percentile(self, similarity: np.ndarray) -> np.ndarray:
        """Share of background pairs that are less similar.

        Shapes:  (...) -> (...)
        Units:   similarity as cosine; percent 0..100
        """
        return np.asarray(np.interp(similarity, np.asarray(self.background), QUANTILE_LEVELS))

    def closeness(self, similarity: float, by: str) -> str:
        """One of CLOSENESS for the similarity of a "picture" or a "title"."""
        close, very_close = self.lines[by]
        return CLOSENESS[0 if similarity >= very_close else 1 if similarity >= close else 2]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def read(cls, folder: Path) -> Calibration:
        """That of a generation's or a model's folder.

        Errors:  NoIndexError when it is missing or damaged
        """
        path = folder / LABELS_FOLDER / CALIBRATION_FILE
        try:
            return cls.from_json(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise NoIndexError(f"{path} cannot be read ({error})", HINT) from error

    @staticmethod
    def from_json(text: str) -> Calibration:
        """Errors:  NoIndexError when a field is missing or not a number"""
        try:
            raw: dict[str, Any] = json.loads(text)
            found = Calibration(
                background=_numbers(raw["background"], len(QUANTILE_LEVELS)),
                lines={by: _line(raw["lines"][by]) for by in ("picture", "title")},
                weights={kind: _weights(raw["weights"][kind]) for kind in LABEL_KINDS},
                unknown=None if raw["unknown"] is None else _pair(raw["unknown"]),
                neighbours=int(raw["neighbours"]),
                basis=str(raw["basis"]),
                usual_ood=Usual.read(raw["usual_ood"]),
                usual_nearest=Usual.read(raw.get("usual_nearest")),
                era_years=int(raw["era_years"]),
                measured={str(k): float(v) for k, v in raw["measured"].items()},
            )
            if found.neighbours < 0 or found.era_years < 1 or found.era_years != raw["era_years"]:
                raise ValueError(f"eras of {raw['era_years']} years, {found.neighbours} voters")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoIndexError(
                f"the calibration of labels cannot be read ({error})", HINT
            ) from error
        return found


def _numbers(raw: Any, count: int) -> tuple[float, ...]:
    found = tuple(float(value) for value in raw)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"{len(found)} numbers instead of {count}")
    return found


def _pair(raw: Any) -> tuple[float, float]:
    one, other = _numbers(raw, 2)
    return one, other


def _line(raw: Any) -> tuple[float, float]:
    close, very_close = _pair(raw)
    if close > very_close:
        raise ValueError(f"close from {close}, very close from {very_close}")
    return close, very_close


def _weights(raw: Any) -> tuple[float, ...]:
    weights = _numbers(raw, len(PARTS))
    if min(weights) < 0.0:
        raise ValueError(f"weights of {weights}")
    return weights


def temperature_of(background: tuple[float, ...]) -> float:
    """SPREADS standard deviations of background similarities, by their middle two thirds."""
    low, high = np.interp([16.0, 84.0], QUANTILE_LEVELS, background)
    return max(SPREADS * float(high - low) / 2.0, 1e-3)


def fit(data: LabelDataset, *, sample: int, seed: int, neighbours: int = NEIGHBOURS) -> Calibration:
    """Fit percentiles, lines of closeness, the weights of the pool, and the unknown-author model.

    Where hardly any author is known, each title stands for an author of its own: genres and eras
    are fitted on titles that are hidden, the unknown author is not. Without `neighbours` the heads
    answer alone.

    Shapes:  see LabelDataset; at most `sample` pictures serve as queries, of a large catalog fewer
    """
    known = data.codes["author"]
    nameless = len(np.unique(known[known >= 0])) < MIN_AUTHORS
    author = data.title if nameless else known
    rng = np.random.default_rng(seed)
    background = _background(data, author, rng)
    neighbours = max(0, min(neighbours, len(data.vectors) - 1))
    labels = max((len(names) for names in data.names.values()), default=0)
    most = min(MOST_COMPARED // max(1, len(data.vectors)), MOST_SCORES // max(1, labels))
    queries = _sampled(author, min(sample, max(LEAST_TRIALS, most)), rng)
    at = np.interp([DEFAULT_CLOSE_PERCENT, DEFAULT_VERY_CLOSE_PERCENT], QUANTILE_LEVELS, background)
    found = Calibration(
        background,
        dict.fromkeys(("picture", "title"), (float(at[0]), float(at[1]))),
        dict.fromkeys(LABEL_KINDS, (0.5, 0.0, 0.0)),
        None,
        neighbours,
        "defaults",
        Usual.of_scores(data.ood),
        era_years=data.era_years,
    )
    if len(queries) < MIN_EXAMPLES:
        return found

    other_title = _has_other(author, data.title)[queries]
    by_title = nameless or bool(other_title.mean() >= 0.2)
    own_group = data.title if by_title else data.picture
    other = other_title if by_title else _has_other(author, data.picture)[queries]
    trial, stranger = hidden_neighbours(data, queries, (own_group, author), neighbours)
    held = held_out_scores(data, queries, folds_within(author, own_group), rng)
    basis, usual = "other_titles" if by_title else "other_pictures", trial.similarity
    found = replace(found, basis=basis, usual_nearest=Usual.of_nearest(usual))
    if neighbours:
        found = replace(found, lines=_lines(data, queries, stranger))
    for kind, codes in data.codes.items():
        count = len(data.names[kind])
        usable = (codes[queries] >= 0) & (other if kind == "author" else True)
        network = data.network.get(kind)
        if network is not None:
            new_to_it = usable & np.isfinite(network[queries]).all(axis=1)
            if new_to_it.sum() < MIN_EXAMPLES:
                network = None
            else:
                usable = new_to_it
        if usable.sum() < MIN_EXAMPLES:
            continue
        votes = log_votes(trial.shares(codes, count, found.temperature))
        scores = held[kind].scores if kind in held else None
        parts = [votes, scores, None if network is None else network[queries]]
        found.weights[kind], figures = _fit_pool(parts, codes[queries], usable, author[queries])
        found.measured.update({f"{kind}_{name}": value for name, value in figures.items()})
    own, count = known[queries], len(data.names["author"])
    lacks_a_head = "author" not in held and count <= MAX_LABELS  # one that the whole catalog has
    if nameless or lacks_a_head or other.sum() < MIN_EXAMPLES:
        return found

    def familiar(case: _Trial, struck: np.ndarray) -> np.ndarray:
        """As of a query that lacks its neighbours of a kind, and one label; (Q,)"""
        if "author" not in held:
            return familiarity(case.similarity, None)
        # The head itself stays: one that was fitted without a fifth of the authors would
        # score lower for that alone, and an unknown author would be recognised by it.
        scores = held["author"].scores.copy()
        scores[np.arange(len(struck)), struck] = -np.inf
        return familiarity(case.similarity, scores.max(1) - held["author"].unseen)

    # Both lack one label, or the count of labels would betray a hidden author.
    another = (own + rng.integers(1, count, len(own))) % count
    unknown, figures = _fit_unknown(
        np.concatenate([familiar(stranger, own), familiar(trial, another)[other]]),
        np.repeat([1.0, 0.0], [len(own), int(other.sum())]),
        np.concatenate([own, own[other]]),
    )
    found.measured.update(figures)
    return replace(found, unknown=unknown)


def _lines(
    data: LabelDataset, queries: np.ndarray, stranger: _Trial
) -> dict[str, tuple[float, float]]:
    """From where on pictures and titles are close and very close, by what is nearest to sample
    queries among the pictures and titles of other authors."""
    rng = np.random.default_rng(0)
    some = rng.permutation(len(queries))[:CLOSENESS_QUERIES]
    numbers = np.unique(data.title)
    centroids = title_centroids(data.vectors, data.title)
    asked = np.asarray(data.vectors[queries], np.float32)
    pictures, titles = [], []
    for at in some.tolist():
        there = stranger.row[at] >= 0
        if not there.any():
            continue
        similarity, title = stranger.similarity[at][there], data.title[stranger.row[at][there]]
        near = centroids[np.searchsorted(numbers, np.unique(title))] @ asked[at]
        centroid_of = dict(zip(np.unique(title).tolist(), near.tolist(), strict=True))
        _, scores = title_scores(similarity, title, centroid_of)
        pictures.append(float(similarity.max()))
        titles.append(float(scores.max()))
    levels = [CLOSE_PERCENT, VERY_CLOSE_PERCENT]
    return {
        by: _line(np.round(np.percentile(values, levels), 6))
        for by, values in (("picture", pictures), ("title", titles))
    }


# --- Trials: neighbours and head scores of a picture as if it were new.


@dataclass(frozen=True)
class _Trial:
    """Neighbours of sample queries under one way of hiding.

    Shapes:  similarity and row (Q, K) nearest first, rows -1 where there are no more
    """

    similarity: np.ndarray
    row: np.ndarray

    def shares(self, codes: np.ndarray, count: int, temperature: float) -> np.ndarray:
        """The neighbours' vote; codes (N,) -> (Q, count)"""
        voted = np.where(self.row >= 0, codes[self.row], -1)
        return vote_shares(self.similarity, voted, count, temperature)


def _sampled(author: np.ndarray, sample: int, rng: np.random.Generator) -> np.ndarray:
    """Sample queries, square-root weighted by author so that a prolific one does not rule."""
    rows = np.flatnonzero(author >= 0)
    if len(np.unique(author[rows])) < MIN_AUTHORS:
        return np.empty(0, dtype=np.int64)
    _, inverse, counts = np.unique(author[rows], return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(counts[inverse])
    size = min(sample, rows.size)
    return np.sort(rng.choice(rows, size=size, replace=False, p=weight / weight.sum()))


def _has_other(author: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Whether the author has a picture in another group; shape (N,) bool."""
    pairs = np.unique(np.stack([author, group], axis=1), axis=0)
    owners, counts = np.unique(pairs[:, 0], return_counts=True)
    many = owners[(counts > 1) & (owners >= 0)]
    return np.isin(author, many)


AT_ONCE = 1024
"""Queries that share one pass over all vectors."""


def hidden_neighbours(
    data: LabelDataset, queries: np.ndarray, hide: Sequence[np.ndarray], k: int
) -> list[_Trial]:
    """Exact neighbours with the query's own group and its copies left out, for each way of
    grouping in `hide`, (N,) each"""
    shape = len(queries), k
    found = [_Trial(np.full(shape, -1.0, np.float32), np.full(shape, -1)) for _ in hide]
    picture, *groups = (of.astype(np.int32) for of in (data.picture, *hide))
    for start in range(0, len(queries) if k else 0, AT_ONCE):
        block = queries[start : start + AT_ONCE]

        def hidden(of: np.ndarray, part: slice, block: np.ndarray = block) -> np.ndarray:
            own = of[block][:, None] == of[None, part]
            return np.asarray(own | (picture[block][:, None] == picture[None, part]))

        asked = np.asarray(data.vectors[block], np.float32)
        ways = [partial(hidden, of) for of in groups]
        for trial, (similarity, rows) in zip(
            found, exact_nearest_each(asked, data.vectors, k, ways), strict=True
        ):
            # Where there are no more, a row is far away and without a label.
            trial.similarity[start : start + len(block)] = np.maximum(similarity, -1.0)
            trial.row[start : start + len(block)] = rows
    return found


class HeldOut(NamedTuple):
    """What an author, genre or era head says of queries that it was not fitted on.

    Shapes:  scores (Q, C), unseen (Q,)
    """

    scores: np.ndarray
    unseen: np.ndarray


def folds_within(author: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Folds that share no group and spread each author's groups; shape (N,) int.

    Groups without an author are spread evenly.
    """
    pairs, of = np.unique(np.stack([author, group], axis=1), axis=0, return_inverse=True)
    first = np.searchsorted(pairs[:, 0], pairs[:, 0])
    turn = (np.arange(len(pairs)) - first + pairs[:, 0]) % FOLDS
    # A group that two authors share must not be cut: all of it follows its first pair.
    fold_of_group = dict(zip(pairs[::-1, 1].tolist(), turn[::-1].tolist(), strict=True))
    return np.asarray([fold_of_group[g] for g in pairs[of.reshape(-1), 1].tolist()], np.int64)


def held_out_scores(
    data: LabelDataset, queries: np.ndarray, folds: np.ndarray, rng: np.random.Generator
) -> dict[str, HeldOut]:
    """Scores of each query by heads that were fitted without the query's fold, by kind; a kind
    for which a fold has no head is left out.

    A label that a fold's head has not seen scores like its least likely one.

    Shapes:  queries (Q,), folds (N,)
    """
    found = {
        kind: HeldOut(
            np.empty((len(queries), len(names)), np.float32), np.empty(len(queries), np.float32)
        )
        for kind, names in data.names.items()
    }
    for fold in np.unique(folds[queries]):
        rows = np.flatnonzero(folds != fold)
        if len(rows) > FIT_ROWS:
            rows = np.sort(rng.choice(rows, FIT_ROWS, replace=False))
        asked = folds[queries] == fold
        vectors = np.asarray(data.vectors[queries[asked]], np.float32)
        heads = data.fitted_heads(rows)
        found = {kind: held for kind, held in found.items() if kind in heads}
        for kind, held in found.items():
            scores, seen = heads[kind].scores(vectors), np.isfinite(heads[kind].constant)
            scores[:, ~seen] = scores[:, seen].min(1, keepdims=True)
            held.scores[asked], held.unseen[asked] = scores, heads[kind].unseen(vectors)
    return found


def _background(
    data: LabelDataset, author: np.ndarray, rng: np.random.Generator
) -> tuple[float, ...]:
    """Similarity quantiles of random pairs by different authors (or titles)."""
    count = len(data.vectors)
    if count**2 <= 400_000:
        left, right = np.triu_indices(count, 1)  # all of them
    else:
        left, right = rng.integers(0, count, (2, 400_000))
    different = data.title[left] != data.title[right]
    known = (author[left] >= 0) & (author[right] >= 0)
    different &= ~known | (author[left] != author[right])
    left, right = left[different], right[different]
    if left.size < 100:  # one title only: nothing to compare with
        return tuple(np.interp(QUANTILE_LEVELS, [0, 100], [-1.0, 1.0]).tolist())
    pairs = [
        np.einsum(
            "nd,nd->n",
            *(np.asarray(data.vectors[of[s : s + 20_000]], np.float32) for of in (left, right)),
        )
        for s in range(0, left.size, 20_000)
    ]
    quantiles = np.quantile(np.concatenate(pairs), QUANTILE_LEVELS / 100.0)
    return tuple(np.round(quantiles, 6).tolist())


def _author_folds(author: np.ndarray) -> np.ndarray:
    """A fold for each picture, whole authors, evenly many in each; (Q,) int -> (Q,) int."""
    _, rank = np.unique(author, return_inverse=True)
    return np.asarray(rank.reshape(-1) % FOLDS)


# --- Fits.


def _fit_pool(
    parts: Sequence[np.ndarray | None], truth: np.ndarray, usable: np.ndarray, author: np.ndarray
) -> tuple[tuple[float, ...], dict[str, float]]:
    """The weights of PARTS with the least log loss, and their figures on authors that they were
    not fitted on.

    Shapes:  each part (Q, C), the others (Q,)
    """
    parts = [None if part is None else part[usable] for part in parts]
    truth, author = truth[usable], author[usable]
    folds = _author_folds(author)

    def some(rows: np.ndarray) -> list[np.ndarray | None]:
        return [None if part is None else part[rows] for part in parts]

    figures: dict[str, float] = {}
    numbers = np.unique(folds)
    if len(numbers) > 1 and min((folds != fold).sum() for fold in numbers) >= MIN_EXAMPLES:
        votes = parts[0]
        assert votes is not None
        predicted = np.zeros_like(votes)
        for fold in numbers:
            weights = pool_weights(some(folds != fold), truth[folds != fold])
            predicted[folds == fold] = pool(some(folds == fold), weights)
        rows, best = np.arange(len(truth)), predicted.argmax(axis=1)
        right = (best == truth).astype(float)
        figures = {
            "top1": float(right.mean()),
            "vote_top1": float((votes.argmax(axis=1) == truth).mean()),
            "calibration_error": expected_calibration_error(predicted[rows, best], right),
            "log_loss": float(-np.log(np.maximum(predicted[rows, truth], 1e-12)).mean()),
            "queries": float(len(truth)),
        }
    return pool_weights(parts, truth), figures


def pool_weights(parts: Sequence[np.ndarray | None], truth: np.ndarray) -> tuple[float, ...]:
    """The weights of the parts with the least log loss, 0 for one that is not there.

    Newton's method on a loss that is convex in the weights (a conditional logistic regression),
    lightly ridged on parts of equal spread; one that would count against the truth gets 0.

    Shapes:  each part (Q, C) of logarithms, truth (Q,) int
    """
    rows = np.arange(len(truth))
    weights = np.zeros(len(parts))
    used = [at for at, part in enumerate(parts) if part is not None and np.ptp(part) > 1e-9]
    while used:
        several = [np.asarray(parts[at]) for at in used]
        scale = np.array([max(float(part.std(axis=1).mean()), 1.0) for part in several])
        values = np.stack([part / size for part, size in zip(several, scale, strict=True)])
        own = values[:, rows, truth]  # (P, Q)
        found = np.full(len(used), 0.5)
        for _ in range(50):
            log = np.tensordot(found, values, 1)
            likely = np.exp(log - log.max(axis=1, keepdims=True))
            likely /= likely.sum(axis=1, keepdims=True)
            mean = np.einsum("qc,pqc->pq", likely, values)
            hessian = np.einsum("qc,pqc,rqc->pr", likely, values, values, optimize=True)
            hessian += np.eye(len(used)) - mean @ mean.T
            step = np.linalg.solve(hessian, (own - mean).sum(axis=1) - found)
            step *= min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
            found = found + step
            if np.abs(step).max() < 1e-5:
                break
        if (found >= 0).all():
            weights[used] = found / scale
            break
        used = [at for at, value in zip(used, found.tolist(), strict=True) if value > 0]
    return tuple(weights.tolist())


def _fit_unknown(
    familiar: np.ndarray, target: np.ndarray, author: np.ndarray
) -> tuple[tuple[float, float], dict[str, float]]:
    """Offset and slope of the unknown-author model at equal prior odds, and how well it separates.

    Shapes:  all (Q,), target 1 for unknown authors
    """
    x = np.stack([np.ones(len(familiar)), familiar], axis=1)
    weight = np.where(target == 1, 0.5 / target.mean(), 0.5 / (1.0 - target.mean()))
    folds, odds = _author_folds(author), np.empty(len(x))
    figures: dict[str, float] = {}
    numbers = np.unique(folds)
    if len(numbers) > 1 and min((folds != fold).sum() for fold in numbers) >= 2 * MIN_EXAMPLES:
        for fold in numbers:
            fitted = folds != fold
            odds[~fitted] = x[~fitted] @ logistic(x[fitted], target[fitted], weight[fitted])
        figures["unknown_auroc"] = auroc(odds, target)
        figures["unknown_fpr95"] = false_positive_rate(odds, target)
    return _pair(logistic(x, target, weight)), figures
