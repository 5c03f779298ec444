"""Delta commits that survive a power cut, checksums of every table file, and recovery.

The Delta library renames and links its files without syncing them, and neither Delta Lake nor
Parquet as written here carry checksums. So each commit is recorded afterwards: its data files,
its log entry and both folders are synced, and then a small file in the table is replaced:

    tables/<name>/_checksums.json      version, file -> BLAKE3, and its own digest

A version above the recorded one was never acknowledged: readers take it when it is whole and the
one before when it is not, and the next writer records it or removes it. A recorded version that
is not as it was recorded was damaged later, which is always an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from schemas.errors import InputError, StorageError
from schemas.storage.fsio import (
    digest_file,
    digest_once,
    fsync_directory,
    fsync_file,
    read_signed,
    replace_file,
    signed_bytes,
    unreachable,
)
from schemas.storage.layout import Layout
from schemas.storage.mirrors import LOG, bring_home, plain_path

CHECKSUMS = "_checksums.json"
FORMAT = 1
MAX_CHECKSUMS_BYTES = 1 << 26
PARQUET_END = b"PAR1"
ATTEMPTS = 20
_ENTRY = re.compile(r"([0-9]{20})\.json")
_LOGGED = re.compile(r"[0-9]{20}\.(json|checkpoint.*\.parquet)")
_T = TypeVar("_T")


@dataclass(frozen=True)
class TableChecksums:
    """The version that is known to be on the disk (-1: none yet), and the BLAKE3 of every file
    by its name relative to the table."""

    version: int
    files: dict[str, str]


def read_checksums(table: Path) -> TableChecksums | None:
    """What is recorded of a table; None while it does not exist.

    Errors:  InputError when the record is damaged or of another format
    """
    try:
        with (table / CHECKSUMS).open("rb") as handle:
            data = handle.read(MAX_CHECKSUMS_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise damaged(table, error) from error
    return parse_checksums(table, data)


def parse_checksums(table: Path, data: bytes) -> TableChecksums:
    """The record of a table from its bytes. Errors:  InputError when it is damaged"""
    try:
        return _parsed(data)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(table, f"{CHECKSUMS}: {error}") from error


@lru_cache(maxsize=64)
def _parsed(data: bytes) -> TableChecksums:
    body = read_signed(data)
    if body["format"] != FORMAT:
        raise ValueError(f"it has format {body['format']}, this program reads {FORMAT}")
    return TableChecksums(int(body["version"]), body["files"])


def _recorded(table: Path) -> dict[str, str]:
    recorded = read_checksums(table)
    return recorded.files if recorded else {}


def write_checksums(table: Path, checksums: TableChecksums) -> None:
    """Replace the record. Errors:  OSError"""
    body = {"format": FORMAT, "version": checksums.version, "files": checksums.files}
    replace_file(table / CHECKSUMS, signed_bytes(body))


def verify(table: Path, names: Iterable[str]) -> None:
    """Compare files with their recorded checksums, before anybody parses them.

    Names that are not recorded pass: a writer is just about to record them.

    Errors:  InputError names the first one that is damaged; FileNotFoundError
    """
    known = _recorded(table)
    for name in names:
        if name in known and digest_once(table / name) != known[name]:
            raise damaged(table, f"{name} is damaged")


def damaged(table: Path, what: str | Exception) -> StorageError:
    """An error about a table: that it is damaged, or that this user cannot get at it."""
    if isinstance(what, StorageError):
        return what
    if isinstance(what, Exception) and (closed := unreachable(what, _named(table))):
        return closed
    line = str(what).splitlines()[0] if str(what) else type(what).__name__
    return StorageError(
        f"{_named(table)} cannot be read ({line})",
        "`toonsearch doctor` says what can be done.",
    )


def _named(table: Path) -> str:
    return f"the catalog table {table.name!r}"


def versions(table: Path) -> list[int]:
    """Versions that the log holds an entry of, oldest first."""
    names = [path.name for path in _list(table / LOG)]
    return sorted(int(found[1]) for name in names if (found := _ENTRY.fullmatch(name)))


def log_files(table: Path) -> list[str]:
    """Entries and checkpoints of the log, relative to the table."""
    return sorted(f"{LOG}/{p.name}" for p in _list(table / LOG) if _LOGGED.fullmatch(p.name))


def log_number(name: str) -> int:
    """The version that a file of the log is about."""
    return int(name.removeprefix(f"{LOG}/")[:20])


def newest_version(table: Path) -> int | None:
    """The version that readers use, None while nothing was ever committed.

    Errors:  InputError when what was recorded is gone, or the record is damaged
    """
    recorded = read_checksums(table)  # before the log, which a writer may add to meanwhile
    known = versions(table)
    if recorded is None:
        if known and read_checksums(table) is None:
            raise damaged(table, f"{CHECKSUMS} is gone")
        return None
    newest = recorded.version
    if max(known, default=-1) < newest:
        raise damaged(table, f"version {newest} is gone from {LOG}")
    for version in known:
        if version <= recorded.version:
            continue
        # Nothing keeps names in order: a power cut may leave the second of two.
        if version != newest + 1 or not _is_whole(table, version):
            break
        newest = version
    return newest if newest >= 0 else None


def reading(table: Path, read: Callable[[], _T]) -> _T:
    """What `read` returns; it is called again when it failed while a writer shortened the
    log or removed files, since readers take no lock.

    Errors:  those of `read`
    """
    for _ in range(ATTEMPTS):
        known = log_files(table)
        try:
            return read()
        except Exception:
            if known == log_files(table):
                raise
    return read()


def prepare(table: Path) -> None:
    """Make a new table's folder, with a record before the first commit."""
    table.mkdir(parents=True, exist_ok=True)
    if read_checksums(table) is None:
        write_checksums(table, TableChecksums(-1, {}))
        fsync_directory(table.parent)
        fsync_directory(table.parent.parent)


def record_commit(table: Path, version: int) -> None:
    """Sync everything up to a version; then record it, with the checksums of what is new.

    Errors:  OSError; InputError when the last record is damaged
    """
    last = read_checksums(table)
    if last is None:
        raise damaged(table, f"{CHECKSUMS} is gone")
    if last.version == version:
        return
    names = list(last.files)
    for number in range(last.version + 1, version + 1):
        for name in (*_added(table, number), f"{LOG}/{number:020d}.json"):
            with contextlib.suppress(FileNotFoundError):  # removed by a later commit
                fsync_file(table / name)
                names.append(name)
    fsync_directory(table)
    fsync_directory(table / LOG)
    files = {name: last.files.get(name) for name in names if (table / name).exists()}
    write_checksums(
        table, TableChecksums(version, {n: d or digest_once(table / n) for n, d in files.items()})
    )


def record_copy(table: Path, copy: Path, version: int, names: Iterable[str]) -> None:
    """Record a copy of these files of a table, with the checksums of the original."""
    known = _recorded(table)
    files = {name: known.get(name) or digest_file(copy / name) for name in names}
    write_checksums(copy, TableChecksums(version, files))


def checkpoint(table: Path, version: int, aside: Path) -> None:
    """Put the state of a version into one file, and drop the older log entries.

    The library does not sync a checkpoint, and a torn one makes a table unreadable: so it is
    made in `aside`, on links to the log, and moved when it is synced.

    Errors:  OSError, DeltaError
    """
    from deltalake import DeltaTable

    name = f"{LOG}/{version:020d}.checkpoint.parquet"
    if not (table / name).exists():  # otherwise the last run was killed here, or nothing came
        (aside / LOG).mkdir(parents=True)
        for logged in log_files(table):
            os.link(table / logged, aside / logged)
        DeltaTable(plain_path(aside), version=version).create_checkpoint()
        bring_home(aside)
        fsync_file(aside / name)
        last = read_checksums(table)
        assert last is not None
        # Its checksum is known before a reader can see it.
        files = {**last.files, name: digest_file(aside / name)}
        write_checksums(table, TableChecksums(last.version, files))
        (aside / name).replace(table / name)
    fsync_directory(table / LOG)
    for logged in log_files(table):
        if log_number(logged) < version:
            (table / logged).unlink()
    fsync_directory(table / LOG)


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if closed := unreachable(error, str(folder)):
            raise closed from error
        raise


def _added(table: Path, version: int) -> dict[str, int]:
    """Data files that a commit added, with their sizes. Errors:  ValueError, OSError"""
    lines = (table / LOG / f"{version:020d}.json").read_text("utf-8").splitlines()
    if not lines:
        raise ValueError("the entry is empty")
    added = [action["add"] for action in map(json.loads, lines) if action.get("add")]
    return {unquote(one["path"]): int(one["size"]) for one in added}


def _is_whole(table: Path, version: int) -> bool:
    try:
        for name, size in _added(table, version).items():
            with (table / name).open("rb") as handle:
                if os.fstat(handle.fileno()).st_size != size:
                    return False
                handle.seek(-len(PARQUET_END), os.SEEK_END)
                if handle.read() != PARQUET_END:
                    return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


# --- Recovery: what a writer does first. It holds the data root's lock, so that whatever lies
# in `staging/` or was being put into place belongs to nobody.


def recover(layout: Layout, *, thorough: bool) -> None:
    """Remove what a dead writer left half-made, and finish or undo its commits.

    Without `thorough` only what is cheap to notice is repaired. Generations and stored
    pictures are complete once they have their name, and are never touched.

    Errors:  OSError
    """
    for debris in _list(layout.staging):
        _remove(debris)
    for pointer in (layout.current, layout.blocked):
        for debris in pointer.parent.glob(f".{pointer.name}.*.tmp"):
            _remove(debris)
    for table in _list(layout.tables):
        with contextlib.suppress(InputError):  # damage, which readers report
            recorded = read_checksums(table)
            torn = recorded is None or recorded.version != max(versions(table), default=-1)
            # The library leaves half-made files without a word when only their removal fails.
            half = any("#" in p.name for folder in (table, table / LOG) for p in _list(folder))
            if thorough or torn or half:
                repair(table)


def repair(table: Path) -> None:
    """Record the last commit when it is whole, remove it when it is not, and remove every file
    that no commit names.

    Errors:  OSError; InputError when the table is damaged, and then nothing is removed
    """
    if not (table / LOG).is_dir():
        return
    newest = newest_version(table)
    if newest is not None:
        record_commit(table, newest)
    files = _recorded(table)
    for path in (*table.iterdir(), *(table / LOG).iterdir()):
        unfinished = ".parquet" in path.name or path.suffix == ".tmp" or path.parent != table
        if unfinished and path.is_file() and str(path.relative_to(table)) not in files:
            path.unlink()
    fsync_directory(table / LOG)
    if newest is None:
        (table / LOG).rmdir()
    fsync_directory(table)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
