"""Results of costly views, kept as Parquet until a table that they read changes.

A view over a million pictures takes seconds; its result is often a few hundred rows. The
file's name holds a digest of the view's text, of the width of an era and of the versions of all
tables behind it, and a digest of its own bytes, so a kept result is either exactly that of the
snapshot or is not found. Losing the folder loses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.storage.fsio import digest_file, digest_once
from schemas.storage.snapshot import Snapshot, create_views, named_views, ready_views

if TYPE_CHECKING:
    import duckdb

GENERATIONS = 2  # results of one view that are left for readers of the last snapshot
_NAME = re.compile(r"(\w+)-([0-9a-f]{16})(-[0-9a-f]{16})?\.parquet")


def kept_files(snapshot: Snapshot) -> dict[str, str]:
    """View -> file relative to the data root, for those that are there for this snapshot."""
    return {
        view: str(file.relative_to(snapshot.layout.root))
        for view, stem in _stems(snapshot).items()
        for file in snapshot.layout.kept.glob(f"{stem}-*.parquet")
        if digest_once(file)[:16] == file.stem.rpartition("-")[2]
    }


def kept_behind(names: Iterable[str]) -> list[str]:
    """The kept views among these views and those that they read, in order of creation."""
    wanted = {view for name in names for view in _behind(name)}
    return [name for name, view in ready_views().items() if view.kept and name in wanted]


def keep_views(
    snapshot: Snapshot,
    names: Iterable[str] | None = None,
    *,
    memory: str = "1GB",
    told: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """Make the kept results that are missing (of all kept views, or of these and what they
    read); returns what `kept_files` would.

    `told` hears the name of each view before it is computed. A data root that cannot be
    written is no error: the views then stay as they are.

    Errors:  duckdb.Error when a table cannot be read
    """
    stems = _stems(snapshot)
    wanted = list(stems) if names is None else kept_behind(names)
    there = kept_files(snapshot)
    missing = [name for name in wanted if name not in there]
    if missing and _writable(snapshot.layout.kept):
        for name in missing:
            if told:
                told(name)
            _keep(snapshot, name, stems[name], memory)
        there = kept_files(snapshot)
        _clear(snapshot.layout.kept, (snapshot.layout.root / file for file in there.values()))
    return there


def _keep(snapshot: Snapshot, name: str, stem: str, memory: str) -> None:
    import duckdb

    folder, mark = snapshot.layout.kept, uuid.uuid4().hex[:8]
    aside = folder / f".{stem}.parquet.{mark}.tmp"
    spill = folder / f".spill-{mark}"
    try:
        with duckdb.connect(
            ":memory:", config={"memory_limit": memory, "temp_directory": str(spill)}
        ) as connection:
            open_snapshot(connection, snapshot)
            path = str(aside).replace("'", "''")
            connection.execute(f"copy (from {name}) to '{path}' (format parquet)")
        aside.replace(folder / f"{stem}-{digest_file(aside)[:16]}.parquet")
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
        with contextlib.suppress(OSError):
            spill.rmdir()


def open_snapshot(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """Create every view of a snapshot on a connection, kept results where there are any."""
    root = snapshot.layout.root.absolute()
    kept = {name: f"{root}/{file}" for name, file in kept_files(snapshot).items()}
    connection.execute("set timezone = 'UTC'")
    create_views(connection, snapshot, folder=f"{root}/tables/", kept=kept)


def _stems(snapshot: Snapshot) -> dict[str, str]:
    return {
        name: f"{name}-{_digest(snapshot, name)}"
        for name, view in ready_views().items()
        if view.kept
    }


def _digest(snapshot: Snapshot, name: str) -> str:
    """Of all that decides a view's result."""
    views = ready_views()
    parts = [str(snapshot.era_years)]
    for behind in sorted(_behind(name)):
        if behind in views:
            parts.append(views[behind].sql)
        else:
            parts += [behind, *snapshot.tables[behind].files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _behind(name: str) -> set[str]:
    """A view with all views and tables that it reads."""
    views = ready_views()
    found, waiting = {name}, [name]
    while waiting:
        one = waiting.pop()
        if one in views:
            fresh = set(named_views(views[one].sql)) - found
            found |= fresh
            waiting += fresh
    return found


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _clear(folder: Path, current: Iterable[Path]) -> None:
    """Remove results that no current and no recent snapshot can ask for."""
    fresh = set(current)
    by_view: dict[str, list[Path]] = {}
    for file in folder.iterdir():
        if (found := _NAME.fullmatch(file.name)) and file not in fresh:
            by_view.setdefault(found[1], []).append(file)
    for files in by_view.values():
        with contextlib.suppress(OSError):
            files.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[GENERATIONS - 1 :]:
            with contextlib.suppress(OSError):
                file.unlink()
