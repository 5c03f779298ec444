"""Retrieval figures against slow loops, over random galleries with ties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.training.evaluation.retrieval import (
    DEPTH,
    Gallery,
    QueryFigures,
    RetrievalFigures,
    near_duplicates,
    paired_interval,
    worst_authors,
)


def slow_figures(
    queries: np.ndarray, vectors: np.ndarray, gallery: Gallery
) -> dict[int, tuple[bool, bool, float, float]]:
    """The definitions, one query and one candidate at a time."""
    authors, series, copies = gallery.authors, gallery.series, gallery.copies
    found = {}
    for q in range(len(vectors)):
        candidates = [g for g in range(len(vectors)) if series[g] != series[q] and not copies[q, g]]
        relevant = sum(1 for g in candidates if authors[g] == authors[q])
        if relevant == 0:
            continue
        ranked = sorted(candidates, key=lambda g: (-float(queries[q] @ vectors[g]), g))
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


def gallery_of(authors: np.ndarray, series: np.ndarray) -> Gallery:
    return Gallery(authors, series, np.eye(len(authors), dtype=bool))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 130), st.integers(1, 6), st.integers(1, 3))
def test_figures_equal_the_slow_loop(seed: int, count: int, hands: int, books: int) -> None:
    random = np.random.default_rng(seed)
    # Axis-parallel vectors have exact cosines, and with few axes there are many ties.
    vectors, queries = np.eye(8)[random.integers(0, 8, (2, count))]
    author = random.integers(0, hands, count)
    series = author * 10 + random.integers(0, books, count)
    copies = random.random((count, count)) < 0.05
    copies |= copies.T
    gallery = Gallery(author, series, copies)
    for asked in (None, queries):
        wanted = slow_figures(vectors if asked is None else asked, vectors, gallery)
        if not wanted:
            continue
        figures = gallery.figures(vectors, asked)
        assert figures.rows.tolist() == sorted(wanted)
        for position, row in enumerate(figures.rows.tolist()):
            first, tenth, average, mean = wanted[row]
            assert figures.right_at_1[position] == first
            assert figures.right_at_10[position] == tenth
            assert figures.average_precision[position] == pytest.approx(average)
            assert figures.mean_precision[position] == pytest.approx(mean)


def test_own_series_and_lone_series_do_not_count() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [0.9, 0.1], [0, 1]])
    gallery = gallery_of(np.array(["a", "a", "b", "a"]), np.array(["a1", "a1", "b1", "a2"]))
    figures = gallery.figures(vectors)
    assert figures.rows.tolist() == [0, 1, 3]  # b has one series and is a distractor only
    assert figures.right_at_1.tolist() == [False, False, False]
    assert figures.summary().r_at_10 == 1.0
    assert gallery.nearest(vectors, 0, 5).tolist() == [2, 3]
    assert gallery.nearest(vectors, 0, 5, vectors[3]).tolist() == [3, 2]
    assert figures.found.tolist() == ["b", "b", "b"]


def test_the_worst_authors_stand_with_whom_they_are_taken_for() -> None:
    angle = np.array([0.0, 0.1, 0.0, 0.1, 1.5, 1.6, 0.05, 0.06])
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1)
    authors = np.array(["a", "a", "b", "b", "c", "c", "d", "d"])
    series = np.array([f"{author}{number % 2}" for number, author in enumerate(authors)])
    figures = gallery_of(authors, series).figures(vectors)
    worst = worst_authors(figures, 2, 1)
    assert [one.author for one in worst] == ["a", "b"]
    assert worst[0].instead == (("b", 1.0),) and worst[0].r_at_1 == 0 and worst[0].queries == 2
    assert [one.r_at_1 for one in worst_authors(figures)] == [0, 0, 1, 1]


def test_macro_figure_weighs_authors_alike() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [1, 0], [1, 0], [0, 1], [0.9, 0.1]])
    authors = np.array(["a", "a", "a", "a", "b", "b"])
    series = np.array(["a1", "a2", "a1", "a2", "b1", "b2"])
    figures = gallery_of(authors, series).figures(vectors).summary()
    assert figures.r_at_1 == pytest.approx(5 / 6)
    assert figures.macro_r_at_1 == pytest.approx(0.75)
    mean = RetrievalFigures.mean([figures, RetrievalFigures(0.0, 0.0, 0.0, 0.0, 0.0)])
    assert mean.r_at_1 == pytest.approx(5 / 12)


def test_no_query_is_an_error() -> None:
    lone = np.array(["a", "b"])
    with pytest.raises(ValueError, match="two series"):
        gallery_of(lone, lone).figures(np.eye(2)).summary()


def test_near_duplicates_ignore_brightness_and_spare_flat_pictures() -> None:
    random = np.random.default_rng(0)
    one, other = random.integers(0, 120, (2, 32, 32), dtype=np.uint8)
    flat = np.full((32, 32), 200, np.uint8)
    copies = near_duplicates(np.stack([one, one + 50, other, flat, flat]))
    assert np.argwhere(np.triu(copies, 1)).tolist() == [[0, 1]]
    assert copies.diagonal().all()


def test_paired_interval_knows_a_gain_from_noise_and_resamples_authors() -> None:
    random = np.random.default_rng(3)

    def figures(right: np.ndarray) -> QueryFigures:
        authors = np.arange(400) // 10
        nothing = np.zeros(400)
        precision = right * 0.5
        return QueryFigures(np.arange(400), authors, right, right, precision, nothing, authors)

    base = [figures(random.random(400) < 0.5) for _ in range(3)]
    better = [figures(one.right_at_1 | (random.random(400) < 0.2)) for one in base]
    gain, low, high = paired_interval(better, base)
    assert 0 < low < gain < high
    assert paired_interval(base, base) == (0, 0, 0)
    halved = paired_interval(better, base, "average_precision")
    assert halved == pytest.approx((gain / 2, low / 2, high / 2))
    noise = [figures(random.random(400) < 0.5) for _ in range(3)]
    _, low, high = paired_interval(noise, base)
    assert low < 0 < high
    # The same gain is less sure when it is that of a single author.
    one_author = [replace(b, right_at_1=b.right_at_1 | (b.authors == 7)) for b in base]
    _, low, _ = paired_interval(one_author, base)
    assert low == 0
    with pytest.raises(ValueError, match="same queries"):
        paired_interval(base, base[:2])
