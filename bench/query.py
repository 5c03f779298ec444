"""Cold and warm queries at 100,000 pictures: time, memory, and the torch yardstick."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.catalog import PICTURES, drawing, synthetic_index
from bench.figures import Figure, interleaved, median_s, run_process
from indexer.vector_index.generations import Generation
from schemas.settings import Settings
from schemas.storage.layout import Layout
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture

RUNS = 9
WARM_RUNS, WARM_UP = 60, 10
"""Of WARM_RUNS queries the first WARM_UP do not count."""


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    layout = synthetic_index(pictures)
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        drawing(7).save(file, "JPEG", quality=90)
        file.flush()
        picture = Path(file.name)
        return [*_cold(layout, picture), _warm(layout, picture), _finds_itself(layout)]


def _cold(layout: Layout, picture: Path) -> list[Figure]:
    program = str(Path(sys.executable).with_name("toonsearch"))
    ours = [program, "--data", str(layout.root), "query", str(picture), "-k", "10"]
    commands = {
        "query": lambda: run_process(ours),
        "help": lambda: run_process([program, "--help"]),
    }
    if importlib.util.find_spec("torch") is None:
        print("bench: torch is not installed (make train-env): ratios left out", file=sys.stderr)
    else:
        yardstick = [sys.executable, "-m", "bench.torch_query", str(layout.root), str(picture)]
        commands["torch"] = lambda: run_process(yardstick)
    found = interleaved(commands, RUNS)
    cold, peak = median_s(found["query"]), max(run.peak_mb for run in found["query"])
    figures = [
        Figure("cold_query", "cold query, process start to printed result", cold, "s", 0.7),
        Figure("query_peak_memory", "its peak memory", peak, "MB", 300),
        Figure("help", "`toonsearch --help`", median_s(found["help"]), "s", 0.1),
    ]
    if "torch" in found:
        torch = median_s(found["torch"])
        what = "cold query against the same in a torch process"
        figures.append(
            Figure(
                "cold_query_vs_torch", what, torch / cold, "x", 8, "more", f"torch {torch:.2f} s"
            )
        )
    return figures


def _warm(layout: Layout, picture: Path) -> Figure:
    """Timed in a process of its own, with BLAS on one thread as `toonsearch query` has it."""
    command = [sys.executable, "-m", "bench.query", str(layout.root), str(picture)]
    warm = float(run_process(command, {"OPENBLAS_NUM_THREADS": "1"}).output)
    return Figure("warm_query", "warm query of a 512 px JPEG, decoding included", warm, "ms", 12)


def _finds_itself(layout: Layout) -> Figure:
    with Generation.open(layout) as generation:
        rows = [row for (row,) in generation.meta.execute("select row_id from pictures")]
        wanted = np.random.default_rng(3).choice(np.sort(rows), min(1000, len(rows)), replace=False)
        _, ids = generation.index.search(generation.vectors(wanted), 1)
    share = float((ids[:, 0] == wanted).mean())
    return Figure("finds_itself", "pictures first for their own vector", share, "", 1, "more")


def main(root: str, picture: str) -> None:
    """Print the median milliseconds of a warm query."""
    data = Path(picture).read_bytes()
    times = []
    with Engine.open(Layout(Path(root)), Settings()) as engine:
        for _ in range(WARM_RUNS):
            started = time.perf_counter()
            engine.query([QueryPicture("query.jpg", data)], QueryOptions())
            times.append(1e3 * (time.perf_counter() - started))
    print(f"{statistics.median(times[WARM_UP:]):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
