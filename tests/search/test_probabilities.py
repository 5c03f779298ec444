"""Labels from neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from search.engine import Engine
from search.probabilities import SHOWN, Neighbour, label_probabilities


def neighbours(authors: list[str | None]) -> list[Neighbour]:
    return [Neighbour(author, None, None) for author in authors]


def sizes(authors: list[str | None]) -> dict[str, dict[str, int]]:
    return {"author": {a: 5 for a in authors if a}, "genre": {}, "era": {}}


def test_authors_and_the_unknown_hand_share_one_mass(engine: Engine) -> None:
    names: list[str | None] = ["a", "b", "a", None, "c"]
    similarity = np.asarray([0.9, 0.8, 0.7, 0.6, 0.5])
    found = label_probabilities(
        similarity, neighbours(names), sizes(names), engine.calibration, 0.5
    )
    total = sum(one.probability for one in found.authors)
    tail = engine.calibration.tail["author"]
    assert total == pytest.approx((1.0 - found.unknown_author) * (1.0 - tail))
    assert found.authors[0].label == "a"
    assert found.genres == found.eras == ()


def test_only_the_best_labels_are_kept(engine: Engine) -> None:
    names: list[str | None] = [f"author {n}" for n in range(9)]
    similarity = np.linspace(0.9, 0.1, 9)
    found = label_probabilities(
        similarity, neighbours(names), sizes(names), engine.calibration, 0.5
    )
    probabilities = [one.probability for one in found.authors]
    assert len(probabilities) == SHOWN
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) + found.unknown_author <= 1.0 + 1e-9


def test_without_any_author_nobody_is_unknown(engine: Engine) -> None:
    found = label_probabilities(
        np.asarray([0.9]), neighbours([None]), sizes([]), engine.calibration, 0.5
    )
    assert found.authors == ()
    assert found.unknown_author == 0.0


def test_a_higher_prior_makes_the_unknown_more_probable(engine: Engine) -> None:
    names: list[str | None] = ["a", "b"]
    masses = [
        label_probabilities(
            np.asarray([0.6, 0.5]), neighbours(names), sizes(names), engine.calibration, prior
        ).unknown_author
        for prior in (0.1, 0.5, 0.9)
    ]
    assert masses == sorted(masses)
    assert masses[0] < masses[2]
