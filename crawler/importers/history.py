"""What each import did, in the table `runs`: where its source lay, and how to take it back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from crawler.importers.walk import unique_path
from schemas.blocklist import BlockList
from schemas.errors import InputError, StorageError, UnreachableError, nearest
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from schemas.storage.tables import TABLES

COMMAND = "import"
UNDONE, INTERRUPTED = "undone", "interrupted"
Row = dict[str, Any]
Key = tuple[str, ...]


@dataclass(frozen=True)
class ImportRun:
    """An import that wrote. `versions` are those of the tables before it, None for none yet."""

    source: str
    place: str
    started: datetime
    versions: dict[str, int | None]
    row: Row

    @property
    def is_interrupted(self) -> bool:
        """Whether it did not come to its end: the next import of its source ends it."""
        return bool(self.row["outcome"] == INTERRUPTED)


def imports(catalog: Catalog) -> list[ImportRun]:
    """Imports that were not taken back, the last one first. Errors:  InputError"""
    found = []
    for row in catalog.read("runs").to_pylist():
        if row["command"] == COMMAND and row["outcome"] != UNDONE:
            facts = json.loads(row["counts"])
            where = (facts["source"], facts["place"])
            found.append(ImportRun(*where, row["started"], facts["versions"], row))
    return sorted(found, key=lambda run: run.started, reverse=True)


def last_import(catalog: Catalog, source: str) -> ImportRun | None:
    """The last import of a source that was not taken back. Errors:  InputError"""
    return next((run for run in imports(catalog) if run.source == source), None)


@contextlib.contextmanager
def recorded(
    catalog: Catalog,
    source: str,
    place: str,
    counts: Mapping[str, int],
    before: ImportRun | None,
) -> Iterator[None]:
    """Record an import before it writes, and what it did afterwards. One that goes on after an
    interrupted one, the last of its source, is the same import."""
    started = datetime.now(UTC)
    versions = {name: catalog.version(name) for name in ("pictures", "titles")}
    run_id = f"{started:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
    if before is not None and before.is_interrupted:
        versions, run_id = before.versions, before.row["run_id"]
    facts: dict[str, Any] = {"source": source, "place": place, "versions": versions}
    row = {
        "run_id": run_id,
        "command": COMMAND,
        "started": started,
        "ended": started,
        "counts": json.dumps(facts, ensure_ascii=False),
        "settings": "",
        "outcome": INTERRUPTED,
    }
    catalog.upsert("runs", [row])
    yield
    facts |= {name: count for name, count in counts.items() if count}
    partly = any(counts.get(name) for name in ("failed", "kept", "unread_folders", "left"))
    row |= {"ended": datetime.now(UTC), "counts": json.dumps(facts, ensure_ascii=False)}
    catalog.upsert("runs", [{**row, "outcome": "partly" if partly else "done"}])


# --- Taking an import back: the rows of its source as they were before it.


@dataclass
class UndoReport:
    """What taking back an import does. `files_gone` of the pictures that come back have lost
    their stored file; the next import of the source brings it again."""

    source: str
    started: datetime
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("removed", "restored", "titles_removed", "titles_restored", "files_gone"), 0
        )
    )


def find_import(catalog: Catalog, source: str | None) -> ImportRun:
    """The last import, or the last one of a source: its path or its name.

    Errors:  InputError
    """
    runs = imports(catalog)
    if not runs:
        raise InputError("no import is recorded that could be taken back")
    if source is None:
        return runs[0]
    places = set()
    with contextlib.suppress(OSError, RuntimeError):  # then it is a name
        places = {unique_path(Path(source).resolve())}
    for run in runs:
        if source in (run.source, run.source.partition(":")[2]) or run.place in places:
            return run
    known = {run.source.partition(":")[2] for run in runs}
    raise InputError(f"no import of {source} is recorded", nearest(source, known))


def undo_import(layout: Layout, run: ImportRun, *, dry_run: bool = False) -> UndoReport:
    """Give the rows of a source, and its titles, back what they were before an import. Needs the
    data root's lock; one that was killed is finished by the next.

    Works as long as the catalog holds its version of that time. What was forgotten since stays
    forgotten.

    Errors:  InputError when that version was cleared away, or the disk refuses
    """
    catalog = Catalog(layout)
    report = UndoReport(run.source, run.started)
    blocked = BlockList.read(layout)
    everything = catalog.read("pictures").to_pylist()
    now = _by_key("pictures", (row for row in everything if row["source"] == run.source))
    held = {_key("pictures", row) for row in everything if row["source"] != run.source}
    before = {
        key: row
        for key, row in _by_key("pictures", _rows_of(catalog, run, "pictures")).items()
        if row["source"] == run.source
        and key not in held
        and not blocked.blocks("picture", row["picture_id"])
        and not blocked.blocks("title", row["title_id"])
    }
    back = [row for key, row in before.items() if row != now.get(key)]
    gone = now.keys() - before.keys()
    report.counts["removed"], report.counts["restored"] = len(gone), len(back)
    report.counts["files_gone"] = sum(
        row["file"] is not None and not layout.picture(row["file"]).is_file() for row in back
    )
    mine = {row["title_id"] for row in (*now.values(), *before.values())}
    used = {key[1] for key in held} | {key[1] for key in before}
    titles = _by_key("titles", catalog.read("titles").to_pylist())
    earlier = _by_key("titles", _rows_of(catalog, run, "titles"))
    titles_back = [
        row
        for key, row in earlier.items()
        if key[0] in mine
        and row != titles.get(key)
        and not blocked.blocks_title(key[0], [one["name"] for one in row["authors"] or ()])
    ]
    titles_gone = [key[0] for key in titles.keys() - earlier.keys() if key[0] in mine - used]
    report.counts["titles_removed"] = len(titles_gone)
    report.counts["titles_restored"] = len(titles_back)
    if not dry_run:
        # Pictures after titles: they tell a second run which titles are meant.
        catalog.upsert("titles", titles_back)
        catalog.delete("titles", "title_id", titles_gone)
        catalog.upsert("pictures", back, gone=gone)
        catalog.upsert("runs", [{**run.row, "outcome": UNDONE}])
    return report


def _rows_of(catalog: Catalog, run: ImportRun, table: str) -> list[Row]:
    """The rows of a table before an import. Errors:  InputError when they were cleared away"""
    version = run.versions[table]
    if version is None:
        return []
    try:
        rows: list[Row] = catalog.read(table, version=version).to_pylist()
    except UnreachableError:
        raise
    except StorageError as error:
        raise InputError(
            f"what the catalog held before the import of {run.source}"
            f" on {run.started:%Y-%m-%d %H:%M} UTC was cleared away",
            "Earlier versions are kept for some days; a backup may have it.",
        ) from error
    return rows


def _key(table: str, row: Row) -> Key:
    return tuple(row[name] for name in TABLES[table].key)


def _by_key(table: str, rows: Iterable[Row]) -> dict[Key, Row]:
    return {_key(table, row): row for row in rows}
