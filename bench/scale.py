"""A large generated catalog: every kind of index, cold and warm queries, and every command whose
memory might grow with the catalog.

`python -m bench --only scale --pictures 1000000 --work FOLDER` takes any size and goes on where an
earlier run in that folder ended. Every step is a process of its own, so that its memory is its own.
Seconds are those of the processors where a busy machine would change those of the clock.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.catalog import PICTURES, drawing, fill_catalog
from bench.figures import Figure, Steps
from indexer.vector_index.build import build_generation
from indexer.vector_index.faiss_index import CANDIDATES, VectorIndex
from indexer.vector_index.generations import META, VECTORS, Generation, publish
from indexer.vector_index.metadata import CODES, INDEXES, SCHEMA
from indexer.vector_index.recall import choose_candidates
from schemas.settings import IndexSettings, Settings
from schemas.storage.layout import Layout
from search.engine import Engine, QueryOptions, StyleQuery
from search.results import picture_rows

T = TypeVar("T")
KINDS = ("flat", "ivf", "ivfpq", "hnsw")
MOST_FOR_A_GRAPH = 200_000
"""A graph of more vectors takes too long to build here."""
COLD_RUNS = 5
QUERIES, WARM_UP, NEAREST = 220, 20, 10
LARGE = 500_000
"""From here on the targets are those of a million."""
METADATA_ROWS = 10
"""The metadata file is measured with so many times as many rows."""
COMMANDS = {
    "verify": ("index", "verify"),
    "sql": ("sql", "-q", "select count(*) from catalog"),
    "backup": ("backup", "{work}/backup"),
    "colors": ("colors", "-q"),
    "report": ("report", "--as-is", "--html", "{work}/report.html"),
    "judge": ("judge", "-q"),
    "nightly": ("nightly", "--json"),
}
"""Each is measured on the whole catalog; the night finds one picture in a hundred new."""


def measure(
    *, pictures: int = PICTURES, work: Path | None = None, minutes: float | None = None
) -> list[Figure]:
    with _folder(work) as folder:
        steps = Steps(folder, minutes)
        root, query = folder / "data", folder / "query.jpg"
        drawing(7).save(query, "JPEG", quality=90)
        program = str(Path(sys.executable).with_name("toonsearch"))
        ours = [program, "--data", str(root)]
        _step(steps, "fill", root, pictures)
        _step(steps, "build", root)
        for number in range(COLD_RUNS + 1):
            steps.run(f"cold {number}", [*ours, "query", str(query), "-k", "10"])
        _step(steps, "warm", root)
        _step(steps, "disk", root)
        for name, words in COMMANDS.items():
            if name == "judge":  # and the night after it: they take longest
                _step(steps, "meta", folder / "meta.sqlite", METADATA_ROWS * pictures)
                for kind in KINDS:
                    if kind != "hnsw" or pictures <= MOST_FOR_A_GRAPH:
                        _step(steps, f"kind {kind}", root, kind, folder / kind)
            if name == "nightly":
                _step(steps, "grow", root, pictures)
            # 4: of a generated catalog no picture has a file
            words = tuple(word.format(work=folder) for word in words)
            steps.run(name, [*ours, *words], ok=(0, 4))
            shutil.rmtree(folder / "backup", ignore_errors=True)
        return list(_figures(steps.done, pictures))


def _figures(done: dict[str, dict[str, Any]], pictures: int) -> Iterator[Figure]:
    """Those of the steps that have run."""
    large = pictures >= LARGE
    yield Figure("pictures", "pictures of the generated catalog", pictures, "")
    if "disk" in done:
        for name, size in done["disk"]["said"].items():
            yield Figure(f"disk_{name}", f"on the disk, for each picture: {name}", size, "B")
    for name, what in {"fill": "a generated catalog written", "build": "index build"}.items():
        if name in done:
            yield from _taken(name, what, done[name], 180 if name == "build" and large else None)
    # The first one reads the files from the disk.
    if cold := [done[f"cold {n}"] for n in range(1, COLD_RUNS + 1) if f"cold {n}" in done]:
        yield from _of_cold(cold, large)
    if "warm" in done:
        yield from _of_warm(done["warm"]["said"])
    if "meta" in done:
        meta, how = done["meta"]["said"], f"{METADATA_ROWS * pictures:,} rows"
        what = f"200 pictures of a metadata file of {METADATA_ROWS * pictures:,} rows, processor"
        yield Figure("meta_rows", f"{what}, median", meta["cpu_p50"], "ms", how=how)
        yield Figure("meta_rows_p99", f"{what}, p99", meta["cpu_p99"], "ms", 20, how=how)
    for kind in KINDS:
        if f"kind {kind}" in done:
            yield from _of_kind(kind, done[f"kind {kind}"])
    for name, words in COMMANDS.items():
        if name in done:
            yield from _taken(name, f"`toonsearch {' '.join(words[:2])}`", done[name])


@contextlib.contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="toonsearch-scale-") as folder:
        yield Path(folder)


def _step(steps: Steps, name: str, *arguments: object) -> None:
    """One step of this module."""
    step, *_ = name.split()
    threads = {"OPENBLAS_NUM_THREADS": "1"} if step == "warm" else {}
    steps.run(name, [sys.executable, "-m", "bench.scale", step, *map(str, arguments)], threads)


def _taken(name: str, what: str, step: dict[str, Any], most_s: float | None = None) -> list[Figure]:
    load = f"load {step['load']:.1f} before"
    return [
        Figure(f"{name}_wall", f"{what}: by the clock", step["seconds"], "s", most_s, how=load),
        Figure(f"{name}_cpu", f"{what}: processors", step["cpu_s"], "s"),
        Figure(f"{name}_peak", f"{what}: peak memory", step["peak_mb"], "MB"),
        Figure(f"{name}_own", f"{what}: of it not mapped files", step["own_mb"], "MB", 2000),
    ]


def _of_cold(cold: list[dict[str, Any]], large: bool) -> Iterator[Figure]:
    what, how = "cold query, the whole process", f"load {cold[0]['load']:.1f}"
    wall, cpu = (float(np.median([run[key] for run in cold])) for key in ("seconds", "cpu_s"))
    yield Figure("cold", f"{what}, by the clock", wall, "s", 0.55 if large else 0.45, how=how)
    yield Figure("cold_cpu", f"{what}, processors", cpu, "s")
    yield Figure("cold_own", f"{what}, memory", max(run["own_mb"] for run in cold), "MB", 400)
    yield Figure("cold_peak", "the same with mapped files", max(r["peak_mb"] for r in cold), "MB")


def _of_warm(warm: dict[str, float]) -> Iterator[Figure]:
    what = "warm answer but for encoding"
    yield Figure("warm", f"{what}, by the clock, median", warm["p50"], "ms")
    yield Figure("warm_p99", f"{what}, by the clock, p99", warm["p99"], "ms", 15)
    yield Figure("warm_cpu", f"{what}, processor, median", warm["cpu_p50"], "ms")
    yield Figure("warm_cpu_p99", f"{what}, processor, p99", warm["cpu_p99"], "ms", 15)
    yield Figure("warm_recall", "recall of the exact ten nearest, new vectors",
                 warm["recall"], "", 0.995, "more")  # fmt: skip


def _of_kind(kind: str, step: dict[str, Any]) -> list[Figure]:
    said = step["said"]
    how = f"{said['lists']} lists, {said['probes']} probes, refine {said['refine']}"
    return [
        Figure(f"{kind}_build", f"{kind}: candidates, processors", said["cpu_s"], "s"),
        Figure(f"{kind}_bytes", f"{kind}: candidates, for each picture", said["bytes"], "B"),
        Figure(f"{kind}_recall", f"{kind}: recall of the ten nearest, stored vectors",
               said["recall"], "", 0.99, "more", how),
        Figure(f"{kind}_recall_new", f"{kind}: the same, new vectors", said["recall_new"], ""),
        Figure(f"{kind}_p50", f"{kind}: nearest 200, median, processor", said["cpu_p50"], "ms"),
        Figure(f"{kind}_p99", f"{kind}: the same, p99", said["cpu_p99"], "ms"),
    ]  # fmt: skip


# --- The steps, each in a process of its own, which prints JSON.


def fill(root: str, pictures: str) -> None:
    fill_catalog(Layout(Path(root)), int(pictures))


def grow(root: str, pictures: str) -> None:
    """Add one picture for each hundred, by the same authors."""
    fill_catalog(Layout(Path(root)), int(pictures) // 100, seed=2, more_of=int(pictures))


def build(root: str) -> dict[str, Any]:
    """Build and publish the index of a catalog, of the kind that its size gets."""
    layout = Layout(Path(root))
    report = build_generation(layout, Settings(), force=True)
    assert report.generation_id is not None, report
    publish(layout, report.generation_id)
    return {**asdict(report.plan), "notes": report.notes}


def asked_of(index: VectorIndex) -> np.ndarray:
    """Vectors near stored ones, noise of half their length away; (QUERIES, D)"""
    rng = np.random.default_rng(5)
    asked = index.vectors(np.sort(rng.choice(index.row_ids, QUERIES, replace=False)))
    asked += 0.5 * rng.standard_normal(asked.shape, dtype=np.float32) / asked.shape[1] ** 0.5
    return np.asarray(asked / np.linalg.norm(asked, axis=1, keepdims=True))


def exact_of(index: VectorIndex, asked: np.ndarray) -> np.ndarray:
    """The similarity of the last of the exact NEAREST of each; (QUERIES,)"""
    return index.search(asked, NEAREST, exact=True)[0][:, -1]


def warm(root: str) -> dict[str, float]:
    """Milliseconds of whole answers to vectors near stored ones."""
    with Engine.open(Layout(Path(root)), Settings()) as engine:
        asked = asked_of(engine.generation.index)
        took = _timed(lambda one: engine.answer(StyleQuery(one), QueryOptions()), asked)
        return {**took, "recall": _recall(engine.generation.index, asked)}


def _timed(work: Callable[[T], object], asked: Iterable[T]) -> dict[str, float]:
    """Milliseconds that some work takes for each, by the clock and of the processor, without the
    first ones."""
    took = []
    for one in asked:
        clock, processor = time.perf_counter(), time.thread_time()
        work(one)
        took.append((time.perf_counter() - clock, time.thread_time() - processor))
    p50, p99 = (1e3 * np.percentile(took[WARM_UP:], [50, 99], axis=0)).tolist()
    return {"p50": p50[0], "p99": p99[0], "cpu_p50": p50[1], "cpu_p99": p99[1]}


def _recall(index: VectorIndex, asked: np.ndarray) -> float:
    least = exact_of(index, asked)
    found = np.concatenate([index.search(one[None], NEAREST)[0] for one in asked])
    return float((found >= least[:, None] - 1e-4).mean())


def kind(root: str, name: str, folder: str) -> dict[str, Any]:
    """Candidates of one kind for the vectors of the published index, in a folder of their own,
    and the search for vectors alone by them."""
    place = Path(folder)
    place.mkdir(exist_ok=True)
    with Generation.open(Layout(Path(root))) as generation:
        path = place / VECTORS
        path.unlink(missing_ok=True)
        path.hardlink_to(generation.directory / VECTORS)
    started = time.process_time()
    plan = choose_candidates(path, IndexSettings(kind=name), None).plan
    cpu_s = time.process_time() - started
    index = VectorIndex.open(path, replace(plan))
    file = place / CANDIDATES
    size = file.stat().st_size / index.count if file.exists() else 0.0
    asked = asked_of(index)
    took = _timed(lambda one: index.search(one[None], 200), asked)
    found = {**asdict(plan), **took, "recall_new": _recall(index, asked)}
    shutil.rmtree(place)
    return {**found, "cpu_s": cpu_s, "bytes": size}


def meta(file: str, rows: str) -> dict[str, float]:
    """Milliseconds to read 200 pictures, spread over a generated metadata file of many rows."""
    path, count = Path(file), int(rows)
    path.unlink(missing_ok=True)
    apart = (1 << 62) // count
    values = {
        "row_id": f"n * {apart}", "picture_id": "lower(hex(randomblob(32)))",
        "title_no": "n / 20", "kind": "'picture'", "file": "'ab/cd/' || hex(randomblob(32))",
        "source_path": "n || '.png'", "year": "2000", "width_px": "512", "height_px": "384",
        "map_x": "0.5", "map_y": "0.5", **dict.fromkeys(CODES, "n % 1000"),
    }  # fmt: skip
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("pragma journal_mode = off; pragma synchronous = off;")
        codes = ", ".join(f"{column} integer not null" for column in CODES)
        connection.executescript(SCHEMA.replace("{era}", "null").replace("{codes}", codes))
        numbers = "with recursive s(n) as (select 0 union all select n + 1 from s where n < {} - 1)"
        connection.execute(
            f"{numbers.format(count // 20 + 1)} insert into titles (title_no, title_id, name,"
            " authors, genres, tags) select n, 'bench:' || n, 'Title ' || n, '[]', '[]', '[]' from s"
        )
        connection.execute(
            f"{numbers.format(count)} insert into pictures ({', '.join(values)})"
            f" select {', '.join(values.values())} from s"
        )
        connection.executescript(INDEXES)
        connection.commit()
    rng = np.random.default_rng(0)
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        some = [np.sort(rng.integers(0, count, 200)) * apart for _ in range(QUERIES)]
        took = _timed(lambda row_ids: picture_rows(connection, row_ids), some)
    path.unlink()
    return took


def disk(root: str) -> dict[str, float]:
    """Bytes for each picture: of the tables, and of the parts of the published generation."""
    layout = Layout(Path(root))
    with Generation.open(layout) as generation:
        count, files = generation.pictures_count, generation.manifest["files"]
    sizes = {"tables": _size(layout.tables)}
    sizes |= {name: files[name]["bytes"] for name in (VECTORS, CANDIDATES, META) if name in files}
    whole = sum(facts["bytes"] for facts in files.values())
    sizes["labels and model"] = whole - sum(sizes[name] for name in sizes if name != "tables")
    return {name: size / count for name, size in sizes.items()}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


STEPS: dict[str, Callable[..., Any]] = {
    "meta": meta,
    "disk": disk,
    "fill": fill,
    "grow": grow,
    "build": build,
    "warm": warm,
    "kind": kind,
}

if __name__ == "__main__":
    said = STEPS[sys.argv[1]](*sys.argv[2:])
    if said is not None:
        print(json.dumps(said))
