"""One writer at a time: a lock on the data root that dies with its owner.

The kernel releases an flock when the process ends, so a stale lock cannot exist. The file's text
names the holder, and is empty when the last one came to its end: if not, what that left behind
is cleared away first. A child process can write under its parent's lock (`handed_on`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime

from schemas.errors import InputError, LockedError
from schemas.storage.commits import recover
from schemas.storage.fsio import fsync_directory, is_disk_full, storage_errors
from schemas.storage.layout import Layout

HANDED_ON = "TOONSEARCH_LOCK_HANDLE"
_held: ContextVar[int] = ContextVar("held", default=-1)


@contextlib.contextmanager
def writing(layout: Layout, command: str) -> Iterator[None]:
    """Hold the data root's lock while something is written.

    Errors:  LockedError at once when another process holds it; InputError when the data
             root cannot be written
    """
    import fcntl

    try:
        if not layout.root.is_dir():
            layout.root.mkdir(parents=True, exist_ok=True)
            fsync_directory(layout.root.parent)
        handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(
            f"the data root {layout.root} cannot be written ({error.strerror})",
            "Choose another with --data DIR.",
        ) from error
    try:
        if _was_handed_on(handle):
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(
                f"another run is writing to {layout.root}{_owner(handle)}",
                "Wait until it has finished.",
            ) from error
        with storage_errors(f"the data root {layout.root}"):
            died = os.fstat(handle).st_size > 0
            _sign(handle, command)
            recover(layout, thorough=died)
        token = _held.set(handle)
        try:
            yield
        finally:
            _held.reset(token)
        with contextlib.suppress(OSError):  # only costs the next run a thorough repair
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _sign(handle: int, command: str) -> None:
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": command,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(handle, 0)
    try:
        os.pwrite(handle, json.dumps(owner).encode(), 0)
    except OSError as error:
        if not is_disk_full(error):
            raise
        os.ftruncate(handle, 1)  # takes no space; what frees some (`index gc`) must go on


def handed_on() -> tuple[dict[str, str], tuple[int, ...]]:
    """Environment and inherited descriptors of a child that writes under this lock."""
    handle = _held.get()
    return ({HANDED_ON: str(handle)}, (handle,)) if handle >= 0 else ({}, ())


def _was_handed_on(handle: int) -> bool:
    """Whether the parent holds the lock for this process: its descriptor was inherited and
    is the same file, and the lock can be taken through it."""
    import fcntl

    text = os.environ.get(HANDED_ON, "")
    if not text.isdecimal():
        return False
    try:
        theirs, mine = os.fstat(int(text)), os.fstat(handle)
        if (theirs.st_dev, theirs.st_ino) != (mine.st_dev, mine.st_ino):
            return False
        fcntl.flock(int(text), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def lock_owner(layout: Layout) -> str | None:
    """Who holds the lock now, as a phrase; None when it is free."""
    import fcntl

    try:
        handle = os.open(layout.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        return _owner(handle).strip(" ()") or "another process"
    finally:
        os.close(handle)


def _owner(handle: int) -> str:
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
        return f" ({owner['command']}, process {owner['pid']}, since {owner['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
