"""A data root from a backup, every byte proven on the way."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from indexer.backup import (
    RECORD,
    BackupReport,
    Progress,
    backups,
    copy_file,
    read_record,
    sync_folders,
)
from indexer.generations import publish
from schemas.digests import digest_file
from schemas.durable import fsync_directory, storage_error, write_file
from schemas.errors import InputError, NoIndexError
from schemas.layout import Layout


def restore(source: Path, layout: Layout, *, progress: Progress | None = None) -> BackupReport:
    """Make a data root from a backup (the newest of a folder of them), proving every byte.

    Errors:  InputError when the data root holds something already, or when the backup is
             damaged, which leaves nothing behind
    """
    source = _newest(source.expanduser().absolute())
    body = read_record(source)
    root = layout.root.absolute()
    if root.exists() and any(root.iterdir()):
        raise InputError(
            f"the data root {root} is not empty", "Choose another with --data DIR, or move it away."
        )
    aside = root.with_name(f".{root.name}.restoring")
    shutil.rmtree(aside, ignore_errors=True)
    total = len(body["files"]) + len(body["pictures"])
    try:
        done = 0
        for name, facts in body["files"].items():
            _proven(source / name, aside / name, facts["bytes"], facts["blake3"])
            done += 1
        for name in body["pictures"]:
            _proven_picture(source.parent / "pictures" / name, aside / "pictures" / name)
            done += 1
            if progress:
                progress(done, total)
        sync_folders(aside)
        restored = Layout(aside)
        if body["generation"] is not None:
            publish(restored, body["generation"])
        root.parent.mkdir(parents=True, exist_ok=True)
        if root.exists():
            root.rmdir()
        aside.rename(root)
        fsync_directory(root.parent)
    except (OSError, NoIndexError) as error:
        if isinstance(error, NoIndexError):
            raise InputError(f"the backup {source} is damaged ({error.message})") from error
        raise storage_error(error, f"the data root {root}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    size = sum(facts["bytes"] for facts in body["files"].values())
    return BackupReport(str(source), total, total, size, len(body["pictures"]), body["generation"])


def _proven(source: Path, target: Path, size: int, digest: str) -> None:
    if not source.is_file() or source.stat().st_size != size or digest_file(source) != digest:
        raise InputError(f"the backup is damaged: {source}", "Use an older one.")
    copy_file(source, target)


def _proven_picture(source: Path, target: Path) -> None:
    """A picture's name is its digest. One that was missing when the backup was made is
    missing still, and its row says so to the next import."""
    if not source.is_file():
        return
    data = source.read_bytes()
    if hashlib.sha256(data).hexdigest() != source.stem:
        raise InputError(f"the backup is damaged: {source}", "Use an older one.")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, data)


def _newest(source: Path) -> Path:
    if (source / RECORD).is_file():
        return source
    found = backups(source)
    if not found:
        raise InputError(f"there is no backup in {source}")
    return found[-1]
