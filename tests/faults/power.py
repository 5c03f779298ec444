"""A power cut, simulated: what was never synced is gone.

The shim's journal tells every change in order. A file that was written and not synced since
comes back empty or cut in half; a name that was given (created, renamed, linked) in a folder
that was not synced since is lost. Real file systems lose less; none loses more.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def cut(root: Path, journal: Path, how: str) -> None:
    """Undo what a power cut may undo. `how` is empty, torn (half of what was not synced) or
    lost (names as well)."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    dirty: set[str] = set()
    given: dict[str, str | None] = {}  # path -> what it was named before, oldest first
    for line in lines:
        _, what, one, two = line.split("\t")
        if what in ("create", "write", "truncate"):
            if what == "create" and not _saved_path(Path(one)).exists():
                given.setdefault(one, None)
            dirty.add(one)
        elif what == "mkdir":
            if not _saved_path(Path(one)).exists():
                given.setdefault(one, None)
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
            given[two] = one
            given.pop(one, None)
        elif what == "unlink":
            dirty.discard(one)
            given.pop(one, None)
    lock = str(root / "lock")
    for name in dirty - {lock}:
        path = Path(name)
        if path.is_file():
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2] if how == "torn" else b"")
    if how != "lost":
        return
    for name in given:
        path = Path(name)
        if name in (lock, str(root)) or not path.exists():
            continue
        if path.is_dir():
            if not any(path.iterdir()) or not _saved_path(path).exists():
                shutil.rmtree(path)
        else:
            before = _saved(path)
            if before is None:
                path.unlink()
            else:
                path.write_bytes(before)


def _saved_path(path: Path) -> Path:
    """The same place in the untouched copy beside the trial's root."""
    parts = path.parts
    at = parts.index("trial")
    return Path(*parts[:at], "saved", *parts[at + 1 :])


def _saved(path: Path) -> bytes | None:
    saved = _saved_path(path)
    return saved.read_bytes() if saved.is_file() else None
