"""Unknown authors, and pictures of another kind than the catalog's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from indexer.labels.calibration import fit
from indexer.labels.open_set import (
    LEAST_NEAREST_SPREAD,
    LEAST_PICTURES,
    LEAST_RATIO,
    LEAST_SPREAD,
    UNFITTED,
    Usual,
    familiarity,
    out_of_distribution,
    unknown_probability,
)
from tests.indexer.labels.datasets import artists

RANGE = Usual(-0.4, 0.4, 0.2)


def test_familiarity_is_one_number() -> None:
    similarity = np.array([[0.9, 0.5], [0.4, 0.3]])
    assert familiarity(similarity, np.array([2.0, -np.inf])).tolist() == [2.0, LEAST_RATIO]
    assert familiarity(similarity, None) == pytest.approx([0.7, 0.35])
    assert familiarity(similarity[:, :0], None).tolist() == [0.0, 0.0]


def test_the_prior_moves_the_probability_the_right_way() -> None:
    line = (1.0, -0.5)
    told = [
        unknown_probability(np.array([0.6]), line, prior)[0] for prior in (0.0, 0.3, 0.5, 0.9, 1.0)
    ]
    assert told == sorted(told) and 0.0 < told[0] < told[-1] < 1.0
    assert told[2] == pytest.approx(1 / (1 + np.exp(-0.7)))
    near = unknown_probability(np.array([0.6, 0.9, 0.3]), UNFITTED, 0.5)
    assert near[0] == pytest.approx(0.5) and near[1] < 0.1 and near[2] > 0.9


def test_a_range_holds_nearly_all_pictures_like_its_own() -> None:
    rng = np.random.default_rng(3)
    many = np.exp(rng.normal(0.3, 0.2, 100_000))
    for count in (512, 100_000):
        usual = Usual.of_scores(many[:count])
        assert usual is not None and usual.spread == pytest.approx(0.2, rel=0.1)
        below, above = (np.log(many) < usual.low).mean(), (np.log(many) > usual.high).mean()
        assert 0.001 < below < 0.015 and 0.001 < above < 0.015
        assert (usual.depth(np.log(many)) > 0).mean() == pytest.approx(below + above)


def test_few_pictures_make_no_range_and_those_alike_a_wide_one() -> None:
    alike = np.full(LEAST_PICTURES, 1.2)
    for unknown in ([], [np.nan], [0.0], [np.inf]):
        assert Usual.of_scores(np.append(alike[1:], unknown)) is None
    usual = Usual.of_scores(np.append(alike, [np.nan, np.inf]))
    assert usual is not None and usual.spread == LEAST_SPREAD
    assert (usual.depth(np.log([1.13, 1.2, 1.27])) == 0).all()


def test_few_nearest_ones_make_no_range_and_those_alike_a_wide_one() -> None:
    alike = np.full((LEAST_PICTURES, 3), 0.96)
    assert Usual.of_nearest(alike[1:]) is None and Usual.of_nearest(alike[:, :0]) is None
    usual = Usual.of_nearest(alike)
    assert usual is not None and usual.spread == LEAST_NEAREST_SPREAD
    assert (usual.depth(np.array([0.82, 0.9, 0.99])) == 0).all()
    assert usual.depth(np.array([0.5]))[0] > 2
    varied = np.random.default_rng(1).normal(0.6, 0.1, (500, 1))
    usual = Usual.of_nearest(varied)
    assert usual is not None and usual.low == pytest.approx(np.percentile(varied, 0.5))


@pytest.mark.parametrize(
    "numbers",
    [[1.0], [0.0, 1.0, 0.1, 0.1], [1.0, 0.0, 0.1], [0.0, 1.0, 0.0], [0.0, float("nan"), 0.1],
     ["low", 1.0, 0.1], [0.0, 1.0, float("inf")]],
)  # fmt: skip
def test_what_is_no_range_is_refused(numbers: list[float]) -> None:
    with pytest.raises(ValueError):
        Usual.read(numbers)
    assert Usual.read(None) is None and Usual.read([-0.4, 0.4, 0.2]) == RANGE


def test_the_farther_outside_the_more_surely_another_kind() -> None:
    nearest = Usual(0.3, 2.0, 0.1)
    near = np.full((6, 5), 0.5)
    scores = np.exp([-0.8, -0.4, 0.0, 0.4, 0.5, 1.4])
    told = out_of_distribution(scores, near, RANGE, nearest)
    assert told == pytest.approx(np.tanh([2.0, 0.0, 0.0, 0.0, 0.5, 5.0]))
    unknown = out_of_distribution(np.array([np.nan, 0.0]), near[:2], RANGE, nearest)
    assert unknown.tolist() == [0.0, 0.0]
    far = out_of_distribution(np.ones(2), np.array([[0.1], [0.3]]), RANGE, nearest)
    assert far == pytest.approx([np.tanh(2.0), 0.0])
    assert out_of_distribution(np.ones(1), near[:1, :0], None, nearest).tolist() == [0.0]


def test_hardly_a_picture_of_the_catalog_is_of_another_kind() -> None:
    data = artists(24, 3, 8, 1.5)
    ood = np.exp(np.random.default_rng(1).normal(0.0, 0.2, len(data.title)))
    found = fit(replace(data, ood=ood.astype(np.float32)), sample=400, seed=1)
    similarity = data.vectors @ data.vectors.T
    similarity[data.title[:, None] == data.title] = -1.0
    near = -np.sort(-similarity, axis=1)[:, :5]
    told = out_of_distribution(ood, near, found.usual_ood, found.usual_nearest)
    assert (told > 0).mean() < 0.03 and (told > 0.5).mean() < 0.01
    strange = out_of_distribution(ood * 4, near, found.usual_ood, found.usual_nearest)
    assert strange.min() > 0.9
