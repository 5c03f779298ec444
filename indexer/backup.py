"""Backups that may be taken while others write, and restoring from one.

    DIR/pictures/ab/cd/...     shared by all backups in DIR; a picture is copied once
        <time>/tables, index   the tables and the published generation as of one moment
        <time>/models          models that were trained or added here
        <time>/web.sqlite      accounts, galleries and shared links of the page
        <time>/backup.json     every file with length and BLAKE3; written last

No lock is needed, because files of tables, index and pictures are immutable. Should some be
removed meanwhile, the copy starts again.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexer.vector_index.generations import Generation, current_generation_id, publish
from schemas.errors import InputError, NoIndexError, UsageError
from schemas.images import picture_id_of
from schemas.progress import Progress
from schemas.storage import commits
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import (
    digest_file,
    fsync_directory,
    fsync_file,
    read_signed,
    scratch_folder,
    signed_bytes,
    storage_errors,
    write_file,
)
from schemas.storage.layout import BACKUP_NAME, BACKUP_RECORD, Layout
from schemas.storage.tables import TABLES

FORMAT = 1
ATTEMPTS = 5
_SHARED = re.compile(r"pictures(/[0-9a-f]{2})?")
_PICTURE = re.compile(r"\.?[0-9a-f]{64}\..+")
"""Of a stored picture, or of one that was being copied."""


@dataclass(frozen=True)
class BackupReport:
    """One backup: where it lies, how many files it names, and how many were copied now."""

    path: str
    files: int
    copied: int
    bytes_count: int
    pictures: int
    generation_id: str | None


def back_up(
    layout: Layout, target: Path, *, keep: int | None = None, progress: Progress | None = None
) -> BackupReport:
    """Copy catalog, pictures and the published generation into a folder of backups.

    With `keep`, older backups beyond that many are removed, with pictures that no other names.

    Errors:  UsageError when the folder is not one of backups or lies in the data root;
             InputError when it cannot be written
    """
    target = target.expanduser().absolute()
    _check_target(layout, target)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    with (
        storage_errors(f"the backup in {target}"),
        scratch_folder(target / f".{name}.tmp") as aside,
    ):
        target.mkdir(parents=True, exist_ok=True)
        for debris in target.glob(".*.tmp"):
            if BACKUP_NAME.fullmatch(debris.name[1:-4]):
                shutil.rmtree(debris, ignore_errors=True)
        for left in reversed(range(ATTEMPTS)):
            try:
                generation = _copy(layout, Layout(aside))
                _copy_models(layout, Layout(aside), max(_backups(target), default=None))
                named = Catalog(Layout(aside)).read("pictures", ["file"])["file"].to_pylist()
                pictures = sorted(set(named) - {None})
                copied = _copy_pictures(layout, target, pictures, progress)
                break
            except (FileNotFoundError, InputError):  # something was removed meanwhile
                if not left:
                    raise
                shutil.rmtree(aside)
        files = {
            str(path.relative_to(aside)): {
                "bytes": path.stat().st_size,
                "blake3": digest_file(path),
            }
            for path in sorted(aside.rglob("*"))
            if path.is_file()
        }
        body = {"format": FORMAT, "created": name, "generation": generation}
        body |= {"files": files, "pictures": pictures}
        write_file(aside / BACKUP_RECORD, signed_bytes(body))
        _sync_folders(aside)
        aside.rename(target / name)
        fsync_directory(target)
        if keep is not None:
            _prune(target, keep)
    return _report(target / name, body, len(files) + copied)


def _report(place: Path, body: dict[str, Any], copied: int) -> BackupReport:
    files, pictures = body["files"], body["pictures"]
    size = sum(facts["bytes"] for facts in files.values())
    total = len(files) + len(pictures)
    return BackupReport(str(place), total, copied, size, len(pictures), body["generation"])


def _check_target(layout: Layout, target: Path) -> None:
    root, real = layout.root.resolve(), target.resolve()
    if not layout.tables.is_dir():
        raise InputError(f"there is no catalog in {root} to back up")
    if real == root or root in real.parents or real in root.parents:
        raise UsageError(f"{target} and the data root {root} must not hold each other")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    # Pictures that no backup names are removed: none of anybody else's may be among them.
    for path in (*target.glob("*"), *target.glob("pictures/*")):
        name = str(path.relative_to(target))
        if not (path.name[0] in ".@#" or BACKUP_NAME.fullmatch(name) or _SHARED.fullmatch(name)):
            raise UsageError(f"{target} holds something else ({name})", "Use an empty one.")


def _copy(layout: Layout, copy: Layout) -> str | None:
    """Tables, block list, visitors' data and the published generation, whose id is returned."""
    copy.root.mkdir(parents=True)
    if layout.blocked.exists():
        _copy_file(layout.blocked, copy.blocked)
    if layout.web.exists():
        _copy_database(layout.web, copy.web)
    catalog = Catalog(layout)
    for name in TABLES:
        version = catalog.version(name)
        if version is None:
            continue
        table = layout.table(name)
        files = [Path(file).name for file in catalog.files(name, version)]
        files += [file for file in commits.log_files(table) if commits.log_number(file) <= version]
        for file in files:
            _copy_file(table / file, copy.table(name) / file)
        commits.record_copy(table, copy.table(name), version, files)
        Catalog(copy).files(name)  # verifies the copies
    if current_generation_id(layout) is None:
        return None
    with Generation.open(layout, whole=True) as generation:
        for path in sorted(generation.directory.rglob("*")):
            if path.is_file():
                place = path.relative_to(generation.directory)
                _copy_file(path, copy.generation(generation.id) / place)
        return generation.id


def _copy_models(layout: Layout, copy: Layout, before: Path | None) -> None:
    """Models that settings and generations name. They are large and never change: a file that the
    backup before has is not stored twice."""
    for path in sorted(layout.models.rglob("*")):
        place = path.relative_to(layout.models)
        if not path.is_file() or place.parts[0].startswith("."):  # being written
            continue
        own = copy.models / place
        old = before and Layout(before).models / place
        if old and old.is_file() and filecmp.cmp(path, old, shallow=False):
            own.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # no hard links there
                os.link(old, own)
                continue
        _copy_file(path, own)


def _copy_pictures(
    layout: Layout, target: Path, pictures: list[str], progress: Progress | None
) -> int:
    copied = 0
    for done, name in enumerate(pictures, 1):
        path = target / "pictures" / name
        source = layout.picture(name)
        if source.exists() and (not path.exists() or path.stat().st_size != source.stat().st_size):
            aside = path.with_name(f".{path.name}.tmp")
            _copy_file(source, aside)
            aside.replace(path)
            fsync_directory(path.parent)
            copied += 1
        if progress:
            progress(done, len(pictures))
    return copied


def _copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite file as of one moment, while others write to it. Errors:  InputError"""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("pragma journal_mode = delete")
    except sqlite3.Error as error:
        raise InputError(
            f"{source} cannot be copied ({error})", "See `toonsearch doctor`."
        ) from error
    fsync_file(target)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    fsync_file(target)


def _sync_folders(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        fsync_directory(Path(folder))


def _backups(target: Path) -> list[Path]:
    """The finished backups in a folder, oldest first."""
    found = (path.parent for path in target.glob(f"*/{BACKUP_RECORD}"))
    return sorted(path for path in found if BACKUP_NAME.fullmatch(path.name))


def _read_record(source: Path) -> dict[str, Any]:
    """What a backup says it holds. Errors:  InputError"""
    try:
        body = read_signed((source / BACKUP_RECORD).read_bytes())
        if body["format"] != FORMAT:
            raise ValueError(f"it has format {body['format']}, this program reads {FORMAT}")
        for name in [*body["files"], *body["pictures"]]:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"it names {name!r}")
        return body
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(f"{source} ({error})") from error


def _prune(target: Path, keep: int) -> None:
    found = _backups(target)
    for old in found[:-keep]:
        aside = target / f".{old.name}.tmp"
        old.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    named = {name for left in found[-keep:] for name in _read_record(left)["pictures"]}
    pictures = target / "pictures"
    for path in pictures.glob("*/*/*"):
        if _PICTURE.fullmatch(path.name) and str(path.relative_to(pictures)) not in named:
            path.unlink()


def restore(source: Path, layout: Layout, *, progress: Progress | None = None) -> BackupReport:
    """Make a data root from a backup (the newest of a folder of them), verifying every byte.

    Errors:  InputError when the data root holds something already, or when the backup is
             damaged, which leaves nothing behind
    """
    source = source.expanduser().absolute()
    if not (source / BACKUP_RECORD).is_file():
        source = max(_backups(source), default=source)
    if not (source / BACKUP_RECORD).is_file():
        raise InputError(f"there is no backup in {source}")
    body = _read_record(source)
    root = layout.root.absolute()
    if root.exists() and any(root.iterdir()):
        raise InputError(
            f"the data root {root} is not empty", "Choose another with --data DIR, or move it away."
        )
    files, pictures = body["files"], body["pictures"]
    total = len(files) + len(pictures)
    with (
        storage_errors(f"the data root {root}"),
        scratch_folder(root.with_name(f".{root.name}.restoring")) as aside,
    ):
        for name, facts in files.items():
            path = source / name
            if not path.is_file() or digest_file(path) != facts["blake3"]:
                raise _damaged(str(path))
            _copy_file(path, aside / name)
        for done, name in enumerate(pictures, len(files) + 1):
            path = source.parent / "pictures" / name
            # One that was missing when the backup was made is stored by the next import.
            if path.is_file():
                if picture_id_of(path.read_bytes()) != path.stem:
                    raise _damaged(str(path))
                _copy_file(path, aside / "pictures" / name)
            if progress:
                progress(done, total)
        _sync_folders(aside)
        if body["generation"] is not None:
            try:
                publish(Layout(aside), body["generation"])
            except NoIndexError as error:
                raise _damaged(error.message) from error
        root.parent.mkdir(parents=True, exist_ok=True)
        if root.exists():
            root.rmdir()
        aside.rename(root)
        fsync_directory(root.parent)
    return _report(source, body, total)


def _damaged(what: str) -> InputError:
    return InputError(f"the backup is damaged: {what}", "Use an older one.")
