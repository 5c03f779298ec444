"""The index of vectors against plain matrix products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.vector_index.faiss_index import VectorIndex, write_index
from schemas.errors import InputError

ROW_IDS = np.array([70, 3, 11, 900, 5, 42], np.int64)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[VectorIndex, np.ndarray]:
    vectors = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_index(tmp_path / "vectors.faiss", vectors, ROW_IDS)
    return VectorIndex.open(tmp_path / "vectors.faiss"), vectors


def test_a_search_equals_a_matrix_product(stored: tuple[VectorIndex, np.ndarray]) -> None:
    index, vectors = stored
    assert (index.count, index.dimension) == (6, 8)
    exact = vectors @ vectors.T
    for queries in (vectors, vectors[:1]):
        similarity, ids = index.search(queries, 9)
        assert ids.shape == (len(queries), 6)
        for row in range(len(queries)):
            order = np.argsort(-exact[row])
            assert ids[row].tolist() == ROW_IDS[order].tolist()
            assert similarity[row] == pytest.approx(exact[row][order], abs=2e-3)


def test_a_search_is_narrowed_beforehand(stored: tuple[VectorIndex, np.ndarray]) -> None:
    index, vectors = stored
    some = np.array([3, 900])
    assert set(index.search(vectors[:1], 4, some)[1][0].tolist()) == {3, 900}
    rest = index.search(vectors[:1], 9, without=some)[1][0].tolist()
    assert sorted(rest) == sorted(set(ROW_IDS.tolist()) - {3, 900})
    assert index.search(vectors[:2], 4, some[:0])[0].shape == (2, 0)
    for allowed in (np.array([5, 3, 900, 70]), ROW_IDS):  # more than half of them
        similarity, ids = index.search(vectors[:1], 9, allowed)
        assert sorted(ids[0].tolist()) == sorted(allowed.tolist())
        places = [ROW_IDS.tolist().index(one) for one in ids[0].tolist()]
        assert similarity[0] == pytest.approx((vectors[places] @ vectors[0]), abs=2e-3)


def test_stored_vectors_come_back_by_row_id(stored: tuple[VectorIndex, np.ndarray]) -> None:
    index, vectors = stored
    assert index.row_ids.tolist() == sorted(ROW_IDS.tolist())
    assert index.vectors([42, 70]) == pytest.approx(vectors[[5, 0]], abs=1e-3)
    assert index.all_vectors() == pytest.approx(vectors[np.argsort(ROW_IDS)], abs=1e-3)
    assert index.vectors([]).shape == (0, 8)
    for strange in ([1], [70, 901], [-1]):
        with pytest.raises(InputError, match="does not hold"):
            index.vectors(strange)
