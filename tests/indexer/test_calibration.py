"""Calibration against slow loops, and on catalogs where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from indexer.labels.calibration import DEFAULT_UNKNOWN, Labelled, fit
from indexer.labels.knn import vote
from indexer.labels.labels import KINDS, QUANTILE_LEVELS, Calibration
from indexer.labels.metrics import (
    auroc,
    calibration_error_by_chance,
    expected_calibration_error,
    false_positive_rate,
    missed_rate,
)
from indexer.labels.votes import DEFAULT_TEMPERATURE
from schemas.errors import NoIndexError


def hands(
    authors: int, titles: int, pictures: int, spread: float, seed: int = 3, dimension: int = 32
) -> Labelled:
    """Unit vectors around a centre for each author, and a smaller shift for each title."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((authors, 1, 1, dimension))
    shift = 0.5 * rng.standard_normal((authors, titles, 1, dimension))
    noise = spread * rng.standard_normal((authors, titles, pictures, dimension))
    vectors = (centre + shift + noise).reshape(-1, dimension).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    count = len(vectors)
    author = np.repeat(np.arange(authors), titles * pictures)
    return Labelled(
        vectors,
        np.arange(count),
        np.repeat(np.arange(authors * titles), pictures),
        author,
        author % 3,
        np.where(author % 2 == 0, author % 5, -1),
    )


def test_known_hands_are_told_from_unknown_ones() -> None:
    calibration = fit(hands(24, 3, 8, 0.8), sample=400, seed=1)
    assert calibration.basis == "other_titles"
    assert calibration.measured["unknown_auroc_new_title"] > 0.9
    assert calibration.measured["author_top1"] > 0.9
    assert calibration.measured["author_calibration_error"] < 0.15
    near = np.full(50, 0.95)
    far = np.full(50, 0.1)
    assert calibration.unknown_author(near, 0.9, 0.5) < 0.2
    assert calibration.unknown_author(far, 0.1, 0.5) > 0.8


def test_the_prior_moves_the_unknown_mass_the_right_way() -> None:
    calibration = fit(hands(24, 3, 8, 1.5), sample=400, seed=1)
    middle = np.full(50, 0.5)
    masses = [calibration.unknown_author(middle, 0.5, prior) for prior in (0.01, 0.3, 0.5, 0.9)]
    assert masses == sorted(masses)
    assert masses[0] < masses[-1]
    assert calibration.unknown_author(np.empty(0), 0.0, 0.5) == 1.0


def test_random_vectors_promise_nothing() -> None:
    data = hands(30, 3, 6, 0.8)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(data.vectors.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    calibration = fit(
        Labelled(noise, data.picture, data.title, data.author, data.genre, data.era),
        sample=500,
        seed=1,
    )
    assert abs(calibration.measured["unknown_auroc_new_title"] - 0.5) < 0.1
    assert calibration.measured["author_top1"] < 0.2
    assert calibration.measured["author_calibration_error"] < 0.12


def test_one_title_for_each_author_falls_back_to_other_pictures() -> None:
    assert fit(hands(20, 1, 10, 0.8), sample=200, seed=1).basis == "other_pictures"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tiny_catalogs_get_defaults(count: int) -> None:
    calibration = fit(hands(1, 1, count, 0.8), sample=200, seed=1)
    assert calibration.basis == "defaults"
    assert 0.0 <= calibration.unknown_author(np.asarray([0.4]), 1.0, 0.5) <= 1.0


def test_percentiles_are_shares_of_background_pairs() -> None:
    data = hands(20, 2, 10, 1.0)
    calibration = fit(data, sample=100, seed=1)
    similarity = data.vectors @ data.vectors.T
    different = data.author[:, None] != data.author[None, :]
    for value in (-0.2, 0.0, 0.2, 0.5):
        share = 100.0 * (similarity[different] < value).mean()
        assert abs(float(calibration.percentile(np.asarray(value))) - share) < 1.0
    assert float(calibration.percentile(np.asarray(1.0))) == 100.0


def test_a_calibration_survives_its_file() -> None:
    calibration = fit(hands(12, 2, 5, 1.0), sample=100, seed=1)
    assert Calibration.from_json(calibration.to_json()) == calibration
    assert len(calibration.background) == len(QUANTILE_LEVELS)
    for text in ("", "{}", "[]", '{"background": "x"}'):
        with pytest.raises(NoIndexError):
            Calibration.from_json(text)


def test_the_same_seed_gives_the_same_calibration() -> None:
    data = hands(12, 2, 5, 1.0)
    assert fit(data, sample=60, seed=5) == fit(data, sample=60, seed=5)


def test_votes() -> None:
    shares = vote(np.asarray([0.9, 0.8, 0.1]), [["a"], ["b", "c"], []], 0.1)
    assert list(shares) == ["a", "b", "c"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["a"] / (2 * shares["b"]) == pytest.approx(np.exp(1.0))
    sizes = {"a": 100, "b": 1, "c": 1}
    evened = vote(np.asarray([0.9, 0.8]), [["a"], ["b"]], 0.1, sizes=sizes, tempering=0.5)
    assert evened["b"] / evened["a"] == pytest.approx(10.0 * np.exp(-1.0))
    assert sum(vote(np.asarray([0.9]), [["a"]], 0.1, tail=0.3).values()) == pytest.approx(0.7)
    assert vote(np.asarray([0.9]), [[]], 0.1) == {}
    assert vote(np.empty(0), [], 0.1) == {}


def test_auroc_and_fpr_against_loops() -> None:
    rng = np.random.default_rng(2)
    score = np.round(rng.standard_normal(80), 1)  # rounding makes ties
    positive = (rng.random(80) < 0.4).astype(float)
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in score[positive == 1]
        for n in score[positive == 0]
    ]
    assert auroc(score, positive) == pytest.approx(np.mean(wins))
    assert false_positive_rate(np.asarray([3.0, 2, 1, 0]), np.asarray([1, 1, 0, 0])) == 0.0
    assert false_positive_rate(np.asarray([0.0, 0, 1, 1]), np.asarray([1, 1, 0, 0])) == 1.0
    # One known hand in ten is odder than every unknown one: keeping 95 % of them passes all.
    score, unknown = np.asarray([0.0] * 18 + [5.0] * 2 + [3.0] * 20), np.repeat([0.0, 1.0], 20)
    assert false_positive_rate(score, unknown) == pytest.approx(0.1)
    assert missed_rate(score, unknown) == 1.0
    assert missed_rate(score, unknown, kept=0.85) == 0.0


def test_calibration_error_of_honest_and_boastful_confidence() -> None:
    rng = np.random.default_rng(4)
    confidence = rng.random(20_000)
    honest = (rng.random(20_000) < confidence).astype(float)
    assert expected_calibration_error(confidence, honest) < 0.015
    assert expected_calibration_error(np.full(100, 0.9), np.zeros(100)) == pytest.approx(0.9)


@pytest.mark.parametrize("together", [1, 40])
def test_the_calibration_error_of_honest_answers_is_known_beforehand(together: int) -> None:
    """Works whose pictures are right or wrong together leave gaps that honesty can't close."""
    rng = np.random.default_rng(5)
    works = np.repeat(np.arange(1600 // together), together)
    measured, foretold = [], []
    for _ in range(40):
        confidence = rng.random(works[-1] + 1)[works]
        right = (rng.random(works[-1] + 1)[works] < confidence).astype(float)
        measured.append(expected_calibration_error(confidence, right))
        foretold.append(calibration_error_by_chance(confidence, right, works, draws=200))
    assert np.mean(foretold) == pytest.approx(np.mean(measured), rel=0.12)
    assert bool(np.mean(foretold) > 0.1) is (together == 40)
    boastful = calibration_error_by_chance(np.full(1600, 0.9), np.zeros(1600), works)
    assert boastful < 0.9 / 2
    assert calibration_error_by_chance(np.empty(0), np.empty(0), np.empty(0)) == 0


def test_some_kinds_are_fitted_as_they_are_among_all() -> None:
    data = hands(24, 3, 8, 1.5)
    whole = fit(data, sample=400, seed=1)
    some = fit(data, sample=400, seed=1, kinds=("era",))
    assert whole.temperature["era"] != DEFAULT_TEMPERATURE
    for name in ("temperature", "tempering", "tail", "head_weight", "sharpness", "vote_kept"):
        assert getattr(some, name)["era"] == getattr(whole, name)["era"], name
    assert some.era_spread == whole.era_spread
    assert some.measured == {k: v for k, v in whole.measured.items() if k.startswith("era_")}
    assert {some.temperature[kind] for kind in KINDS if kind != "era"} == {DEFAULT_TEMPERATURE}
    assert some.unknown_weights == DEFAULT_UNKNOWN != whole.unknown_weights


@pytest.mark.parametrize("count", [2, 8])
def test_a_calibration_knows_how_wide_its_eras_are(count: int) -> None:
    data = replace(hands(12, 2, count, 1.0), era_years=5)
    found = fit(data, sample=100, seed=1)
    assert found.era_years == 5
    tiny = fit(replace(hands(1, 1, count, 1.0), era_years=5), sample=100, seed=1)
    assert (tiny.basis, tiny.era_years) == ("defaults", 5)


def test_works_calibrate_genres_and_eras_where_no_author_is_known() -> None:
    """Half the works answer for the other half: less sure than near pictures make them."""
    data = hands(30, 4, 10, 1.2)
    data = replace(data, author=np.full(len(data.author), -1), names={})
    held = data.title % 2 == 1
    kept = replace(data, **{
        name: getattr(data, name)[~held]
        for name in ("vectors", "picture", "title", "author", "genre", "era")
    })  # fmt: skip
    found = fit(kept, sample=600, seed=1)
    assert found.basis == "other_titles" and not any("author" in key for key in found.measured)
    sizes = dict(zip("012", np.bincount(kept.genre).tolist(), strict=True))
    unfitted = replace(
        found, temperature=dict.fromkeys(KINDS, 0.01), tail=dict.fromkeys(KINDS, 0.002),
        tempering=dict.fromkeys(KINDS, 0.0),
    )  # fmt: skip

    def loss(calibration: Calibration) -> float:
        lost = []
        for vector, genre in zip(data.vectors[held], data.genre[held], strict=True):
            similarity = kept.vectors @ vector
            near = np.argsort(-similarity)[: calibration.neighbours]
            labels = [[str(kept.genre[row])] for row in near]
            told = calibration.vote("genre", similarity[near], labels, sizes)
            lost.append(-np.log(max(told.get(str(genre), 0.0), 1e-3)))
        return float(np.mean(lost))

    assert loss(found) < 0.9 * loss(unfitted)
