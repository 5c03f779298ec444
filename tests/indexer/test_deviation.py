"""How unlike what a model knows pictures are, and what is usual of it in a catalog."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from indexer.labels.calibration import fit
from indexer.labels.deviation import (
    LEAST,
    LEAST_SPREAD,
    UsualDeviation,
    common_deviation,
    deviations_of,
)
from indexer.labels.labels import Calibration
from indexer.labels.open_set import FOREIGN_ODDS, unknown_odds
from schemas.errors import NoIndexError
from tests.indexer.test_unknown_author import BOOK_DRAWING, BY_CHANCE, CLIP_ART, FLOOR
from tests.indexer.test_votes import dated

RANGE = UsualDeviation(-0.4, 0.4, 0.2)


def test_it_is_one_for_what_was_learnt_from() -> None:
    rows = np.random.default_rng(1).standard_normal((50, 4000)).astype(np.float32)
    assert deviations_of(rows).shape == (50,)
    assert deviations_of(rows) == pytest.approx(1.0, abs=0.05)
    assert deviations_of(2 * rows) == pytest.approx(2 * deviations_of(rows))
    assert deviations_of(-rows) == pytest.approx(deviations_of(rows))


def test_several_pictures_have_the_middle_one_or_none() -> None:
    assert common_deviation(np.array([0.5, 2.0])) == pytest.approx(1.0)
    assert common_deviation(np.array([1.3])) == pytest.approx(1.3)
    for unknown in ([], [1.0, np.nan], [0.0], [np.inf, 1.0]):
        assert common_deviation(np.array(unknown)) is None


def test_a_range_holds_nearly_all_that_it_was_told_of_and_of_others_like_them() -> None:
    rng = np.random.default_rng(3)
    many = np.exp(rng.normal(0.3, 0.2, 100_000))
    for count in (512, 100_000):
        usual = UsualDeviation.of(many[:count])
        assert usual is not None and usual.spread == pytest.approx(0.2, rel=0.1)
        below = (np.log(many) < usual.low).mean()
        above = (np.log(many) > usual.high).mean()
        assert 0.001 < below < 0.015 and 0.001 < above < 0.015
        assert (usual.depth(many) > 0).mean() == pytest.approx(below + above)


def test_few_pictures_tell_no_range_and_those_alike_a_wide_one() -> None:
    alike = np.full(LEAST, 1.2)
    assert UsualDeviation.of(alike[1:]) is None
    assert UsualDeviation.of(np.append(alike[1:], np.nan)) is None
    assert UsualDeviation.of(np.append(alike[1:], 0.0)) is None
    usual = UsualDeviation.of(np.append(alike, [np.nan, np.inf]))
    assert usual is not None and usual.spread == LEAST_SPREAD
    assert usual.low < np.log(1.2) < usual.high
    assert (usual.depth(np.array([1.13, 1.2, 1.27])) == 0).all()


def test_depth_counts_deviations_on_either_side() -> None:
    asked = np.exp([-0.8, -0.4, 0.0, 0.4, 0.5, 1.4])
    assert RANGE.depth(asked) == pytest.approx([2.0, 0.0, 0.0, 0.0, 0.5, 5.0])
    assert RANGE.depth(np.array([np.nan, 0.0])).tolist() == [0.0, 0.0]  # nothing is known of it


@pytest.mark.parametrize(
    "numbers",
    [[1.0], [0.0, 1.0, 0.1, 0.1], [1.0, 0.0, 0.1], [0.0, 1.0, 0.0], [0.0, float("nan"), 0.1],
     ["low", 1.0, 0.1], [0.0, 1.0, float("inf")]],
)  # fmt: skip
def test_what_is_no_range_is_refused(numbers: list[float]) -> None:
    with pytest.raises(ValueError):
        UsualDeviation.read(numbers)
    raw = json.loads(fit(dated(), sample=400, seed=1).to_json())
    with pytest.raises(NoIndexError, match="calibration"):
        Calibration.from_json(json.dumps({**raw, "usual_deviation": numbers}))


def test_a_calibration_keeps_it_and_older_ones_have_none() -> None:
    found = fit(dated(), sample=400, seed=1)
    assert found.usual_deviation is None
    kept = replace(found, usual_deviation=RANGE)
    assert Calibration.from_json(kept.to_json()) == kept
    raw = json.loads(found.to_json())
    del raw["usual_deviation"]
    assert Calibration.from_json(json.dumps(raw)) == found


def test_what_lies_outside_is_rather_by_nobody_and_of_another_kind() -> None:
    plain = fit(dated(), sample=400, seed=1)
    usual = replace(plain, usual_deviation=RANGE)
    near = np.linspace(0.9, 0.5, 50)
    inside, outside = 1.0, float(np.exp(0.4 + 2 * 0.2))  # two deviations beyond
    for deviation in (None, inside):
        assert usual.unknown_author(near, 0.6, 0.5, None, deviation) == plain.unknown_author(
            near, 0.6, 0.5
        )
        assert usual.foreign(near, 0.6, None, deviation) == 0.0
    before, after = (one.unknown_author(near, 0.6, 0.5, None, outside) for one in (plain, usual))
    assert np.log(after / (1 - after)) == pytest.approx(
        np.log(before / (1 - before)) + 2 * FOREIGN_ODDS
    )
    assert usual.foreign(near, 0.6, None, outside) == pytest.approx(np.tanh(2.0))
    assert plain.foreign(near, 0.6, None, outside) == 0.0
    shares = usual.foreign_shares(np.ones((2, 4)) * 0.9, np.array([np.nan, outside]))
    assert shares == pytest.approx([0.0, np.tanh(2.0)])


def test_of_two_reasons_the_greater_counts() -> None:
    far, near = (unknown_odds(x, BY_CHANCE, *FLOOR)[0] for x in (BOOK_DRAWING, CLIP_ART))
    depth = (360.7 - 187.0) / 32.0
    assert unknown_odds(BOOK_DRAWING, BY_CHANCE, *FLOOR, depth - 1)[0] == pytest.approx(far)
    more = unknown_odds(BOOK_DRAWING, BY_CHANCE, *FLOOR, depth + 1)[0]
    assert more == pytest.approx(far + FOREIGN_ODDS)
    assert unknown_odds(CLIP_ART, BY_CHANCE, *FLOOR, 1.5)[0] == pytest.approx(near + 1.5 * 2)
    bare = unknown_odds(CLIP_ART, BY_CHANCE)[0]
    assert unknown_odds(CLIP_ART, BY_CHANCE, outside=1.0)[0] == pytest.approx(bare + 2)
