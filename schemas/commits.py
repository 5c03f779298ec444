"""Delta commits that survive a power cut, and what to do about one that was cut short.

The Delta library renames and links its files without syncing them. So each commit is sealed
afterwards: its data files, its log entry and both folders are synced, and then a small file
beside the log says up to which version that was done. A version above the seal was never
acknowledged: readers take it when it is whole and the one before when it is not, and the
next writer finishes it or takes it away. A version up to the seal that is not whole was
damaged later, and is never passed over in silence.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from schemas.durable import fsync_directory, fsync_file, replace_file

LOG = "_delta_log"
SEAL = "_sealed"
PARQUET_END = b"PAR1"
LAST_CHECKPOINT = "_last_checkpoint"
ATTEMPTS = 20
_ENTRY = re.compile(r"([0-9]{20})\.json")
_T = TypeVar("_T")


def versions(table: Path) -> list[int]:
    """Versions that the log holds an entry of, oldest first."""
    names = [path.name for path in _list(table / LOG)]
    return sorted(int(found[1]) for name in names if (found := _ENTRY.fullmatch(name)))


def newest_version(table: Path) -> int | None:
    """The version that readers use, None while nothing was ever committed.

    Only an entry above the seal is looked into: everything below was synced.
    """
    known = versions(table)
    sealed = sealed_version(table)
    for version in reversed(known):
        if sealed is None or version <= sealed or _is_whole(table, version):
            return version
    return None


def reading(table: Path, read: Callable[[], _T]) -> _T:
    """What `read` returns; it is called again when it failed while a writer shortened the
    log or cleared files away, since readers take no lock.

    Errors:  those of `read`
    """
    for _ in range(ATTEMPTS):
        known = {path.name for path in _list(table / LOG)}
        try:
            return read()
        except Exception:
            if known == {path.name for path in _list(table / LOG)}:
                raise
    return read()


def sealed_version(table: Path) -> int | None:
    """Up to which version the table is known to be on the disk; None without a seal, as
    in tables that another program made."""
    try:
        return int((table / SEAL).read_text("ascii"))
    except (OSError, ValueError):
        return None


def prepare(table: Path) -> None:
    """Make a new table's folder, sealed before its first commit."""
    table.mkdir(parents=True, exist_ok=True)
    if sealed_version(table) is None and not versions(table):
        replace_file(table / SEAL, b"-1")
        fsync_directory(table.parent)
        fsync_directory(table.parent.parent)


def seal(table: Path, version: int) -> None:
    """Sync everything that came after the last seal; then say so.

    Errors:  OSError
    """
    sealed = sealed_version(table)
    if sealed == version:
        return
    first = version if sealed is None else min(version, sealed + 1)
    for number in range(first, version + 1):
        entry = _entry(table, number)
        if not entry.exists():
            continue
        for name, _ in _added(table, number):
            with contextlib.suppress(FileNotFoundError):  # removed by a later commit
                fsync_file(table / name)
        fsync_file(entry)
    fsync_directory(table)
    fsync_directory(table / LOG)
    replace_file(table / SEAL, str(version).encode())


def mend(table: Path) -> None:
    """What a writer does first after another one died: finish or take away its commit, and
    remove files that no commit names. Needs the data root's lock.

    Errors:  OSError
    """
    if not (table / LOG).is_dir():
        return
    newest = newest_version(table)
    for version in reversed(versions(table)):
        if newest is not None and version <= newest:
            break
        _entry(table, version).unlink()
    for path in (table / LOG).iterdir():
        ours = _ENTRY.fullmatch(path.name) or path.name == LAST_CHECKPOINT
        if not ours and path.suffix not in (".parquet", ".crc") and path.is_file():
            path.unlink()  # a log entry that was never put in its place
    for debris in table.glob(f".{SEAL}.*"):
        debris.unlink()
    if newest is None:
        _remove_unnamed(table, set())
        for path in (table / LOG).iterdir():
            path.unlink()
        fsync_directory(table / LOG)
        (table / LOG).rmdir()
        fsync_directory(table)
        return
    if newest != sealed_version(table):
        seal(table, newest)
    _remove_unnamed(table, _named(table))
    fsync_directory(table / LOG)
    fsync_directory(table)


def has_debris(table: Path) -> bool:
    """Whether the library left something half-made behind, which it does without a word when
    only the removal of it fails."""
    return any("#" in path.name for folder in (table, table / LOG) for path in _list(folder))


def checkpoint(table: Path, version: int, aside: Path) -> None:
    """Put the state of a version into one file, and drop the older log entries.

    The library writes a checkpoint in its place without syncing it, and a torn one makes a
    table unreadable: so it is made in `aside`, on links to the log, and moved when it is
    synced.

    Errors:  OSError, DeltaError
    """
    from deltalake import DeltaTable

    name = f"{version:020d}.checkpoint.parquet"
    hint = table / LOG / LAST_CHECKPOINT
    if (table / LOG / name).exists():  # nothing came since, or the last run was killed here,
        hint.unlink(missing_ok=True)  # and the hint may name a checkpoint that goes now
    else:
        log = aside / LOG
        log.mkdir(parents=True)
        for path in _list(table / LOG):
            os.link(path, log / path.name)
        (log / LAST_CHECKPOINT).unlink(missing_ok=True)  # a link: it would be written into
        DeltaTable(aside, version=version).create_checkpoint()
        fsync_file(log / name)
        (log / name).replace(table / LOG / name)
        fsync_directory(table / LOG)
        replace_file(hint, (log / LAST_CHECKPOINT).read_bytes())
    for path in sorted(_list(table / LOG)):
        number = path.name[:20]
        if number.isdecimal() and int(number) < version:
            path.unlink()
    fsync_directory(table / LOG)


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry(table: Path, version: int) -> Path:
    return table / LOG / f"{version:020d}.json"


def _actions(table: Path, version: int) -> Iterator[dict[str, Any]]:
    text = _entry(table, version).read_text("utf-8")
    if not text.strip():
        raise ValueError("the entry is empty")
    for line in text.splitlines():
        yield json.loads(line)


def _added(table: Path, version: int) -> list[tuple[str, int]]:
    """Data files that a commit added, with their sizes."""
    found = []
    for action in _actions(table, version):
        if add := action.get("add"):
            found.append((unquote(add["path"]), int(add["size"])))
    return found


def _is_whole(table: Path, version: int) -> bool:
    try:
        for name, size in _added(table, version):
            with (table / name).open("rb") as handle:
                if os.fstat(handle.fileno()).st_size != size:
                    return False
                handle.seek(-len(PARQUET_END), os.SEEK_END)
                if handle.read() != PARQUET_END:
                    return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _named(table: Path) -> set[str] | None:
    """Data files that some log entry adds or removes; None when the log cannot say."""
    names: set[str] = set()
    try:
        for version in versions(table):
            for action in _actions(table, version):
                for kind in ("add", "remove"):
                    if kind in action:
                        names.add(unquote(action[kind]["path"]))
        for checkpoint in (table / LOG).glob("*.checkpoint.parquet"):
            import pyarrow.parquet as pq

            found = pq.read_table(checkpoint, columns=["add", "remove"])
            for column in found.columns:
                names.update(unquote(row["path"]) for row in column.to_pylist() if row)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return names


def _remove_unnamed(table: Path, names: set[str] | None) -> None:
    if names is None:
        return
    for path in table.glob("*.parquet*"):  # those being written carry a mark at the end
        if path.name not in names:
            path.unlink()
