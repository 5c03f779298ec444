"""Manifests: CSV, TSV or Parquet files that list pictures and what is known about them.

Columns: `path` (relative to the manifest) and any of `author`, `series`, `title`, `title_id`,
`genre`, `tags`, `year`, `date`, `kind`, `url`. Several authors, genres or tags are separated
by `;`. Other columns are left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.names import clean_name, distinct_names

MAX_BYTES = 1 << 29
MAX_FIELD_BYTES = 1 << 20
COLUMNS = (
    *("path", "author", "series", "title", "title_id"),
    *("genre", "tags", "year", "date", "kind", "url"),
)


@dataclass(frozen=True)
class ManifestRow:
    """One listed picture; an empty text or tuple stands for "not said".

    number  of the row, as a spreadsheet counts: the columns' names are row 1
    """

    number: int
    path: str
    authors: tuple[str, ...] = ()
    series: str = ""
    title: str = ""
    title_id: str = ""
    genres: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    year: str = ""
    date: str = ""
    kind: str = ""
    url: str = ""

    @classmethod
    def of(cls, number: int, cells: Mapping[str, Any]) -> ManifestRow:
        """A row from cells by column."""
        single = ("path", "series", "title", "title_id", "year", "date", "kind", "url")
        text = {name: _text(cells.get(name)) for name in single}
        text |= {name: clean_name(text[name]) for name in ("series", "title")}
        return cls(
            number,
            authors=distinct_names(_several(cells.get("author"))),
            genres=_several(cells.get("genre")),
            tags=_several(cells.get("tags")),
            **text,
        )


def manifest_rows(cells: Iterable[Mapping[str, Any]]) -> list[ManifestRow]:
    """Rows from cells by column, numbered as in a file."""
    return [ManifestRow.of(number, row) for number, row in enumerate(cells, 2)]


def read_manifest(file: Path) -> list[ManifestRow]:
    """The rows of a manifest in the file's order; a row may lack its path.

    Errors:  InputError with the row where there is one
    """
    if not file.is_file():
        raise InputError(f"there is no manifest at {file}")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(
                f"the manifest {file} has more than {MAX_BYTES >> 20:,} MB", "Split it."
            )
        cells = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
        rows = manifest_rows(cells)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise _unreadable(file, str(error).splitlines()[0]) from error
    if not rows:
        raise InputError(f"the manifest {file} lists no picture")
    return rows


def _csv(file: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(MAX_FIELD_BYTES)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    number = 1
    with file.open(encoding="utf-8-sig", newline="") as handle:
        lines = csv.reader(handle, delimiter=delimiter, strict=True)
        try:
            names = _checked_columns(file, next(lines, []))
            for number, line in enumerate(filter(None, lines), 2):
                if any(cell.strip() for cell in line[len(names) :]):
                    cells = f"{len(line)} cells, and there are {len(names)} columns"
                    raise _unreadable(file, f"row {number} has {cells}")
                yield dict(zip(names, line, strict=False))
        except csv.Error as error:
            raise _unreadable(file, f"row {number + 1}: {error}") from error


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        facts = table.metadata
        size = sum(facts.row_group(n).total_byte_size for n in range(facts.num_row_groups))
        if size > MAX_BYTES:
            raise _unreadable(file, f"it unpacks to {size >> 20:,} MB")
        names = table.schema_arrow.names
        wanted = [
            n for n, c in zip(names, _checked_columns(file, names), strict=True) if c in COLUMNS
        ]
        for batch in table.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                yield {name.strip().lower(): value for name, value in row.items()}


def _checked_columns(file: Path, names: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in names]
    if not columns:
        raise InputError(f"the manifest {file} lists no picture")
    if "path" not in columns:
        raise InputError(
            f"the manifest {file} has no column 'path'", f"It has {', '.join(columns)}."
        )
    return columns


def _unreadable(file: Path, why: str) -> InputError:
    return InputError(f"the manifest {file} cannot be read ({why})")


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, float):  # a column of whole numbers with gaps
        value = int(value) if value.is_integer() else None if value != value else value
    return "" if value is None else str(value).strip()


def _several(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else str(value or "").split(";")
    return tuple(dict.fromkeys(p for p in (str(part).strip() for part in parts) if p))
