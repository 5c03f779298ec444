"""The catalog as plain Parquet files with a data dictionary, for any other tool."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.vector_index.generations import current_generation_id, era_years_of
from schemas.errors import InputError, UsageError
from schemas.progress import Progress
from schemas.storage.fsio import scratch_folder, storage_errors
from schemas.storage.layout import Layout
from schemas.storage.snapshot import Snapshot, all_views, create_views, describe_views
from schemas.storage.tables import TABLES, quoted

DICTIONARY = "dictionary.json"
README = "README.md"


@dataclass
class ExportReport:
    """What was written: rows and bytes of each file."""

    folder: Path
    rows: dict[str, int] = field(default_factory=dict)
    bytes_count: int = 0


def export_catalog(
    layout: Layout,
    folder: Path,
    *,
    views: bool = True,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write every table (and view) of one snapshot as a Parquet file.

    The folder appears whole or not at all.

    Errors:  UsageError when the folder exists (and not `force`), is no export, or is the catalog's
             own; InputError when it cannot be written
    """
    import duckdb

    folder = Path(os.path.realpath(folder))  # what a link leads to is replaced, not the link
    _check_target(layout, folder, force)
    era_years = era_years_of(layout, current_generation_id(layout))
    snapshot = Snapshot.take(layout, era_years=era_years)
    names = [name for name in all_views() if views or name in TABLES]
    report = ExportReport(folder)
    with (
        storage_errors(str(folder), duckdb.IOException),
        scratch_folder(folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")) as aside,
    ):
        aside.mkdir()
        with duckdb.connect(":memory:") as connection:
            connection.execute("set threads = 2")
            create_views(connection, snapshot)
            describe_views(connection)
            for done, name in enumerate(names, 1):
                target = aside / f"{name}.parquet"
                row = connection.execute(
                    f"copy (from {name}) to {quoted(str(target))}"
                    " (format parquet, compression zstd)"
                ).fetchone()
                report.rows[name] = int(row[0]) if row else 0
                report.bytes_count += target.stat().st_size
                if progress:
                    progress(done, len(names))
            _write_dictionary(connection, aside, snapshot, report)
        _replace(aside, folder)
    return report


def _check_target(layout: Layout, folder: Path, force: bool) -> None:
    if not folder.parent.is_dir():
        raise InputError(f"the folder {folder.parent} does not exist", "Create it first.")
    root = Path(os.path.realpath(layout.root))
    owned = [root / path.relative_to(layout.root) for path in layout.own]
    if folder == root or folder in root.parents or {folder, *folder.parents} & {*owned}:
        raise UsageError(f"{folder} holds the catalog, or lies in it", "Name another folder.")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "Name a new one.")
    names = {file.name for file in folder.iterdir()}
    if names and not force:
        raise UsageError(f"{folder} is not empty", "Choose another, or replace it with --force.")
    known = {f"{name}.parquet" for name in all_views()} | {DICTIONARY, README}
    if names and (DICTIONARY not in names or names - known):
        raise UsageError(f"{folder} is not an export", "--force replaces exports only.")


def _replace(aside: Path, folder: Path) -> None:
    if not folder.exists():
        aside.rename(folder)
        return
    before = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
    folder.rename(before)
    try:
        aside.rename(folder)
    except OSError:
        before.rename(folder)
        raise
    with contextlib.suppress(OSError):
        shutil.rmtree(before)


def _write_dictionary(
    connection: Any, folder: Path, snapshot: Snapshot, report: ExportReport
) -> None:
    """What every file and column means, for programs and for people."""
    types = {
        (view, column): kind
        for view, column, kind in connection.execute(
            "select table_name, column_name, data_type from duckdb_columns()"
        ).fetchall()
    }
    columns = {
        name: [
            {"name": column, "type": types.get((name, column), ""), "comment": comment}
            for column, comment in all_views()[name].columns
        ]
        for name in report.rows
    }
    comments = {name: all_views()[name].comment for name in report.rows}
    body = {
        "snapshot": {
            name: {"version": t.version, "committed_at": t.committed_at and str(t.committed_at)}
            for name, t in snapshot.tables.items()
        },
        "files": {
            f"{name}.parquet": {"comment": comments[name], "rows": rows, "columns": columns[name]}
            for name, rows in report.rows.items()
        },
    }
    (folder / DICTIONARY).write_text(json.dumps(body, indent=1) + "\n", "utf-8")
    lines = ["# A toonsearch catalog", ""]
    for name, rows in report.rows.items():
        lines += [f"## {name}.parquet", "", f"{comments[name]} {rows:,} rows.", ""]
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| {' | '.join(one.values())} |".replace("\n", " ") for one in columns[name]]
        lines.append("")
    (folder / README).write_text("\n".join(lines), "utf-8")
