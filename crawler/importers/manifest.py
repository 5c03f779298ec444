"""Imports the pictures that a manifest lists, with what it says about each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Unpack

from crawler.importers.ingest import ImportOptions, ImportReport, Item, Source, import_items
from schemas.errors import InputError
from schemas.manifest import COLUMNS, FIELDS, NO_PATH, Manifest, ManifestRow, read_manifest
from schemas.names import author_key
from schemas.records import Author, Title, distinct_authors
from schemas.settings import Settings
from schemas.spreadsheets import Notes
from schemas.storage.layout import Layout

LISTED_TWICE = "that list a file once more"
MISSING = "with a file that is not there"
NO_AUTHOR = "without the author that other rows name"


def import_manifest(
    layout: Layout,
    settings: Settings,
    file: Path,
    *,
    name: str | None = None,
    **options: Unpack[ImportOptions],
) -> ImportReport:
    """Import the pictures that a CSV, TSV or Parquet file lists (`schemas/manifest.py`).

    Without a name the source is the file, wherever another of that name may lie. Rows of one series
    by the same authors make one title; of a name's spellings the first counts. What is odd about
    rows stands first among the problems.

    Errors:  InputError when the file as a whole cannot be used
    """
    with suppress(RuntimeError):  # the home of nobody
        file = file.expanduser()
    is_folder = False
    with suppress(OSError):  # closed to this user
        is_folder = file.is_dir()
    if is_folder:
        raise InputError(
            f"{file} is a folder, not a list", f"`toonsearch import folder {quote(str(file))}`."
        )
    manifest = read_manifest(file)
    rows, notes = _once_each(manifest), manifest.notes
    source = Source.of("manifest", file, name)
    titles: dict[str, Title] = {}
    items: list[Item] = []
    for row in rows:
        title = _title(row, source)
        before = titles.get(title.title_id)
        titles[title.title_id] = title if before in (None, title) else _merged(before, title)
        path = manifest.file_of(row)
        kind = row.kind or "picture"
        items.append(Item(path, row.path, title, kind, row.year, row.published, row.episode_no))
    items = [replace(item, title=titles[item.title.title_id]) for item in items]
    report = import_items(layout, settings, source, items, **options)
    _note_missing_authors(rows, notes)
    report.counts["failed"] += notes.count(NO_PATH)
    if report.counts["failed"]:
        _explain_missing(rows, manifest)
    report.problems[:0] = notes.lines()
    return report


def _once_each(manifest: Manifest) -> list[ManifestRow]:
    """The rows, each file once: the last one that lists it counts, and a note says so."""
    found: dict[str, ManifestRow] = {}
    for row in manifest.rows:
        where = os.path.normpath(row.file)
        before = found.pop(where, None)
        found[where] = row
        if before is None:
            continue
        different = [
            column
            for column in COLUMNS
            if (key := FIELDS.get(column, column)) != "path"
            and getattr(before, key) != getattr(row, key)
        ]
        said = f"row {before.number} lists {row.path} as well"
        if different:
            said += f", with another {' and '.join(different)}: row {row.number} counts"
        manifest.notes.add(row.number, LISTED_TWICE, said)
    return list(found.values())


def _note_missing_authors(rows: Iterable[ManifestRow], notes: Notes) -> None:
    """Rows that name no author, of a series that has one elsewhere: two titles by the rule, and
    perhaps a cell that was left empty."""
    known = {author_key(row.series or row.title) for row in rows if row.authors}
    for row in rows:
        series = row.series or row.title
        if series and not row.authors and not row.title_id and author_key(series) in known:
            said = (
                f"{series!r} has an author in other rows, and none here: it is a title of its own"
            )
            notes.add(row.number, NO_AUTHOR, said)


def _explain_missing(rows: Iterable[ManifestRow], manifest: Manifest) -> None:
    """Notes on files that are not there, where their names say why."""
    names: dict[Path, dict[str, str]] = {}
    for row in rows:
        file = manifest.file_of(row)
        if os.path.lexists(file):
            continue
        if re.match(r"[a-z][a-z0-9+.-]+://", row.path, re.IGNORECASE):
            said = "is a web address: get the picture and list its file"
        elif re.match(r"[a-z]:[\\/]|\\\\", row.path, re.IGNORECASE):
            said = "is a path of Windows: list files from the manifest's folder on"
        else:
            if file.parent not in names:
                try:
                    names[file.parent] = {author_key(n.name): n.name for n in file.parent.iterdir()}
                except OSError:
                    names[file.parent] = {}
            other = names[file.parent].get(author_key(file.name))
            if other is None:
                continue
            said = f"is not there, but {other} is: upper and lower case differ"
        manifest.notes.add(row.number, MISSING, f"{row.path} {said}")


def _title(row: ManifestRow, source: Source) -> Title:
    """The title of a row: source, authors and name make it. An id that is given counts as it is;
    one without a platform is the source's own."""
    series = row.series or row.title
    who = "; ".join(sorted(map(author_key, row.authors)))
    own = f"{source.prefix}:{row.title_id}" if row.title_id else source.title_id(who, series)
    return Title(
        title_id=row.title_id if ":" in row.title_id else own,
        platform=source.name,
        name=row.title or series or next(iter(row.authors), source.name),
        authors=tuple(map(Author, row.authors)),
        genres=row.genres,
        tags=row.tags,
        year=row.year,
        url=row.url or None,
    )


def _merged(one: Title, two: Title) -> Title:
    """One title from two rows: labels united, the earliest year."""
    return replace(
        one,
        authors=distinct_authors(one.authors + two.authors),
        genres=tuple(dict.fromkeys(one.genres + two.genres)),
        tags=tuple(dict.fromkeys(one.tags + two.tags)),
        year=min((year for year in (one.year, two.year) if year is not None), default=None),
        url=one.url or two.url,
    )
