"""Kinds of an index on one generated catalog: build, memory, recall, cold and warm queries.

`python -m bench --only scale --pictures 1000000` takes any size. Every step is a process of its own,
so that its memory is its own; seconds are those of the processors, which a busy machine does
not change as much as those of the clock.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.catalog import PICTURES, drawing, fill_catalog
from bench.figures import Figure, median_s, run_process
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation, publish
from schemas.settings import IndexSettings, Settings
from schemas.storage.layout import Layout
from search.engine import Engine, QueryOptions, StyleQuery

KINDS = ("flat", "ivf", "ivfpq")
COLD_RUNS = 5
WARM_RUNS, WARM_UP = 220, 20


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="toonsearch-scale-"))
    try:
        _step("fill", str(folder / "data"), str(pictures))
        picture = folder / "query.jpg"
        drawing(7).save(picture, "JPEG", quality=90)
        return [figure for kind in KINDS for figure in _measured(folder / "data", kind, picture)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(root: Path, kind: str, picture: Path) -> list[Figure]:
    built = json.loads(_step("build", str(root), kind))
    program = str(Path(sys.executable).with_name("toonsearch"))
    ours = [program, "--data", str(root), "query", str(picture), "-k", "10"]
    cold = [run_process(ours) for _ in range(COLD_RUNS)]
    warm = json.loads(_step("warm", str(root)))
    return [
        Figure(f"{kind}_build", f"{kind}: build, seconds of processors", built["cpu_s"], "s"),
        Figure(f"{kind}_build_memory", f"{kind}: its peak memory", built["peak_mb"], "MB", 2000),
        Figure(f"{kind}_recall", f"{kind}: recall of the exact ten nearest", built["recall"], "",
               0.99, "more", f"{built['lists']} lists, {built['probes']} probes"),
        Figure(f"{kind}_cold", f"{kind}: cold query", median_s(cold), "s"),
        Figure(f"{kind}_cold_memory", f"{kind}: its peak memory",
               max(run.peak_mb for run in cold), "MB", 400),
        Figure(f"{kind}_warm", f"{kind}: warm answer but for encoding, median", warm["p50"], "ms"),
        Figure(f"{kind}_warm_p99", f"{kind}: the same, p99", warm["p99"], "ms", 15),
        Figure(f"{kind}_nearest", f"{kind}: the nearest 200 alone, median", warm["nearest"], "ms"),
    ]  # fmt: skip


def _step(*arguments: str) -> str:
    threads = {"OPENBLAS_NUM_THREADS": "1"} if arguments[0] == "warm" else {}
    return run_process([sys.executable, "-m", "bench.scale", *arguments], threads).output


def build(root: str, kind: str) -> dict[str, float]:
    """Build and publish the index of a catalog; what that took."""
    layout, settings = Layout(Path(root)), replace(Settings(), index=IndexSettings(kind=kind))
    report = build_generation(layout, settings, force=True)
    assert report.generation_id is not None, report
    publish(layout, report.generation_id)
    own = resource.getrusage(resource.RUSAGE_SELF)
    plan = report.plan
    return {
        "cpu_s": own.ru_utime + own.ru_stime, "peak_mb": own.ru_maxrss * 1024 / 1e6,
        "seconds": report.seconds, "recall": plan.recall, "lists": plan.lists,
        "probes": plan.probes,
    }  # fmt: skip


def warm(root: str) -> dict[str, float]:
    """Milliseconds of answers to vectors near stored ones, and of the search alone."""
    layout, rng = Layout(Path(root)), np.random.default_rng(5)
    with Generation.open(layout) as generation:
        asked = generation.vectors(np.sort(rng.choice(generation.row_ids, WARM_RUNS)))
    asked += 0.5 * rng.standard_normal(asked.shape, dtype=np.float32) / asked.shape[1] ** 0.5
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    answers, nearest = [], []
    with Engine.open(layout, Settings()) as engine:
        for vector in asked:
            started = time.perf_counter()
            engine.generation.index.search(vector[None], 200)
            between = time.perf_counter()
            engine.answer(StyleQuery(vector), QueryOptions())
            nearest.append(1e3 * (between - started))
            answers.append(1e3 * (time.perf_counter() - between))
    p50, p99 = np.percentile(answers[WARM_UP:], [50, 99]).tolist()
    return {"p50": p50, "p99": p99, "nearest": float(np.median(nearest[WARM_UP:]))}


if __name__ == "__main__":
    step, *given = sys.argv[1:]
    if step == "fill":
        fill_catalog(Layout(Path(given[0])), int(given[1]))
    else:
        print(json.dumps(build(*given) if step == "build" else warm(*given)))
