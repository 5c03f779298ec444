"""Pictures of quite another kind than the catalog's are by nobody in it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from indexer.labels.calibration import fit
from indexer.labels.heads import Head
from indexer.labels.holdout import fitted_heads
from indexer.labels.knn import humbled
from indexer.labels.labels import Calibration
from indexer.labels.open_set import (
    FALLING,
    HeadFeatures,
    depth_below,
    floor_of,
    foreign_share,
    unknown_odds,
)
from schemas.errors import NoIndexError
from tests.indexer.test_votes import dated

BY_CHANCE = (13.84, -2.67, -4.17, -2.08, 1.04, -0.06, 0.047, -0.064, -6.11)
"""Weights as a catalog of clip art got them: the less likely, the better known."""
FLOOR = ((0.38, 0.35, 5.0, -187.0, 0.29), (0.12, 0.12, 5.0, 32.0, 0.12))
BOOK_DRAWING = np.asarray([[1.0, 0.1, 0.09, 0.2, 0.07, 7.25, -360.7, 2.46, 0.06]])
CLIP_ART = np.asarray([[1.0, 0.72, 0.69, 0.22, 0.17, 14.2, -73.4, 1.09, 0.63]])


def test_what_is_far_below_everything_is_unknown() -> None:
    assert unknown_odds(BOOK_DRAWING, BY_CHANCE)[0] < -4
    assert unknown_odds(BOOK_DRAWING, BY_CHANCE, *FLOOR)[0] > 4


def test_above_the_floor_the_weights_alone_count() -> None:
    plain = unknown_odds(CLIP_ART, BY_CHANCE)
    assert unknown_odds(CLIP_ART, BY_CHANCE, *FLOOR) == pytest.approx(plain)
    assert plain == pytest.approx(CLIP_ART @ np.asarray(BY_CHANCE))


@pytest.mark.parametrize("column", FALLING)
def test_farther_is_never_better_known(column: int) -> None:
    """From the floor on down, whatever the weights say."""
    start = FLOOR[0][FALLING.index(column)]
    falling = np.repeat(CLIP_ART, 5, axis=0)
    falling[:, column] = start - np.arange(5) * FLOOR[1][FALLING.index(column)]
    assert np.all(np.diff(unknown_odds(falling, BY_CHANCE, *FLOOR)) > 1.0)


def test_a_floor_is_below_nearly_all() -> None:
    features = np.random.default_rng(2).standard_normal((4000, 9))
    features[:, 5] = 3.0  # of which nothing is known
    floor, spread = floor_of(features)
    assert len(floor) == len(spread) == len(FALLING) and spread[2] == 1.0
    below = (features[:, list(FALLING)] < np.asarray(floor)).mean(0)
    assert np.all(below <= 0.006)
    assert len(floor_of(features[:, :4])[0]) == 2


def test_random_directions_are_by_nobody_in_the_catalog() -> None:
    data = dated()
    calibration = fit(data, sample=400, seed=1)
    head = fitted_heads(data)["author"]
    rng = np.random.default_rng(4)
    # Hands and years of this catalog lie in a plane and its noise: this is across all of it.
    strange = rng.standard_normal((20, 24))
    _, _, axes = np.linalg.svd(data.vectors, full_matrices=False)
    strange -= strange @ axes[:2].T @ axes[:2]
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    own = data.vectors[rng.choice(len(data.vectors), 20)]
    told = [
        [_unknown(calibration, data.vectors, head, vector) for vector in asked]
        for asked in (strange, own)
    ]
    assert min(told[0]) > 0.95 and np.mean(told[1]) < 0.7


def _unknown(calibration: Calibration, vectors: np.ndarray, head: Head, asked: np.ndarray) -> float:
    similarity = -np.sort(-(vectors @ asked))[: calibration.neighbours]
    scores = head.scores(asked[None])
    shares = np.exp(scores - scores.max())
    said = HeadFeatures.of(scores, head.stranger(asked[None]), shares / shares.sum())
    return calibration.unknown_author(similarity, 0.1, 0.5, said)


def test_a_calibration_keeps_its_floor_and_refuses_a_damaged_one() -> None:
    found = fit(dated(), sample=400, seed=1)
    assert len(found.unknown_floor) == len(FALLING)
    assert Calibration.from_json(found.to_json()) == found
    raw = json.loads(found.to_json())
    for damage in (
        {"unknown_floor": raw["unknown_floor"][:3]},
        {"unknown_spread": []},
        {"unknown_spread": [0.0] * len(FALLING)},
        {"unknown_floor": ["low"] * len(FALLING)},
    ):
        with pytest.raises(NoIndexError):
            Calibration.from_json(json.dumps({**raw, **damage}))
    del raw["unknown_floor"], raw["unknown_spread"]
    older = Calibration.from_json(json.dumps(raw))
    assert older == replace(found, unknown_floor=(), unknown_spread=())


def test_how_far_below_is_told_by_the_lowest_feature() -> None:
    book, art = (depth_below(x, *FLOOR)[0] for x in (BOOK_DRAWING, CLIP_ART))
    assert art == 0.0 and book == pytest.approx((360.7 - 187.0) / 32.0)
    by_vote = depth_below(BOOK_DRAWING[:, :4], *FLOOR)[0]
    assert by_vote == pytest.approx((0.38 - 0.1) / 0.12)
    assert depth_below(BOOK_DRAWING, (), ())[0] == 0.0
    shares = foreign_share(np.asarray([0.0, art, 0.1, book]))
    assert shares[0] == shares[1] == 0.0 < shares[2] < 0.2 and shares[3] > 0.999


def test_a_catalog_without_authors_knows_its_own_kind_too() -> None:
    data = replace(dated(), author=np.full(720, -1))
    calibration = fit(data, sample=400, seed=1)
    assert calibration.basis == "other_titles" and len(calibration.unknown_floor) == 2
    assert Calibration.from_json(calibration.to_json()) == calibration
    own = -np.sort(-(data.vectors @ data.vectors[5]))[1 : 1 + calibration.neighbours]
    assert calibration.foreign(own, 0.0) == 0.0
    assert calibration.foreign(own * 0.0, 0.0) > 0.99
    assert replace(calibration, unknown_floor=(), unknown_spread=()).foreign(own * 0.0, 0.0) == 0.0
    assert calibration.foreign(own[:0], 0.0) == 0.0


def test_only_what_is_foreign_gets_the_catalogs_proportions() -> None:
    told = np.asarray([[0.7, 0.3], [0.7, 0.3], [0.7, 0.3], [0.56, 0.24]])
    given = humbled(told, np.asarray([1, 9]), np.asarray([0.0, 0.5, 1.0, 1.0]))
    wanted = [[0.7, 0.3], [0.4, 0.6], [0.1, 0.9], [0.08, 0.72]]
    assert given == pytest.approx(np.asarray(wanted))
    assert humbled(told, np.zeros(2), np.ones(4)) is told
