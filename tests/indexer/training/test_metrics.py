"""Retrieval figures against slow loops, over random galleries with ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.training.evaluation.metrics import (
    DEPTH,
    Gallery,
    near_duplicates,
    paired_interval,
    query_figures,
    summarize,
)
from indexer.vector_index.ranking import KEPT


def slow_figures(
    vectors: np.ndarray, authors: np.ndarray, series: np.ndarray, copies: np.ndarray
) -> dict[int, tuple[bool, bool, float, float]]:
    """The definitions, one query and one candidate at a time."""
    found = {}
    for q in range(len(vectors)):
        candidates = [g for g in range(len(vectors)) if series[g] != series[q] and not copies[q, g]]
        relevant = sum(1 for g in candidates if authors[g] == authors[q])
        if relevant == 0:
            continue

        def similarity(g: int, q: int = q) -> float:
            norms = np.linalg.norm(vectors[q]) * np.linalg.norm(vectors[g])
            return float(vectors[q] @ vectors[g]) / max(float(norms), 1e-12)

        ranked = sorted(candidates, key=lambda g: (-round(similarity(g), 9), g))
        right = [authors[g] == authors[q] for g in ranked]
        right += [False] * (DEPTH - len(right))
        average, hits, precisions = 0.0, 0, []
        for k in range(1, DEPTH + 1):
            hits += right[k - 1]
            precisions.append(hits / k)
            if right[k - 1]:
                average += hits / k
        found[q] = (
            bool(right[0]),
            any(right[:10]),
            average / min(relevant, DEPTH),
            sum(precisions[:10]) / 10,
        )
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 130), st.integers(1, 6), st.integers(1, 3))
def test_figures_equal_the_slow_loop(seed: int, count: int, hands: int, books: int) -> None:
    random = np.random.default_rng(seed)
    # Axis-parallel vectors have exact cosines, and with few axes there are many ties.
    vectors = np.eye(8)[random.integers(0, 8, count)] * random.integers(1, 4, (count, 1))
    author = random.integers(0, hands, count)
    series = author * 10 + random.integers(0, books, count)
    copies = random.random((count, count)) < 0.05
    copies |= copies.T
    figures = query_figures(Gallery.plain(vectors), author, series, copies)
    wanted = slow_figures(vectors, author, series, copies)
    assert figures.rows.tolist() == sorted(wanted)
    for position, row in enumerate(figures.rows.tolist()):
        first, tenth, average, mean = wanted[row]
        assert figures.right_at_1[position] == first
        assert figures.right_at_10[position] == tenth
        assert figures.average_precision[position] == pytest.approx(average)
        assert figures.mean_precision[position] == pytest.approx(mean)


def test_own_series_and_lone_series_do_not_count() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [0.9, 0.1], [0, 1]])
    authors = np.array(["a", "a", "b", "a"])
    series = np.array(["a1", "a1", "b1", "a2"])
    figures = query_figures(Gallery.plain(vectors), authors, series, np.eye(4, dtype=bool))
    assert figures.rows.tolist() == [0, 1, 3]  # b has one series and is a distractor only
    assert figures.right_at_1.tolist() == [False, False, False]
    assert summarize(figures).r_at_10 == 1.0


def test_macro_figure_weighs_authors_alike() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [1, 0], [1, 0], [0, 1], [0.6, 0.8]])
    authors = np.array(["a", "a", "a", "a", "b", "b"])
    series = np.array(["a1", "a2", "a1", "a2", "b1", "b2"])
    figures = summarize(
        query_figures(Gallery.plain(vectors), authors, series, np.eye(6, dtype=bool))
    )
    assert figures.r_at_1 == pytest.approx(1.0) and figures.macro_r_at_1 == pytest.approx(1.0)
    vectors[5] = [0.9, 0.1]
    figures = summarize(
        query_figures(Gallery.plain(vectors), authors, series, np.eye(6, dtype=bool))
    )
    assert figures.r_at_1 == pytest.approx(5 / 6)
    assert figures.macro_r_at_1 == pytest.approx(0.75)


def test_no_query_is_an_error() -> None:
    lone = np.array(["a", "b"])
    with pytest.raises(ValueError, match="two series"):
        summarize(query_figures(Gallery.plain(np.eye(2)), lone, lone, np.eye(2, dtype=bool)))


def test_near_duplicates_ignore_brightness_and_spare_flat_pictures() -> None:
    random = np.random.default_rng(0)
    one, other = random.integers(0, 120, (2, 32, 32), dtype=np.uint8)
    flat = np.full((32, 32), 200, np.uint8)
    copies = near_duplicates(np.stack([one, one + 50, other, flat, flat]))
    assert np.argwhere(np.triu(copies, 1)).tolist() == [[0, 1]]
    assert copies.diagonal().all()


def test_paired_interval_knows_a_gain_from_noise() -> None:
    random = np.random.default_rng(3)
    base = [random.random(400) < 0.5 for _ in range(5)]
    better = [split | (random.random(400) < 0.2) for split in base]
    gain, low, high = paired_interval(better, base)
    assert 0 < low < gain < high
    gain, low, high = paired_interval(base, base)
    assert (gain, low, high) == (0, 0, 0)
    noise = [random.random(400) < 0.5 for _ in range(5)]
    _, low, high = paired_interval(noise, base)
    assert low < 0 < high
    with pytest.raises(ValueError, match="same queries"):
        paired_interval(base, base[:4])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(12, 90))
def test_long_lists_keep_their_head_and_follow_the_definition(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, 6))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    author = random.integers(0, 3, count)
    series = author * 10 + random.integers(0, 3, count)
    copies = np.eye(count, dtype=bool)
    plain = query_figures(Gallery.plain(vectors), author, series, copies)
    found = query_figures(Gallery.plain(vectors), author, series, copies, expand=True)
    for name in ("rows", "right_at_1", "right_at_10", "mean_precision"):
        assert np.array_equal(getattr(found, name), getattr(plain, name))
    for place, q in enumerate(found.rows.tolist()):
        candidates = [g for g in range(count) if series[g] != series[q]]
        near = sorted(candidates, key=lambda g: -float(unit[g] @ unit[q]))
        mean = unit[q] + sum(max(0.0, float(unit[g] @ unit[q])) * unit[g] for g in near[:KEPT])
        far = sorted(near[KEPT:], key=lambda g: -float(unit[g] @ mean))
        right = [author[g] == author[q] for g in (near[:KEPT] + far)[:DEPTH]]
        hits = np.cumsum(right) / np.arange(1, len(right) + 1)
        reachable = min(DEPTH, sum(author[g] == author[q] for g in candidates))
        assert found.average_precision[place] == pytest.approx((hits * right).sum() / reachable)
