"""Writing so that a kill or a power cut leaves either the old state or the new one.

The pattern: write aside, fsync the file, rename, fsync the directory.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import blake3

from schemas.errors import StorageError, UnreachableError


def fsync_file(path: Path, flags: int = 0) -> None:
    """Make the contents of a file durable that another library wrote."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_directory(directory: Path) -> None:
    """Make renames and new names in a directory durable."""
    fsync_file(directory, os.O_DIRECTORY)


def sync_files(directory: Path) -> None:
    """Make everything durable that was written to a directory's file system so far, in one call.

    Errors:  OSError when the file system cannot be written
    """
    import ctypes

    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "syncfs"):
            os.sync()
        elif libc.syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and fsync it; the caller renames or owns the folder."""
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of another, atomically and durably, unless the block raises.

    Errors:  OSError
    """
    # A part of the name: with all of it the longest names would be too long.
    aside = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    fsync_directory(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file by these bytes, as `replaced` does."""
    with replaced(path) as file:
        file.write(data)


def is_disk_full(error: BaseException) -> bool:
    """Whether a failure means that no space is left, whichever library says so."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error).lower()  # SQLite, Delta and FAISS only say it in words
    return "no space left" in text or "disk is full" in text or "disk quota" in text


_NO_MEMORY = (
    "failed to map segment",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "unable to allocate",
    "out of memory",
    "start new thread",
    "resource temporarily unavailable",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failure means that there is not enough memory, whichever library says so."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)


OWNER = "Run as its owner, or give this user the right to read it."
_REFUSALS = {
    errno.EACCES: OWNER,
    errno.EPERM: OWNER,
    errno.ELOOP: "Links lead round in a circle: name the folder itself.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Allow more open files with `ulimit -n`.",
    errno.ENFILE: "Close other programs.",
    errno.ESTALE: "Mount its file system again.",
    errno.ENOTCONN: "Mount its file system again.",
    errno.EHOSTDOWN: "Mount its file system again.",
    errno.EIO: "Look after the disk; `dmesg` may say more.",
    errno.EROFS: "Its file system is mounted to be read only.",
}
"""What the system refuses without saying that anything is damaged, and what helps."""


def refusal(error: BaseException | str) -> tuple[str, str] | None:
    """Why a file cannot be reached though it may be whole, as what follows its name, and what
    helps; None for other failures. Libraries only say it in words."""
    number = getattr(error, "errno", None)
    text = str(error).lower()
    for code, hint in _REFUSALS.items():
        reason = os.strerror(code)
        if number == code or reason.lower() in text or f"(os error {code})" in text:
            by = " by this user" if hint is OWNER else ""
            return f"cannot be read{by} ({reason})", hint
    return None


def unreachable(error: BaseException, what: str) -> UnreachableError | None:
    """The same as an error about `what`."""
    found = refusal(error)
    return UnreachableError(f"{what} {found[0]}", found[1]) if found else None


def storage_error(error: Exception, what: str) -> StorageError:
    """A failed write as one clear line."""
    if is_disk_full(error):
        return StorageError(
            f"the disk is full while writing {what}",
            "Free some space and run the command again; what was done stays.",
        )
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return StorageError(f"{what} cannot be written ({reason})")


@contextlib.contextmanager
def storage_errors(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn failed writes inside (OSError, and other kinds) into one clear line.

    Errors:  StorageError
    """
    caught: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except caught as error:
        raise storage_error(error, what) from error


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder for half-made things, which is removed before and after; the caller makes it."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# --- Digests: whether a file is, byte for byte, what it was when it was written.

_known: dict[str, tuple[int, int, int, str]] = {}


def digest_bytes(data: bytes) -> str:
    """BLAKE3, in hex."""
    return blake3.blake3(data).hexdigest()


def read_verified(path: Path, facts: dict[str, Any], max_bytes: int) -> bytes:
    """The bytes of a file, checked to have the length and digest (`bytes`, `blake3`) of a record.

    Errors:  OSError; ValueError when it is cut, changed or longer than it may be
    """
    size = int(facts["bytes"])
    if not 0 < size <= max_bytes:
        raise ValueError(f"{path.name}: a length of {size} bytes is impossible")
    with path.open("rb") as file:
        data = file.read(size + 1)  # one more than promised shows a longer file
    if len(data) != size or digest_bytes(data) != facts["blake3"]:
        raise ValueError(f"{path.name} is damaged: its digest is another")
    return data


def digest_file(path: Path) -> str:
    """BLAKE3 of a file through a memory map, in hex."""
    return blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).hexdigest()


def digest_once(path: Path) -> str:
    """The same for files that are never written twice: a process reads each once, and again
    only when its inode, length or time of change is another.

    Errors:  OSError
    """
    facts = path.stat()
    key = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    known = _known.get(str(path))
    if known is None or known[:3] != key:
        known = _known[str(path)] = (*key, digest_file(path))
    return known[3]


def signed_bytes(body: dict[str, Any]) -> bytes:
    """The one serialisation of a record that carries the digest of the rest of itself."""

    def canonical(body: dict[str, Any]) -> bytes:
        return json.dumps(body, sort_keys=True, ensure_ascii=True, indent=1).encode() + b"\n"

    plain = {key: value for key, value in body.items() if key != "digest"}
    return canonical({**plain, "digest": digest_bytes(canonical(plain))})


def read_signed(data: bytes) -> dict[str, Any]:
    """The record of such bytes; any changed byte is found, white space included.

    Errors:  ValueError
    """
    try:
        body = json.loads(data)
        if signed_bytes(body) != data:
            raise ValueError("its digest does not match")
        return dict(body)
    except (AttributeError, RecursionError, TypeError) as error:
        raise ValueError("it is not a record") from error
