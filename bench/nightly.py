"""What a night costs when one picture in a hundred has changed, against a full run.

A full run takes half an hour, so it is added up from its parts: a hundred times what import,
embedding and colours of the new pictures took, and a whole build. The night is one run of the
real command.
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

from bench.catalog import PICTURES, build_catalog, drawing
from bench.figures import Figure
from indexer.labels.judge import judge_pending
from indexer.vector_index.build import build_generation
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from schemas.storage.locking import writing

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
        folder = place / "new" / f"author {number % 20}" / f"title {number % 100}"
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
    """Measure on what `prepare` made."""
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
    again, code, _ = _command(place, "nightly", "--json")
    assert code == 0
    back, code, _ = _command(place, "index", "rollback")
    assert code == 0
    with writing(layout, "bench"):
        refused, code, _ = _command(place, "nightly")
    assert code == 75
    parts = ", ".join(f"{name} {took:.1f} s" for name, took in spent.items())
    how = f"{seconds:.1f} s of {full:.0f} s: {SHARE} x {fresh:.1f} s and a build of {whole:.1f} s"
    new = f"a night with 1 % of {pictures:,} pictures new"
    return [
        Figure("night", new, seconds, "s", how=parts),
        Figure(
            "night_over_full", "the same against a full run", 100 * seconds / full, "%", 4, how=how
        ),
        Figure("night_without_news", "a night with nothing new", again, "s", 10),
        Figure("rollback", "`toonsearch index rollback`", back, "s", 1),
        Figure("second_run", "a second nightly run ends with 75 after", refused, "s", 1),
        Figure(
            "query_after_kill", "cold query after a build was killed", _after_a_kill(place), "s", 2
        ),
    ]


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


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="toonsearch-bench-") as folder:
        prepare(Path(folder), pictures)
        return nights(Path(folder), pictures)
