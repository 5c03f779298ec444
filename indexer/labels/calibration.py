"""Fits how much vote and head count, and who is unknown, on pictures whose answer is hidden.

Three ways of hiding stand for three kinds of query: the picture's own title is left out (a new
title by a known author), only its own copies are (a new picture of a known title), its whole
author is (an unknown author). The figures in `measured` are cross-fitted: each fifth of the
authors is judged by parameters from the others; those that are stored come from all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from indexer.labels.heads import HINT, KINDS, LABELS_FOLDER, Head, LabelSet, fit_head
from indexer.labels.knn import log_votes, pool, vote_shares
from indexer.labels.metrics import (
    auroc,
    expected_calibration_error,
    false_positive_rate,
    logistic,
)
from indexer.labels.open_set import (
    UNKNOWN_FEATURES,
    Usual,
    unknown_features,
)
from schemas.errors import NoIndexError
from schemas.records import DECADE

CALIBRATION_FILE = "calibration.json"
RECIPE = 7
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
DEFAULT_UNKNOWN = (
    6.0,
    -6.0,
    -4.0,
    0.0,
    0.0,
    0.0,
    0.0,
)  # even odds where the nearest ones are about 0.6
MIN_EXAMPLES = 30  # fewer held-out pictures than this show nothing
MIN_AUTHORS = 3
"""Fewer known authors than this cannot be separated in trials."""
FOLDS = 5
FIT_ROWS = 30_000
"""Heads that are only fitted to be judged see at most this many pictures."""


@dataclass(frozen=True)
class LabelDataset:
    """The vectors of an index with integer labels; -1 stands for "has none".

    `names` says for each kind what the integers stand for, `era_years` how wide an era is, `ood`
    the encoder's out-of-distribution score, NaN where unknown.

    Shapes:  vectors (N, D) float32 unit rows; all others (N,)
    """

    vectors: np.ndarray
    picture: np.ndarray
    title: np.ndarray
    codes: Mapping[str, np.ndarray]
    names: Mapping[str, tuple[str, ...]]
    ood: np.ndarray
    era_years: int = DECADE

    def label_sets(self) -> dict[str, LabelSet]:
        """The labels of each kind with their numbers of pictures; kinds without any are left
        out."""
        found = {}
        for kind in KINDS:
            if names := self.names[kind]:
                codes = self.codes[kind]
                counts = np.bincount(codes[codes >= 0], minlength=len(names))
                found[kind] = LabelSet(tuple(names), tuple(counts.tolist()))
        return found

    def fitted_heads(self, rows: np.ndarray | None = None) -> dict[str, Head]:
        """Heads on all that is labelled (or on some rows); a kind with less than two labels has
        none."""
        chosen = slice(None) if rows is None else rows
        found = {
            kind: fit_head(
                self.vectors[chosen], self.codes[kind][chosen], self.title[chosen],
                len(self.names[kind]),
            )
            for kind in KINDS
        }  # fmt: skip
        return {kind: head for kind, head in found.items() if head is not None}

    def folds(self) -> np.ndarray:
        """Folds that share no title and spread each author's titles; shape (N,) int."""
        return folds_within(self.codes["author"], self.title)


@dataclass(frozen=True)
class Calibration:
    """What was fitted when a generation was built, and on what.

    `background` holds similarities of pairs by different authors at QUANTILE_LEVELS.
    `vote_weight` and `head_weight` are the weights of the log-linear pool, each the inverse of a
    temperature. `unknown_weights` belong to `unknown_features`, in the log-odds that nobody in
    the catalog drew the query, at equal prior odds. `usual_ood` and `usual_nearest` are the
    ranges of the catalog's own pictures.
    `basis` says what stood in for a new picture: other_titles (the query's own title was
    left out), other_pictures (only its own copies were), or defaults (too few pictures).
    """

    background: tuple[float, ...]
    vote_weight: dict[str, float]
    head_weight: dict[str, float]
    unknown_weights: tuple[float, ...]
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
                vote_weight={kind: _weight(raw["vote_weight"][kind]) for kind in KINDS},
                head_weight={kind: _weight(raw["head_weight"][kind]) for kind in KINDS},
                unknown_weights=_numbers(raw["unknown_weights"], UNKNOWN_FEATURES),
                neighbours=int(raw["neighbours"]),
                basis=str(raw["basis"]),
                usual_ood=Usual.read(raw["usual_ood"]),
                usual_nearest=Usual.read(raw["usual_nearest"]),
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


def _weight(value: Any) -> float:
    weight = float(value)
    if not 0.0 <= weight < np.inf:
        raise ValueError(f"a weight of {weight}")
    return weight


def temperature_of(background: tuple[float, ...]) -> float:
    """SPREADS standard deviations of background similarities, by their middle two thirds."""
    low, high = np.interp([16.0, 84.0], QUANTILE_LEVELS, background)
    return max(SPREADS * float(high - low) / 2.0, 1e-3)


def fit(data: LabelDataset, *, sample: int, seed: int, neighbours: int = NEIGHBOURS) -> Calibration:
    """Fit percentiles, the weights of votes and heads, and the unknown-author model.

    Where hardly any author is known, each title stands for an author of its own: genres and eras
    are fitted on titles that are hidden, the unknown author is not. Without `neighbours` the heads
    answer alone.

    Shapes:  see LabelDataset; at most `sample` pictures serve as queries
    """
    known = data.codes["author"]
    nameless = len(np.unique(known[known >= 0])) < MIN_AUTHORS
    author = data.title if nameless else known
    rng = np.random.default_rng(seed)
    background = _background(data, author, rng)
    neighbours = max(0, min(neighbours, len(data.vectors) - 1))
    queries = _sampled(author, sample, rng)
    empty = Calibration(
        background, dict.fromkeys(KINDS, 0.5), dict.fromkeys(KINDS, 0.0), DEFAULT_UNKNOWN,
        neighbours, "defaults", Usual.of_scores(data.ood), era_years=data.era_years,
    )  # fmt: skip
    if len(queries) < MIN_EXAMPLES:
        return empty

    @cache  # the search is what costs most
    def hiding(what: str) -> _Trial:
        group = author if what == "author" else getattr(data, what)
        return hidden_neighbours(data, queries, group, neighbours)

    other_title = _has_other(author, data.title)[queries]
    other_picture = _has_other(author, data.picture)[queries]
    by_title = nameless or bool(other_title.mean() >= 0.2)
    own_group = "title" if by_title else "picture"
    trial, temperature = hiding(own_group), temperature_of(background)
    held = held_out_scores(data, queries, folds_within(author, getattr(data, own_group)), rng)
    found = replace(
        empty, basis=f"other_{own_group}s", usual_nearest=Usual.of_nearest(trial.similarity)
    )
    for kind in KINDS:
        codes, count = data.codes[kind], len(data.names[kind])
        usable = codes[queries] >= 0
        if kind == "author":
            usable &= other_title if by_title else other_picture
        if usable.sum() < MIN_EXAMPLES:
            continue
        votes = log_votes(trial.shares(codes, count, temperature))
        scores = held[kind].scores if kind in held else None
        weights, figures = _fit_pool(votes, scores, codes[queries], usable, author[queries])
        found.vote_weight[kind], found.head_weight[kind] = weights
        found.measured.update({f"{kind}_{name}": value for name, value in figures.items()})
    if nameless:
        return found

    own, count = known[queries], len(data.names["author"])
    weights = found.vote_weight["author"], found.head_weight["author"]

    def features(what: str, struck: np.ndarray, part: np.ndarray | slice) -> np.ndarray:
        """As of a query that lacks its neighbours of `what`, and one label; (Q, 7)"""
        case, ratio, scores = hiding(what), None, None
        if "author" in held:
            # The head itself stays: one that was fitted without a fifth of the authors would
            # score lower for that alone, and an unknown author would be recognised by it.
            scores = held["author"].scores.copy()
            scores[np.arange(len(struck)), struck] = -np.inf
            ratio = scores.max(1) - held["author"].unseen
        shares = case.shares(known, count, temperature)
        pooled = pool(log_votes(shares), scores, *weights)
        return unknown_features(case.similarity, shares.max(1), ratio, pooled.max(1))[part]

    # Both lack one label, or the count of labels would betray a hidden author.
    another = (own + rng.integers(1, count, len(own))) % count
    weights_of, figures = _fit_unknown(
        (features("author", own, slice(None)), own),
        {
            "new_picture": (features("picture", another, other_picture), own[other_picture]),
            "new_title": (features("title", another, other_title), own[other_title]),
        },
    )
    found.measured.update(figures)
    return replace(found, unknown_weights=weights_of)


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


def hidden_neighbours(data: LabelDataset, queries: np.ndarray, hide: np.ndarray, k: int) -> _Trial:
    """Exact neighbours with the query's own group and its copies left out; hide (N,)"""
    similarity = np.full((len(queries), k), -1.0, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(queries) if k else 0, 128):
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
    return _Trial(np.maximum(similarity, -1.0), rows)


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
            np.empty((len(queries), len(data.names[kind])), np.float32),
            np.empty(len(queries), np.float32),
        )
        for kind in KINDS
    }
    for fold in np.unique(folds[queries]):
        rows = np.flatnonzero(folds != fold)
        if len(rows) > FIT_ROWS:
            rows = np.sort(rng.choice(rows, FIT_ROWS, replace=False))
        asked = folds[queries] == fold
        vectors, heads = data.vectors[queries[asked]], data.fitted_heads(rows)
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
    left, right = rng.integers(0, len(data.vectors), (2, 400_000))
    different = data.title[left] != data.title[right]
    known = (author[left] >= 0) & (author[right] >= 0)
    different &= ~known | (author[left] != author[right])
    left, right = left[different], right[different]
    if left.size < 100:  # one title only: nothing to compare with
        return tuple(np.interp(QUANTILE_LEVELS, [0, 100], [-1.0, 1.0]).tolist())
    pairs = [
        np.einsum("nd,nd->n", data.vectors[left[s : s + 20_000]], data.vectors[right[s:][:20_000]])
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
    votes: np.ndarray,
    scores: np.ndarray | None,
    truth: np.ndarray,
    usable: np.ndarray,
    author: np.ndarray,
) -> tuple[tuple[float, float], dict[str, float]]:
    """The weights of vote and head with the least log loss, and their figures on authors that
    they were not fitted on.

    Shapes:  votes and scores (Q, C), the others (Q,)
    """
    parts = [part[usable] for part in (votes, scores) if part is not None]
    truth, author = truth[usable], author[usable]
    folds, predicted = _author_folds(author), np.zeros_like(parts[0])
    figures: dict[str, float] = {}
    numbers = np.unique(folds)
    if len(numbers) > 1 and min((folds != fold).sum() for fold in numbers) >= MIN_EXAMPLES:
        for fold in numbers:
            fitted = folds != fold
            weights = pool_weights([part[fitted] for part in parts], truth[fitted])
            rest = [part[~fitted] for part in parts]
            predicted[~fitted] = pool(rest[0], rest[1] if len(rest) > 1 else None, *weights)
        rows, best = np.arange(len(truth)), predicted.argmax(axis=1)
        right = (best == truth).astype(float)
        figures = {
            "top1": float(right.mean()),
            "vote_top1": float((parts[0].argmax(axis=1) == truth).mean()),
            "calibration_error": expected_calibration_error(predicted[rows, best], right),
            "log_loss": float(-np.log(np.maximum(predicted[rows, truth], 1e-12)).mean()),
            "queries": float(len(truth)),
        }
    return pool_weights(parts, truth), figures


def pool_weights(parts: list[np.ndarray], truth: np.ndarray) -> tuple[float, float]:
    """The weights of vote and head (0 without one) with the least log loss.

    Newton's method on a loss that is convex in the weights (a conditional logistic regression),
    lightly ridged on parts of equal spread; one that would count against the truth gets 0.

    Shapes:  one or two parts (Q, C) of logarithms, truth (Q,) int
    """
    rows = np.arange(len(truth))
    scale = np.array([max(float(part.std(axis=1).mean()), 1.0) for part in parts])
    used = np.array([float(np.ptp(part)) > 1e-9 for part in parts])
    weights = np.where(used, 0.5, 0.0)
    for _ in range(50):
        chosen = np.flatnonzero(used)
        if not len(chosen):
            break
        log = sum(weights[i] / scale[i] * parts[i] for i in chosen)
        likely = np.exp(log - np.max(log, axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        mean = np.stack([np.einsum("qc,qc->q", likely, parts[i]) / scale[i] for i in chosen])
        slope = np.stack([parts[i][rows, truth] / scale[i] for i in chosen]) - mean
        curve = [
            [
                float(np.einsum("qc,qc,qc->", likely, parts[i], parts[j]) / scale[i] / scale[j])
                for j in chosen
            ]
            for i in chosen
        ]
        ridge = np.eye(len(chosen))
        hessian = np.array(curve) - mean @ mean.T + ridge
        step = np.linalg.solve(hessian, slope.sum(axis=1) - weights[chosen])
        step *= min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
        weights[chosen] += step
        if np.abs(step).max() < 1e-5:
            if (weights[chosen] >= 0).all():
                break
            used &= weights > 0
            weights = np.where(used, 0.5, 0.0)
    weights = np.maximum(weights, 0.0) / scale
    return float(weights[0]), float(weights[1]) if len(weights) > 1 else 0.0


def _fit_unknown(
    unknown: tuple[np.ndarray, np.ndarray], known: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[tuple[float, ...], dict[str, float]]:
    """The unknown-author model, each known case weighing the same, and how well it separates.

    Shapes:  features (Q, 7) and authors (Q,) of each case
    """
    known = {case: part for case, part in known.items() if len(part[0]) >= MIN_EXAMPLES}
    if not known:
        return DEFAULT_UNKNOWN, {}
    cases = {"unknown": unknown, **known}
    x = np.concatenate([features for features, _ in cases.values()])
    name = np.repeat(list(cases), [len(features) for features, _ in cases.values()])
    folds = _author_folds(np.concatenate([owner for _, owner in cases.values()]))
    target = (name == "unknown").astype(float)
    weight = np.where(target == 1, 1.0 / len(unknown[0]), 0.0)
    for case, (features, _) in known.items():
        weight[name == case] = 1.0 / len(known) / len(features)
    weight *= len(x) / weight.sum()

    figures: dict[str, float] = {}
    numbers = np.unique(folds)
    if len(numbers) > 1 and min((folds != fold).sum() for fold in numbers) >= 2 * MIN_EXAMPLES:
        odds = np.empty(len(x))
        for fold in numbers:
            fitted = folds != fold
            odds[~fitted] = x[~fitted] @ logistic(x[fitted], target[fitted], weight[fitted])
        for case in known:
            shown = (name == case) | (name == "unknown")
            figures[f"unknown_auroc_{case}"] = auroc(odds[shown], target[shown])
            figures[f"unknown_fpr95_{case}"] = false_positive_rate(odds[shown], target[shown])
    return tuple(logistic(x, target, weight).tolist()), figures
