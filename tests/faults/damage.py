"""Damaged files, and what their readers say: bytes flipped, files cut, files swapped.

Runs inside `worker.py`. A trial damages one file of a data root, lets the reader of that file
loose on it, and puts the file back. Many trials share a child, so that a crash of native code
is counted as one failure and the next child goes on behind it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from schemas.storage.layout import Layout
from tests.drawings import draw_folder, drawing
from tests.faults import operations
from tests.faults.worker import forked

HEADER_BYTES = 1024
BATCH = 500
Trial = dict[str, Any]


def build(place: Path) -> None:
    """A data root with two generations, tables of several commits (one with a checkpoint),
    a block list, and a backup of it all."""
    from indexer.backup import back_up
    from schemas.blocklist import BlockList
    from schemas.storage.catalog import maintain
    from schemas.storage.locking import writing

    root, layout = place / "data", Layout(place / "data")
    folder = draw_folder(place / "drawings", titles=1, pictures=3, hands=3, side_px=64)
    for name in ("import", "embed", "build", "publish"):
        operations.OPERATIONS[name](root)
    with writing(layout, "maintain"):
        maintain(layout, keep_history=False)
    drawing(0, 77, 64).save(folder / "hand 0/title 0.0/5.png")
    for name in ("import", "embed", "build", "publish"):
        operations.OPERATIONS[name](root)
    BlockList().adding("author", ["nobody"]).write(layout)
    back_up(layout, place / "backups")


def files(place: Path) -> list[Path]:
    """Everything that anybody reads. The lock's text and frontiers of crawls say nothing that
    an answer depends on."""
    left_out = {place / "data/lock"}
    found = [*(place / "data").rglob("*"), *(place / "backups").rglob("*")]
    return sorted(path for path in found if path.is_file() and path not in left_out)


def headers(path: Path) -> list[int]:
    """Positions of every byte that tells how to read the rest."""
    size = path.stat().st_size
    if path.name == "CURRENT" or path.suffix == ".json":
        return list(range(size))
    found = set(range(min(size, HEADER_BYTES)))
    if path.suffix == ".parquet":
        footer = 8 + int.from_bytes(path.read_bytes()[-8:-4], "little")
        found |= set(range(max(0, size - footer), size))
    return sorted(found)


def trials(place: Path, order: dict[str, Any]) -> list[Trial]:
    """Every `stride`-th header byte, so many random flips and cuts elsewhere, and all swaps."""
    rng = np.random.default_rng(order["seed"])
    paths = [path for path in files(place) if path.stat().st_size]
    copies = [path for path in paths if place / "backups" in path.parents]  # hit at random only
    rest = sorted(set(paths) - set(copies))
    every = [(path, at) for path in rest for at in headers(path)]
    every = every[int(rng.integers(order["stride"])) :: order["stride"]]
    found: list[Trial] = [{"what": "flip", "file": str(p), "at": at} for p, at in every]
    for number in range(order["random"]):
        # Small files are as often hit as large ones: there are more kinds of those. A backup
        # is restored as a whole to verify it, which takes as long as fifty other trials.
        among = copies if number % 40 == 0 else rest
        path = among[int(rng.integers(len(among)))]
        at = int(rng.integers(path.stat().st_size))
        found.append({"what": "cut" if number % 4 == 3 else "flip", "file": str(path), "at": at})
    for trial in found:
        trial["bit"] = int(rng.integers(8))
    return found + swaps(place)


def swaps(place: Path) -> list[Trial]:
    """Files of one generation in the place of the other's, and of one commit in another's."""
    layout = Layout(place / "data")
    old, new = sorted(layout.index.glob("g*"))
    pairs = [(old / path.relative_to(new), path) for path in new.rglob("*") if path.is_file()]
    for table in layout.tables.iterdir():
        for pattern in ("*.parquet", "_delta_log/*.json"):
            there = sorted(table.glob(pattern))
            pairs += list(itertools.pairwise(there))
    pairs.append((old, new))
    pairs = [
        (a, b) for a, b in pairs if a.is_dir() or (a.exists() and a.read_bytes() != b.read_bytes())
    ]
    return [
        {"what": "swap", "file": str(one), "with": str(other)}
        for a, b in pairs
        for one, other in ((a, b), (b, a))
    ]


def strike(trial: Trial) -> Callable[[], None]:
    """Damage the file; returns what puts it back."""
    path = Path(trial["file"])
    if trial["what"] == "swap":
        other, aside = Path(trial["with"]), path.with_name("aside")

        def swap() -> None:
            path.rename(aside)
            other.rename(path)
            aside.rename(other)

        swap()
        return swap
    at = trial["at"]
    if trial["what"] == "cut":
        with path.open("r+b") as handle:
            handle.seek(at)
            tail = handle.read()
            handle.truncate(at)
    else:
        with path.open("r+b") as handle:
            handle.seek(at)
            tail = handle.read(1)
            handle.seek(at)
            handle.write(bytes([tail[0] ^ 1 << trial["bit"]]))

    def back() -> None:
        with path.open("r+b") as handle:
            handle.seek(at)
            handle.write(tail)

    return back


def wrong(place: Path, trial: Trial, number: int) -> str | None:
    """What is wrong with how readers take the damage; None when they tell it."""
    from schemas.errors import InputError, NoIndexError
    from schemas.storage import fsio

    fsio._known.clear()  # as in a new process
    try:
        problem = _use(place, Path(trial["file"]), number)
    except (InputError, NoIndexError) as error:
        of_index = place / "data/index" in Path(trial["file"]).parents
        if of_index is not isinstance(error, NoIndexError):
            return f"not the documented error: {error!r}"
        return None
    except BaseException as error:  # a panic of Rust is no Exception
        return f"not a clean error: {type(error).__name__}: {error}"[:500]
    return problem


def _use(place: Path, path: Path, number: int) -> str | None:
    """Read what a file belongs to, as the program does."""
    from indexer.backup import restore
    from indexer.vector_index.generations import Generation
    from schemas.blocklist import BlockList
    from schemas.images import PictureError, Reason
    from schemas.storage.catalog import Catalog
    from schemas.storage.snapshot import Snapshot

    if place / "backups" in path.parents:
        fresh = place / "restored"
        try:
            restore(place / "backups", Layout(fresh))
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return "undetected"
    layout = Layout(place / "data")
    first, *rest = path.relative_to(layout.root).parts
    if first == "index":
        with Generation.open(layout, None if rest == ["CURRENT"] else rest[0]) as generation:
            if path.name.startswith("subjects."):  # read by whoever asks for a subject
                assert generation.subjects is not None
            return "undetected"
    if first == "tables":
        catalog = Catalog(layout)
        version = _last_version(layout.table(rest[0]), path)
        if version is not None:  # only whoever goes back to it reads the file, as undo does
            catalog.read(rest[0], version=version)
        elif number % 25 == 0:
            Snapshot.take(layout)
        elif number % 25 == 1:
            catalog.connect().close()
        else:
            catalog.read(rest[0])
        return "undetected"
    if first == "pictures":
        from indexer.panels.picture import PictureReader
        from schemas.attempt import attempt

        nothing: Any = None  # only needed when it takes the file for the picture
        file = str(path.relative_to(layout.pictures))
        row = {"picture_id": path.stem, "file": file, "panel": None}
        found = attempt(PictureReader(layout, nothing).image, row)
        told = isinstance(found, PictureError) and found.reason is Reason.STORE
        return None if told else f"undetected: {found}"
    if first == "forgotten.json":
        BlockList.read(layout)
        return "undetected"
    return f"nobody is known to read {path}"


def _last_version(table: Path, path: Path) -> int | None:
    """The last version of a table that a data file belonged to; None when it still does, and for
    other files."""
    from schemas.storage import commits

    if path.parent != table or path.suffix != ".parquet":
        return None
    for version in commits.versions(table):
        entry = table / commits.LOG / f"{version:020d}.json"
        for action in map(json.loads, entry.read_text("utf-8").splitlines()):
            if unquote(action.get("remove", {}).get("path", "")) == path.name:
                return version - 1
    return None


def damage(order: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Run trials (those of the order, or drawn by its seed); what failed."""
    place, out = Path(order["place"]), scratch / "out"
    if not place.exists():
        made = forked(lambda _: build(place), out)
        assert made["code"] == 0, made["result"]
        shutil.copytree(place / "data", place / "whole/data")
    todo = order.get("trials") or forked(lambda _: trials(place, order), out)["result"]
    failures: list[dict[str, Any]] = []
    crashes = start = 0

    def batch(acks: int) -> list[dict[str, Any]]:
        bad = []
        for number in range(start, min(start + BATCH, len(todo))):
            os.write(acks, json.dumps([number]).encode() + b"\n")
            back = strike(todo[number])
            try:
                found = wrong(place, todo[number], number)
            finally:
                back()
            if found:
                bad.append({**todo[number], "number": number, "found": found})
        return bad

    while start < len(todo):
        found = forked(batch, out, seconds=1200.0)
        if found["code"] == 0:
            failures += found["result"]
            start += BATCH
            continue
        # What died, or hung, leaves its file damaged: back from the untouched copy.
        reached = found["acks"][-1][0] if found["acks"] else start
        crashes += 1
        failures.append({**todo[reached], "number": reached, "found": f"died: {found['code']}"})
        shutil.rmtree(place / "data")
        shutil.copytree(place / "whole" / "data", place / "data")
        start = reached + 1
    kinds = dict(Counter(trial["what"] for trial in todo))
    return {"trials": len(todo), "kinds": kinds, "failures": failures, "crashes": crashes}
