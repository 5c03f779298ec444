"""Checks a picture, and stores its bytes under their own digest.

A stored file never changes: it is written aside, synced and renamed, and a file that is
already there is left alone. The row that names it is committed afterwards.
"""

from __future__ import annotations

import stat
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.images import (
    FORMATS,
    SKIPPED,
    PictureError,
    PictureLimits,
    Reason,
    decode_picture,
    inspect_picture,
    is_blank,
    perceptual_hash,
    picture_id_of,
    unread,
)
from schemas.storage.fsio import fsync_directory, fsync_file, storage_errors
from schemas.storage.layout import Layout

CHECK_PX = 256  # enough to see that something is drawn, and cheap to decode to


@dataclass(frozen=True)
class CheckedPicture:
    """What the catalog needs to know of a picture file, good or bad."""

    picture_id: str
    status: str
    reason: Reason | None = None
    file: str | None = None
    format: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    bytes_count: int | None = None
    perceptual_hash: str | None = None
    detail: str = ""

    def columns(self) -> dict[str, Any]:
        """The facts as columns of `pictures`."""
        facts = {**vars(self), "reason": None if self.reason is None else str(self.reason)}
        del facts["detail"]
        return facts


def stamp_of(path: Path) -> str:
    """Size and modification time: while they stay, a file is not read again.

    Errors:  PictureError when the path is missing or no file
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise unread(error) from error
    if not stat.S_ISREG(facts.st_mode):
        raise PictureError(Reason.NOT_A_FILE, "is not a file")
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def size_of(path: Path) -> int:
    """The bytes of a file, -1 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def check_and_store(
    layout: Layout, limits: PictureLimits, data: bytes, *, sync: bool = True
) -> CheckedPicture:
    """Check that bytes are a usable picture, then store them.

    Without `sync` the file may be lost in a power cut until `fsio.sync_files` was called.

    Errors:  StorageError when the store cannot be written; a bad picture is an answer, not
             an error
    """
    picture_id = picture_id_of(data)
    try:
        facts = inspect_picture(data, limits)
        image = decode_picture(data, limits, target_px=CHECK_PX)
        if is_blank(image):
            raise PictureError(Reason.BLANK, "nothing is drawn on it")
    except PictureError as error:
        return refused(picture_id, error, len(data))
    file = layout.picture_file(picture_id, FORMATS[facts.format])
    with storage_errors(f"the pictures in {layout.root}"):
        _store(layout, file, data, sync)
    size_px, digits = (facts.width_px, facts.height_px), f"{perceptual_hash(image):016x}"
    return CheckedPicture(
        picture_id, "stored", None, file, facts.format, *size_px, len(data), digits
    )


def refused(picture_id: str, error: PictureError, bytes_count: int | None) -> CheckedPicture:
    """A picture that is not stored, as a row's worth of facts."""
    status = "skipped" if error.reason in SKIPPED else "failed"
    return CheckedPicture(
        picture_id, status, error.reason, bytes_count=bytes_count, detail=error.message
    )


def _store(layout: Layout, file: str, data: bytes, sync: bool) -> None:
    path = layout.picture(file)
    try:
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    fresh = [folder for folder in (path.parent, *path.parents[1:3]) if not folder.is_dir()]
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in fresh:
        fsync_directory(folder.parent)
    layout.staging.mkdir(parents=True, exist_ok=True)
    # A name of its own: two threads may hold two files with the same bytes.
    aside = layout.staging / f"picture-{uuid.uuid4().hex}"
    try:
        aside.write_bytes(data)
        if sync:
            fsync_file(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if sync:
        fsync_directory(path.parent)
