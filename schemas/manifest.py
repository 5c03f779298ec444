"""Manifests: CSV, TSV or Parquet files that list pictures and what is known about them.

Columns: `path` (relative to the manifest) and any of `author`, `series`, `title`, `title_id`,
`genre`, `tags`, `year`, `date`, `kind`, `episode`, `url`, or their Korean names. Several authors, genres or
tags are separated by `;`. Other columns are left alone, and not even read from Parquet.

A manifest is text in UTF-8, UTF-16 or, where that is sure, an older code page; what separates its
cells is seen in the first line. Whatever is odd about a row is a note, and the row keeps what is
certain. Only a file that makes no sense as a whole is an error.
"""

from __future__ import annotations

import datetime
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from schemas.codepages import from_code_page
from schemas.dates import (
    is_short_date,
    parse_date,
    parse_serial_date,
    parse_short_date,
    parse_year,
)
from schemas.errors import InputError
from schemas.names import author_key, clean_name, distinct_names
from schemas.spreadsheets import SEPARATORS, Notes, Odd, read_cells

MAX_CELL_CHARS = 4096
"""As long as a path can be."""
MAX_KNOWN = 100_000
COLUMNS = (
    *("path", "author", "series", "title", "title_id"),
    *("genre", "tags", "year", "date", "kind", "episode", "url"),
)
KOREAN = {
    "경로": "path", "파일": "path", "파일명": "path", "작가": "author", "작가명": "author",
    "시리즈": "series", "작품": "series", "작품명": "series", "제목": "title", "장르": "genre",
    "태그": "tags", "연도": "year", "년도": "year", "날짜": "date", "종류": "kind",
    "회차": "episode", "화": "episode",
    "주소": "url", "링크": "url",
}  # fmt: skip
EMPTY = frozenset(("nan", "NaN", "NaT", "<NA>", "None", "null", "NULL", "N/A", "#N/A"))
"""What programs write for an empty cell."""

NO_PATH = "without a path"
RAGGED = "with more or fewer cells than there are columns"
WRONG_DATE = "with a date that is not understood"
WRONG_YEAR = "with a year that is not understood"
WRONG_EPISODE = "with an episode that is not understood"
READ_AS_DATE = "with a date of this form"
NO_TEXT = "with a cell that is not text"
EMPTY_WORD = "with such a cell"
OLD_TEXT = "with text that is not UTF-8"
Say = Callable[[str, str], None]


# --- Rows.


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One listed picture; an empty text or tuple stands for "not said".

    number  of the row, as a spreadsheet counts: the columns' names are row 1
    path    as listed
    file    where it lies: the same, or another spelling of it under which there is a file
    """

    number: int
    path: str
    authors: tuple[str, ...] = ()
    series: str = ""
    title: str = ""
    title_id: str = ""
    genres: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    year: int | None = None
    published: datetime.date | None = None
    kind: str = ""
    episode_no: int | None = None
    url: str = ""
    file: str = ""


FIELDS = {
    "author": "authors",
    "genre": "genres",
    "date": "published",
    "episode": "episode_no",
}
"""Columns whose field in a row has another name."""


@dataclass(frozen=True)
class Manifest:
    """What a file lists, in its order. Rows without a usable path are in the notes only."""

    root: Path
    rows: list[ManifestRow]
    notes: Notes = field(default_factory=Notes)

    def file_of(self, row: ManifestRow) -> Path:
        """Where the listed picture lies."""
        return self.root / row.file


def manifest_rows(cells: Iterable[Mapping[str, Any]]) -> list[ManifestRow]:
    """Rows from cells by column, numbered as in a file."""
    rows = _Rows(None)
    for number, row in enumerate(cells, 2):
        rows.add(number, row)
    return rows.rows


def read_manifest(file: Path) -> Manifest:
    """The rows of a manifest, and what is odd about them.

    Errors:  InputError when the file as a whole cannot be used
    """
    try:
        root = file.resolve().parent
    except (OSError, RuntimeError) as error:  # links in a circle, a folder that is closed
        why = getattr(error, "strerror", None) or error
        raise InputError(f"the manifest {file} cannot be read ({why})") from error
    rows = _Rows(root)
    for number, columns, cells in read_cells(file, partial(_columns, file), rows.notes):
        if len(cells) != len(columns):
            cells = _ragged(str(root), rows.notes, number, columns, cells)
        rows.add(number, dict(zip(columns, cells, strict=False)))
    rows.finish()
    if not rows.rows:
        raise InputError(f"the manifest {file} lists no picture", " ".join(rows.notes.lines()[:1]))
    return Manifest(root, rows.rows, rows.notes)


def _ragged(
    root: str, notes: Notes, number: int, columns: list[str], cells: list[str]
) -> list[str]:
    """A row of another width than the columns: what of it is certain.

    Missing cells are empty. With too many nobody knows where the one too many is, unless it is in
    the path and there is such a file. Else only the path counts, from the left or the right.
    """
    width, more = len(columns), len(cells) - len(columns)
    if not any(map(str.strip, cells[: width if more < 0 else None])):
        return []
    said = f"{len(cells)} cells for {width} columns"
    if more < 0:
        if missing := ", ".join(filter(None, columns[len(cells) :])):
            notes.add(number, RAGGED, f"{said}: no {missing}")
        return cells
    if not any(map(str.strip, cells[width:])):
        return cells[:width]
    place = columns.index("path")
    for mark in SEPARATORS:
        path = mark.join(cells[place : place + more + 1])
        if _is_file(root, _file(root, path)):
            return [*cells[:place], path, *cells[place + more + 1 :]]
    ways = [cells[place], cells[place + more]]
    there = (way for way in ways if way.strip() and _is_file(root, _file(root, way)))
    said += ": its labels are left out. Put quotes around a text that has a separator in it"
    notes.add(number, RAGGED, said)
    return [next(there, ways[0]) if name == "path" else "" for name in columns]


class _Rows:
    """Makes rows from cells. Equal cells of a column are understood once and share their value."""

    def __init__(self, root: Path | None) -> None:
        self.root = None if root is None else str(root)
        self.rows: list[ManifestRow] = []
        self.notes = Notes()
        self._known: dict[tuple[str, Any], tuple[Any, list[tuple[str, str]]]] = {}
        self._short_dates: list[tuple[int, str]] = []

    def add(self, number: int, cells: Mapping[str, Any]) -> None:
        """Add a row, unless all its cells are empty or its path cannot be one."""
        filled = {
            column: cell
            for column, cell in cells.items()
            if column and cell is not None and cell != "" and cell == cell
        }
        if all(isinstance(cell, str) and not cell.strip() for cell in filled.values()):
            return
        listed, path = _path(filled.pop("path", None), partial(self.notes.add, number))
        if not path:
            return
        found = {
            FIELDS.get(column, column): self._value(number, column, cell)
            for column, cell in filled.items()
        }
        match found.get("published"):
            case datetime.date() as day:
                found["year"] = found.get("year") or day.year
            case int() as year:  # all that is certain of the date
                found["year"], found["published"] = found.get("year") or year, None
            case str() as text:
                self._short_dates.append((len(self.rows), text))
                found["published"] = None
        file = listed if self.root is None else _file(self.root, listed)
        if "./" in file and ".." not in file:  # one file has one name; `..` may lead over a link
            file = os.path.normpath(file)
        self.rows.append(ManifestRow(number, path, file=file, **found))

    def finish(self) -> None:
        """Read dates such as 19.03.02 year first, unless one of them can only be day first."""
        days = [parse_short_date(text) for _, text in self._short_dates]
        is_year_first = not any(
            day is None and parse_short_date(text, day_first=True)
            for (_, text), day in zip(self._short_dates, days, strict=True)
        )
        for (place, text), day in zip(self._short_dates, days, strict=True):
            row = self.rows[place]
            if is_year_first and day:
                self.rows[place] = replace(row, published=day, year=row.year or day.year)
                said = f"date {text[:40]!r} is read as {day}, year first"
                self.notes.add(row.number, READ_AS_DATE, said)
            else:
                said = f"date {text[:40]!r} is not certain: write it like 2019-03-02"
                self.notes.add(row.number, WRONG_DATE, said)

    def _value(self, number: int, column: str, cell: Any) -> Any:
        key: tuple[str, Any] | None
        key = column, tuple(cell) if isinstance(cell, list) else cell
        try:
            found = self._known.get(key)
        except TypeError:  # lists of lists, records
            found = key = None
        if found is None:
            said: list[tuple[str, str]] = []
            found = (
                READERS[column](cell, column, lambda kind, text: said.append((kind, text))),
                said,
            )
            if key is not None:
                if len(self._known) > MAX_KNOWN:
                    self._known.clear()
                self._known[key] = found
        value, notes = found
        for kind, text in notes:
            self.notes.add(number, kind, text)
        return value


# --- What a cell says.


_ESCAPED = re.compile("[\ud800-\udfff]")
"""A byte that is no UTF-8, as Python keeps it in a text."""


def _decoded(cell: Any, column: str, say: Say) -> Any:
    """Text of bytes, and of a text in which some bytes are no UTF-8."""
    if isinstance(cell, str) and (cell.isascii() or not _ESCAPED.search(cell)):
        return cell
    raw = cell if isinstance(cell, bytes) else os.fsencode(cell)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        found = from_code_page(raw)
    if found is None:
        return Odd("bytes that are no text")
    say(OLD_TEXT, f"{column} {found[0][:40]!r} is read in the code page {found[1]}")
    return found[0]


def _text(cell: Any, column: str, say: Say) -> str:
    """The text of a cell; numbers as people write them."""
    if isinstance(cell, list | tuple):
        if len(cell) > 1:
            say(NO_TEXT, f"{column} lists {len(cell)} values: the first counts")
        cell = cell[0] if cell else None
    if isinstance(cell, str | bytes) and not isinstance(cell, Odd):
        cell = _decoded(cell, column, say)
    if isinstance(cell, float | Decimal) and cell == cell and abs(cell) != float("inf"):
        cell = int(cell) if cell == int(cell) else str(cell)
    if isinstance(cell, datetime.date):
        cell = cell.isoformat()
    if isinstance(cell, int) and not isinstance(cell, bool):
        cell = str(cell)
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, Odd) or not isinstance(cell, str):
        what = cell if isinstance(cell, Odd) else f"a value of the type {type(cell).__name__}"
        say(NO_TEXT, f"{column} holds {what}: left out")
        return ""
    if len(cell) > MAX_CELL_CHARS:
        say(NO_TEXT, f"{column} has {len(cell):,} characters: left out")
        return ""
    text = cell.strip()
    if text in EMPTY:
        say(EMPTY_WORD, f"{column} {text!r} counts as empty")
        return ""
    return text


def _name(cell: Any, column: str, say: Say) -> str:
    return clean_name(_text(cell, column, say))


def _id(cell: Any, column: str, say: Say) -> str:
    """An id: 17.0 is what a column of numbers with gaps makes of 17."""
    return re.sub(r"(?<=^\d)(\d*)\.0$", r"\1", _name(cell, column, say))


def _names(cell: Any, column: str, say: Say) -> tuple[str, ...]:
    parts = cell if isinstance(cell, list | tuple) else re.split("[;；]", _text(cell, column, say))
    return distinct_names(_text(part, column, say) for part in parts)


def _year(cell: Any, column: str, say: Say) -> int | None:
    text = _text(cell, column, say)
    year = parse_year(text)
    if text and year is None:
        say(WRONG_YEAR, f"{column} {text[:40]!r} is not a year")
    return year


def _date(cell: Any, column: str, say: Say) -> datetime.date | str | int | None:
    """The day; the year where that is all; a short date as it stands."""
    text = _text(cell, column, say)
    if not text or (day := parse_date(text)):
        return day if text else None
    if is_short_date(text):
        return text
    if day := parse_serial_date(text):
        say(READ_AS_DATE, f"{column} {text!r} is read as {day}, a spreadsheet's number")
        return day
    year = parse_year(text)
    if year is None:
        say(WRONG_DATE, f"{column} {text[:40]!r} is not understood: write it like 2019-03-02")
    elif not re.fullmatch(r"\d{4}(\.0|년)?", text):
        say(WRONG_DATE, f"{column} {text[:40]!r}: only the year {year} is certain")
    return year


def _kind(cell: Any, column: str, say: Say) -> str:
    text = _text(cell, column, say)
    return text.casefold() if text.casefold() in ("strip", "page") else text


def _episode(cell: Any, column: str, say: Say) -> int | None:
    """The number of an episode, as people write it: 12, 12.0, 012, 12화, ep. 12."""
    text = _text(cell, column, say)
    found = re.fullmatch(r"\D*0*(\d{1,9})(\.0+)?\D*", text)
    if text and found is None:
        say(WRONG_EPISODE, f"{column} {text[:40]!r} is not understood: write its number")
    return int(found[1]) if found else None


READERS: dict[str, Callable[[Any, str, Say], Any]] = {
    "author": _names, "genre": _names, "tags": _names, "series": _name, "title": _name,
    "title_id": _id, "year": _year, "date": _date, "kind": _kind, "episode": _episode,
    "url": _text,
}  # fmt: skip


# --- Where a picture lies.


def _path(cell: Any, say: Say) -> tuple[str, str]:
    """A path as the file system has it, and as text; both empty where no file is called so."""
    said: list[tuple[str, str]] = []
    text = _text(cell, "path", lambda kind, what: said.append((kind, what)))
    if isinstance(cell, bytes):
        cell = os.fsdecode(cell)
    # Spaces around it are a slip, unless the file is called so.
    listed = cell if isinstance(cell, str) and not isinstance(cell, Odd) else text
    if not text and _ESCAPED.search(listed):
        text = os.fsencode(listed).decode("utf-8", "backslashreplace")
    elif not text:
        say(NO_PATH, said[0][1] if said else "no path")
    if "\0" in text:
        say(NO_PATH, f"path {text[:40]!r} has a zero byte")
        text = ""
    return (listed, text) if text else ("", "")


_PLAIN_PATH = re.compile(r"[\w./+,=()~@ -]*", re.ASCII)


def _is_file(root: str, name: str) -> bool:
    # Unlike Path.is_file it never raises, and there may be a million names.
    return os.path.isfile(f"{root}/{name}" if name[:1] != "/" else name)  # noqa: PTH113


def _file(root: str, listed: str) -> str:
    r"""The spelling of a listed path under which there is a file.

    As it stands; without spaces and quotes around it; with `\` as Windows has it; as part of a web
    address (`file://`, `%20`); composed, decomposed as on a Mac, or as Korean Windows packs it. Where
    there is none: as listed.
    """
    plain = listed.strip()
    if plain == listed and _PLAIN_PATH.fullmatch(listed):
        return listed
    bare = plain.strip("\"'").strip()
    slashed = bare.replace("\\", "/")
    decoded = urllib.parse.unquote(slashed.removeprefix("file://"))
    for spelling in dict.fromkeys((listed, plain, bare, slashed, decoded)):
        for form in dict.fromkeys((spelling, *_forms(spelling))):
            if _is_file(root, form):
                return form
    return plain


def _forms(text: str) -> Iterator[str]:
    yield unicodedata.normalize("NFC", text)
    yield unicodedata.normalize("NFD", text)
    with suppress(UnicodeEncodeError):
        yield os.fsdecode(text.encode("cp949"))


# --- Columns.


def _column(name: str) -> str:
    """A column's name as it is compared: case, width, spaces and quotes around it do not count."""
    return author_key(clean_name(name).strip("\"'")).replace(" ", "_")


def _columns(file: Path, names: Sequence[str]) -> list[str]:
    """For each column of the file what it is of COLUMNS, or "".

    Errors:  InputError when there is no `path`, or two columns are the same
    """
    if not any(map(str.strip, names)):
        raise InputError(f"the manifest {file} lists no picture")
    plain = [_column(name) for name in names]
    columns = [
        name if name in COLUMNS else korean if (korean := KOREAN.get(name, "")) not in plain else ""
        for name in plain
    ]
    there = ", ".join(filter(None, map(clean_name, names)))[:200]
    for column in COLUMNS:
        if columns.count(column) > 1:
            raise InputError(f"the manifest {file} has two columns {column!r}", f"It has {there}.")
    if "path" not in columns:
        raise InputError(
            f"the manifest {file} has no column 'path'",
            f"It has {there}: call the one with the files' names `path`.",
        )
    return columns
