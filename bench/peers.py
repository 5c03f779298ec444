"""The search for vectors against what else there is, on the same vectors in one run.

`python -m bench --only peers --pictures 1000000 --work FOLDER`, only when asked for: the peers are
installed into an environment in FOLDER/peers, never into that of the product. Steps that have run
in the folder are not run again. Cold is a process that opens its files and asks once, warm one query
after the other on one core, of ten nearest pictures.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import peer
from bench.catalog import PICTURES, vectors_around
from bench.figures import Figure, Steps
from indexer.vector_index.faiss_index import SearchPlan, VectorIndex, write_index
from indexer.vector_index.ranking import exact_nearest
from indexer.vector_index.recall import choose_candidates
from schemas.settings import IndexSettings

PACKAGES = ("numpy", "pyarrow", "faiss-cpu", "lancedb", "hnswlib")
OURS = ("flat", "ivf", "ivfpq", "hnsw")
WIDTH = 512
QUERIES, TRIALS, NEAREST = 200, 100, 10
COLD_RUNS = 3
MOST_FOR_A_GRAPH = 200_000
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def measure(
    *, pictures: int = PICTURES, work: Path | None = None, minutes: float | None = None
) -> list[Figure]:
    with _folder(work) as folder:
        python = _environment(folder / "peers")
        steps = Steps(folder / f"{pictures}", minutes)
        place, here = str(steps.folder), [sys.executable, "-m", "bench.peers"]
        steps.run("vectors", [*here, "vectors", place, str(pictures)])
        ours = {f"toonsearch {kind}": [*here, kind] for kind in OURS}
        theirs = {name: [str(python), str(Path(peer.__file__)), name] for name in peer.PEERS}
        names = [
            name for name in (*ours, *theirs) if "hnsw" not in name or pictures <= MOST_FOR_A_GRAPH
        ]
        for name in names:
            command = {**ours, **theirs}[name]
            steps.run(f"{name}: build", [*command, "build", place])
            for number in range(COLD_RUNS + 1):  # the first one reads the files from the disk
                steps.run(f"{name}: cold {number}", [*command, "cold", place], ONE_CORE)
            steps.run(f"{name}: warm", [*command, "warm", place], ONE_CORE)
        whole = [name for name in names if f"{name}: warm" in steps.done]
        return [one for name in whole for one in _figures(name, pictures, steps.done)]


def _figures(name: str, pictures: int, done: dict[str, dict[str, Any]]) -> list[Figure]:
    build, warm = done[f"{name}: build"], done[f"{name}: warm"]["said"]
    cold = [done[f"{name}: cold {number}"] for number in range(1, COLD_RUNS + 1)]
    key, of = name.replace("toonsearch ", ""), f"{name}, {pictures:,} vectors"
    cold_s = float(np.median([run["seconds"] for run in cold]))
    return [
        Figure(f"{key}_build", f"{of}: build, processors", build["said"]["cpu_s"], "s"),
        Figure(f"{key}_memory", f"{of}: its peak memory", build["peak_mb"], "MB"),
        Figure(f"{key}_recall", f"{of}: recall of the exact ten", warm["recall"], "",
               how=f"setting {build['said'].get('setting')}"),
        Figure(f"{key}_cold", f"{of}: cold process", cold_s, "s", how=f"load {cold[0]['load']:.1f}"),
        Figure(f"{key}_cold_cpu", f"{of}: cold process, processors",
               float(np.median([run["cpu_s"] for run in cold])), "s"),
        Figure(f"{key}_cold_memory", f"{of}: cold process, peak memory", cold[0]["peak_mb"], "MB"),
        Figure(f"{key}_warm", f"{of}: warm query, median", warm["p50"], "ms"),
        Figure(f"{key}_warm_cpu", f"{of}: warm query, processors", warm["cpu_p50"], "ms"),
        Figure(f"{key}_warm_p99", f"{of}: warm query, p99", warm["p99"], "ms"),
    ]  # fmt: skip


@contextlib.contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="toonsearch-peers-") as folder:
        yield Path(folder)


def _environment(place: Path) -> Path:
    """The Python of an environment that has the peers, made when it is not there yet."""
    python, ready = place / "bin" / "python", place / ".ready"
    if not ready.exists():
        print(f"bench: installing {', '.join(PACKAGES)} into {place} ...", file=sys.stderr)
        venv.create(place, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        ready.touch()
    return python


# --- The steps, each in a process of its own, which prints JSON.


def make_vectors(folder: Path, pictures: int) -> None:
    """Vectors around a centre for each author, queries near some of them, and the exact answers."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((max(1, pictures // 80), WIDTH), dtype=np.float32)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (pictures, WIDTH))
    for start in range(0, pictures, 20_000):
        part = np.arange(start, min(start + 20_000, pictures))
        vectors[part] = vectors_around(centres[part % len(centres)], rng)
    for name, count in (("queries", QUERIES), ("trial", TRIALS)):
        near = np.sort(rng.choice(pictures, count, replace=False))
        asked = vectors_around(vectors[near] * WIDTH**0.5, rng, 0.5)
        _, truth = exact_nearest(asked, vectors, NEAREST)
        np.save(folder / f"{name}.npy", asked)
        np.save(folder / {"queries": "truth.npy", "trial": "trial_truth.npy"}[name], truth)


class Ours:
    """The index of this repository in the place of a peer."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind, self.path = kind, folder / f"ours-{kind}" / "vectors.faiss"
        self.plan = self.path.with_name("plan.json")

    def build(self, vectors: np.ndarray) -> dict[str, Any]:
        self.path.parent.mkdir(exist_ok=True)
        started, cpu = time.perf_counter(), time.process_time()
        write_index(self.path, np.asarray(vectors, np.float16), np.arange(len(vectors)))
        plan = choose_candidates(self.path, IndexSettings(kind=self.kind), None).plan
        took = {
            "seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu,
        }  # fmt: skip
        self.plan.write_text(json.dumps(plan.__dict__))
        return {**took, "setting": plan.probes}

    def open(self) -> None:
        self.index = VectorIndex.open(self.path, SearchPlan(**json.loads(self.plan.read_text())))

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return np.asarray(self.index.search(query[None], k)[1][0])


def ours(kind: str, step: str, folder: Path) -> dict[str, Any]:
    mine = Ours(folder, kind)
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    if step == "build":
        return mine.build(np.load(folder / "vectors.npy", mmap_mode="r"))
    mine.open()
    if step == "cold":
        return {"found": mine.search(queries[0], NEAREST).tolist()}
    return {**peer.timed(mine, queries, NEAREST), "recall": peer.recall(mine, queries, truth)}


if __name__ == "__main__":
    if sys.argv[1] == "vectors":
        make_vectors(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps(ours(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
