"""Answers and rows of SQL for programs: JSON, JSON lines, CSV, Markdown, Parquet, bare paths."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from schemas.errors import InputError
from schemas.records import (
    LABEL_KINDS,
    Answer,
    AskedPanel,
    Hit,
    LabelProbability,
    Labels,
    TitleHit,
)
from schemas.storage.fsio import storage_error
from schemas.storage.layout import Layout
from search.cli.context import plain

if TYPE_CHECKING:
    from search.sql.session import Result

FORMATS = ("table", "json", "nl", "csv", "markdown", "parquet")
BATCH_ROWS = 65_536  # of Arrow
_CHANGED_BY_PARQUET = re.compile(r"\b(BIT|BIGNUM|UHUGEINT|VARIANT|TIME WITH TIME ZONE)\b")
"""Types of DuckDB that would lose their meaning, or a part of their values."""
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
MOST_CELLS = 60  # of one value in a table on a terminal
NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "HUGEINT")


# --- Answers as plain values


def body(answer: Answer, by: str, layout: Layout | None) -> dict[str, Any]:
    """The answer as plain values; without a layout, nothing says where files lie."""
    return {
        "query": {
            "pictures": list(answer.queries),
            "by": by,
            "subject": answer.subject,
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
            **{of.column: _labels(answer.labels.of(kind)) for kind, of in LABEL_KINDS.items()},
            "unknown_author": _short(answer.labels.unknown_author),
            "out_of_distribution": _short(answer.labels.out_of_distribution),
            "by_softmax": list(answer.labels.by_softmax),
            "conclusion": answer.labels.conclusion,
            "sentence": answer.labels.sentence,
            "bars": {
                kind: [
                    {"label": bar.label, "percent": round(100 * bar.share), "what": bar.what}
                    for bar in answer.labels.bars(kind)
                ]
                for kind in LABEL_KINDS
            },
        },
        "panels": [_asked(panel) for panel in answer.panels],
    }


def _asked(panel: AskedPanel) -> dict[str, Any]:
    """A panel of the query; its boxes are left, top, width and height in the picture's pixels."""
    return {
        "panel": panel.number,
        "parts": [{"picture": part.picture, "box": list(part.box)} for part in panel.parts],
        "confidence": panel.confidence,
        "asks": panel.asks,
        "similarity": None if panel.similarity is None else _short(panel.similarity),
    }


def hits(answer: Answer, by: str, layout: Layout | None) -> list[dict[str, Any]]:
    """The hits as plain values: titles with their pictures, or pictures with their title."""
    if by == "title":
        return [
            {
                "rank": title.rank,
                **_title(title),
                "closeness": title.closeness,
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
        "closeness": hit.closeness,
        "similarity": _short(hit.similarity),
        "percentile": _short(hit.percentile),
        "expanded": hit.expanded,
    }
    if layout is not None:
        path = layout.picture_to_name(hit.file, hit.source_path)
        known["path"] = None if path is None else str(path)
        known["source_path"] = hit.source_path
    if hit.asked_by is not None:
        known["asked_by"] = hit.asked_by
    if hit.panel is not None:
        known["panel"] = {
            **hit.panel.facts(),
            "episode": hit.episode_no,
            "url": hit.episode_url,
        }
    return {**known, "year": hit.year}


def _labels(labels: Iterable[LabelProbability]) -> list[dict[str, Any]]:
    return [{"label": one.label, "probability": _short(one.probability)} for one in labels]


def _probabilities(labels: Labels, hit: Mapping[str, Any]) -> dict[str, float | str | None]:
    """What the labels of the query say of one hit."""
    of = {one.label: one.probability for one in labels.authors}
    by = [of[author] for author in hit["authors"] if author in of]
    return {
        "author_probability": _short(max(by)) if by else None,
        "unknown_author": _short(labels.unknown_author),
        "out_of_distribution": _short(labels.out_of_distribution),
        "conclusion": labels.conclusion,
    }


def _short(value: float) -> float:
    """Six digits: more than the stored half floats carry."""
    return round(float(value), 6)


CSV_COLUMNS = [
    "rank",
    "title_id",
    "title",
    "authors",
    "genres",
    "year",
    "closeness",
    "similarity",
    "percentile",
    "picture_id",
    "path",
    "url",
    "author_probability",
    "unknown_author",
    "out_of_distribution",
    "conclusion",
    "asked_by",
]


def write_answer(
    out: TextIO, answer: Answer, by: str, layout: Layout | None, form: str, end: str = "\n"
) -> None:
    """An answer as `json` (one object), `nl` (a hit a line), `csv` or `paths-only`.

    `csv` and `paths-only` name a title's best picture; paths end in `end`. A line of `nl` and `csv`
    also says how probably the query is by the hit's author, where that is one of the most probable
    ones, by nobody in the catalog, and of another kind than it, and what is concluded.
    """
    if form == "json":
        json.dump(body(answer, by, layout), out, ensure_ascii=False, indent=2, allow_nan=False)
        out.write("\n")
        return
    if form == "nl":
        write_lines(out, _found(answer, by, layout))
        return
    best = best_hits(answer, by, layout)
    if form == "csv":
        write_csv(out, CSV_COLUMNS, ([hit.get(name) for name in CSV_COLUMNS] for hit in best))
    else:
        out.writelines(f"{hit['path']}{end}" for hit in best if hit["path"] is not None)


def best_hits(answer: Answer, by: str, layout: Layout | None) -> list[dict[str, Any]]:
    """The hits with the values of CSV_COLUMNS, a title with those of its best picture."""
    found = _found(answer, by, layout)
    return [{**hit, **hit["pictures"][0], **hit} if by == "title" else hit for hit in found]


def _found(answer: Answer, by: str, layout: Layout | None) -> list[dict[str, Any]]:
    return [{**hit, **_probabilities(answer.labels, hit)} for hit in hits(answer, by, layout)]


# --- Rows of SQL


def write_result(
    out: TextIO,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[Sequence[Any]],
    form: str,
    most: int | None = None,
) -> bool:
    """Write rows in one of FORMATS but Parquet; returns whether rows were left out.

    `most` holds for tables alone.
    """
    if form == "table":
        first = list(itertools.islice(rows, None if most is None else most + 1))
        write_rows(out, columns, types, first[:most])
        return most is not None and len(first) > most
    if form == "csv":
        write_csv(out, columns, rows)
    elif form == "markdown":
        write_markdown(out, columns, types, rows)
    else:
        write = write_array if form == "json" else write_lines
        names = unique(columns)
        write(out, (dict(zip(names, row, strict=True)) for row in rows))
    return False


def write_array(out: TextIO, records: Iterable[Mapping[str, Any]]) -> None:
    """An array of objects, one a line, without holding them all."""
    before = "["
    for record in records:
        out.write(f"{before}\n {_json(record)}")
        before = ","
    out.write("[]\n" if before == "[" else "\n]\n")


def write_lines(out: TextIO, records: Iterable[Mapping[str, Any]]) -> None:
    """One object a line."""
    out.writelines(_json(record) + "\n" for record in records)


def _json(value: Any) -> str:
    return json.dumps(plain_value(value), ensure_ascii=False, allow_nan=False)


def write_csv(out: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A header and the rows; lists of plain values are joined by `; `, anything deeper is JSON."""
    import csv

    def value(one: Any) -> Any:
        if isinstance(one, list | tuple) and not any(isinstance(v, list | dict) for v in one):
            return "; ".join(str(plain_value(v)) for v in one)
        if isinstance(one, dict | list | tuple):
            return _json(one)
        return "" if one is None else plain_value(one)

    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([value(one) for one in row] for row in rows)


def write_rows(
    out: TextIO, columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """A table for people."""
    from search.output.text import write_table

    body = [[shown(value) for value in row] for row in rows]
    write_table(out, columns, body, _numbers(types), MOST_CELLS)
    if not body:
        out.write("no rows\n")


def write_markdown(
    out: TextIO, columns: Sequence[str], types: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """A Markdown table."""
    rule = ["---:" if number else "---" for number in _numbers(types)]
    for row in itertools.chain([columns, rule], rows):
        line = " | ".join(plain(shown(value)).replace("|", "\\|") for value in row)
        out.write(f"| {line} |\n")


def write_parquet(path: Path, result: Result) -> int:
    """Write rows as a Parquet file; returns their number.

    Errors:  InputError when it cannot be written, or names a column that Parquet cannot hold
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from schemas.storage.outputs import output_file

    count = 0
    try:
        with result.explaining(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "makes an extra copy": of one batch at a time
            reader: Any = result.cursor.to_arrow_reader(BATCH_ROWS)
        with reader:
            _check_for_parquet(reader.schema, result)
            schema = pa.schema(
                one.with_name(name)
                for one, name in zip(reader.schema, unique(result.columns), strict=True)
            )
            with (
                result.explaining(),
                output_file(path) as file,
                pq.ParquetWriter(file, schema, compression="zstd") as writer,
            ):
                for batch in reader:
                    writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
                    count += batch.num_rows
    except OSError as error:
        raise storage_error(error, str(path)) from error
    return count


def _check_for_parquet(schema: Any, result: Result) -> None:
    """Refuse columns that Parquet has no type for, or only one that changes the values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for column, name, kind in zip(schema, result.columns, result.types, strict=True):
        is_held = not _CHANGED_BY_PARQUET.search(_QUOTED.sub("", kind))
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([column])).close()
        except pa.ArrowException:
            is_held = False
        if not is_held:
            raise InputError(
                f"Parquet cannot hold the column {name!r}, which is of type {kind}",
                "Cast it, as in x::varchar, or choose another format.",
            )


def _numbers(types: Sequence[str]) -> list[bool]:
    return [any(kind in str(t) for kind in NUMBERS) and "[" not in str(t) for t in types]


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


def unique(columns: Sequence[str]) -> list[str]:
    """Column names, later ones of the same name with a number: JSON cannot say one twice."""
    named: list[str] = []
    for name in columns:
        tries = itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2)))
        named.append(next(one for one in tries if one not in named))
    return named
