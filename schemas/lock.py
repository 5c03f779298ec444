"""One writer at a time: a lock on the data root that dies with its owner.

The kernel releases an flock when the process ends, however it ends, so a stale lock cannot
exist; the file's text only tells people who holds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

from schemas.errors import InputError, LockedError
from schemas.layout import Layout


@contextlib.contextmanager
def writing(layout: Layout, command: str) -> Iterator[None]:
    """Hold the data root's lock while something is written.

    Errors:  LockedError at once when another process holds it; InputError when the data
             root cannot be written
    """
    import fcntl

    try:
        layout.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(
            f"the data root {layout.root} cannot be written ({error.strerror})",
            "Choose another with --data DIR.",
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(
                f"another run is writing to {layout.root}{_owner(handle)}",
                "Wait until it has finished.",
            ) from error
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": command,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


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
