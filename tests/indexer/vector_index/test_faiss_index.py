"""The index of vectors against plain matrix products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.vector_index.faiss_index import (
    CANDIDATES,
    SearchPlan,
    VectorIndex,
    gpus_for,
    index_of,
    write_candidates,
    write_index,
)
from schemas.errors import InputError, UsageError

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
    assert index.block(0, index.count) == pytest.approx(vectors[np.argsort(ROW_IDS)], abs=1e-3)
    assert index.vectors([]).shape == (0, 8)
    for strange in ([1], [70, 901], [-1]):
        with pytest.raises(InputError, match="does not hold"):
            index.vectors(strange)


# --- GPUs: all but FAISS' own copying runs here, with parts that stay where they are.


def stays(part: Any, gpu: int) -> Any:
    return part


def many(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    vectors = np.random.default_rng(1).standard_normal((count, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16), np.arange(count) * 3 + 7


@pytest.mark.parametrize("gpus", [1, 3])
def test_parts_on_gpus_answer_as_one_index(gpus: int) -> None:
    vectors, ids = many()
    cpu, index = index_of(vectors, ids), index_of(vectors, ids)
    index.scan_on(gpus, stays)
    assert index.on_gpu and not index.trouble and not cpu.on_gpu
    queries = np.random.default_rng(2).standard_normal((7, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for k in (1, 10, 500, 900):
        for asked in (queries, queries[:1]):
            similarity, found = index.search(asked, k)
            wanted = cpu.search(asked, k)
            assert found.tolist() == wanted[1].tolist()
            assert similarity == pytest.approx(wanted[0], abs=1e-6)
    for some in ({"row_ids": ids[:400]}, {"row_ids": ids[:9]}, {"without": ids[20:]}):
        assert index.search(queries, 9, **some)[1].tolist() == (
            cpu.search(queries, 9, **some)[1].tolist()
        )


def test_a_gpu_that_rounds_moves_no_near_ties() -> None:
    """Queries are rounded there, here more coarsely; what it names is compared as on a CPU."""
    vectors, _ = many()
    cpu, index = (index_of(vectors, np.arange(len(vectors))) for _ in range(2))

    class Rounding:
        def search(self, asked: np.ndarray, k: int) -> Any:
            return cpu._flat.search(np.round(asked * 32) / 32, k)

    index.scan_on(1, stays)
    index._shards = Rounding()
    query = vectors[:20].astype(np.float32)
    assert Rounding().search(query, 10)[1].tolist() != cpu.search(query, 10)[1].tolist()
    assert index.search(query, 10)[1].tolist() == cpu.search(query, 10)[1].tolist()


def test_a_gpu_that_fails_leaves_the_answer_to_the_cpu() -> None:
    import faiss

    vectors, ids = many()
    wanted = index_of(vectors, ids).search(vectors[:5].astype(np.float32), 10)[1].tolist()

    def full(part: Any, gpu: int) -> Any:
        raise RuntimeError("Error: 'err == cudaSuccess' failed: out of memory")

    def breaks(part: Any, gpu: int) -> Any:  # when it is searched: it was never trained
        return faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_8bit)

    for copy, why in ((full, "is out of memory"), (breaks, "failed")):
        index = index_of(vectors, ids)
        index.scan_on(2, copy)
        for _ in range(2):
            assert index.search(vectors[:5].astype(np.float32), 10)[1].tolist() == wanted
        assert index.trouble == f"the GPU {why}: the CPU answers" and not index.on_gpu


def test_a_gpu_is_used_where_there_is_one() -> None:
    assert gpus_for("cpu") == 0
    index = index_of(*many())
    if gpus_for("auto"):
        pytest.skip("there is one")
    index.use("auto")
    assert not index.on_gpu and not index.trouble
    with pytest.raises(UsageError, match=r"sees no GPU \(faiss .* build, 0 GPUs\)"):
        index.use("cuda")


def test_lists_are_laid_out_on_a_gpu(tmp_path: Path) -> None:
    vectors, ids = many()
    plan = SearchPlan("ivf", 8, probes=1, trained_on=len(vectors))
    write_candidates(index_of(vectors, ids), tmp_path / "cpu", plan, 5, None)
    used = []

    def counted(part: Any, gpu: int) -> Any:
        used.append(part)
        return part

    def full(part: Any, gpu: int) -> Any:
        raise RuntimeError("out of memory")

    for copy, trouble in ((counted, ""), (full, "the GPU is out of memory: the CPU answers")):
        index = index_of(vectors, ids)
        index.scan_on(1, stays)
        write_candidates(index, tmp_path / CANDIDATES, plan, 5, None, copy=copy)
        assert (tmp_path / CANDIDATES).read_bytes() == (tmp_path / "cpu").read_bytes()
        assert index.trouble == trouble
    assert len(used) == 1 and used[0].d == 16

    write_index(tmp_path / "vectors.faiss", vectors, ids)
    index, asked = VectorIndex.open(tmp_path / "vectors.faiss", plan), vectors[:50]
    asked = asked.astype(np.float32)
    exact = index.search(asked, 5, exact=True)[1].tolist()
    assert index.search(asked, 5)[1].tolist() != exact  # one list of eight
    index.scan_on(2, stays)
    assert index.search(asked, 5)[1].tolist() != exact  # so that recall can be measured
    index.scan_on(2, stays, first=True)
    assert index.search(asked, 5)[1].tolist() == exact


def test_a_little_work_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    from indexer.vector_index import faiss_index

    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((50, 8)).astype(np.float32)
    index = faiss_index.index_of(vectors, np.arange(50))
    threads: list[int] = []
    monkeypatch.setattr(faiss, "omp_set_num_threads", threads.append)
    monkeypatch.setattr(faiss_index, "_cores", lambda: 7)
    monkeypatch.setattr(faiss_index, "MANY_NUMBERS", 10 * 50 * 8)
    for queries in (1, 9, 10):
        index.search(vectors[:queries], 3)
    assert threads == [1, 1, 7]
