"""A power cut, simulated: what was never synced is gone.

The shim's journal tells every change in order. A file that was written and not synced since
comes back empty or cut in half; a name that was given (created, renamed, linked) in a folder
that was not synced since is lost, or all but the last one, since nothing keeps names in order.
Real file systems lose less; none loses more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def states(
    lines: list[str], there: Callable[[Path], bool]
) -> Iterator[tuple[set[str], dict[str, int]]]:
    """What is not synced after each line: files, and path -> the first call that gave it."""
    dirty: set[str] = set()
    given: dict[str, int] = {}  # oldest first
    yield dirty, given
    for line in lines:
        number, what, one, two = line.split("\t")
        if what in ("create", "write", "truncate"):
            if what == "create" and not there(Path(one)):
                given.setdefault(one, int(number))
            dirty.add(one)
        elif what == "mkdir":
            if not there(Path(one)):
                given.setdefault(one, int(number))
        elif what == "fsync":
            dirty.discard(one)
            for path in [p for p in given if str(Path(p).parent) == one]:
                del given[path]
        elif what in ("rename", "link"):
            if one in dirty:
                dirty.add(two)
            inside = f"{one}/"  # a folder takes along what is in it
            for name in [n for n in dirty if n.startswith(inside)]:
                dirty.add(two + name[len(one) :])
            for name in [n for n in given if n.startswith(inside)]:
                given[two + name[len(one) :]] = given.pop(name)
            if what == "rename":
                dirty = {n for n in dirty if n != one and not n.startswith(inside)}
            given[two] = given.pop(two, int(number))
            given.pop(one, None)
        elif what == "unlink":
            dirty.discard(one)
            given.pop(one, None)
        yield dirty, given


def cut(root: Path, lines: list[str], how: str, replaced: Path) -> None:
    """Undo what a power cut may undo, by the lines of the shim's journal.

    `replaced` is the folder in which the shim saved what renames replaced: a name that was
    synced twice and then given a third time comes back as it was the second time.

    `how` is empty, torn (half of what was not synced), lost (names as well) or last (names as
    well, but the last one given).
    """
    dirty, given = set[str](), dict[str, int]()
    for dirty, given in states(lines, lambda path: _saved_path(path).exists()):  # noqa: B007
        pass
    lock = str(root / "lock")
    for name in dirty - {lock}:
        path = Path(name)
        if path.is_file():
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2] if how == "torn" else b"")
    if how not in ("lost", "last"):
        return
    for name, number in list(given.items())[: -1 if how == "last" else None]:
        path = Path(name)
        if name in (lock, str(root)) or not path.exists():
            continue
        if path.is_dir():
            if not any(path.iterdir()) or not _saved_path(path).exists():
                shutil.rmtree(path)
        else:
            path.unlink()
            if (replaced / str(number)).is_file():
                shutil.copyfile(replaced / str(number), path)


def _saved_path(path: Path) -> Path:
    """The same place in the untouched copy beside the trial's root."""
    parts = path.parts
    at = parts.index("trial")
    return Path(*parts[:at], "saved", *parts[at + 1 :])
