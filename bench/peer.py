"""What else finds the nearest of many vectors, each as its documentation says. Runs in an environment
of its own (`bench/peers.py`), so it imports nothing of this repository:

    python peer.py NAME build|cold|warm FOLDER

FOLDER holds vectors.npy (N, D) float32 unit, queries.npy (Q, D), trial.npy (T, D), truth.npy
(Q, K) and trial_truth.npy (T, K), the exact nearest. What can be tuned is, until a trial finds LEAST
of the exact nearest. Prints JSON.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

LEAST = 0.99
WARM_UP = 20


class Peer(ABC):
    """What can be built, opened and asked; `steps` are settings, ever more exact ones."""

    steps: tuple[int, ...]

    def __init__(self, folder: Path) -> None:
        self.path = folder / type(self).__name__

    @abstractmethod
    def build(self, vectors: np.ndarray) -> None: ...

    @abstractmethod
    def open(self, step: int) -> None: ...

    @abstractmethod
    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        """(D,) -> ids (k,)"""


class Rclip(Peer):
    """rclip's method: a row for each picture in SQLite, all of them read and multiplied for each
    query."""

    steps = (0,)

    def build(self, vectors: np.ndarray) -> None:
        self.path.unlink(missing_ok=True)
        with sqlite3.connect(self.path) as connection:
            connection.execute("create table images (id integer primary key, vector blob)")
            connection.executemany(
                "insert into images values (?, ?)",
                ((n, one.tobytes()) for n, one in enumerate(vectors)),
            )

    def open(self, step: int) -> None:
        self.connection = sqlite3.connect(self.path)

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        ids, blobs = zip(*self.connection.execute("select id, vector from images"), strict=True)
        scores = np.stack([np.frombuffer(blob, np.float32) for blob in blobs]) @ query
        return np.asarray(ids)[np.argsort(-scores)[:k]]


class FaissIvf(Peer):
    """FAISS' inverted lists of bytes, with as many lists as autofaiss takes, mapped."""

    steps = (1, 2, 4, 8, 16, 32, 64, 128)

    def build(self, vectors: np.ndarray) -> None:
        import faiss

        lists = 2 ** round(np.log2(4 * len(vectors) ** 0.5))
        inner = faiss.METRIC_INNER_PRODUCT
        index = faiss.index_factory(vectors.shape[1], f"IVF{lists},SQ8", inner)
        some = np.random.default_rng(0).choice(
            len(vectors), min(len(vectors), 64 * lists), replace=False
        )
        index.train(vectors[np.sort(some)])
        for start in range(0, len(vectors), 50_000):
            index.add(vectors[start : start + 50_000])
        faiss.write_index(index, str(self.path))

    def open(self, step: int) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(str(self.path), faiss.IO_FLAG_MMAP)
        self.index.nprobe = step  # type: ignore[attr-defined]

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return np.asarray(self.index.search(query[None], k)[1][0])


class LanceDb(Peer):
    """LanceDB's IVF_PQ, compared again by the vectors themselves."""

    steps = (20, 40, 80, 160)

    def build(self, vectors: np.ndarray) -> None:
        import lancedb
        import pyarrow as pa

        width = vectors.shape[1]

        def batches() -> Any:
            for start in range(0, len(vectors), 20_000):
                part = np.asarray(vectors[start : start + 20_000])
                flat = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), width)
                ids = pa.array(np.arange(start, start + len(part)))
                yield pa.RecordBatch.from_arrays([ids, flat], ["id", "vector"])

        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), width))])
        table = lancedb.connect(self.path).create_table(
            "pictures", batches(), schema=schema, mode="overwrite"
        )
        table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_PQ")

    def open(self, step: int) -> None:
        import lancedb

        self.table, self.step = lancedb.connect(self.path).open_table("pictures"), step

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        asked = self.table.search(query).distance_type("dot").nprobes(self.step)
        found = asked.refine_factor(10).select(["id"]).limit(k).to_arrow()
        return np.asarray(found["id"])


class Hnswlib(Peer):
    """hnswlib's graph, read as a whole."""

    steps = (32, 64, 128, 256, 512)

    def build(self, vectors: np.ndarray) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors), ef_construction=100, M=16)
        index.add_items(vectors)
        index.save_index(str(self.path))
        self.path.with_suffix(".width").write_text(str(vectors.shape[1]))

    def open(self, step: int) -> None:
        import hnswlib

        width = int(self.path.with_suffix(".width").read_text())
        self.index = hnswlib.Index(space="ip", dim=width)
        self.index.load_index(str(self.path))
        self.index.set_ef(step)
        self.index.set_num_threads(1)

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return np.asarray(self.index.knn_query(query, k)[0][0])


PEERS: dict[str, type[Peer]] = {
    "rclip": Rclip,
    "faiss": FaissIvf,
    "lancedb": LanceDb,
    "hnswlib": Hnswlib,
}


def recall(peer: Any, queries: np.ndarray, truth: np.ndarray) -> float:
    found = [peer.search(query, truth.shape[1]) for query in queries]
    return float(
        np.mean([len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, truth, strict=True)])
        / truth.shape[1]
    )


def main(name: str, step: str, place: str) -> dict[str, Any]:
    folder = Path(place)
    peer, kept = PEERS[name](folder), folder / f"{name}.json"
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    if step == "build":
        started, cpu = time.perf_counter(), time.process_time()
        peer.build(np.load(folder / "vectors.npy", mmap_mode="r"))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        trial, trial_truth = np.load(folder / "trial.npy"), np.load(folder / "trial_truth.npy")
        for setting in peer.steps if len(peer.steps) > 1 else ():
            peer.open(setting)
            if recall(peer, trial, trial_truth) >= LEAST:
                break
        else:
            setting = peer.steps[-1]
        kept.write_text(json.dumps(setting))
        return {"seconds": seconds, "cpu_s": cpu, "setting": setting}
    peer.open(json.loads(kept.read_text()))
    if step == "cold":
        return {"found": peer.search(queries[0], truth.shape[1]).tolist()}
    if name == "rclip":
        queries, truth = queries[:5], truth[:5]
    return {**timed(peer, queries, truth.shape[1]), "recall": recall(peer, queries, truth)}


def timed(peer: Any, queries: np.ndarray, k: int) -> dict[str, float]:
    """Milliseconds of a query: by the clock, median and p99, and of the processors, median."""
    took = []
    for query in queries:
        clock, processors = time.perf_counter(), time.process_time()
        peer.search(query, k)
        took.append((time.perf_counter() - clock, time.process_time() - processors))
    p50, p99 = (1e3 * np.percentile(took[min(WARM_UP, len(took) // 3) :], [50, 99], 0)).tolist()
    return {"p50": p50[0], "p99": p99[0], "cpu_p50": p50[1]}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
