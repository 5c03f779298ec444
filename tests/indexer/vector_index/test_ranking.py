"""Ranking against slow loops, and the promises that its order makes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexer.vector_index.ranking import (
    CENTROID_WEIGHT,
    WEIGHTS,
    expanded,
    refined,
    title_centroids,
    title_scores,
    top_pictures,
    top_titles,
)

NAMES = ("a:1", "a:2", "b:1", "c:9")
PAIRS = st.lists(
    st.tuples(st.floats(-1, 1, width=32), st.sampled_from(NAMES)), min_size=1, max_size=40
)


def arrays(pairs: list[tuple[float, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    similarity = np.asarray([s for s, _ in pairs], dtype=np.float32)
    titles = np.asarray([t for _, t in pairs], dtype=np.str_)
    return similarity, titles, np.ones(len(pairs), dtype=bool)


def slow_scores(pairs: list[tuple[float, str]]) -> dict[str, float]:
    floor = min(similarity for similarity, _ in pairs)
    scores = {}
    for name in {name for _, name in pairs}:
        best = sorted((s for s, n in pairs if n == name), reverse=True)[: len(WEIGHTS)]
        best += [floor] * (len(WEIGHTS) - len(best))
        scores[name] = sum(w * s for w, s in zip(WEIGHTS, best, strict=True))
    return scores


@given(PAIRS)
def test_scores_equal_a_slow_loop(pairs: list[tuple[float, str]]) -> None:
    similarity, titles, _ = arrays(pairs)
    names, scores = title_scores(similarity, titles)
    expected = slow_scores(pairs)
    assert list(names) == sorted(expected)
    np.testing.assert_allclose(scores, [expected[name] for name in names], atol=1e-6)


@given(PAIRS, st.tuples(*[st.floats(-1, 1, width=32)] * len(NAMES)))
def test_a_centroid_is_a_part_of_the_score(
    pairs: list[tuple[float, str]], near: tuple[float, ...]
) -> None:
    near_of = dict(zip(NAMES, near, strict=True))
    names, scores = title_scores(*arrays(pairs)[:2], near_of)
    alone = slow_scores(pairs)
    expected = [
        alone[name] + (near_of[name] - alone[name]) * CENTROID_WEIGHT / (1 + CENTROID_WEIGHT)
        for name in names
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_of_two_titles_with_equal_pictures_the_nearer_centroid_is_first() -> None:
    similarity, titles, passed = arrays([(0.6, "a:1"), (0.6, "b:1")])
    ranked = top_titles(similarity, titles, passed, {"a:1": 0.2, "b:1": 0.5})
    assert [t.title_id for t in ranked] == ["b:1", "a:1"]


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(pairs: list[tuple[float, str]], rng: object) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    one = [(t.title_id, t.score) for t in top_titles(*arrays(pairs))]
    two = [(t.title_id, t.score) for t in top_titles(*arrays(shuffled))]
    assert one == two


@given(PAIRS, st.integers(0, 39), st.floats(0.0, 1.0, width=32))
def test_a_nearer_picture_never_lowers_its_title(
    pairs: list[tuple[float, str]], place: int, gain: float
) -> None:
    place %= len(pairs)
    # The floor must stay: it belongs to the list, not to the title.
    pairs = [*pairs, (-1.0, "z:floor")]
    raised = list(pairs)
    raised[place] = (pairs[place][0] + gain, pairs[place][1])
    name = pairs[place][1]
    assert slow_scores(raised)[name] >= slow_scores(pairs)[name] - 1e-6
    before = [t.title_id for t in top_titles(*arrays(pairs))]
    after = [t.title_id for t in top_titles(*arrays(raised))]
    assert after.index(name) <= before.index(name)


@given(PAIRS)
def test_every_title_comes_once_best_first_with_its_pictures_in_order(
    pairs: list[tuple[float, str]],
) -> None:
    similarity, titles, passed = arrays(pairs)
    ranked = top_titles(similarity, titles, passed)
    assert sorted(t.title_id for t in ranked) == sorted(set(titles.tolist()))
    keys = [(-t.score, t.title_id) for t in ranked]
    assert keys == sorted(keys)
    for title in ranked:
        found = similarity[title.places]
        assert (np.diff(found) <= 0).all()
        assert set(titles[title.places]) == {title.title_id}
    assert sum(len(t.places) for t in ranked) == len(pairs)


def test_equal_scores_are_ordered_by_title_id() -> None:
    similarity = np.asarray([0.5, 0.5, 0.5], dtype=np.float32)
    titles = np.asarray(["t:b", "t:c", "t:a"])
    ranked = top_titles(similarity, titles, np.ones(3, dtype=bool))
    assert [t.title_id for t in ranked] == ["t:a", "t:b", "t:c"]


def test_many_middling_pictures_do_not_beat_three_near_ones() -> None:
    pairs = [(0.9, "few"), (0.85, "few"), (0.8, "few")] + [(0.6, "many")] * 30
    assert top_titles(*arrays(pairs))[0].title_id == "few"


def test_a_picture_that_did_not_pass_carries_no_title() -> None:
    similarity, titles, passed = arrays([(0.9, "a:1"), (0.5, "b:1"), (0.4, "b:1")])
    passed[1:] = False
    assert [t.title_id for t in top_titles(similarity, titles, passed)] == ["a:1"]


def test_nothing_found_is_nothing_ranked() -> None:
    empty = np.empty(0)
    assert top_titles(empty, empty.astype(np.str_), empty.astype(bool)) == []


@given(PAIRS, st.integers(1, 10))
def test_pictures_are_distinct_best_first_and_at_most_k(
    pairs: list[tuple[float, str]], k: int
) -> None:
    similarity, picture_ids, passed = arrays(pairs)  # names stand for picture ids here
    titles = np.asarray([f"t:{n}" for n in range(len(pairs))])
    places = top_pictures(similarity, picture_ids, titles, passed, k)
    shown = [str(picture_ids[place]) for place in places]
    best = {n: max(s for s, m in pairs if m == n) for n in {n for _, n in pairs}}
    expected = sorted(best, key=lambda name: (-np.float32(best[name]), name))[:k]
    assert shown == expected


def test_a_centroid_is_the_unit_mean_of_a_titles_pictures() -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    found = title_centroids(vectors, ["a", "a", "b", "c", "c"])
    for place, own in enumerate((vectors[:2], vectors[2:3], vectors[3:])):
        mean = own.mean(0)
        np.testing.assert_allclose(found[place], mean / np.linalg.norm(mean), atol=1e-6)
    assert title_centroids(vectors[:0], []).shape == (0, 4)


@given(st.integers(0, 10_000), st.integers(0, 12))
def test_the_expanded_query_is_a_unit_vector_nearer_to_the_head(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    unit = rng.standard_normal((count + 1, 8)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = expanded(unit[0], unit[1:])
    assert abs(float(np.linalg.norm(found)) - 1.0) < 1e-5
    near = np.maximum(unit[1:] @ unit[0], 0.0)
    assert float(near @ (unit[1:] @ found)) >= float(near @ (unit[1:] @ unit[0])) - 1e-4


def test_a_refined_query_moves_towards_what_was_liked_and_away_from_the_rest() -> None:
    rng = np.random.default_rng(0)
    query, *others = (row / np.linalg.norm(row) for row in rng.standard_normal((5, 32)))
    liked, disliked = np.stack(others[:2]), np.stack(others[2:])
    moved = refined(query, liked, disliked)
    assert np.isclose(np.linalg.norm(moved), 1.0) and moved.dtype == np.float32
    assert (liked @ moved > liked @ query).all() and (disliked @ moved < disliked @ query).all()
    assert query @ moved > max(liked @ moved), "the query itself still weighs most"
    none = np.empty((0, 32))
    assert np.allclose(refined(query, none, none), query)
    assert np.isfinite(refined(query, none, query[None])).all()
