"""Labels from neighbours."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from indexer.labels.heads import Head, fit_head
from indexer.labels.holdout import Case, HeldOut
from indexer.labels.labels import KINDS
from indexer.labels.votes import Votes
from search.engine import Engine
from search.probabilities import SHOWN, Neighbour, distributions, label_probabilities


def neighbours(authors: list[str | None]) -> list[Neighbour]:
    return [Neighbour(author, None, None) for author in authors]


def sizes(authors: list[str | None]) -> dict[str, dict[str, int]]:
    return {"author": {a: 5 for a in authors if a}, "genre": {}, "era": {}}


def eight_hands() -> tuple[np.ndarray, np.ndarray, Head]:
    """Vectors of eight hands, their codes, and a head that tells them."""
    codes = np.repeat(np.arange(8), 5)
    noise = np.random.default_rng(2).standard_normal((40, 12))
    vectors = (np.eye(8, 12)[codes] + 0.4 * noise).astype(np.float32)
    head = fit_head(vectors, codes, np.arange(40), tuple(f"hand {n}" for n in range(8)))
    assert head is not None
    return vectors, codes, head


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


def test_sharpness_changes_what_is_said_and_not_who_is_unknown(engine: Engine) -> None:
    vectors, _, head = eight_hands()
    labels = head.labels
    names: list[str | None] = list(labels[:5])
    given = np.linspace(0.5, 0.1, 5), neighbours(names), sizes(list(labels))
    flat, steep = (
        distributions(
            *given,
            dataclasses.replace(engine.calibration, sharpness=dict.fromkeys(KINDS, power)),
            0.5,
            {"author": head},
            vectors[0],
        )
        for power in (1.0, 2.0)
    )
    assert steep.unknown_author == flat.unknown_author
    told = {name: share**2 for name, share in flat.by_kind["author"].items()}
    assert steep.by_kind["author"] == pytest.approx(
        {name: share / sum(told.values()) for name, share in told.items()}
    )
    assert list(steep.by_kind["author"]) == list(flat.by_kind["author"])


@pytest.mark.parametrize("kept", [0.0, 0.4, 1.0])
def test_a_query_keeps_as_much_of_the_vote_as_was_fitted(engine: Engine, kept: float) -> None:
    """The answer is the one that `Votes` gave when the share was fitted."""
    vectors, codes, head = eight_hands()
    labels = head.labels
    calibration = dataclasses.replace(
        engine.calibration, vote_kept=dict.fromkeys(KINDS, kept),
        head_weight=dict.fromkeys(KINDS, 0.3), vote_weight=dict.fromkeys(KINDS, 0.6),
        sharpness=dict.fromkeys(KINDS, 1.4),
    )  # fmt: skip
    rows = np.asarray([[0, 7, 11, 12, 39]])
    similarity = np.linspace(0.5, 0.1, 5)
    votes = Votes(
        codes, calibration.temperature["author"], calibration.tempering["author"],
        calibration.tail["author"], 0.3, 0.6, sharpness=1.4, vote_kept=kept,
    )  # fmt: skip
    asked = vectors[:1]
    held = HeldOut(head.scores(asked), head.stranger(asked))
    wanted = votes.probabilities(Case(np.zeros(1, int), similarity[None], rows), held)[0]
    names: list[str | None] = [labels[code] for code in codes[rows[0]]]
    counts = {"author": dict.fromkeys(labels, 5), "genre": {}, "era": {}}
    found = distributions(
        similarity, neighbours(names), counts, calibration, 0.5, {"author": head}, asked[0]
    )
    told = np.asarray([found.by_kind["author"][label] for label in labels])
    assert told == pytest.approx(wanted, abs=1e-6)


def test_of_a_foreign_picture_only_the_catalogs_proportions_are_told(engine: Engine) -> None:
    """Its nearest pictures are computers of the 2000s, and merely the least far."""
    near = [Neighbour("a", "computer", "2000s")] * 4 + [Neighbour("b", "animals", "1990s")]
    counts = {
        "author": {"a": 10, "b": 30},
        "genre": {"computer": 10, "animals": 20, "people": 10},
        "era": {"1990s": 30, "2000s": 10},
    }
    calibration = dataclasses.replace(
        engine.calibration, unknown_floor=(0.4, 0.4), unknown_spread=(0.1, 0.1)
    )
    alike, strange = (
        distributions(np.linspace(high, high - 0.1, 5), near, counts, calibration, 0.5)
        for high in (0.9, 0.1)
    )
    assert alike.foreign == 0.0 and next(iter(alike.by_kind["genre"])) == "computer"
    assert strange.foreign > 0.99
    for kind, shares in (
        ("genre", {"animals": 0.5, "computer": 0.25, "people": 0.25}),
        ("era", {"1990s": 0.75, "2000s": 0.25}),
    ):
        told = strange.by_kind[kind]
        assert next(iter(told)) == next(iter(shares))
        total = sum(told.values())
        assert {label: share / total for label, share in told.items()} == pytest.approx(
            shares, abs=0.01
        )
        assert total == pytest.approx(sum(alike.by_kind[kind].values()))
