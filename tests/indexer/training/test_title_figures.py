"""Ranks of titles against a slow loop, and worlds where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.training.evaluation.metrics import Gallery
from indexer.training.evaluation.titles import LOOKED_AT, WAYS, title_ranks
from indexer.vector_index.ranking import MANNER_WEIGHT, WEIGHTS


def world(noise: float, seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Six hands with two titles of five pictures each, and one more with a single title."""
    rng = np.random.default_rng(seed)
    title = np.repeat(np.arange(13), 5)
    author = np.minimum(title // 2, 6)
    centre = rng.standard_normal((7, 8))
    vectors = centre[author] + noise * rng.standard_normal((65, 8))
    shuffled = rng.permutation(65)
    copies = np.eye(65, dtype=bool)
    names = np.array([f"t:{n:02d}" for n in title])
    return vectors[shuffled], author[shuffled].astype(np.str_), names[shuffled], copies


@pytest.mark.parametrize("noise", [0.5, 1.5, 4.0])
def test_ranks_equal_a_slow_loop(noise: float) -> None:
    vectors, authors, titles, copies = world(noise)
    copies[3, 7] = copies[7, 3] = True
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = []
    for row in range(len(unit)):
        asked = [n for n in range(len(unit)) if titles[n] != titles[row] and not copies[row, n]]
        if not any(authors[n] == authors[row] for n in asked):
            continue
        floor = min(float(unit[n] @ unit[row]) for n in asked)
        scores: dict[str, list[float]] = {}
        for title in sorted({str(titles[n]) for n in asked}):
            own = [n for n in asked if titles[n] == title]
            near = sorted((float(unit[n] @ unit[row]) for n in own), reverse=True)
            three = float(np.dot(WEIGHTS, (near + [floor] * 3)[:3]))
            mean = unit[titles == title].mean(0)
            manner = float(mean @ unit[row] / np.linalg.norm(mean))
            scores[title] = [near[0], three, three + MANNER_WEIGHT * manner]
        right = {t for t in scores if authors[list(titles).index(t)] == authors[row]}
        expected.append([
            min(1 + sum(other[way] > scores[t][way] for other in scores.values()) for t in right)
            for way in range(len(WAYS))
        ])  # fmt: skip
    found = title_ranks(Gallery.plain(vectors), authors, titles, copies)
    assert found.shape == (3, 60)  # the hand with one title does not ask
    assert found.T.tolist() == expected


def ranks_of(vectors: np.ndarray, *labels: np.ndarray) -> np.ndarray:
    return title_ranks(Gallery.plain(vectors), *labels)


def test_clear_hands_are_first_and_noise_is_not() -> None:
    clear, noisy = (ranks_of(*world(noise)) for noise in (0.2, 1e6))
    assert (clear == 1).all()
    assert (noisy == 1).mean() < 0.35


def test_a_title_that_was_not_looked_at_is_beyond_every_list() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((LOOKED_AT + 2, 4)) * 0.01 + np.array([1.0, 0, 0, 0])
    vectors[0], vectors[1] = [1, 0, 0, 0], [-1, 0, 0, 0]
    titles = np.array([f"t:{n:03d}" for n in range(len(vectors))])
    authors = titles.copy()
    authors[1] = authors[0]
    found = title_ranks(Gallery.plain(vectors), authors, titles, np.eye(len(vectors), dtype=bool))
    assert found[:, 0].tolist() == [LOOKED_AT + 1] * 3
