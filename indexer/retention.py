"""Which generations stay: going back to an older one, and clearing away what nobody needs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from indexer.generations import current_generation_id, generation_ids, publish
from indexer.manifests import MANIFEST, read_manifest
from schemas.durable import fsync_directory, storage_error
from schemas.errors import NoIndexError
from schemas.layout import Layout


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
