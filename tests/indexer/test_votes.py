"""Votes as a generation fits them and as a query casts them are the same votes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from indexer.labels import votes
from indexer.labels.calibration import fit
from indexer.labels.holdout import Case, Labelled
from indexer.labels.knn import era_kernel, sharpened
from indexer.labels.labels import KINDS, Calibration
from indexer.labels.metrics import fit_power_of_best
from indexer.labels.open_set import HeadFeatures, unknown_features
from indexer.labels.votes import Votes, surely_positive
from schemas.errors import NoIndexError
from schemas.records import era_of

NOISE = 0.2
ERAS = ("1890s", "1860s", "1900s", "1870s")


def dated(seed: int = 3, authors: int = 30, titles: int = 2, pictures: int = 12) -> Labelled:
    """Hands whose style drifts with the years, ten years ahead of their time or behind it."""
    rng = np.random.default_rng(seed)
    year = rng.integers(1790, 1910, (authors, titles))
    axis, other = rng.standard_normal((2, 24))
    phase = (year + rng.normal(0, 10, year.shape) - 1790)[..., None] / 120 * np.pi
    centre = np.cos(phase) * axis + np.sin(phase) * other
    noise = NOISE * rng.standard_normal((authors, titles, pictures, 24))
    vectors = (centre[:, :, None] + noise).reshape(-1, 24).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names, era = np.unique([f"{y // 10 * 10}s" for y in year.reshape(-1)], return_inverse=True)
    author = np.repeat(np.arange(authors), titles * pictures)
    return Labelled(
        vectors,
        np.arange(len(vectors)),
        np.repeat(np.arange(authors * titles), pictures),
        author,
        np.full(len(vectors), -1),
        np.repeat(era.reshape(-1), pictures),
        {"era": tuple(names.tolist())},
    )


def test_an_era_votes_for_its_neighbours_in_time() -> None:
    kernel = era_kernel(ERAS, 2.0)
    assert kernel.sum(1) == pytest.approx(np.ones(4))
    assert kernel[0, 2] / kernel[0, 0] == pytest.approx(np.exp(-0.5))  # a decade apart
    assert kernel[0, 1] / kernel[0, 0] == pytest.approx(np.exp(-1.5))  # three
    assert np.array_equal(era_kernel(ERAS, 0.0), np.eye(4))


@pytest.mark.parametrize("years", [1, 5, 20, 100])
def test_a_vote_falls_with_years_however_wide_eras_are(years: int) -> None:
    first = [1800 + years * step for step in (3, 0, 1, 7)]
    labels = [era_of(year, years) or "" for year in first]
    kernel = era_kernel(labels, 2.0)
    assert kernel.sum(1) == pytest.approx(np.ones(4))
    for row, column in ((0, 1), (1, 2), (2, 3)):
        apart = abs(first[row] - first[column]) / 10  # decades
        assert kernel[row, column] / kernel[row, row] == pytest.approx(np.exp(-apart / 2.0))


def test_a_calibration_of_an_older_program_knows_decades() -> None:
    found = replace(fit(dated(), sample=400, seed=1), era_years=5)
    assert Calibration.from_json(found.to_json()) == found
    raw = json.loads(found.to_json())
    for wrong in (0, -5, 2.5, "five", None):
        with pytest.raises(NoIndexError, match="calibration cannot be read"):
            Calibration.from_json(json.dumps(raw | {"era_years": wrong}))
    del raw["era_years"]
    assert Calibration.from_json(json.dumps(raw)) == replace(found, era_years=10)


def test_spread_is_chosen_where_time_is_continuous_and_helps() -> None:
    data = dated()
    found = fit(data, sample=400, seed=1)
    assert found.era_spread > 0
    order = np.random.default_rng(0).permutation(len(data.names["era"]))
    names = tuple(data.names["era"][place] for place in order)
    shuffled = replace(data, names={"era": names})  # decades whose order says nothing
    assert fit(shuffled, sample=400, seed=1).measured["era_log_loss"] > (
        found.measured["era_log_loss"] + 0.02
    )


@pytest.mark.parametrize("spread", [0.0, 0.75])
def test_a_query_casts_the_votes_that_were_fitted(spread: float) -> None:
    rng = np.random.default_rng(5)
    codes = rng.integers(0, len(ERAS), 50)
    similarity = np.sort(rng.random((7, 12)), 1)[:, ::-1]
    rows = rng.integers(0, 50, (7, 12))
    case = Case(np.zeros(7, int), similarity, rows)
    votes = Votes(codes, 0.1, 0.5, 0.2, eras=ERAS, spread=spread)
    wanted = votes.probabilities(case, None)
    calibration = Calibration(
        (0.0,) * 161, dict.fromkeys(KINDS, 0.1), dict.fromkeys(KINDS, 0.5),
        dict.fromkeys(KINDS, 0.2), (0.0,) * 4, 12, "defaults", era_spread=spread,
    )  # fmt: skip
    sizes = dict(zip(ERAS, np.bincount(codes, minlength=4).tolist(), strict=True))
    for row in range(7):
        labels = [[ERAS[codes[place]]] for place in rows[row]]
        shares = calibration.vote("era", similarity[row], labels, sizes)
        got = np.asarray([shares.get(name, 0.0) for name in ERAS]) + 0.2 / 4
        assert got == pytest.approx(wanted[row])
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    truth = Case(np.arange(7), similarity, rows)
    for names in (ERAS, ()):
        both = replace(votes, eras=names).true_shares(truth, (0.0, spread) if names else (0.0,))
        for shares, width in zip(both, (0.0, spread), strict=False):
            wanted = replace(votes, eras=ERAS, spread=width).shares(truth, 4)
            assert shares == pytest.approx(wanted[np.arange(7), codes[:7]])


def test_several_spaces_calibrate_together() -> None:
    data = dated(authors=40)
    half = data.author < 20
    alone = fit(data, sample=300, seed=1, among=half)
    both = fit(data, sample=300, seed=1, among=half, others=[(data, ~half)])
    assert both.measured["era_queries"] == alone.measured["era_queries"] + 300
    nobody = np.zeros(len(half), bool)
    assert fit(data, sample=300, seed=1, among=half, others=[(data, nobody)]) == alone


def test_features_of_the_head() -> None:
    scores = np.asarray([[0.0, -3.0, -1.0], [2.0, -np.inf, -np.inf]])
    fused = np.asarray([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    head = HeadFeatures.of(scores, np.asarray([-2.0, 0.5]), fused)
    assert head.lead.tolist() == [1.0, 50.0]
    features = unknown_features(np.asarray([[0.9, 0.5], [0.4, 0.3]]), np.asarray([0.6, 0.2]), head)
    assert features[0, 4:] == pytest.approx([0.5, 2.0, 0.0, 1.0, 0.7])
    assert np.isfinite(features).all()


def test_without_a_head_the_unknown_hand_has_a_model_of_its_own() -> None:
    found = fit(dated(), sample=400, seed=1)
    assert len(found.unknown_weights) == 9 and len(found.unknown_by_vote) == 4
    again = Calibration.from_json(found.to_json())
    near = np.linspace(0.5, 0.1, 40)
    assert again.unknown_author(near, 0.4, 0.5) == replace(
        found, unknown_weights=found.unknown_by_vote, unknown_by_vote=()
    ).unknown_author(near, 0.4, 0.5)
    raw = json.loads(found.to_json())
    del raw["unknown_by_vote"]
    raw["unknown_weights"] = raw["unknown_weights"][:7]  # a generation of 0.1.0
    old = Calibration.from_json(json.dumps(raw)).unknown_author(near, 0.4, 0.5)
    assert 0.0 <= old <= 1.0
    for weights in ([0.0] * 8, [0.0] * 3):
        with pytest.raises(NoIndexError):
            Calibration.from_json(json.dumps({**raw, "unknown_weights": weights}))


def test_the_likeliest_label_is_right_as_often_as_it_says() -> None:
    """Of distributions that are too flat or too steep, and little is believed of few."""
    rng = np.random.default_rng(8)
    honest = rng.dirichlet(np.full(6, 0.4), 4000)
    truth = np.asarray([rng.choice(6, p=row) for row in honest])
    for power in (0.5, 1.0, 1.6):
        told = honest**power / (honest**power).sum(1, keepdims=True)
        found = fit_power_of_best(told, truth)
        assert found == pytest.approx(1 / power, rel=0.08)
        few = fit_power_of_best(told[:5], truth[:5])
        assert abs(np.log(few)) < 0.5
    impossible = np.asarray([[1.0, 0.0], [1.0, 0.0]])
    assert 0 < fit_power_of_best(impossible, np.asarray([0, 1])) < 1.01


def test_a_query_is_as_sure_as_the_calibration_found_right() -> None:
    told = np.asarray([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    assert sharpened(told, 2.0) == pytest.approx(told**2 / (told**2).sum(1, keepdims=True))
    assert sharpened(told, 1.0) is told
    found = fit(dated(), sample=400, seed=1)
    assert found.sharpness["era"] != 1.0
    assert Calibration.from_json(found.to_json()) == found
    raw = json.loads(found.to_json())
    del raw["sharpness"], raw["vote_kept"]  # a generation of an older program
    old = Calibration.from_json(json.dumps(raw))
    assert set(old.sharpness.values()) == {1.0} and set(old.vote_kept.values()) == {0.0}
    for field, wrong in (
        ("sharpness", float("nan")), ("head_weight", -0.1), ("vote_weight", float("inf")),
        ("vote_kept", 1.5), ("vote_kept", None),
    ):  # fmt: skip
        with pytest.raises(NoIndexError, match="calibration cannot be read"):
            Calibration.from_json(json.dumps(raw | {field: {"author": wrong}}))


def test_harm_has_to_be_shown_by_more_than_a_few_authors() -> None:
    rng = np.random.default_rng(0)
    author = np.repeat(np.arange(12), 50)
    own = rng.normal(0.0, 1.0, 12)  # what an author's pictures have in common
    lost = own[author] - own.mean() + rng.normal(0.0, 0.1, len(author))
    small = 0.1 - lost.mean()  # a mean that 600 pictures would show, and 12 authors do not
    assert (lost + small).mean() > 2 * lost.std() / len(lost) ** 0.5
    assert not surely_positive(lost + small, author)
    assert surely_positive(lost + small + 0.5, author)
    assert surely_positive(rng.normal(0.1, 1.0, 600), np.arange(600))
    assert not surely_positive(np.zeros(600), author) and not surely_positive(lost - 1, author)


@pytest.mark.parametrize(("powers", "taken"), [((9.0, 0.01, 0.0), False), ((0.1, 1.0, 0.5), True)])
def test_a_head_is_refused_where_it_does_harm(
    powers: tuple[float, float, float], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit that trusts the head alone, and one that leaves the vote nearly as it was."""
    monkeypatch.setattr(votes, "fit_mixture", lambda *_: powers)
    found = fit(dated(), sample=400, seed=1)
    assert (found.head_weight["era"], found.vote_weight["era"]) == (powers[:2] if taken else (0, 1))
    assert ("era_vote_top1" in found.measured) == taken
