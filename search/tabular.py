"""Rows of any query as a table, JSON, JSON lines, CSV, Markdown or Parquet."""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from schemas.durable import storage_error
from search.session import colour_wanted, plain
from search.table import BOLD, DIM, RESET, cells, cut, pad

if TYPE_CHECKING:
    from search.asking import Result

FORMATS = ("table", "json", "nl", "csv", "markdown", "parquet")
FETCHED = 65_536  # rows of one Arrow batch
MAX_CELL = 60  # cells of one value in a table on a terminal
NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "HUGEINT")


def plain_value(value: Any) -> Any:
    """A DuckDB value as JSON knows it; what it does not know becomes text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | clock | timedelta | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): plain_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain_value(one) for one in value]
    return str(value)


def shown(value: Any) -> str:
    """A value as people read it: lists without quotes, short numbers."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(one) for one in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={shown(one)}" for key, one in value.items())
    return str(plain_value(value))


def write_result(out: TextIO, result: Result, form: str, most: int | None = None) -> bool:
    """Write rows in one of FORMATS but Parquet; returns whether rows were left out.

    `most` holds for tables alone.
    """
    if form == "json":
        _write_json(out, result)
    elif form == "nl":
        for row in result.rows():
            out.write(json.dumps(_record(result.columns, row), ensure_ascii=False) + "\n")
    elif form == "csv":
        _write_csv(out, result)
    elif form == "markdown":
        write_markdown(out, result.columns, result.types, result.rows())
    else:
        rows = list(result.rows(None if most is None else most + 1))
        write_rows(out, result.columns, result.types, rows[:most])
        return most is not None and len(rows) > most
    return False


def write_parquet(path: Path, result: Result) -> int:
    """Write rows as a Parquet file; returns their number.

    Errors:  InputError when it cannot be written
    """
    import pyarrow.parquet as pq

    count = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "makes an extra copy": of one batch at a time
            reader: Any = result.cursor.to_arrow_reader(FETCHED)
        with reader, pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                count += batch.num_rows
    except OSError as error:
        raise storage_error(error, str(path)) from error
    return count


def write_rows(
    out: TextIO, columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """A table that fits the terminal; piped, it is as wide as its values."""
    on_terminal, paint = out.isatty(), colour_wanted(out)
    right = [any(kind in str(t) for kind in NUMBERS) and "[" not in str(t) for t in types]
    body = [[plain(shown(value)) for value in row] for row in rows]
    if on_terminal:
        body = [[cut(value, MAX_CELL) for value in row] for row in body]
    head = [plain(name) for name in columns]
    widths = [max(cells(row[c]) for row in [head, *body]) for c in range(len(head))]
    if on_terminal:
        _fit(widths, right, shutil.get_terminal_size().columns)
    for number, row in enumerate([head, *body]):
        line = "  ".join(
            pad(cut(value, size), size, to_right)
            for value, size, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        out.write((f"{BOLD}{line}{RESET}" if paint and number == 0 else line) + "\n")
    if not rows:
        out.write(f"{DIM}no rows{RESET}\n" if paint else "no rows\n")


def write_markdown(
    out: TextIO, columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """A Markdown table."""
    right = [any(kind in str(t) for kind in NUMBERS) and "[" not in str(t) for t in types]
    out.write(f"| {' | '.join(_cell(name) for name in columns)} |\n")
    out.write(f"| {' | '.join('---:' if number else '---' for number in right)} |\n")
    for row in rows:
        out.write(f"| {' | '.join(_cell(shown(value)) for value in row)} |\n")


def _cell(text: str) -> str:
    return plain(text).replace("|", "\\|")


def _write_json(out: TextIO, result: Result) -> None:
    """An array of objects, one a line, without holding them all."""
    before = "["
    for row in result.rows():
        out.write(before + "\n " + json.dumps(_record(result.columns, row), ensure_ascii=False))
        before = ","
    out.write("[]\n" if before == "[" else "\n]\n")


def _write_csv(out: TextIO, result: Result) -> None:
    import csv

    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows():
        writer.writerow([_csv_value(value) for value in row])


def _csv_value(value: Any) -> Any:
    """Lists of plain values are joined by `; `, as elsewhere; anything deeper is JSON."""
    if isinstance(value, list | tuple) and not any(isinstance(v, list | dict) for v in value):
        return "; ".join(str(plain_value(one)) for one in value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(plain_value(value), ensure_ascii=False)
    return "" if value is None else plain_value(value)


def _record(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    return {name: plain_value(value) for name, value in zip(unique(columns), row, strict=True)}


def unique(columns: Sequence[str]) -> list[str]:
    """Column names, later ones of the same name with a number: JSON cannot say one twice."""
    seen: set[str] = set()
    named: list[str] = []
    for name in columns:
        fresh = next(
            one
            for one in itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2)))
            if one not in seen
        )
        seen.add(fresh)
        named.append(fresh)
    return named


def _fit(widths: list[int], fixed: Sequence[bool], width: int) -> None:
    """Take cells from the widest text column until the row fits."""
    floor = 6
    while sum(widths) + 2 * (len(widths) - 1) > width:
        loose = [(size, c) for c, size in enumerate(widths) if not fixed[c] and size > floor]
        if not loose:
            return
        widths[max(loose)[1]] -= 1
