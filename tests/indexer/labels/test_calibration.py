"""Calibration on catalogs where the truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from indexer.labels import calibration
from indexer.labels.calibration import (
    FOLDS,
    NEIGHBOURS,
    QUANTILE_LEVELS,
    Calibration,
    LabelDataset,
    fit,
    folds_within,
    held_out_scores,
    hidden_neighbours,
    pool_weights,
)
from indexer.labels.knn import log_votes, pool
from indexer.labels.open_set import Usual
from schemas.errors import NoIndexError
from schemas.records import LABEL_KINDS
from tests.indexer.labels.datasets import artists, loud_titles


@cache
def fitted(spread: float = 0.8) -> Calibration:
    return fit(artists(24, 3, 8, spread), sample=400, seed=1)


def test_a_large_catalog_is_tried_on_fewer_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted().measured["author_queries"] == 400
    monkeypatch.setattr(calibration, "MOST_COMPARED", 310 * len(artists(24, 3, 8, 0.8).title))
    few = fit(artists(24, 3, 8, 0.8), sample=400, seed=1)
    assert few.measured["author_queries"] == 310
    assert few.weights["author"] == pytest.approx(fitted().weights["author"], rel=0.3)


def test_authors_of_hidden_titles_are_recognised_and_unknown_ones_are_told_apart() -> None:
    found = fitted()
    assert found.basis == "other_titles"
    assert found.measured["unknown_auroc"] > 0.9
    assert found.measured["author_top1"] > 0.9
    assert found.measured["author_calibration_error"] < 0.04
    assert max(found.weights["author"]) > 0


@pytest.mark.parametrize("spread", [1.5, 2.5])
def test_answers_are_right_as_often_as_they_say(spread: float) -> None:
    found = fitted(spread)
    assert 0.2 < found.measured["author_top1"] < 0.97
    assert found.measured["author_calibration_error"] < 0.07


def test_random_vectors_promise_nothing() -> None:
    data = artists(30, 3, 6, 0.8)
    noise = np.random.default_rng(0).standard_normal(data.vectors.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    found = fit(replace(data, vectors=noise), sample=500, seed=1)
    assert abs(found.measured["unknown_auroc"] - 0.5) < 0.1
    assert found.measured["author_top1"] < 0.2
    assert found.measured["author_calibration_error"] < 0.12


def test_one_title_for_each_author_falls_back_to_other_pictures() -> None:
    assert fit(artists(20, 1, 10, 0.8), sample=200, seed=1).basis == "other_pictures"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tiny_catalogs_get_defaults(count: int) -> None:
    data = replace(artists(1, 1, count, 0.8), era_years=5)
    found = fit(data, sample=200, seed=1)
    assert (found.basis, found.era_years, found.measured) == ("defaults", 5, {})
    assert found.unknown is None and found.neighbours == count - 1


def test_percentiles_are_shares_of_background_pairs() -> None:
    data = artists(20, 2, 10, 1.0)
    found = fit(data, sample=100, seed=1)
    similarity = data.vectors @ data.vectors.T
    author = data.codes["author"]
    different = author[:, None] != author[None, :]
    for value in (-0.2, 0.0, 0.2, 0.5):
        share = 100.0 * (similarity[different] < value).mean()
        assert abs(float(found.percentile(np.asarray(value))) - share) < 1.0
    assert float(found.percentile(np.asarray(1.0))) == 100.0


def test_a_calibration_survives_its_file_and_refuses_a_damaged_one() -> None:
    found = replace(fitted(), usual_ood=Usual(-0.4, 0.4, 0.2))
    assert Calibration.from_json(found.to_json()) == found
    assert len(found.background) == len(QUANTILE_LEVELS)
    raw = json.loads(found.to_json())
    weights = {kind: [0.5, 0.1, 0.0] for kind in LABEL_KINDS}
    for damage in (
        *({"era_years": wrong} for wrong in (0, -5, 2.5, "five", None)),
        {"weights": weights | {"author": [-0.1, 0.0, 0.0]}}, {"weights": {"author": [1.0] * 3}},
        {"weights": weights | {"era": [float("nan")] * 3}}, {"unknown": [0.0] * 3},
        {"weights": weights | {"era": [0.5]}}, {"lines": {"picture": [0.1, 0.2]}},
        {"lines": {"picture": [0.2, 0.1], "title": [0.1, 0.2]}}, {"unknown": "often"},
        {"background": [0.0]}, {"neighbours": -1}, {"usual_ood": [1.0, 0.0, 0.1]},
    ):  # fmt: skip
        with pytest.raises(NoIndexError, match="cannot be read"):
            Calibration.from_json(json.dumps(raw | damage))
    for text in ("", "{}", "[]"):
        with pytest.raises(NoIndexError):
            Calibration.from_json(text)


def test_the_same_seed_gives_the_same_calibration() -> None:
    data = artists(12, 2, 5, 1.0)
    assert fit(data, sample=60, seed=5) == fit(data, sample=60, seed=5)


def test_titles_calibrate_genres_and_eras_where_no_author_is_known() -> None:
    data = artists(30, 4, 10, 1.2)
    nobody = {**data.codes, "author": np.full(len(data.title), -1)}
    found = fit(replace(data, codes=nobody, names={**data.names, "author": ()}), sample=600, seed=1)
    assert found.basis == "other_titles" and found.unknown is None
    assert not any("author" in key for key in found.measured)
    assert found.measured["genre_top1"] > 0.5 and found.measured["genre_calibration_error"] < 0.1


def test_heads_are_calibrated_without_neighbours_too() -> None:
    found = fit(artists(24, 3, 8, 1.5), sample=400, seed=1, neighbours=0)
    vote, head, network = found.weights["author"]
    assert found.neighbours == 0 and vote == network == 0.0 and head > 0
    assert found.measured["author_top1"] > 0.5


def test_a_networks_own_softmax_joins_the_pool_with_a_weight_of_its_own() -> None:
    """Of titles that it has not learnt from; what it says of those that it has counts nothing."""
    data = artists(24, 3, 8, 2.5)
    author = data.codes["author"]
    rng = np.random.default_rng(0)
    telling = rng.standard_normal((len(author), 24))
    telling[np.arange(len(author)), author] += 4.0
    telling -= np.log(np.exp(telling).sum(1, keepdims=True))
    learnt = data.title % 3 == 0
    telling[learnt] = np.nan
    alone, joined = (
        fit(replace(data, network=network), sample=400, seed=1)
        for network in ({}, {"author": telling})
    )
    assert alone.weights["author"][2] == 0.0 < joined.weights["author"][2]
    assert joined.measured["author_top1"] > alone.measured["author_top1"] + 0.1
    assert joined.measured["author_calibration_error"] < 0.07
    assert joined.weights["genre"] == alone.weights["genre"]
    assert joined.measured["author_queries"] < alone.measured["author_queries"]


def test_close_is_what_is_nearer_than_other_authors_usually_are() -> None:
    data = artists(24, 3, 8, 1.0)
    found = fit(data, sample=400, seed=1)
    similarity = data.vectors @ data.vectors.T
    author, title = data.codes["author"], data.title
    other = np.where(author[:, None] != author, similarity, -1.0).max(1)
    same = np.where((author[:, None] == author) & (title[:, None] != title), similarity, -1).max(1)
    close, very_close = found.lines["picture"]
    assert (other >= close).mean() == pytest.approx(0.5, abs=0.06)
    assert (other >= very_close).mean() == pytest.approx(0.05, abs=0.03)
    assert (same >= very_close).mean() > 0.5
    words = [found.closeness(value, "picture") for value in (0.999, close, close - 0.01)]
    assert words == ["very close", "close", "loose"]
    nearest_title = []
    for row in range(len(author)):
        around = np.argsort(np.where(author != author[row], -similarity[row], 9.0))[:NEIGHBOURS]
        scores = []
        for one in set(title[around]):
            own = data.vectors[title == one]
            center = own.mean(0) / np.linalg.norm(own.mean(0))
            near = np.sort(similarity[row, around][title[around] == one])[::-1][:3]
            best = np.append(near, [similarity[row, around].min()] * 3)[:3] @ [0.5, 0.3, 0.2]
            scores.append((best + 0.2 * center @ data.vectors[row]) / 1.2)
        nearest_title.append(max(scores))
    wanted = np.percentile(nearest_title, [50, 95])
    assert found.lines["title"] == pytest.approx(wanted, abs=0.03) and wanted[0] < close
    tiny = fit(artists(1, 1, 5, 0.8), sample=200, seed=1)
    assert tiny.lines["picture"] == tiny.lines["title"]


# --- Trials.


def test_hidden_neighbours_equal_a_slow_loop() -> None:
    data = artists(6, 2, 4, 1.0)
    queries = np.arange(0, 48, 7)
    (found,) = hidden_neighbours(data, queries, [data.title], 47)
    for number, query in enumerate(queries.tolist()):
        others = np.flatnonzero(data.title != data.title[query])
        similarity = data.vectors[others] @ data.vectors[query]
        order = others[np.argsort(-similarity, kind="stable")]
        assert found.row[number, :44].tolist() == order.tolist()[:44]
        assert found.similarity[number, :44] == pytest.approx(-np.sort(-similarity), abs=1e-6)
    assert (found.row[:, 44:] == -1).all()  # there are no more


def test_folds_share_no_title_and_spread_an_authors_titles() -> None:
    rng = np.random.default_rng(0)
    title = rng.integers(0, 60, 500)
    author = title % 13
    shared = title == 7
    author[shared] = np.where(np.arange(shared.sum()) % 2 == 0, 3, 4)  # two authors, one title
    folds = folds_within(author, title)
    for one in np.unique(title):
        assert len(np.unique(folds[title == one])) == 1
    for name in range(6, 13):
        own = np.unique(title[author == name])
        assert len({int(folds[title == one][0]) for one in own}) == min(FOLDS, len(own))


def test_held_out_scores_do_not_know_the_answer() -> None:
    data = loud_titles()
    noise = np.random.default_rng(1).standard_normal(data.vectors.shape).astype(np.float32)
    blind: LabelDataset = replace(data, vectors=noise)
    queries, rng = np.arange(0, len(noise), 2), np.random.default_rng(0)
    held = held_out_scores(blind, queries, data.folds(), rng)
    assert set(held) == {"author", "genre"}
    chance = (held["author"].scores.argmax(1) == data.codes["author"][queries]).mean()
    assert chance < 3 / 12


# --- Fits.


def told_by_both(count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-votes and scores of a head that is surely wrong of one query in five, and the truth."""
    rng = np.random.default_rng(2)
    truth, rows = rng.integers(0, 5, count), np.arange(count)
    head = rng.standard_normal((count, 5)) * 10
    votes = rng.dirichlet(np.ones(5), count)
    seen = np.where(rows % 5 == 0, rng.integers(0, 5, count), truth)
    head[rows, seen] += 20
    votes[rows, truth] *= 2.0
    return log_votes(votes / votes.sum(1, keepdims=True)), head, truth


def test_the_weights_have_the_least_loss_of_a_grid() -> None:
    votes, head, truth = told_by_both()
    rows = np.arange(len(truth))

    def loss(vote_weight: float, head_weight: float) -> float:
        told = pool([votes, head], [vote_weight, head_weight])
        return float(-np.log(told[rows, truth]).mean())

    found = pool_weights([votes, head, None], truth)
    assert found[2] == 0.0
    grid = min(loss(a, b) for a in np.linspace(0, 3, 31) for b in np.geomspace(0.001, 1, 61))
    assert loss(*found[:2]) <= grid + 2e-3
    alone = pool_weights([votes, None], truth)
    assert alone[1] == 0.0
    assert loss(*alone) <= min(loss(a, 0.0) for a in np.linspace(0, 3, 31)) + 2e-3


def test_what_misleads_or_says_nothing_gets_no_weight() -> None:
    votes, head, truth = told_by_both()
    assert pool_weights([votes, -head], truth)[1] == 0.0
    assert pool_weights([votes, np.zeros_like(head)], truth)[1] == 0.0
    assert pool_weights([np.zeros_like(votes), head], truth)[0] == 0.0
    few = pool_weights([votes[:3], head[:3]], truth[:3])
    assert np.isfinite(few).all() and max(few) < 5
