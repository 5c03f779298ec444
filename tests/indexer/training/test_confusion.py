"""The confusion of genres against counts by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from indexer.labels.calibration import LabelDataset
from indexer.training.confusion import confusion, genre_confusion


def test_pairs_are_counted_among_all_and_among_two() -> None:
    # Ten pictures of `a`: six called a, two b, two c (b second); five of b, all right; c too few.
    scores = np.array(
        [[3, 2, 1]] * 6 + [[2, 3, 1]] * 2 + [[1, 2, 3]] * 2 + [[1, 3, 2]] * 5 + [[0, 0, 9]]
    )
    truth = np.array([0] * 10 + [1] * 5 + [2])
    found = confusion(scores, truth, ("a", "b", "c"))
    assert found is not None
    assert found.matrix.tolist() == [[6, 2, 2], [0, 5, 0], [0, 0, 1]]
    assert found.accuracy == 12 / 16 and found.balanced_accuracy == pytest.approx(0.8)
    (pair,) = found.pairs
    assert pair.genres == ("a", "b") and pair.pictures == (10, 5)
    assert pair.mistaken == (0.2, 0.0) and pair.told_apart == pytest.approx((0.6 + 1.0) / 2)
    assert found.to_json()["pairs"][0]["told_apart"] == pair.told_apart
    assert confusion(scores[:10], truth[:10], ("a", "b", "c")) is None


def test_no_head_judges_titles_that_it_has_seen() -> None:
    """Genres are noise here: who has seen the title answers right, nobody else does."""
    rng = np.random.default_rng(0)
    titles = np.repeat(np.arange(40), 8)
    genres = rng.integers(0, 2, 40)[titles]
    vectors = rng.standard_normal((40, 64))[titles] + 0.05 * rng.standard_normal((320, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    data = LabelDataset(
        vectors.astype(np.float32),
        np.arange(320),
        titles,
        {"author": titles // 4, "genre": genres, "era": np.full(320, -1)},
        {"author": tuple(map(str, range(10))), "genre": ("x", "y"), "era": ()},
        np.ones(320),
    )
    found = genre_confusion(data)
    assert found is not None and found.matrix.sum() == 320
    assert 0.3 < found.balanced_accuracy < 0.7
    vectors[:, 0] += np.where(genres, 3.0, -3.0)
    told = genre_confusion(dataclasses.replace(data, vectors=vectors.astype(np.float32)))
    assert told is not None and told.pairs[0].told_apart > 0.95
