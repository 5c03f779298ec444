"""FAISS: the only module that imports it. Unit vectors by row id, on disk.

`vectors.faiss` holds every vector as half floats, by ascending row id; a scan of it is exact:
100,000 x 256 are scanned in milliseconds. In a large index `candidates.faiss` beside it names
the few vectors that are compared: lists of near ones (ivf, ivfpq) or a graph of them (hnsw), over
shorter codes. What it names is compared by the half floats, so that similarities and their order
are exact for all that is found.

Codes of lists are half a byte for two numbers (ivf) or four (ivfpq), which FAISS compares 32 at a
time in registers (André et al., "Quicker ADC", 2019).

Where FAISS has GPUs, a process that asks for them scans copies of the half floats there; files
are always those of a CPU index.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from indexer.vector_index.ranking import within
from schemas.errors import InputError, UsageError
from schemas.storage.fsio import fsync_file
from schemas.storage.mirrors import utf8_path

if "OPENBLAS_CORETYPE" not in os.environ:
    # The OpenBLAS in FAISS' wheels is older than numpy's. A processor that it does not know gets
    # kernels of 2004, a quarter as fast: so it is told, before FAISS is imported, what numpy sees.
    umath = np._core._multiarray_umath  # type: ignore[attr-defined]
    for feature, kernels in (("AVX512_SKX", "SKYLAKEX"), ("AVX2", "HASWELL")):
        if getattr(umath, "__cpu_features__", {}).get(feature):
            os.environ["OPENBLAS_CORETYPE"] = kernels
            break

CANDIDATES = "candidates.faiss"
LARGEST_SHARE = 50
"""Who asks for more than one in so many vectors is answered by a scan."""
TUNED_K = 200
"""Up to so many neighbours the measured number of probes is enough; for more it grows with them."""
LEAST_COMPARED = 512
"""Vectors that lists name for a query, whatever is asked for: codes of half a byte are coarse."""
BLOCK_ROWS = 1 << 15
POINTS_PER_LIST = 40
NUMBERS = {"ivf": (2, 1), "ivfpq": (4, 2, 1)}
"""Of how many numbers half a byte is the code, where the dimension can be divided so."""
VALUES = 16
"""Of half a byte."""
ITERATIONS = 8
LINKS = 32
"""Of a node of the graph, to each side."""
EF_CONSTRUCTION = 80
MOST_ON_GPU = 2048
"""Neighbours that FAISS finds on a GPU."""
MORE_ON_GPU = 32
"""So many more are asked for: a GPU rounds queries to half floats, which moves near ties."""
COMPARED_NUMBERS = 1 << 24
MANY_NUMBERS = 200_000_000
"""So many numbers of vectors take one thread 50 ms or so."""

Copy = Callable[[Any, int], Any]
"""Puts a FAISS index on the GPU of a number."""


@dataclass(frozen=True)
class SearchPlan:
    """How an index is searched. `kind` is one of flat, ivf, ivfpq and hnsw. Of `lists` lists of
    near vectors the `probes` nearest are read for a query (of a graph, so many nodes are kept in
    view); of that, `refine` times as many as are asked for are compared exactly. `trained_on` is
    the number of pictures when the lists were laid out, `recall` the measured share of the exact
    ten nearest that is found.
    """

    kind: str = "flat"
    lists: int = 0
    probes: int = 0
    refine: int = 1
    trained_on: int = 0
    recall: float = 1.0


FLAT = SearchPlan()


class VectorIndex:
    """An open index; ids are row ids. Several threads may search it. `trouble` says why something
    less than what was set up answers."""

    trouble = ""

    def __init__(self, index: Any, candidates: Any = None, plan: SearchPlan = FLAT) -> None:
        import faiss

        self._index = index
        self._flat: Any = faiss.downcast_index(index.index)
        self._candidates = candidates
        self.plan = plan
        self.count = int(index.ntotal)
        self.dimension = int(index.d)
        self._shards: Any = None  # copies on GPUs
        self._gpu_turn = Lock()  # FAISS lets one thread at a time use a GPU's buffers
        self._gpu_first = False

    @classmethod
    def open(cls, path: Path, plan: SearchPlan = FLAT) -> VectorIndex:
        """Map an index into memory; its pages are read as they are needed. The caller has checked
        its digest. Any `plan` but a flat one needs the file CANDIDATES beside it."""
        import faiss

        index = faiss.read_index(str(utf8_path(path)), faiss.IO_FLAG_MMAP_IFC)
        if plan.kind == "flat":
            return cls(index)
        # Lists are read into memory; a graph is mapped as far as FAISS can.
        file = str(utf8_path(path.with_name(CANDIDATES)))
        found: Any = faiss.read_index(file, faiss.IO_FLAG_MMAP_IFC)
        return cls(index, found, plan)

    def use(self, device: str, *, first: bool = False) -> None:
        """Scan on GPUs from now on, as `index.device` says: cpu and, without a GPU, auto change
        nothing. See `scan_on`. Errors:  UsageError for cuda without a GPU"""
        if gpus := gpus_for(device):
            self.scan_on(gpus, first=first)

    def scan_on(self, gpus: int, copy: Copy | None = None, *, first: bool = False) -> None:
        """Copy all vectors to so many GPUs, divided, and scan there from now on; with `first`,
        searches of all vectors are such scans, whatever the plan. Where a GPU fails, for example
        for want of memory, `trouble` says so and the CPU answers. Not while another thread searches.
        """
        if not self.count:
            return
        try:
            self._shards = _shards(self.halves, gpus, copy or _to_gpu)
            self._gpu_first = first
        except (RuntimeError, MemoryError) as error:  # FAISS says out of memory this way
            self._without_gpu(error)

    def _without_gpu(self, error: Exception) -> None:
        self._shards, self._gpu_first = None, False
        self.trouble = gpu_trouble(error)

    @property
    def on_gpu(self) -> bool:
        return self._shards is not None

    @property
    def has_lists(self) -> bool:
        """Whether there are lists that another index can take over: older ones have other codes."""
        import faiss

        return isinstance(self._candidates, faiss.IndexIVFPQFastScan)

    @cached_property
    def row_ids(self) -> np.ndarray:
        """All row ids, ascending, which is the order of storage; (N,) int64."""
        import faiss

        return np.asarray(faiss.vector_to_array(self._index.id_map))

    @cached_property
    def halves(self) -> np.ndarray:
        """The stored vectors as they lie in the mapped file, in the order of `row_ids`: for as
        long as this index is there; (N, D) float16."""
        import faiss

        if not self.count:
            return np.empty((0, self.dimension), np.float16)
        size = self.count * self.dimension * 2
        return np.asarray(
            faiss.rev_swig_ptr(self._flat.codes.data(), size)
            .view(np.dtype("<f2"))
            .reshape(self.count, self.dimension)
        )

    def _places(self, row_ids: np.ndarray) -> np.ndarray:
        """Where those of the rows lie that are in the index; (M,) -> (M or less,) int64"""
        places = np.minimum(np.searchsorted(self.row_ids, row_ids), max(0, self.count - 1))
        return places[self.row_ids[places] == row_ids] if self.count else places[:0]

    def search(
        self,
        vectors: np.ndarray,
        k: int,
        row_ids: np.ndarray | None = None,
        *,
        without: np.ndarray | None = None,
        exact: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The most similar vectors, of all, of these row ids, or of all but those `without`.

        The answer is exact when no more than half of the rows may answer, when many are asked
        for, and with `exact`; otherwise as the plan says.

        Shapes:  vectors (Q, D) -> similarity (Q, K), greatest first, and row ids (Q, K); -1 in
                 both where there are fewer than k
        """
        import faiss

        left = self.count - (0 if without is None else len(without))
        left = left if row_ids is None else len(row_ids)
        k = min(k, left)
        if k == 0:
            return np.empty((len(vectors), 0), np.float32), np.empty((len(vectors), 0), np.int64)
        selector: Any = None  # of one call only: threads share the index
        if row_ids is not None and 2 * len(row_ids) <= self.count:
            selector, exact = faiss.IDSelectorBatch(self._places(row_ids)), True
        elif row_ids is not None:
            selector = self._bits(row_ids, True)
        elif without is not None and len(without):
            selector = self._bits(without, False)
        exact |= self._gpu_first and selector is None and k + MORE_ON_GPU <= MOST_ON_GPU
        exact |= self._candidates is None or k * LARGEST_SHARE > self.count
        # Fewer of each list count, so more lists are read.
        probes = self.plan.probes * max(1.0, k / TUNED_K) * self.count / left
        share = 1.0 if exact else min(1.0, probes / max(1, self.plan.lists))
        # One query is one scan on one core. Threads spin while they wait for one another, and take
        # time from whatever else wants the cores: little work is done by one.
        numbers = len(vectors) * self.count * self.dimension * share
        is_little = len(vectors) == 1 or numbers < MANY_NUMBERS
        faiss.omp_set_num_threads(1 if is_little else _cores())
        if exact:
            similarity, places = self._scan(vectors, k, selector)
        else:
            similarity, places = self._probe(vectors, k, selector, ceil(probes))
            short = (places < 0).any(axis=1)
            if short.any():
                similarity[short], places[short] = self._scan(vectors[short], k, selector)
        ids = np.where(places < 0, -1, self.row_ids[places])
        return np.where(ids < 0, np.float32(-1.0), within(similarity)), ids

    def _bits(self, row_ids: np.ndarray, may: bool) -> Any:
        """A selector by which these rows `may` answer, and the others may not, or the reverse."""
        import faiss

        bits = np.full(self.count, not may)
        bits[self._places(row_ids)] = may
        return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))  # type: ignore[call-arg, arg-type]

    def _scan(self, vectors: np.ndarray, k: int, selector: Any) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        # A GPU would not heed a selector, and not say so.
        if self.on_gpu and selector is None and k + MORE_ON_GPU <= MOST_ON_GPU:
            with self._gpu_turn:
                try:
                    if self.on_gpu:
                        more = min(k + MORE_ON_GPU, self.count)
                        asked = np.ascontiguousarray(vectors, np.float32)
                        return self._compared(vectors, self._shards.search(asked, more)[1], k)
                except (RuntimeError, MemoryError) as error:
                    self._without_gpu(error)
        params = selector and faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        found: tuple[np.ndarray, np.ndarray] = self._flat.search(vectors, k, params=params)
        return found

    def _compared(
        self, vectors: np.ndarray, places: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of some places by the half floats, the lower place first among equals.

        Shapes:  (Q, D), (Q, L) -> (Q, k) similarity and places
        """
        similarity = np.empty((len(vectors), k), np.float32)
        found = np.empty((len(vectors), k), np.int64)
        step = max(1, COMPARED_NUMBERS // (places.shape[1] * self.dimension))
        for start in range(0, len(vectors), step):
            some = np.sort(places[start : start + step], axis=1)
            near = self.halves[some].astype(np.float32)  # (B, L, D)
            score = (near @ vectors[start : start + step, :, None])[:, :, 0]
            order = np.argsort(-score, axis=1, kind="stable")[:, :k]
            similarity[start : start + step] = np.take_along_axis(score, order, axis=1)
            found[start : start + step] = np.take_along_axis(some, order, axis=1)
        return similarity, found

    def _probe(
        self, vectors: np.ndarray, k: int, selector: Any, probes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """By the candidates, compared by the half floats."""
        import faiss

        inner: Any
        factor = float(self.plan.refine)
        if self.plan.kind == "hnsw":
            inner = faiss.SearchParametersHNSW(  # type: ignore[attr-defined]
                efSearch=max(probes, self.plan.refine * k)
            )
        else:
            inner = faiss.SearchParametersIVF(nprobe=min(probes, self.plan.lists))  # type: ignore[call-arg]
            factor = max(factor, min(LEAST_COMPARED, self.count) / k)
        inner.sel = selector
        params = faiss.IndexRefineSearchParameters(  # type: ignore[call-arg]
            k_factor=factor, base_index_params=inner
        )
        refined = faiss.IndexRefine(self._candidates, self._flat)
        found: tuple[np.ndarray, np.ndarray] = refined.search(vectors, k, params=params)
        return found

    def vectors(self, row_ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """The stored vectors of rows (float16 in float32).

        Shapes:  (N,) -> (N, D) float32
        Errors:  InputError when a row is not in the index
        """
        wanted = np.asarray(row_ids, dtype=np.int64)
        places = self._places(wanted)
        if len(places) != len(wanted):
            raise InputError("the index does not hold such a picture")
        return np.asarray(self.halves[places], np.float32)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Stored vectors in the order of `row_ids`; -> (stop - start, D) float32"""
        return np.asarray(self.halves[start:stop], np.float32)

    def changed_to(self, plan: SearchPlan) -> VectorIndex:
        """The same open files, searched by another plan of the same kind."""
        return VectorIndex(self._index, self._candidates, plan)


def index_of(vectors: np.ndarray, row_ids: np.ndarray) -> VectorIndex:
    """A new flat index in memory, over the vectors as they are where they already are half floats
    by ascending row id. Shapes:  (N, D) float16 or float32, (N,) int64"""
    import faiss

    if not (np.diff(row_ids) > 0).all():
        order = np.argsort(row_ids, kind="stable")
        vectors, row_ids = vectors[order], row_ids[order]
    halves = np.ascontiguousarray(vectors, "<f2")
    flat = _flat_over(halves)
    index: Any = faiss.IndexIDMap(_flat_over(halves[:0]))
    faiss.copy_array_to_vector(np.asarray(row_ids, np.int64), index.id_map)
    index.index, index.own_fields, index.ntotal = flat, False, flat.ntotal
    index.referenced_objects = [flat, halves]
    return VectorIndex(index)


def _flat_over(halves: np.ndarray) -> Any:
    """FAISS' own index over half floats as they lie, which are to outlive it; (N, D) float16"""
    import faiss

    half, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    flat: Any = faiss.IndexScalarQuantizer(halves.shape[1], half, metric)
    if len(halves):
        bytes_of = faiss.swig_ptr(halves.view(np.uint8).reshape(-1))
        flat.codes = flat.codes.create_view(bytes_of, halves.nbytes, flat.codes.owner)
    flat.ntotal = len(halves)
    return flat


# --- GPUs.


def gpus_for(device: str) -> int:
    """How many GPUs FAISS is to use, as `index.device` says.

    Errors:  UsageError for cuda without one
    """
    gpus = 0 if device == "cpu" else _gpus()
    if device == "cuda" and not gpus:
        raise UsageError(
            f"index.device is cuda, and FAISS sees no GPU ({installed()})",
            "Install toonsearch[gpu] and NVIDIA's driver, or set index.device = 'auto'.",
        )
    return gpus


def _gpus() -> int:
    """How many GPUs FAISS sees. It is not asked without a driver that works: its GPU build
    then ends the whole process (CUDA_VERIFY in FAISS' getNumDevices)."""
    import ctypes

    import faiss

    try:
        works = ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except (OSError, AttributeError):
        return 0
    # A build without GPUs has the count, 0, but nothing to use one with.
    return int(faiss.get_num_gpus()) if works and hasattr(faiss, "StandardGpuResources") else 0


def gpu_trouble(error: Exception) -> str:
    """One line about a GPU that failed."""
    why = "is out of memory" if "memory" in str(error).lower() else "failed"
    return f"the GPU {why}: the CPU answers"


def _to_gpu(index: Any, gpu: int) -> Any:
    import faiss

    options: Any = faiss.GpuClonerOptions()
    options.useFloat16 = True
    options.use_cuvs = False  # which refuses half floats
    resources: Any = faiss.StandardGpuResources()
    copied: Any = faiss.index_cpu_to_gpu(resources, gpu, index, options)
    copied.resources = resources
    return copied


def _shards(halves: np.ndarray, gpus: int, copy: Copy) -> Any:
    """One index of as many parts as there are GPUs, in order; (N, D) float16. FAISS itself splits
    no index of half floats."""
    import faiss

    parts = np.array_split(halves, min(gpus, len(halves)))
    # A thread for each part, whose ids follow one another.
    shards: Any = faiss.IndexShards(halves.shape[1], True, True)  # type: ignore[call-arg]
    for gpu, part in enumerate(parts):
        shards.add_shard(copy(_flat_over(part), gpu))
    return shards


def write_index(path: Path, vectors: np.ndarray, row_ids: np.ndarray) -> None:
    """Write a new flat index, synced.

    Errors:  OSError
    """
    _write(index_of(vectors, row_ids)._index, path)


def write_candidates(
    index: VectorIndex,
    path: Path,
    plan: SearchPlan,
    seed: int,
    previous: VectorIndex | None,
    *,
    copy: Copy | None = None,
) -> None:
    """Write CANDIDATES for a flat index as `path`, synced; with a `previous` index of the same
    kind, by its lists, into which only vectors that it does not hold are sorted. Lists are laid
    out on a GPU where the flat index uses one.

    Errors:  OSError
    """
    import faiss

    faiss.omp_set_num_threads(_cores())
    if previous is None:
        made, lists = _trained(index, plan, seed, copy or _to_gpu), None
    else:
        made, lists = _carried_over(index, previous)
    for start in range(0, index.count, BLOCK_ROWS):
        vectors = index.block(start, start + BLOCK_ROWS)
        if plan.kind == "hnsw":
            made.add(vectors)
            continue
        into = np.full(len(vectors), -1) if lists is None else lists[start : start + BLOCK_ROWS]
        new = into < 0
        into[new] = made.quantizer.search(vectors[new], 1)[1][:, 0]
        places = np.arange(start, start + len(vectors))
        made.add_core(len(vectors), *map(faiss.swig_ptr, (vectors, places, into)))
    _write(made if plan.kind == "hnsw" else faiss.IndexIVFPQFastScan(made), path)


def _trained(index: VectorIndex, plan: SearchPlan, seed: int, copy: Copy) -> Any:
    """Empty candidates, laid out for a sample of the vectors."""
    import faiss

    rng = np.random.default_rng(seed)
    points = min(index.count, max(1, plan.lists) * POINTS_PER_LIST)
    if plan.kind == "hnsw":
        points = min(index.count, BLOCK_ROWS)
    some = np.sort(rng.choice(index.count, points, replace=False))
    made = _empty(index.dimension, plan)
    if plan.kind != "hnsw":
        # k-means on the sphere, as cosines are compared; a small catalog is no reason to warn.
        made.cp.spherical, made.cp.niter, made.cp.seed = True, ITERATIONS, seed % (1 << 31)
        made.cp.min_points_per_centroid, made.cp.max_points_per_centroid = 1, POINTS_PER_LIST
    points_of = index.halves[some].astype(np.float32)
    if len(some) < VALUES:  # the fewest that FAISS learns so many values of a code from
        points_of = np.resize(points_of, (VALUES, index.dimension))
    if index.on_gpu and plan.kind != "hnsw":
        try:
            nearest = copy(faiss.IndexFlatIP(index.dimension), 0)
            made.clustering_index = nearest
            made.train(points_of)
            return made
        except (RuntimeError, MemoryError) as error:
            index._without_gpu(error)
            made.quantizer.reset()
        finally:
            made.clustering_index = None
    made.train(points_of)
    return made


def _empty(dimension: int, plan: SearchPlan) -> Any:
    import faiss

    metric = faiss.METRIC_INNER_PRODUCT
    if plan.kind == "hnsw":
        bytes_code: Any = faiss.ScalarQuantizer.QT_8bit
        graph: Any = faiss.IndexHNSWSQ(dimension, bytes_code, LINKS, metric)
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        return graph
    centres = faiss.IndexFlatIP(dimension)
    numbers = next(size for size in NUMBERS[plan.kind] if dimension % size == 0)
    made = faiss.IndexIVFPQ(centres, dimension, plan.lists, dimension // numbers, 4, metric)
    made.pq.cp.min_points_per_centroid, made.pq.cp.niter = 1, ITERATIONS
    return made


def _carried_over(index: VectorIndex, previous: VectorIndex) -> tuple[Any, np.ndarray]:
    """Empty candidates with the lists and codes of a previous index; and the list in which each
    row lies that is still the same, -1 of others.

    Shapes:  lists (N,) int64
    """
    import faiss

    old = previous._candidates
    made = _empty(index.dimension, previous.plan)
    made.quantizer, made.own_fields = old.quantizer, False
    made.referenced_objects = [old]  # which owns the quantizer
    made.pq, made.is_trained = old.pq, True
    of_old = np.full(previous.count, -1, np.int64)
    for number in range(old.nlist):
        if size := old.invlists.list_size(number):
            of_old[faiss.rev_swig_ptr(old.invlists.get_ids(number), size)] = number
    lists = np.full(index.count, -1, np.int64)
    _, here, there = np.intersect1d(
        index.row_ids, previous.row_ids, assume_unique=True, return_indices=True
    )
    for start in range(0, len(here), BLOCK_ROWS):
        mine, theirs = here[start : start + BLOCK_ROWS], there[start : start + BLOCK_ROWS]
        same = (index.halves[mine] == previous.halves[theirs]).all(axis=1)
        lists[mine[same]] = of_old[theirs[same]]
    return made, lists


def _cores() -> int:
    """Threads for work on many vectors: all cores, or as many as OMP_NUM_THREADS says."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


def _write(index: Any, path: Path) -> None:
    import faiss

    try:
        faiss.write_index(index, str(utf8_path(path)))
    except RuntimeError as error:  # FAISS reports a full disk this way
        raise OSError(28 if "write error" in str(error) else 5, str(error)) from error
    fsync_file(path)


def installed() -> str:
    """Which FAISS this is, for people."""
    import faiss

    build = "gpu" if hasattr(faiss, "StandardGpuResources") else "cpu"
    return f"faiss {faiss.__version__}, {build} build, {_gpus()} GPUs"
