"""Writing so that a kill or a power cut leaves either the old state or the new one.

The pattern: write aside, fsync the file, rename, fsync the directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from pathlib import Path

from schemas.errors import InputError


def fsync_directory(directory: Path) -> None:
    """Make renames and new names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and fsync it; the caller renames or owns the folder."""
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write_file(aside, data)
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    fsync_directory(path.parent)


def storage_error(error: OSError, what: str) -> InputError:
    """A failed write as one clear line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"the disk is full while writing {what}",
            "Free some space and run the command again; what was done is kept.",
        )
    return InputError(f"{what} cannot be written ({error.strerror or error})")
