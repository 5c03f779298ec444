"""The checks behind `toonsearch doctor`: each a line that says how it stands and what to do."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from schemas.errors import (
    InputError,
    NoIndexError,
    ToonsearchError,
    UnreachableError,
    UsageError,
)
from schemas.settings import Settings, setting_files
from schemas.storage.fsio import OWNER, refusal, unreachable
from schemas.storage.layout import Layout
from search.cli.context import Session

RESTORE = (
    "`toonsearch restore` a backup elsewhere; without one, move the data root's tables away, and"
    " `toonsearch nightly` fills them again. The index goes on answering meanwhile."
)
LOW_DISK_BYTES = 1_000_000_000
LOW_MEMORY_BYTES = 500_000_000

Said = str | tuple[str, str] | None
"""What a check says when all is well, or a warning and what to do, or nothing. It raises an error
when something is broken."""


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
    yield Finding("python", "ok", platform.python_version())
    yield from _checked("vectors", _faiss, "Reinstall with the extra cpu or gpu.")
    try:
        settings = session.settings()
    except ToonsearchError as error:
        yield Finding("settings", "fail", error.message, error.hint, UsageError.exit_code)
        return
    layout = settings.layout
    for what, check, fix in (
        ("settings", partial(_settings, settings), ""),
        ("network", partial(_network, settings), "Reinstall toonsearch."),
        ("data root", partial(_root, layout), ""),
        ("disk", partial(_disk, layout), ""),
        ("memory", _memory, ""),
        ("lock", partial(_lock, layout), ""),
        ("index", partial(_index, layout), "Run `toonsearch index build`."),
        ("catalog", partial(_catalog, layout, settings), RESTORE),
        ("pictures", partial(_pictures, layout), RESTORE),
        ("forgotten", partial(_forgotten, layout), ""),
    ):
        yield from _checked(what, check, fix)


def _checked(what: str, check: Callable[[], Said], fix: str) -> Iterator[Finding]:
    """A check that breaks is a finding too, to be mended as its error says, or else by `fix`."""
    try:
        said = check()
        if isinstance(said, tuple):
            yield Finding(what, "warn", *said)
        elif said is not None:
            yield Finding(what, "ok", said)
    except ToonsearchError as error:
        mend = error.hint or fix
        if fix == RESTORE and not isinstance(error, UnreachableError):
            mend = RESTORE  # the error would send us here
        yield Finding(what, "fail", error.message, mend, error.exit_code)
    except OSError as error:
        said, mend = refusal(error) or (f"cannot be read ({error.strerror})", fix)
        yield Finding(what, "fail", f"{error.filename or what} {said}", mend, InputError.exit_code)
    except Exception as error:  # a broken library raises anything while it is imported
        yield Finding(what, "fail", f"{type(error).__name__}: {error}", fix)


def _faiss() -> Said:
    from indexer.vector_index.faiss_index import installed

    return installed()


def _network(settings: Settings) -> Said:
    """Run the configured model once: checks its digest, the runtime and the output."""
    import numpy as np

    from indexer.embedding.embed import open_encoder

    encoder = open_encoder(settings)
    side = encoder.pixel_spec.multiple_px * 2
    flat = np.full((side, side, 3), 128, np.uint8)
    vector = encoder.encode([flat]).vectors  # (1, D)
    if not np.isclose(np.linalg.norm(vector), 1.0, atol=1e-3):
        raise NoIndexError(f"{encoder.model_id} gives no unit vectors", "Reinstall toonsearch.")
    return f"{encoder.model_id} on onnxruntime, {encoder.running_on}"


def _settings(settings: Settings) -> Said:
    files = [str(f) for f in setting_files(os.environ) if f.is_file()]
    given = sum(1 for origin in settings.origins.values() if origin != "default")
    return f"{given} given, from {', '.join(files)}" if files else f"{given} given, no files"


def _root(layout: Layout) -> Said:
    root = layout.root
    if not root.exists():
        return f"{root} does not exist yet", "It is made by `toonsearch import`."
    try:
        next(root.iterdir(), None)
    except OSError as error:
        if closed := unreachable(error, str(root)):
            raise closed from error
        raise
    try:
        with tempfile.TemporaryFile(dir=root):
            return f"{root} can be written"
    except OSError as error:
        fix = "Queries work; choose another with --data DIR to import."
        return f"{root} can only be read ({error.strerror})", fix


def _disk(layout: Layout) -> Said:
    place = next(p for p in (layout.root, *layout.root.parents) if p.exists())
    free = shutil.disk_usage(place).free
    said = f"{free / 1e9:.1f} GB free"
    return said if free >= LOW_DISK_BYTES else (said, "Free some space.")


def _memory() -> Said:
    facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(facts["MemAvailable"].split()[0]) * 1024
    said = f"{free / 1e9:.1f} GB available"
    return said if free >= LOW_MEMORY_BYTES else (said, "Close other programs.")


def _lock(layout: Layout) -> Said:
    from schemas.storage.locking import lock_owner

    if layout.lock.exists() and not os.access(layout.lock, os.R_OK | os.W_OK):
        return f"{layout.lock} belongs to another user", "Queries work; import as its owner."
    owner = lock_owner(layout)
    return "free" if owner is None else f"held by {owner}"


def _index(layout: Layout) -> Said:
    from indexer.vector_index.generations import verify_generation

    info = verify_generation(layout)
    return f"{info.id}, {info.pictures_count:,} pictures, every byte verified"


def _catalog(layout: Layout, settings: Settings) -> Said:
    from indexer.monitoring import coverage
    from schemas.storage.catalog import Catalog
    from schemas.storage.tables import TABLES

    for name in TABLES:
        Catalog(layout).files(name)  # verifies its log and every byte of its data
    if not Catalog(layout).exists():
        return "empty", "Run `toonsearch import folder DIR`."
    found = coverage(layout, settings)
    skipped, failed = sum(found.skipped.values()), sum(found.failed.values())
    said = (
        f"{found.pictures:,} pictures = {found.embedded:,} embedded + {found.pending:,} pending"
        f" + {skipped:,} skipped + {failed:,} failed"
        + (f" + {found.cut:,} cut into {sum(found.panels.values()):,} panels" if found.cut else "")
    )
    if not found.adds_up:
        raise InputError(f"{said}: does not add up, please report it")
    if found.pending or found.panels.get("pending"):
        return said, "Run `toonsearch embed`."
    if failed or found.panels.get("failed"):
        return said, "Try `toonsearch embed --retry-failed`."
    if found.stale and found.generation_id is not None:
        return f"{said}; the index is older", "Run `toonsearch index build`."
    return said


def _pictures(layout: Layout) -> Said:
    """Every stored file is there, as long as it was, and open to this user."""
    from schemas.storage.catalog import Catalog

    catalog = Catalog(layout)
    if not catalog.exists():
        return None
    rows = catalog.read("pictures", ["file", "bytes_count"])
    stored = [row for row in zip(*rows.to_pydict().values(), strict=True) if row[0] is not None]
    wrong = closed = 0
    for file, size in stored:
        path = layout.picture(file)
        try:
            wrong += size is not None and path.stat().st_size != size
            closed += not os.access(path, os.R_OK)
        except OSError as error:
            refused = refusal(error) is not None
            closed, wrong = closed + refused, wrong + (not refused)
    if closed:
        return f"{closed:,} stored files cannot be read by this user", OWNER
    if wrong:
        fix = "Import their source again (`toonsearch nightly`), which stores them again."
        return f"{wrong:,} stored files are missing or cut short", fix
    return f"{len(stored):,} stored files are there"


def _forgotten(layout: Layout) -> Said:
    from schemas.blocklist import BlockList

    blocked = BlockList.read(layout)
    if not blocked.pending:
        return None
    said = f"{len(blocked.refused)} older generations still hold what was forgotten"
    return said, "Run `toonsearch index build`."
