"""Importers: a folder whose levels say who drew what, or a manifest that says it per file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

from crawler.dates import parse_date, parse_year
from crawler.importers.ingest import ImportReport, Item, import_items
from schemas.errors import InputError, UsageError, nearest
from schemas.manifest import ManifestRow, read_manifest
from schemas.names import clean_name
from schemas.progress import Progress
from schemas.records import Author, Title, distinct_authors
from schemas.settings import Settings
from schemas.storage.layout import Layout

PICTURE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif"),
        *(".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".psd", ".tga"),
    )
)
"""Files that claim to be pictures. Those of formats that are not decoded get a row that
says so; all other files are left alone."""

LEVELS = ("author", "title", "genre", "year")


def slug(text: str) -> str:
    """A readable part of an id; a short digest keeps different names apart where
    punctuation was lost. Case, and spaces against hyphens, do not make a difference.

    >>> slug("Tower of God"), slug("신의 탑")
    ('tower-of-god', '신의-탑')
    """
    plain = clean_name(text)
    short = re.sub(r"[^\w]+", "-", plain.casefold(), flags=re.UNICODE).strip("-_")
    if short == plain.casefold().replace(" ", "-") and short:
        return short
    return f"{short[:60]}~{hashlib.sha256(plain.encode()).hexdigest()[:6]}".lstrip("-")


def import_folder(
    layout: Layout,
    settings: Settings,
    directory: Path,
    *,
    pattern: str = "{author}/{title}",
    name: str | None = None,
    dry_run: bool = False,
    prune: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> ImportReport:
    """Import a folder whose levels are named by `pattern`, such as `{genre}/{author}`.

    Pictures above the last level belong to the last level that they have; deeper folders
    belong to the title above them.

    Errors:  InputError, UsageError for a wrong pattern
    """
    directory = directory.expanduser()
    if not directory.is_dir():
        raise InputError(f"{directory} is not a folder")
    levels = parse_pattern(pattern)
    root = directory.resolve()
    source = f"folder:{name or root}"
    return import_items(
        layout,
        settings,
        source,
        folder_items(root, levels, name or root.name or "folder"),
        dry_run=dry_run,
        prune=prune,
        retry_failed=retry_failed,
        progress=progress,
        is_over=is_over,
    )


def parse_pattern(pattern: str) -> list[str]:
    """`{author}/{title}` -> ["author", "title"].

    Errors:  UsageError names the level that is not known
    """
    levels = []
    for part in pattern.strip("/").split("/"):
        found = re.fullmatch(r"\{(\w+)\}", part)
        if found is None:
            raise UsageError(
                f"the folder pattern {pattern!r} is not valid",
                "Use levels such as {author}/{title} or {genre}/{author}/{title}.",
            )
        if found[1] not in LEVELS:
            raise UsageError(
                f"unknown level {found[1]!r} in {pattern!r}", nearest(found[1], LEVELS)
            )
        levels.append(found[1])
    return levels


def folder_items(root: Path, levels: list[str], name: str) -> Iterator[Item]:
    """Every picture file below a folder, in a fixed order.

    Hidden files are left out, and folders behind symbolic links, which may form loops.
    """
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        looks = [f for f in folders if Path(f).suffix.lower() in PICTURE_SUFFIXES]
        for file in sorted(files + looks):
            path = Path(folder, file)
            if file.startswith(".") or path.suffix.lower() not in PICTURE_SUFFIXES:
                continue
            parts = path.relative_to(root).parts
            said = dict(zip(levels, map(clean_name, parts[:-1]), strict=False))
            author, genre = said.get("author"), said.get("genre")
            title = said.get("title") or author or genre or name
            where = "/".join(slug(said[level]) for level in levels if level in said)
            year = parse_year(said["year"]) if "year" in said else None
            yield Item(
                path,
                str(path.relative_to(root)),
                Title(
                    title_id=f"folder:{slug(name)}" + (f"/{where}" if where else ""),
                    platform="folder",
                    name=title,
                    authors=(Author(author),) if author else (),
                    genres=(genre,) if genre else (),
                    year=year,
                ),
                year=year,
            )


def import_manifest(
    layout: Layout,
    settings: Settings,
    file: Path,
    *,
    name: str | None = None,
    dry_run: bool = False,
    prune: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> ImportReport:
    """Import the pictures that a CSV, TSV or Parquet file lists.

    Rows of one series make one title; of a name's spellings the first counts.

    Errors:  InputError with the row's number
    """
    file = file.expanduser()
    rows = read_manifest(file)
    name = name or file.stem
    notes: list[str] = []
    items = manifest_items(rows, file.resolve().parent, name, notes)
    report = import_items(
        layout,
        settings,
        f"manifest:{name}",
        items,
        dry_run=dry_run,
        prune=prune,
        retry_failed=retry_failed,
        progress=progress,
        is_over=is_over,
    )
    report.problems[:0] = notes[:20]
    return report


def manifest_items(
    rows: Sequence[ManifestRow], base: Path, name: str, notes: list[str]
) -> list[Item]:
    """Rows -> items; the rows of a series are merged into one title first."""
    merged: dict[str, Title] = {}
    described: list[tuple[ManifestRow, str, int | None, date | None]] = []
    for row in rows:
        if not row.path:
            notes.append(f"row {row.number}: no path")
            continue
        published = parse_date(row.date) if row.date else None
        year = parse_year(row.year) if row.year else published.year if published else None
        if row.year and year is None:
            notes.append(f"row {row.number}: year {row.year[:40]!r} is not a year")
        title = _title(row, name, year)
        merged[title.title_id] = _merged(merged.get(title.title_id), title)
        described.append((row, title.title_id, year, published))
    return [
        Item(base / row.path, row.path, merged[title_id], row.kind or "picture", year, published)
        for row, title_id, year, published in described
    ]


def _title(row: ManifestRow, name: str, year: int | None) -> Title:
    series = row.series or row.title
    part = series or "/".join(row.authors) or "untitled"
    return Title(
        title_id=row.title_id or f"{slug(name)}:{slug(part)}",
        platform=name,
        name=row.title or series or next(iter(row.authors), name),
        authors=tuple(Author(author) for author in row.authors),
        genres=row.genres,
        tags=row.tags,
        year=year,
        url=row.url or None,
    )


def _merged(one: Title | None, two: Title) -> Title:
    """One title from two rows: labels united, the earliest year."""
    if one is None:
        return two
    years = [year for year in (one.year, two.year) if year is not None]
    return Title(
        title_id=one.title_id,
        platform=one.platform,
        name=one.name,
        authors=distinct_authors(one.authors + two.authors),
        genres=tuple(dict.fromkeys(one.genres + two.genres)),
        tags=tuple(dict.fromkeys(one.tags + two.tags)),
        year=min(years) if years else None,
        url=one.url or two.url,
    )
