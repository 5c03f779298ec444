"""What a night costs when one picture in a hundred has changed, against a full run.

A full run of 100,000 pictures takes half an hour, so it is put together from its parts: a
hundred times what importing, embedding and colouring the thousand new pictures took, and a
whole build as measured. The night is one run of the real command.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.catalog import build_catalog, drawing
from bench.figures import Figure
from indexer.labels.judge import judge_pending
from indexer.vector_index.build import build_generation
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from schemas.storage.locking import writing

PICTURES = 100_000
SHARE = 100  # one picture in so many is new
PER_PICTURE = ("import", "embed", "colors")


def prepare(place: Path, pictures: int = PICTURES) -> None:
    """A data root of many pictures, and a folder with one in a hundred as many new ones."""
    layout = Layout(place / "data")
    build_catalog(layout, pictures)
    ids = Catalog(layout).read("pictures", ["picture_id"])["picture_id"].to_pylist()
    # They have no files, and so no colours; a row each keeps the night from looking for them.
    blank = {"region": 0, "rank": 0, "r": 0, "g": 0, "b": 0, "h": 0.0, "s": 0.0, "v": 0.0}
    Catalog(layout).append("colors", [{"picture_id": one, **blank, "share": 1.0} for one in ids])
    with writing(layout, "bench"):  # what earlier nights have done
        judge_pending(layout)
    for number in range(pictures // SHARE):
        folder = place / "new" / f"hand {number % 20}" / f"title {number % 100}"
        folder.mkdir(parents=True, exist_ok=True)
        drawing(10_000 + number).save(folder / f"{number}.jpg", quality=90)


def _command(place: Path, *words: str) -> tuple[float, int, str]:
    """Run toonsearch on the data root: seconds, exit code, standard output."""
    environ = {
        **{name: v for name, v in os.environ.items() if not name.startswith("TOONSEARCH")},
        "TOONSEARCH_NIGHTLY__FOLDERS": str(place / "new"),
    }
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "search.cli.app", "--data", str(place / "data"), *words],
        stdout=subprocess.PIPE, env=environ, text=True, check=False,
    )  # fmt: skip
    return time.perf_counter() - started, done.returncode, done.stdout


def nights(place: Path, pictures: int = PICTURES) -> list[Figure]:
    """Measure on what `prepare` made; whole runs, in seconds."""
    layout = Layout(place / "data")
    seconds, code, out = _command(place, "nightly", "--json")
    assert code == 0, out
    body = json.loads(out)
    spent = {stage["name"].split()[0]: stage["seconds"] for stage in body["stages"]}
    fresh = sum(spent[name] for name in PER_PICTURE)
    started = time.perf_counter()
    shutil.move(layout.current, place / "CURRENT")  # as if there were no generation before
    try:
        build_generation(layout, Settings(), force=True)
    finally:
        shutil.move(place / "CURRENT", layout.current)
    whole = time.perf_counter() - started
    full = fresh * SHARE + whole
    told = ", ".join(f"{name} {took:.1f} s" for name, took in spent.items())
    again, code, _ = _command(place, "nightly", "--json")
    assert code == 0
    back, code, _ = _command(place, "index", "rollback")
    assert code == 0
    with writing(layout, "bench"):
        refused, code, _ = _command(place, "nightly")
    assert code == 75
    woken = _after_a_kill(place)
    name = f"{pictures:,}"
    return [
        Figure(
            f"night with 1 % of {name} new", 100 * seconds / full, "%", 4.0, "less",
            f"{seconds:.1f} s of {full:.0f} s ({told}; a full run is {SHARE} x {fresh:.1f} s and"
            f" a build of {whole:.1f} s)",
        ),
        Figure(f"night with nothing new, {name}", again, "s", 10.0, "less", "whole process"),
        Figure(f"rollback, {name}", back, "s", 1.0, "less", "whole process"),
        Figure("second run ends", refused, "s", 1.0, "less", "whole process, exit code 75"),
        Figure(
            f"first answer after a kill, {name}", woken, "s", 2.0, "less",
            "whole process of a query; a build was killed while it wrote its generation",
        ),
    ]  # fmt: skip


def _after_a_kill(place: Path) -> float:
    """Kill a build in the middle; how long the next query takes, whole process."""
    command = [sys.executable, "-m", "search.cli.app", "--data", str(place / "data")]
    with subprocess.Popen([*command, "-q", "index", "build", "--force"]) as build:
        staging = Layout(place / "data").staging
        while build.poll() is None and not any(staging.glob("generation-*")):
            time.sleep(0.02)
        time.sleep(0.5)
        build.kill()
    assert build.returncode == -signal.SIGKILL, "the build was over before it could be killed"
    picture = next((place / "new").rglob("*.jpg"))
    seconds, code, _ = _command(place, "query", str(picture))
    assert code == 0
    return seconds


def measure(pictures: int = PICTURES) -> list[Figure]:
    """Prepare and measure in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="toonsearch-bench-") as folder:
        prepare(Path(folder), pictures)
        return nights(Path(folder), pictures)
