"""The documented views: what `views.sql` says, and the tables' own comments.

Everything that SQL can be asked about is described here once, for `toonsearch sql
--schema`, for DuckDB's own catalog, for the data dictionary of an export and for hints
when a name is mistyped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from schemas.tables import TABLES, Column

_HEAD = re.compile(r"^-- view: (\w+)( \[kept\])?$", re.MULTILINE)
_COLUMN = re.compile(r"-- (\w+): (.+)")

SQL_TYPES = {
    "string": "VARCHAR",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "strings": "VARCHAR[]",
    "floats": "FLOAT[]",
    "authors": "STRUCT(name VARCHAR, role VARCHAR)[]",
    "probabilities": "STRUCT(label VARCHAR, probability DOUBLE)[]",
}
"""DuckDB's type of each type in `schemas/tables.py`; times are shown in UTC."""

TABLE_COMMENTS = {
    "titles": "A webtoon, album or book.",
    "episodes": "Episodes of titles.",
    "pictures": "Every picture that was brought in, stored or not, and why not.",
    "vectors": "Style vectors: unit length, so that their inner product is the cosine.",
    "predictions": "What a model says of a picture, its own title hidden from it.",
    "colors": "Three dominant colours of each of six regions of a picture.",
    "crawl_state": "What the crawler knows of each title of a site, had or not.",
    "runs": "Commands that wrote, and how they ended.",
}


@dataclass(frozen=True)
class View:
    """A view: its columns with their comments, in order.

    `kept` says that its result is worth keeping until a table changes.
    """

    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    sql: str
    kept: bool = False


@cache
def ready_views() -> dict[str, View]:
    """The views of `views.sql`, in the order in which they can be created."""
    text = (Path(__file__).parent / "views.sql").read_text("utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head[1]: _view(head[1], text[head.end() : end], bool(head[2]))
        for head, end in zip(heads, ends, strict=True)
    }


def _view(name: str, text: str, kept: bool) -> View:
    lines = text.strip().splitlines()
    said = [line for line in lines if line.startswith("-- ")]
    columns = tuple((found[1], found[2]) for found in map(_COLUMN.fullmatch, said) if found)
    comment = " ".join(line[3:] for line in said if not _COLUMN.fullmatch(line))
    sql = "\n".join(line for line in lines if not line.startswith("--"))
    return View(name, comment, columns, sql.strip().rstrip(";"), kept)


@cache
def table_views() -> dict[str, View]:
    """The catalog's tables as views; their SQL depends on the files of a snapshot."""
    return {
        name: View(name, TABLE_COMMENTS[name], tuple((c.name, c.comment) for c in spec.columns), "")
        for name, spec in TABLES.items()
    }


SNAPSHOT_VIEW = View(
    "snapshot",
    "The version of each table that this session reads, and the index that `similar` asks.",
    (
        ("name", "a table, or index"),
        ("version", "version of the table, or id of the index generation"),
        ("committed_at", "when it was written (UTC)"),
    ),
    "",
)


def all_views() -> dict[str, View]:
    """Tables first, then the ready-made views."""
    return {**table_views(), SNAPSHOT_VIEW.name: SNAPSHOT_VIEW, **ready_views()}


def named_views(sql: str) -> list[str]:
    """Views that follow a `from` or `join`: those that a statement reads, or nearly so."""
    named = re.findall(r"\b(?:from|join)\s+(\w+)", sql.lower())
    known = all_views()
    return [name for name in dict.fromkeys(named) if name in known]


def table_sql(table: str, files: tuple[str, ...], public: bool = False) -> str:
    """A select over the Parquet files of one version of a table, or over nothing.

    With `public`, absolute paths of imported files are cut to their names.
    """
    columns = TABLES[table].columns
    if not files:
        typed = ", ".join(f'null::{SQL_TYPES[c.type]} as "{c.name}"' for c in columns)
        return f"select {typed} where false"
    said = ", ".join(_column_sql(c, public) for c in columns)
    listed = ", ".join(quoted(file) for file in files)
    return f"select {said} from read_parquet([{listed}])"


def _column_sql(column: Column, public: bool) -> str:
    if column.type == "timestamp":  # without pytz, DuckDB's client knows no zones
        return f"timezone('UTC', {column.name}) as {column.name}"
    if public and column.name in ("source", "source_path"):  # "folder:/home/me/x" -> "folder:x"
        return rf"regexp_replace({column.name}, '(^|:)/([^/].*)?/', '\1') as {column.name}"
    return f'"{column.name}"'


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
