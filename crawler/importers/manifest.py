"""Imports the pictures that a manifest lists, with what it says about each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Unpack

from crawler.dates import parse_date, parse_year
from crawler.importers.ingest import ImportOptions, ImportReport, Item, Source, import_items
from schemas.manifest import ManifestRow, read_manifest
from schemas.records import Author, Title, distinct_authors
from schemas.settings import Settings
from schemas.storage.layout import Layout


def import_manifest(
    layout: Layout,
    settings: Settings,
    file: Path,
    *,
    name: str | None = None,
    **options: Unpack[ImportOptions],
) -> ImportReport:
    """Import the pictures that a CSV, TSV or Parquet file lists (`schemas/manifest.py`).

    Rows of one series make one title; of a name's spellings the first counts.

    Errors:  InputError with the row's number
    """
    file = file.expanduser()
    rows = read_manifest(file)
    source, base = Source.of("manifest", file, name), file.resolve().parent
    notes: list[str] = []
    titles: dict[str, Title] = {}
    items: list[Item] = []
    for row in rows:
        if not row.path:
            notes.append(f"row {row.number}: no path")
            continue
        published = parse_date(row.date) if row.date else None
        year = parse_year(row.year) if row.year else published.year if published else None
        if row.year and year is None:
            notes.append(f"row {row.number}: year {row.year[:40]!r} is not a year")
        title = _title(row, source, year)
        before = titles.get(title.title_id)
        titles[title.title_id] = title if before is None else _merged(before, title)
        items.append(Item(base / row.path, row.path, title, row.kind or "picture", year, published))
    items = [replace(item, title=titles[item.title.title_id]) for item in items]
    report = import_items(layout, settings, source, items, **options)
    report.problems[:0] = notes[:20]
    return report


def _title(row: ManifestRow, source: Source, year: int | None) -> Title:
    series = row.series or row.title
    part = series or "/".join(row.authors) or "untitled"
    return Title(
        title_id=row.title_id or source.title_id(*row.authors[:1], part),
        platform=source.name,
        name=row.title or series or next(iter(row.authors), source.name),
        authors=tuple(Author(author) for author in row.authors),
        genres=row.genres,
        tags=row.tags,
        year=year,
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
