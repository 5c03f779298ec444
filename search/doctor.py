"""The checks behind `toonsearch doctor`: each a line with a verdict and a way out."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from schemas.errors import InputError, NoIndexError, ToonsearchError, UsageError
from schemas.settings import Settings, setting_files
from schemas.storage.layout import Layout
from search.cli.context import Session

MIN_PYTHON = (3, 11)
RESTORE = (
    "`toonsearch restore` a backup elsewhere; without one, move the data root's tables away, and"
    " `toonsearch nightly` fills them anew. The index goes on answering meanwhile."
)
LOW_DISK_BYTES = 1_000_000_000
LOW_MEMORY_BYTES = 500_000_000


@dataclass(frozen=True)
class Finding:
    """One checked thing. `exit_code` is that of a failure of its kind."""

    what: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""
    exit_code: int = 1


def examine(session: Session) -> Iterator[Finding]:
    """Check everything that a query or a nightly run needs; never raises."""
    yield _python()
    yield from _guarded("vectors", _faiss, "Reinstall with the extra cpu or gpu.")
    try:
        settings = session.settings()
    except ToonsearchError as error:
        yield Finding("settings", "fail", error.message, error.hint, UsageError.exit_code)
        return
    yield _settings(settings)
    yield from _guarded("network", lambda: _network(settings), "Reinstall toonsearch.")
    layout = settings.layout
    yield _root(layout)
    yield _disk(layout)
    yield from _guarded("memory", _memory, "")
    yield _lock(layout)
    yield from _guarded("index", lambda: _index(layout), "Run `toonsearch index build`.")
    yield from _guarded("catalog", lambda: _catalog(layout, settings), RESTORE, always=True)
    yield from _guarded("pictures", lambda: _pictures(layout), RESTORE, always=True)
    yield from _guarded("forgotten", lambda: _forgotten(layout), RESTORE)


def _guarded(
    what: str, check: Callable[[], Finding | None], fix: str, *, always: bool = False
) -> Iterator[Finding]:
    """A check that breaks is a finding too; its repair is the error's own, or else `fix`."""
    try:
        found = check()
        if found is not None:
            yield found
    except ToonsearchError as error:
        mend = fix if always else error.hint or fix
        yield Finding(what, "fail", error.message, mend, error.exit_code)
    except Exception as error:  # a broken library raises anything while it is imported
        yield Finding(what, "fail", f"{type(error).__name__}: {error}", fix)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= MIN_PYTHON
    return Finding("python", "ok" if good else "fail", version, "Use Python 3.11 or newer.")


def _faiss() -> Finding:
    from indexer.vector_index.faiss_index import installed

    return Finding("vectors", "ok", installed())


def _network(settings: Settings) -> Finding:
    """Run the configured model once: proves its digest, the runtime and the output."""
    import numpy as np

    from indexer.embedding.embed import open_encoder

    encoder = open_encoder(settings)
    side = encoder.pixel_spec.multiple_px * 2
    flat = np.full((side, side, 3), 128, np.uint8)
    vector = encoder.encode([flat]).vectors  # (1, D)
    if not np.isclose(np.linalg.norm(vector), 1.0, atol=1e-3):
        return Finding("network", "fail", f"{encoder.model_id} gives no unit vectors",
                       "Reinstall toonsearch.", NoIndexError.exit_code)  # fmt: skip
    return Finding("network", "ok", f"{encoder.model_id} on {encoder.runtime}")


def _settings(settings: Settings) -> Finding:
    from pathlib import Path

    files = [str(f) for f in setting_files(os.environ, Path.cwd()) if f.is_file()]
    given = sum(1 for origin in settings.origins.values() if origin != "default")
    detail = f"{given} given, from {', '.join(files)}" if files else f"{given} given, no files"
    return Finding("settings", "ok", detail)


def _root(layout: Layout) -> Finding:
    root = layout.root
    if not root.exists():
        return Finding("data root", "warn", f"{root} does not exist yet",
                       "It is made by `toonsearch import`.")  # fmt: skip
    try:
        with tempfile.TemporaryFile(dir=root):
            return Finding("data root", "ok", f"{root} can be written")
    except OSError as error:
        return Finding("data root", "warn", f"{root} can only be read ({error.strerror})",
                       "Queries work; choose another with --data DIR to import.")  # fmt: skip


def _disk(layout: Layout) -> Finding:
    place = next(p for p in (layout.root, *layout.root.parents) if p.exists())
    free = shutil.disk_usage(place).free
    verdict: Literal["ok", "warn"] = "ok" if free >= LOW_DISK_BYTES else "warn"
    return Finding("disk", verdict, f"{free / 1e9:.1f} GB free", "Free some space.")


def _memory() -> Finding:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with open("/proc/meminfo", encoding="ascii") as facts:  # noqa: PTH123 - not a stored file
        for line in facts:
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    verdict: Literal["ok", "warn"] = "ok" if free >= LOW_MEMORY_BYTES else "warn"
    return Finding("memory", verdict, f"{free / 1e9:.1f} GB available", "Close other programs.")


def _lock(layout: Layout) -> Finding:
    from schemas.storage.locking import lock_owner

    owner = lock_owner(layout)
    return Finding("lock", "ok", "free" if owner is None else f"held by {owner}")


def _index(layout: Layout) -> Finding:
    from indexer.vector_index.generations import verify_generation

    info = verify_generation(layout)
    return Finding("index", "ok", f"{info.id}, {info.pictures_count:,} pictures, every byte proven")


def _catalog(layout: Layout, settings: Settings) -> Finding:
    from indexer.monitoring import coverage
    from schemas.storage.catalog import Catalog
    from schemas.storage.tables import TABLES

    for name in TABLES:
        Catalog(layout).files(name)  # proves its log and every byte of its data
    if not Catalog(layout).exists():
        return Finding("catalog", "warn", "empty", "Run `toonsearch import folder DIR`.")
    found = coverage(layout, settings)
    skipped, failed = sum(found.skipped.values()), sum(found.failed.values())
    told = (f"{found.pictures:,} pictures = {found.embedded:,} embedded + {found.pending:,} pending"
            f" + {skipped:,} skipped + {failed:,} failed")  # fmt: skip
    if not found.adds_up:
        return Finding("catalog", "fail", f"{told}: does not add up", "Please report it.",
                       InputError.exit_code)  # fmt: skip
    if found.pending:
        return Finding("catalog", "warn", told, "Run `toonsearch embed`.")
    if failed:
        return Finding("catalog", "warn", told, "Try `toonsearch embed --retry-failed`.")
    if found.stale:
        return Finding("catalog", "warn", f"{told}; the index is older",
                       "Run `toonsearch index build`.")  # fmt: skip
    return Finding("catalog", "ok", told)


def _pictures(layout: Layout) -> Finding | None:
    """Every stored file is there and as long as it was."""
    from schemas.storage.catalog import Catalog

    catalog = Catalog(layout)
    if not catalog.exists():
        return None
    rows = catalog.read("pictures", ["file", "bytes_count"])
    wrong = looked = 0
    for file, size in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        if file is None:
            continue
        looked += 1
        try:
            wrong += size is not None and layout.picture(file).stat().st_size != size
        except OSError:
            wrong += 1
    if wrong:
        fix = "Import their source again (`toonsearch nightly`), which stores them anew."
        return Finding("pictures", "warn", f"{wrong:,} stored files are missing or cut short", fix)
    return Finding("pictures", "ok", f"{looked:,} stored files are there")


def _forgotten(layout: Layout) -> Finding | None:
    from schemas.blocklist import BlockList

    blocked = BlockList.read(layout)
    if blocked.pending:
        told = f"{len(blocked.refused)} older generations still hold what was forgotten"
        return Finding("forgotten", "warn", told, "Run `toonsearch index build`.")
    return None
