"""Imports a folder whose levels say who drew what."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from crawler.importers.ingest import ImportOptions, ImportReport, Item, import_items, slug
from schemas.dates import parse_year
from schemas.errors import InputError, UsageError, nearest
from schemas.names import clean_name
from schemas.records import Author, Title
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


def import_folder(
    layout: Layout,
    settings: Settings,
    directory: Path,
    *,
    pattern: str = "{author}/{title}",
    name: str | None = None,
    **options: Unpack[ImportOptions],
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
    items = folder_items(root, levels, name or root.name or "folder")
    return import_items(layout, settings, f"folder:{name or root}", items, **options)


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
        disguised = [f for f in folders if Path(f).suffix.lower() in PICTURE_SUFFIXES]
        for file in sorted(files + disguised):
            path = Path(folder, file)
            if file.startswith(".") or path.suffix.lower() not in PICTURE_SUFFIXES:
                continue
            relative = path.relative_to(root)
            labels = dict(zip(levels, map(clean_name, relative.parts[:-1]), strict=False))
            author, genre = labels.get("author"), labels.get("genre")
            where = "".join(f"/{slug(labels[level])}" for level in levels if level in labels)
            year = parse_year(labels["year"]) if "year" in labels else None
            title = Title(
                title_id=f"folder:{slug(name)}{where}",
                platform="folder",
                name=labels.get("title") or author or genre or name,
                authors=(Author(author),) if author else (),
                genres=(genre,) if genre else (),
                year=year,
            )
            yield Item(path, str(relative), title, year=year)
