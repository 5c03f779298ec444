"""Backups that may be taken while others write.

    DIR/pictures/ab/cd/...     shared by all backups in DIR; a picture is copied once
        <time>/tables, index   the tables and the published generation as of one moment
        <time>/web.sqlite      accounts, galleries and shared links of the page
        <time>/backup.json     every file with length and BLAKE3; written last

All but one file that is copied is immutable, so that no lock is needed: a table is its newest
commit and the files that it names, and a picture's file is there before its row. Should a
forgetting remove files meanwhile, the copy starts again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexer.vector_index.generations import Generation, current_generation_id, publish
from schemas.errors import InputError, NoIndexError
from schemas.progress import Progress
from schemas.storage import commits
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import (
    digest_file,
    fsync_directory,
    fsync_file,
    read_signed,
    signed_bytes,
    storage_error,
    write_file,
)
from schemas.storage.layout import Layout
from schemas.storage.tables import TABLES

FORMAT = 1
RECORD = "backup.json"
TRIES = 5
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}[0-9]{6}")


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

    With `keep`, older backups beyond that many go, with pictures that no other one names.

    Errors:  InputError when the folder is not one of backups, lies in the data root, or
             cannot be written
    """
    target = target.expanduser().absolute()
    _check_target(layout, target)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = target / f".{name}.tmp"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for debris in target.glob(".*.tmp"):
            shutil.rmtree(debris, ignore_errors=True)
        for attempt in range(TRIES):
            shutil.rmtree(aside, ignore_errors=True)
            try:
                generation = _copy(layout, aside)
                pictures = _pictures_of(Layout(aside))
                copied = _copy_pictures(layout, target, pictures, progress)
                break
            except (FileNotFoundError, InputError):  # something was cleared away meanwhile
                if attempt == TRIES - 1:
                    raise
        files = {
            str(path.relative_to(aside)): {
                "bytes": path.stat().st_size, "blake3": digest_file(path),
            }
            for path in sorted(aside.rglob("*")) if path.is_file()
        }  # fmt: skip
        body = {
            "format": FORMAT, "created": name, "generation": generation, "files": files,
            "pictures": pictures,
        }  # fmt: skip
        write_file(aside / RECORD, signed_bytes(body))
        sync_folders(aside)
        aside.rename(target / name)
        fsync_directory(target)
        if keep is not None:
            _prune(target, keep)
    except OSError as error:
        raise storage_error(error, f"the backup in {target}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    size = sum(int(str(facts["bytes"])) for facts in files.values())
    return BackupReport(
        str(target / name), len(files) + len(pictures), len(files) + copied, size, len(pictures),
        generation,
    )  # fmt: skip


def _check_target(layout: Layout, target: Path) -> None:
    root = layout.root.absolute()
    if not layout.tables.is_dir():
        raise InputError(f"there is no catalog in {root} to back up")
    if target == root or root in target.parents or target in root.parents:
        raise InputError(f"{target} and the data root {root} must not hold each other")
    if target.exists():
        if not target.is_dir():
            raise InputError(f"{target} is not a folder")
        strange = [
            p.name for p in target.iterdir()
            if p.name != "pictures" and not _NAME.fullmatch(p.name) and not p.name.startswith(".")
        ]  # fmt: skip
        if strange:
            raise InputError(
                f"{target} holds something else ({strange[0]})", "Choose an empty one."
            )


def _copy(layout: Layout, aside: Path) -> str | None:
    """Tables, block list, what visitors keep, the published generation; returns its id."""
    into = Layout(aside)
    aside.mkdir(parents=True)
    if layout.blocked.exists():
        copy_file(layout.blocked, into.blocked)
    if layout.web.exists():
        _copy_database(layout.web, into.web)
    catalog = Catalog(layout)
    for name in TABLES:
        if not catalog.exists(name):
            continue
        table = layout.table(name)
        version = catalog.version(name)
        assert version is not None
        files = [Path(file).name for file in catalog.files(name, version)]
        for logged in commits.log_files(table):
            if commits.log_number(logged) <= version:
                files.append(logged)
        for file in files:
            copy_file(table / file, into.table(name) / file)
        commits.seal_copy(table, into.table(name), version, files)
        Catalog(into).files(name)  # proves the copies
    current = current_generation_id(layout)
    if current is None:
        return None
    with Generation.open(layout) as generation:
        for path in sorted(generation.directory.rglob("*")):
            if path.is_file():
                place = path.relative_to(generation.directory)
                copy_file(path, into.generation(generation.id) / place)
        return generation.id


def _pictures_of(copied: Layout) -> list[str]:
    """Stored files that the copied catalog names."""
    names = set(Catalog(copied).read("pictures", ["file"])["file"].to_pylist())
    return sorted(name for name in names if name is not None)


def _copy_pictures(
    layout: Layout, target: Path, pictures: list[str], progress: Progress | None
) -> int:
    copied = 0
    for done, name in enumerate(pictures, 1):
        path = target / "pictures" / name
        source = layout.picture(name)
        if source.exists() and (not path.exists() or path.stat().st_size != source.stat().st_size):
            aside = path.with_name(f".{path.name}.tmp")
            copy_file(source, aside)
            aside.replace(path)
            fsync_directory(path.parent)
            copied += 1
        if progress:
            progress(done, len(pictures))
    return copied


def _copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite file as of one moment, while others write to it.

    Errors:  InputError when it is none
    """
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


def copy_file(source: Path, target: Path) -> None:
    """Copy and sync one file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    fsync_file(target)


def sync_folders(root: Path) -> None:
    """Sync a folder and every one below it."""
    for folder, _, _ in os.walk(root):
        fsync_directory(Path(folder))


def backups(target: Path) -> list[Path]:
    """The finished backups in a folder, oldest first."""
    if not target.is_dir():
        return []
    return sorted(p for p in target.iterdir() if _NAME.fullmatch(p.name) and (p / RECORD).is_file())


def read_record(source: Path) -> dict[str, Any]:
    """What a backup says it holds, proven. Errors:  InputError"""
    try:
        body = read_signed((source / RECORD).read_bytes())
        if body["format"] != FORMAT:
            raise ValueError(f"it has format {body['format']}, this program reads {FORMAT}")
        for name in [*body["files"], *body["pictures"]]:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"it names {name!r}")
        return body
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the backup {source} is damaged ({error})", "Use an older one."
        ) from error


def _prune(target: Path, keep: int) -> None:
    found = backups(target)
    for old in found[:-keep]:
        aside = target / f".{old.name}.tmp"
        old.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    named: set[str] = set()
    for left in found[-keep:]:
        named.update(read_record(left)["pictures"])
    _remove_unnamed(target / "pictures", named)


def _remove_unnamed(pictures: Path, named: Iterable[str]) -> None:
    kept = set(named)
    for path in pictures.glob("*/*/*"):
        if str(path.relative_to(pictures)) not in kept:
            path.unlink()


# --- A data root from a backup, every byte proven on the way.


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
