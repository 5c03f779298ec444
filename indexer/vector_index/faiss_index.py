"""FAISS: the only module that imports it. An index of unit vectors by row id, on disk.

Exact search over half floats: 100,000 x 256 are scanned in milliseconds, with half the memory of
float32, and without a training step whose result could drift between builds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from indexer.vector_index.ranking import within
from schemas.errors import InputError
from schemas.storage.fsio import fsync_file
from schemas.storage.mirrors import utf8_path


class VectorIndex:
    """An open index; ids are row ids. Several threads may search it."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.count = int(index.ntotal)
        self.dimension = int(index.d)

    @classmethod
    def open(cls, path: Path) -> VectorIndex:
        """Map an index into memory. The caller has checked its digest."""
        import faiss

        return cls(faiss.read_index(str(utf8_path(path)), faiss.IO_FLAG_MMAP_IFC))

    @cached_property
    def stored_ids(self) -> np.ndarray:
        """Row ids in the order of storage; (N,) int64."""
        import faiss

        return np.asarray(faiss.vector_to_array(self._index.id_map))

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Row ids ascending, and where each lies in the index; both (N,) int64."""
        order = np.argsort(self.stored_ids, kind="stable")
        return self.stored_ids[order], order

    @property
    def places(self) -> np.ndarray:
        """Where each of `row_ids` lies in the order of storage; (N,) int64."""
        return self._places[1]

    @property
    def row_ids(self) -> np.ndarray:
        """All row ids, ascending; (N,) int64."""
        return self._places[0]

    def search(
        self,
        vectors: np.ndarray,
        k: int,
        row_ids: np.ndarray | None = None,
        *,
        without: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The most similar vectors, of all, of these row ids, or of all but those `without`.

        Shapes:  vectors (Q, D) -> similarity (Q, K), greatest first, and row ids (Q, K); -1 in
                 both where there are fewer than k
        """
        import faiss

        # One query is one scan on one core: more threads would only wait, and wake the
        # network's own threads while they do (3.4 ms became 0.4 ms on two cores).
        faiss.omp_set_num_threads(1 if len(vectors) == 1 else len(os.sched_getaffinity(0)))
        left = self.count - (0 if without is None else len(without))
        k = min(k, left if row_ids is None else len(row_ids))
        if k == 0:
            return np.empty((len(vectors), 0), np.float32), np.empty((len(vectors), 0), np.int64)
        if row_ids is not None and 2 * len(row_ids) > self.count:  # the shorter list is faster
            without = np.setdiff1d(self.row_ids, row_ids, assume_unique=True)
            row_ids = None
        selector: Any = None  # of one call only: threads share the index
        if row_ids is not None:
            selector = faiss.IDSelectorBatch(row_ids)
        elif without is not None and len(without):
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(without))
        params = selector and faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        similarity, ids = self._index.search(vectors, k, params=params)
        return np.where(ids < 0, np.float32(-1.0), within(similarity)), ids

    def vectors(self, row_ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """The stored vectors of rows (float16 in float32).

        Shapes:  (N,) -> (N, D) float32
        Errors:  InputError when a row is not in the index
        """
        known, order = self._places
        wanted = np.asarray(row_ids, dtype=np.int64)
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        if len(wanted) and not (len(known) and np.array_equal(known[places], wanted)):
            raise InputError("the index does not hold such a picture")
        found = np.empty((len(wanted), self.dimension), np.float32)
        for row, place in enumerate(order[places].tolist() if len(wanted) else ()):
            self._index.index.reconstruct(place, found[row])
        return found

    def all_vectors(self) -> np.ndarray:
        """Every stored vector in the order of `stored_ids`; (N, D) float32."""
        return np.asarray(self._index.index.reconstruct_n(0, self.count))


def index_of(vectors: np.ndarray, row_ids: np.ndarray) -> VectorIndex:
    """A new index in memory. Shapes:  (N, D) float32, (N,) int64"""
    import faiss

    flat = faiss.IndexScalarQuantizer(
        vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index = faiss.IndexIDMap(flat)
    index.add_with_ids(vectors, row_ids)
    return VectorIndex(index)


def write_index(path: Path, vectors: np.ndarray, row_ids: np.ndarray) -> None:
    """Write a new index, synced.

    Errors:  OSError
    """
    import faiss

    try:
        faiss.write_index(index_of(vectors, row_ids)._index, str(utf8_path(path)))
    except RuntimeError as error:  # FAISS reports a full disk this way
        raise OSError(28 if "write error" in str(error) else 5, str(error)) from error
    fsync_file(path)


def installed() -> str:
    """Which FAISS this is, for people."""
    import faiss

    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    build = "gpu" if hasattr(faiss, "StandardGpuResources") else "cpu"
    return f"faiss {faiss.__version__}, {build} build, {gpus} GPUs"
