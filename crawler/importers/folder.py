"""Imports a folder whose levels say who drew what."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from shlex import quote
from typing import Unpack

from crawler.importers.ingest import (
    EMPTY,
    ImportOptions,
    ImportReport,
    Item,
    Source,
    Unseen,
    import_items,
)
from crawler.importers.walk import Walk, walk
from schemas.dates import parse_year
from schemas.errors import InputError, UsageError, nearest
from schemas.names import clean_name
from schemas.records import Author, Title
from schemas.settings import Settings
from schemas.storage.layout import Layout

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
    levels = parse_pattern(pattern)
    try:
        if not directory.is_dir():  # a setting may say ~/drawings
            with contextlib.suppress(RuntimeError):
                directory = directory.expanduser()
        if not directory.is_dir():
            if not directory.exists():
                raise InputError(f"there is no folder {directory}")
            hint = f"If it is a list: `toonsearch import manifest {quote(str(directory))}`."
            raise InputError(f"{directory} is not a folder", hint if directory.is_file() else "")
        root = directory.resolve()
    except OSError as error:
        raise InputError(f"{directory} cannot be read ({error.strerror})") from error
    source = Source.of("folder", root, name)
    found = walk(root)
    doubtful = dict.fromkeys(found.links, "is a link now") | dict.fromkeys(found.empty, EMPTY)
    items = folder_items(found, levels, source)
    unseen = Unseen(
        {path: f"cannot be listed ({why})" for path, why in found.unseen.items()}, doubtful
    )
    report = import_items(layout, settings, source, items, unseen, **options)
    report.notes += notes_on(found, levels)
    return report


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


def folder_items(found: Walk, levels: list[str], source: Source) -> Iterator[Item]:
    """Every picture file below a folder, in a fixed order, with what its folders say."""
    title_of = cache(partial(_title, source, tuple(levels)))
    for path, text, names in found.files:
        title = title_of(names[: len(levels)])
        yield Item(path, text, title, year=title.year)


def _title(source: Source, levels: tuple[str, ...], names: tuple[str, ...]) -> Title:
    labels = dict(zip(levels, map(clean_name, names), strict=False))
    author, genre = labels.get("author"), labels.get("genre")
    return Title(
        title_id=source.title_id(*labels.values()),
        platform="folder",
        name=labels.get("title") or author or genre or source.name,
        authors=(Author(author),) if author else (),
        genres=(genre,) if genre else (),
        year=parse_year(labels["year"]) if "year" in labels else None,
    )


# --- Notes on a tree that does not look like authors and titles.

MANY_AUTHORS = 20
PLACES = frozenset(
    (
        *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt"),
        *("/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/tmp"),
    )
)
"""Folders of a system, below which no level is an author."""
HOME_FOLDERS = frozenset(
    (
        *("desktop", "documents", "downloads", "pictures", "music", "videos", "public"),
        *("바탕화면", "문서", "다운로드", "사진", "appdata", "library", "snap", "node_modules"),
        *("dcim", "camera", "screenshots", "venv", "site-packages", "windows", "program files"),
    )
)


def notes_on(found: Walk, levels: list[str]) -> list[str]:
    """What is worth a look: folders that were passed over, and why the levels may be wrong."""
    notes = []
    if found.left_out:
        names = [f"{name} ({n:,})" if n > 1 else name for name, n in found.left_out.most_common(5)]
        more = f" and {len(found.left_out) - 5:,} more" if len(found.left_out) > 5 else ""
        notes.append(f"left out: {', '.join(names)}{more}")
    if found.links:
        notes.append(
            f"links are not followed: {', '.join(found.links[:3])}"
            + (f" and {len(found.links) - 3:,} more" if len(found.links) > 3 else "")
        )
    if doubts := _doubts(found, levels):
        how = "--dry-run shows what it makes, `toonsearch import undo` takes it back"
        notes.append(f"the folders may not be {'/'.join(levels)}: {'; '.join(doubts)}; {how}")
    return notes


def _doubts(found: Walk, levels: list[str]) -> list[str]:
    """Why the folders may not mean what the pattern says."""
    count = len(found.files)
    if "author" not in levels or not count:
        return []
    doubts = []
    if str(found.root) in PLACES or str(found.root) == os.environ.get("HOME"):
        doubts.append(f"{found.root} is a folder of the system or of all that you have")
    place = levels.index("author")
    authors = Counter(names[place] for _, _, names in found.files if len(names) > place)
    odd = sorted(name for name in authors if name.casefold() in HOME_FOLDERS)
    if odd:
        doubts.append(f"{', '.join(odd[:3])} would be authors")
    nameless = count - authors.total()
    if nameless:
        doubts.append(f"{nameless:,} of {count:,} pictures have no author above them")
    # Folders below a title are fine where they are numbered, as episodes are.
    deeper = [
        len(names)
        for _, _, names in found.files
        if len(names) > len(levels) and not re.search(r"\d", names[len(levels)])
    ]
    if 2 * len(deeper) > count:
        fit = "a folder further down"
        if Counter(deeper).most_common(1)[0][0] == 3:
            fit = "--pattern {genre}/{author}/{title}"
        doubts.append(f"{len(deeper):,} of {count:,} pictures lie below the levels: perhaps {fit}")
    single = sum(n == 1 for n in authors.values())
    if len(authors) > MANY_AUTHORS and 2 * single > len(authors):
        doubts.append(f"{single:,} of {len(authors):,} authors have one picture")
    return doubts
