"""Which generations stay: going back to an older one, and clearing away what nobody needs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.vector_index.generations import (
    MANIFEST,
    Generation,
    check_files,
    current_generation_id,
    generation_ids,
    publish,
    read_manifest,
)
from schemas.errors import NoIndexError
from schemas.storage.fsio import fsync_directory, storage_error
from schemas.storage.layout import Layout


def rollback(layout: Layout) -> str:
    """Move the pointer to the published generation's parent, or else the next older one.

    Errors:  NoIndexError when no older generation is sound
    """
    current = current_generation_id(layout)
    older = [name for name in generation_ids(layout) if current is None or name < current]
    if current is not None:
        with contextlib.suppress(NoIndexError):
            parent = read_manifest(layout.generation(current)).get("parent")
            older.sort(key=lambda name: (name == parent, name))
    for name in reversed(older):
        with contextlib.suppress(NoIndexError):
            publish(layout, name)
            return name
    raise NoIndexError("there is no older sound generation to go back to")


def collect_garbage(layout: Layout, keep: int, *, dry_run: bool = False) -> list[str]:
    """Remove generations beyond the newest `keep` sound ones, never the published one, its
    parent, or one that a reader holds. Returns the ids removed (or that would be)."""
    current = current_generation_id(layout)
    if current is None:
        return []  # without a pointer nobody can say which one is precious
    kept = {current}
    with contextlib.suppress(NoIndexError):
        kept.add(read_manifest(layout.generation(current)).get("parent") or current)
    newest = [name for name in reversed(generation_ids(layout)) if name <= current]
    kept |= set(newest[:keep])
    old = [name for name in generation_ids(layout) if name not in kept]
    return remove_generations(layout, old, dry_run=dry_run)


def remove_generations(layout: Layout, names: Iterable[str], *, dry_run: bool = False) -> list[str]:
    """Remove these generations, but none that a reader holds, and never the published one.

    Returns the ids removed (or that would be). Errors:  InputError when the disk refuses
    """
    current = current_generation_id(layout)
    removed = []
    for name in sorted(set(names) - {current}):
        with _unheld(layout.generation(name)) as free:
            if not free:
                continue
            removed.append(name)
            if not dry_run:
                _remove(layout, name)
    return removed


def _remove(layout: Layout, name: str) -> None:
    """Out of the index in one step, then file by file."""
    aside = layout.staging / f"removed-{name}"
    try:
        layout.staging.mkdir(parents=True, exist_ok=True)
        layout.generation(name).rename(aside)
        fsync_directory(layout.index)
    except OSError as error:
        raise storage_error(error, "the list of generations") from error
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _unheld(directory: Path) -> Iterator[bool]:
    """Whether no reader holds the generation; keeps readers out meanwhile."""
    import fcntl

    try:
        handle = os.open(directory / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


# --- All generations with their verdicts, as people ask for them.


@dataclass(frozen=True)
class GenerationInfo:
    """One generation as `toonsearch index list` shows it; `state` is ok or damaged: why."""

    id: str
    created: str
    published: bool
    pictures_count: int
    titles_count: int
    authors_count: int
    model_id: str
    parent: str | None
    bytes_count: int
    state: str


def verify_generation(layout: Layout, generation_id: str | None = None) -> GenerationInfo:
    """Prove a generation (the published one by default).

    Errors:  NoIndexError says what is damaged
    """
    with Generation.open(layout, generation_id) as generation:
        return _info(layout, generation.directory, generation.manifest, "ok")


def list_generations(layout: Layout) -> list[GenerationInfo]:
    """All generations, oldest first, each with its verdict."""
    found = []
    for name in generation_ids(layout):
        directory = layout.generation(name)
        try:
            manifest = read_manifest(directory)
            check_files(directory, manifest)
            found.append(_info(layout, directory, manifest, "ok"))
        except NoIndexError as error:
            blank: dict[str, Any] = {
                "counts": {},
                "created": "",
                "model_id": "",
                "parent": None,
                "files": {},
            }
            found.append(_info(layout, directory, {"id": name, **blank}, error.message))
    return found


def _info(layout: Layout, directory: Path, manifest: dict[str, Any], state: str) -> GenerationInfo:
    counts = manifest["counts"]
    return GenerationInfo(
        id=directory.name,
        created=manifest["created"],
        published=current_generation_id(layout) == directory.name,
        pictures_count=counts.get("pictures", 0),
        titles_count=counts.get("titles", 0),
        authors_count=counts.get("authors", 0),
        model_id=manifest["model_id"],
        parent=manifest["parent"],
        bytes_count=sum(facts["bytes"] for facts in manifest["files"].values()),
        state=state,
    )
