"""The map keeps neighbours together, always comes out the same, and survives odd input."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.style_map import project


def clusters(count: int, each: int, dimension: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((count, dimension))
    vectors = np.repeat(centres, each, axis=0) + 0.4 * rng.standard_normal(
        (count * each, dimension)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.repeat(np.arange(count), each)


def kept(high: np.ndarray, low: np.ndarray, k: int = 10) -> float:
    """Share of the k nearest neighbours that are still among the k nearest on the map."""

    def nearest(points: np.ndarray) -> np.ndarray:
        gap = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        np.fill_diagonal(gap, np.inf)
        return np.argsort(gap, axis=1)[:, :k]

    pairs = zip(nearest(high.astype(np.float64)), nearest(low.astype(np.float64)), strict=True)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in pairs]))


def test_neighbours_stay_neighbours() -> None:
    vectors, of = clusters(12, 25)
    place = project(vectors)
    assert place.shape == (300, 2)
    assert place.dtype == np.float32
    assert place.min() >= 0.0
    assert place.max() <= 1.0
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    assert kept(vectors, place) > 0.45 > kept(vectors, centred @ axes[:2].T)
    nearest = np.argsort(((place[:, None] - place[None]) ** 2).sum(axis=2), axis=1)[:, 1]
    assert np.mean(of[nearest] == of) > 0.98


def test_same_input_same_map_and_the_seed_matters() -> None:
    vectors, _ = clusters(4, 15)
    assert np.array_equal(project(vectors), project(vectors))
    assert not np.array_equal(project(vectors), project(vectors, seed=1))


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 7])
def test_few_rows(rows: int) -> None:
    place = project(clusters(1, max(rows, 1))[0][:rows])
    assert place.shape == (rows, 2)
    assert np.isfinite(place).all()


def test_equal_vectors_and_one_dimension() -> None:
    same = np.ones((40, 8), dtype=np.float32)
    assert np.isfinite(project(same)).all()
    assert np.isfinite(project(np.linspace(0, 1, 30, dtype=np.float32)[:, None])).all()


def test_refuses_what_is_no_matrix_of_numbers() -> None:
    with pytest.raises(ValueError, match="finite"):
        project(np.array([[np.nan, 1.0]], dtype=np.float32))
    with pytest.raises(ValueError, match="matrix"):
        project(np.zeros(3, dtype=np.float32))
