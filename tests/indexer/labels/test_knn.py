"""The neighbours' vote and its pool with a head, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.labels.knn import FLOOR, log_votes, pool, vote_shares


def test_votes_are_a_softmax_over_similarities() -> None:
    shares = vote_shares(np.array([[0.9, 0.8, 0.1, 0.95]]), np.array([[0, 1, 1, -1]]), 3, 0.1)
    weights = np.exp(np.array([0.9, 0.8, 0.1]) / 0.1)
    wanted = np.array([weights[0], weights[1] + weights[2], 0.0]) / weights.sum()
    assert shares[0] == pytest.approx(wanted)


def test_where_nobody_votes_all_labels_are_alike() -> None:
    assert vote_shares(np.array([[0.9]]), np.array([[-1]]), 4, 0.1).tolist() == [[0.25] * 4]
    assert vote_shares(np.empty((2, 0)), np.empty((2, 0), int), 2, 0.1).tolist() == [[0.5] * 2] * 2
    far = vote_shares(np.full((1, 2), -1.0), np.array([[1, 1]]), 2, 1e-3)
    assert far.tolist() == [[0.0, 1.0]]


def test_the_pool_is_a_product_of_powers() -> None:
    rng = np.random.default_rng(0)
    shares, scores = rng.dirichlet(np.ones(5), 20), rng.standard_normal((20, 5)) * 30
    both = pool([log_votes(shares), scores], [0.4, 0.2])
    even = (1 - FLOOR) * shares + FLOOR / 5
    wanted = even**0.4 * np.exp(0.2 * scores)
    assert both == pytest.approx(wanted / wanted.sum(1, keepdims=True))
    alone = pool([log_votes(shares), scores], [1.0, 0.0])
    assert alone == pytest.approx(even)
    assert np.array_equal(alone, pool([log_votes(shares), None], [1.0, 0.3, 0.0]))


def test_a_label_without_a_picture_is_impossible_for_a_head() -> None:
    scores = np.array([[0.0, -np.inf, 1.0], [-np.inf] * 3])
    told = pool([log_votes(np.full((2, 3), 1 / 3)), scores], [0.5, 0.5])
    assert told[0, 1] == 0.0 and told[0].sum() == pytest.approx(1.0)
    assert told[1].tolist() == [0.0] * 3
