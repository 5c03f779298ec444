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

from schemas.records import Answer, Hit, TitleHit
from schemas.storage.fsio import storage_error
from schemas.storage.layout import Layout
from search.cli.context import colour_wanted, plain
from search.output.text import BOLD, DIM, RESET, cells, cut, pad

if TYPE_CHECKING:
    from search.sql.session import Result


# --- Answers as data: JSON, JSON lines, CSV and bare paths, for programs and pipes.

CSV_COLUMNS = (
    "rank", "title_id", "title", "authors", "genres", "year", "score", "similarity",
    "percentile", "picture_id", "path", "url",
)  # fmt: skip


def write_json(out: TextIO, answer: Answer, by: str, layout: Layout) -> None:
    """One object: the query, its hits and its labels."""
    json.dump(body(answer, by, layout), out, ensure_ascii=False, indent=2, allow_nan=False)
    out.write("\n")


def body(answer: Answer, by: str, layout: Layout | None) -> dict[str, Any]:
    """The answer as plain values; without a layout, nothing says where files lie."""
    return {
        "query": {
            "pictures": list(answer.queries),
            "by": by,
            "generation": answer.generation_id,
            "model": answer.model_id,
            "preprocessing": answer.preprocessing,
            "pictures_count": answer.pictures_count,
            "candidates_count": answer.candidates_count,
            "elapsed_ms": round(answer.elapsed_ms, 3),
            "notes": list(answer.notes),
        },
        f"{by}s": hits(answer, by, layout),
        "labels": {
            "authors": _labels(answer.labels.authors),
            "unknown_author": _short(answer.labels.unknown_author),
            "genres": _labels(answer.labels.genres),
            "eras": _labels(answer.labels.eras),
            "out_of_distribution": _short(answer.labels.out_of_distribution),
        },
    }


def write_lines(out: TextIO, answer: Answer, by: str, layout: Layout) -> None:
    """One object for each hit, one a line."""
    for hit in hits(answer, by, layout):
        out.write(json.dumps(hit, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(out: TextIO, answer: Answer, by: str, layout: Layout | None) -> None:
    """A header and one row for each hit; several authors or genres are joined by `; `."""
    import csv

    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for hit in hits(answer, by, layout):
        best = hit["pictures"][0] if by == "title" else hit
        row = {**hit, **{key: best.get(key) for key in ("picture_id", "path")}}
        row["authors"], row["genres"] = "; ".join(row["authors"]), "; ".join(row["genres"])
        writer.writerow(["" if row.get(name) is None else row[name] for name in CSV_COLUMNS])


def write_paths(out: TextIO, answer: Answer, by: str, layout: Layout, end: str) -> None:
    """The stored file of each hit's best picture."""
    best = [title.hits[0] for title in answer.titles] if by == "title" else answer.pictures
    for hit in best:
        if hit.file is not None:
            out.write(f"{layout.picture(hit.file)}{end}")


def hits(answer: Answer, by: str, layout: Layout | None) -> list[dict[str, Any]]:
    """The hits as plain values: titles with their pictures, or pictures with their title."""
    if by == "title":
        return [
            {
                "rank": title.rank,
                **_title(title),
                "score": _short(title.score),
                "similarity": _short(title.similarity),
                "percentile": _short(title.percentile),
                "pictures": [_picture(hit, layout) for hit in title.hits],
            }
            for title in answer.titles
        ]
    title_of = {title.title_id: title for title in answer.titles}
    return [
        {"rank": rank, **_picture(hit, layout), **_title(title_of[hit.title_id], hit.year)}
        for rank, hit in enumerate(answer.pictures, 1)
    ]


def _title(title: TitleHit, year: int | None = None) -> dict[str, Any]:
    return {
        "title_id": title.title_id,
        "title": title.name,
        "authors": list(title.authors),
        "genres": list(title.genres),
        "year": year if year is not None else title.year,
        "url": title.url,
    }


def _picture(hit: Hit, layout: Layout | None) -> dict[str, Any]:
    known = {
        "picture_id": hit.picture_id,
        "similarity": _short(hit.similarity),
        "percentile": _short(hit.percentile),
    }
    if layout is not None:
        known["path"] = None if hit.file is None else str(layout.picture(hit.file))
        known["source_path"] = hit.source_path
    return {**known, "year": hit.year}


def _labels(labels: Any) -> list[dict[str, Any]]:
    return [{"label": one.label, "probability": _short(one.probability)} for one in labels]


def _short(value: float) -> float:
    """Six digits: more than the stored half floats carry."""
    return round(float(value), 6)


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
