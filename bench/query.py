"""Cold and warm queries at 100,000 pictures: time, memory, and the torch yardstick."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from bench.catalog import drawing
from bench.figures import Figure, interleaved, median_s, run_process
from indexer.vector_index.generations import Generation
from schemas.storage.layout import Layout

PICTURES = 100_000


def measure(*, runs: int = 9, pictures: int = PICTURES, with_torch: bool = True) -> list[Figure]:
    """Build the index in a temporary folder and measure.

    Units:   seconds, milliseconds and megabytes as each figure says
    """
    with tempfile.TemporaryDirectory(prefix="toonsearch-bench-") as folder:
        root = Path(folder)
        layout = Layout(root / "data")
        print(f"bench: building an index of {pictures:,} synthetic vectors ...", file=sys.stderr)
        # In a process of its own: a child's peak memory counts its parent's size at the fork.
        run_process([sys.executable, "-m", "bench.catalog", str(layout.root), str(pictures)])
        picture = root / "query.jpg"
        drawing(7).save(picture, "JPEG", quality=90)
        return [
            *_cold(layout, picture, runs, pictures, with_torch),
            *_warm(layout, picture, pictures),
            _self_find(layout, pictures),
        ]


def _cold(
    layout: Layout, picture: Path, runs: int, pictures: int, with_torch: bool
) -> list[Figure]:
    program = str(Path(sys.executable).with_name("toonsearch"))
    ours = [program, "--data", str(layout.root), "query", str(picture), "-k", "10"]
    commands = {
        "query": lambda: run_process(ours),
        "help": lambda: run_process([program, "--help"]),
    }
    if with_torch:
        yardstick = [sys.executable, "-m", "bench.torch_query", str(layout.root), str(picture)]
        commands["torch"] = lambda: run_process(yardstick)
    found = interleaved(commands, runs)
    cold = median_s(found["query"])
    figures = [
        Figure("cold_query", cold, "s", 0.7, "less", f"toonsearch query at {pictures:,} pictures"),
        Figure(
            "query_peak_memory",
            max(run.peak_mb for run in found["query"]),
            "MB",
            300,
            "less",
            "largest peak of the same processes",
        ),
        Figure("help", median_s(found["help"]), "s", 0.35, "less", "toonsearch --help"),
    ]
    if with_torch:
        ratio = median_s(found["torch"]) / cold
        how = f"torch process {median_s(found['torch']):.2f} s, same network, index and picture"
        figures.append(Figure("cold_query_vs_torch", ratio, "x", 8, "more", how))
    return figures


def _warm(layout: Layout, picture: Path, pictures: int) -> list[Figure]:
    grey = picture.with_name("grey.jpg")
    with Image.open(picture) as image:
        image.convert("L").convert("RGB").save(grey, quality=90)
    command = [sys.executable, "-m", "bench.warm_query", str(layout.root), str(picture), str(grey)]
    told = run_process(command, {"OPENBLAS_NUM_THREADS": "1"}).output.split()
    warm, in_grey = (float(each) for each in told)
    how = f"512 px JPEG, decoding included, {pictures:,} pictures"
    return [
        Figure("warm_query", warm, "ms", 12, "less", how),
        Figure(
            "grey_query", in_grey / warm, "x", 1.3, "less", f"the same in grey, {in_grey:.1f} ms"
        ),
    ]


def _self_find(layout: Layout, pictures: int) -> Figure:
    """Share of indexed pictures that come first for their own stored vector (a sample)."""
    with Generation.open(layout) as generation:
        rng = np.random.default_rng(3)
        rows = generation.meta.execute("select row_id from pictures order by row_id").fetchall()
        wanted = rng.choice(np.asarray(rows)[:, 0], min(1000, len(rows)), replace=False)
        vectors = generation.vectors(wanted)
        _, ids = generation.index.search(vectors, 1)
        found = float((ids[:, 0] == wanted).mean())
    return Figure("finds_itself", found, "share", 1.0, "more", f"1,000 of {pictures:,} pictures")
