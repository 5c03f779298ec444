"""The map keeps neighbours together, always comes out the same, and survives odd input."""

from __future__ import annotations

import contextlib
import sqlite3

import numpy as np
import pytest

from indexer import style_map
from indexer.style_map import lay_out, map_places

pytest.importorskip("openTSNE", reason="the map needs the extra [map]")


def clusters(count: int, each: int, dimension: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((count, dimension))
    vectors = np.repeat(centres, each, axis=0) + 0.4 * rng.standard_normal(
        (count * each, dimension)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.repeat(np.arange(count), each)


def preserved(high: np.ndarray, low: np.ndarray, k: int = 10) -> float:
    """Share of the k nearest neighbours that are still among the k nearest on the map."""

    def nearest(points: np.ndarray) -> np.ndarray:
        gap = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        np.fill_diagonal(gap, np.inf)
        return np.argsort(gap, axis=1)[:, :k]

    pairs = zip(nearest(high.astype(np.float64)), nearest(low.astype(np.float64)), strict=True)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in pairs]))


def test_neighbours_stay_neighbours() -> None:
    vectors, of = clusters(12, 25)
    place = lay_out(vectors)
    assert place.shape == (300, 2)
    assert place.dtype == np.float32
    assert place.min() >= 0.0
    assert place.max() <= 1.0
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    assert preserved(vectors, place) > 0.45 > preserved(vectors, centred @ axes[:2].T)
    nearest = np.argsort(((place[:, None] - place[None]) ** 2).sum(axis=2), axis=1)[:, 1]
    assert np.mean(of[nearest] == of) > 0.98


def test_same_input_same_map_and_the_seed_matters() -> None:
    vectors, _ = clusters(4, 15)
    assert np.array_equal(lay_out(vectors), lay_out(vectors))
    assert not np.array_equal(lay_out(vectors), lay_out(vectors, seed=1))


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 7])
def test_few_rows(rows: int) -> None:
    place = lay_out(clusters(1, max(rows, 1))[0][:rows])
    assert place.shape == (rows, 2)
    assert np.isfinite(place).all()


def test_equal_vectors_and_two_dimensions() -> None:
    same = np.full((40, 4), 0.5, dtype=np.float32)
    assert np.isfinite(lay_out(same)).all()
    angle = np.linspace(0, 1, 30, dtype=np.float32)
    assert np.isfinite(lay_out(np.column_stack([np.cos(angle), np.sin(angle)]))).all()


def test_rows_beyond_the_fitted_sample_land_among_their_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(style_map, "MAX_FITTED", 150)
    vectors, of = clusters(6, 50)
    place = lay_out(vectors)
    nearest = np.argsort(((place[:, None] - place[None]) ** 2).sum(axis=2), axis=1)[:, 1]
    assert np.mean(of[nearest] == of) > 0.95


def previous_map(row_ids: np.ndarray, places: np.ndarray) -> sqlite3.Connection:
    meta = sqlite3.connect(":memory:")
    meta.execute("create table pictures (row_id integer, map_x real, map_y real)")
    rows = zip(row_ids.tolist(), *places.T.tolist(), strict=True)
    meta.executemany("insert into pictures values (?, ?, ?)", rows)
    return meta


def test_a_small_change_keeps_the_map_and_places_new_pictures_beside_their_neighbours() -> None:
    vectors, of = clusters(4, 30)
    ids = np.arange(len(vectors))
    before = lay_out(vectors[:-3])
    with contextlib.closing(previous_map(ids[:-3], before)) as meta:
        after = map_places(vectors, ids, meta, seed=0)
    assert after is not None and after.dtype == np.float32
    assert np.array_equal(after[:-3], before)
    own = before[of[:-3] == of[-1]]
    assert (after[-3:] >= own.min(axis=0)).all() and (after[-3:] <= own.max(axis=0)).all()


def test_many_new_pictures_are_laid_out_with_all_others() -> None:
    vectors, _ = clusters(4, 10)
    ids = np.arange(len(vectors))
    with contextlib.closing(previous_map(ids[:20], np.full((20, 2), 0.5))) as meta:
        after = map_places(vectors, ids, meta, seed=0)
    assert np.array_equal(after, lay_out(vectors))


def test_without_the_package_there_is_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_map.importlib.util, "find_spec", lambda name: None)
    assert map_places(clusters(2, 5)[0], np.arange(10), None, seed=0) is None
