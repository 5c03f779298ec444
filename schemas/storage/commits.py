"""Delta commits that survive a power cut, and what to do about one that was cut short.

The Delta library renames and links its files without syncing them. So each commit is sealed
afterwards: its data files, its log entry and both folders are synced, and then a small file
beside the log says up to which version that was done, and the digest of every file. A version
above the seal was never acknowledged: readers take it when it is whole and the one before when
it is not, and the next writer finishes it or takes it away. A version up to the seal that is
not as it was sealed was damaged later, and is never passed over in silence.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from schemas.errors import InputError
from schemas.storage.fsio import (
    digest_file,
    digest_once,
    fsync_directory,
    fsync_file,
    read_signed,
    replace_file,
    signed_bytes,
)

LOG = "_delta_log"
PARQUET_END = b"PAR1"
LAST_CHECKPOINT = "_last_checkpoint"
ATTEMPTS = 20
_ENTRY = re.compile(r"([0-9]{20})\.json")
_LOGGED = re.compile(r"[0-9]{20}\.(json|checkpoint.*\.parquet)")
_T = TypeVar("_T")


def versions(table: Path) -> list[int]:
    """Versions that the log holds an entry of, oldest first."""
    names = [path.name for path in _list(table / LOG)]
    return sorted(int(found[1]) for name in names if (found := _ENTRY.fullmatch(name)))


def newest_version(table: Path) -> int | None:
    """The version that readers use, None while nothing was ever committed.

    Only an entry above the seal is looked into: everything below was synced.

    Errors:  InputError when what was sealed is gone, or the seal is damaged
    """
    sealed = sealed_version(table)  # before the log, which a writer may add to meanwhile
    known = versions(table)
    if sealed is not None and max(known, default=-1) < sealed:
        raise damaged(table, f"version {sealed} is gone from {LOG}")
    newest = None
    for version in known:
        if sealed is not None and version > sealed:
            expected = sealed + 1 if newest is None else newest + 1
            # Nothing keeps names in order: a power cut may leave the second of two.
            if version != expected or not _is_whole(table, version):
                break
        newest = version
    return newest


def reading(table: Path, read: Callable[[], _T]) -> _T:
    """What `read` returns; it is called again when it failed while a writer shortened the
    log or cleared files away, since readers take no lock.

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


def sealed_version(table: Path) -> int | None:
    """Up to which version the table is known to be on the disk; None without a seal.

    Errors:  InputError when the seal is damaged
    """
    seal = read_seal(table)
    return None if seal is None else seal.version


def log_files(table: Path) -> list[str]:
    """Entries and checkpoints of the log, relative to the table."""
    return sorted(f"{LOG}/{p.name}" for p in _list(table / LOG) if _LOGGED.fullmatch(p.name))


def log_number(name: str) -> int:
    """The version that a file of the log is about."""
    return int(name.removeprefix(f"{LOG}/")[:20])


def prepare(table: Path) -> None:
    """Make a new table's folder, sealed before its first commit."""
    table.mkdir(parents=True, exist_ok=True)
    if sealed_version(table) is None and not versions(table):
        write_seal(table, Seal(-1, {}))
        fsync_directory(table.parent)
        fsync_directory(table.parent.parent)


def seal(table: Path, version: int) -> None:
    """Sync everything that came after the last seal; then say so, with the digests of it.

    Errors:  OSError; InputError when the last seal is damaged
    """
    last = read_seal(table)
    if last is not None and last.version == version:
        return
    first = version if last is None else min(version, last.version + 1)
    names = []
    for number in range(first, version + 1):
        entry = _entry(table, number)
        if not entry.exists():
            continue
        for name, _ in _added(table, number):
            with contextlib.suppress(FileNotFoundError):  # removed by a later commit
                fsync_file(table / name)
                names.append(name)
        fsync_file(entry)
        names.append(f"{LOG}/{entry.name}")
    fsync_directory(table)
    fsync_directory(table / LOG)
    if last is None or last.files is None:  # of another or an earlier program
        names += [
            *(_named(table) or ()),
            *(n for n in log_files(table) if log_number(n) <= version),
        ]
    _write(table, version, names, last)


def seal_copy(table: Path, copy: Path, version: int, names: Iterable[str]) -> None:
    """Seal a copy of these files of a table, as far as the table's own seal knows them."""
    last = read_seal(table)
    known = (last and last.files) or {}
    write_seal(copy, Seal(version, {n: known[n] for n in names if n in known} or None))


def _write(table: Path, version: int, names: Iterable[str], last: Seal | None) -> None:
    """Seal what was sealed before and these files, as far as they are there."""
    files = dict((last and last.files) or {})
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            files[name] = digest_once(table / name)
    write_seal(table, Seal(version, {n: files[n] for n in files if (table / n).exists()}))


def mend(table: Path) -> None:
    """What a writer does first after another one died: finish or take away its commit, and
    remove files that no commit names. Needs the data root's lock.

    Errors:  OSError; InputError when the log is damaged, and then nothing is removed on
             the word of it
    """
    if not (table / LOG).is_dir():
        return
    newest = newest_version(table)
    prove(table, log_files(table))
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

    name = f"{LOG}/{version:020d}.checkpoint.parquet"
    if not (table / name).exists():  # otherwise the last run was killed here, or nothing came
        (aside / LOG).mkdir(parents=True)
        for logged in log_files(table):
            os.link(table / logged, aside / logged)
        DeltaTable(aside, version=version).create_checkpoint()
        fsync_file(aside / name)
        last = read_seal(table)
        if last is not None:  # known by its digest before a reader can see it
            sealed = {**(last.files or {}), name: digest_file(aside / name)}
            write_seal(table, Seal(last.version, sealed))
        (aside / name).replace(table / name)
    # A hint that nobody needs while the log is short, and that may name what goes now.
    (table / LOG / LAST_CHECKPOINT).unlink(missing_ok=True)
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


# --- Seals: up to which version a table is on the disk, and the digest of every file of it.
#
#     tables/<name>/_sealed      version, file -> BLAKE3, and the seal's own digest
#
# Delta Lake and Parquet as written here carry no checksums, so a byte that decays on the disk
# would be read as if nothing had happened. A reader proves log entries before the library parses
# them, and data files before anybody reads them, each once in a process (60 MB of tables take
# 30 ms). Names that a seal does not know pass: they are of another program, or of a writer that
# is just about to seal them.

SEAL = "_sealed"
FORMAT = 1
MAX_SEAL_BYTES = 1 << 26
RESTORE = "`toonsearch doctor` says what can be done."


@dataclass(frozen=True)
class Seal:
    """`files` are named relative to the table; None in seals that are but a number, as earlier
    programs wrote them."""

    version: int
    files: dict[str, str] | None = None


def read_seal(table: Path) -> Seal | None:
    """A table's seal; None without one, as in tables that another program made.

    Errors:  InputError when it is damaged or of a newer format
    """
    try:
        with (table / SEAL).open("rb") as handle:
            data = handle.read(MAX_SEAL_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise damaged(table, f"{SEAL}: {error.strerror}") from error
    try:
        return _parsed(data)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(table, f"{SEAL}: {error}") from error


@lru_cache(maxsize=64)
def _parsed(data: bytes) -> Seal:
    text = data.strip()
    if text.removeprefix(b"-").isdigit():
        return Seal(int(text))
    body = read_signed(data)
    if body["format"] != FORMAT:
        raise ValueError("it is of a newer program")
    return Seal(int(body["version"]), body["files"])


def write_seal(table: Path, seal: Seal) -> None:
    """Replace a table's seal. Errors:  OSError"""
    body = {"format": FORMAT, "version": seal.version, "files": seal.files}
    replace_file(table / SEAL, signed_bytes(body))


def prove(table: Path, names: Iterable[str]) -> None:
    """Prove files against the seal, before anybody parses them.

    Errors:  InputError names the first one that is damaged; FileNotFoundError
    """
    seal = read_seal(table)
    known = (seal.files if seal else None) or {}
    for name in names:
        if name in known and digest_once(table / name) != known[name]:
            raise damaged(table, f"{name} is damaged")


def damaged(table: Path, what: str) -> InputError:
    return InputError(f"the catalog table {table.name!r} cannot be read ({what})", RESTORE)
