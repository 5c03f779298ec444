"""Answers to many files, one by one: JSON, JSON lines, CSV, or a table with a line for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from schemas.images import PictureError
from schemas.records import Answer
from schemas.storage.layout import Layout
from search.output.data import (
    CSV_COLUMNS,
    best_hits,
    body,
    write_array,
    write_csv,
    write_lines,
)
from search.output.text import cells, write_table

EachAnswer = tuple[str, Answer | PictureError]
"""A file as it was named, and its answer, or why it could not be used."""
TABLE = ("file", "artist", "nearest", "by", "closeness")
FILE_SHARE = 0.4
"""Of a terminal's width, for the file."""


def write_each(
    out: TextIO, answers: Iterable[EachAnswer], by: str, layout: Layout, form: str
) -> None:
    """Write answers as they come, in form `json` (an array), `nl` (an object a line) or `csv` (a
    line for each hit); as a `table` when all are there. `problem` is why a file could not be used.
    """
    if form == "csv":
        write_csv(out, ["file", *CSV_COLUMNS, "problem"], _rows(answers, by, layout))
    elif form == "table":
        lines = [_line(file, found, by) for file, found in answers]
        if out.isatty():
            width = int(FILE_SHARE * shutil.get_terminal_size().columns)
            lines = [[_end_of(file, width), *others] for file, *others in lines]
        write_table(out, TABLE, lines, [False] * len(TABLE))
    else:
        write = write_array if form == "json" else write_lines
        write(out, (_record(file, found, by, layout) for file, found in answers))


def _record(file: str, found: Answer | PictureError, by: str, layout: Layout) -> dict[str, Any]:
    if isinstance(found, PictureError):
        return {"file": file, "problem": _problem(file, found)}
    return {"file": file, "problem": None, **body(found, by, layout)}


def _rows(answers: Iterable[EachAnswer], by: str, layout: Layout) -> Iterator[list[Any]]:
    for file, found in answers:
        if isinstance(found, PictureError):
            yield [file, *[None] * len(CSV_COLUMNS), _problem(file, found)]
            continue
        for hit in best_hits(found, by, layout) or [{}]:
            yield [file, *(hit.get(name) for name in CSV_COLUMNS), None]


def _line(file: str, found: Answer | PictureError, by: str) -> list[str]:
    if isinstance(found, PictureError):
        return [file, f"not used: {_problem(file, found)}", "", "", ""]
    said = found.labels.sentence or "-"
    if not found.titles:
        return [file, said, "nothing was found", "", ""]
    first = found.titles[0]
    if by == "picture" and found.pictures:
        first = next(one for one in found.titles if one.title_id == found.pictures[0].title_id)
    return [file, said, first.name, ", ".join(first.authors) or "-", first.closeness or "-"]


def _end_of(file: str, width: int) -> str:
    """A file's name with as many of its folders as fit: a table cut at the right shows no name."""
    parts = file.split("/")
    short = file
    while cells(short) > width and len(parts) > 1:
        parts.pop(0)
        short = "…/" + "/".join(parts)
    return short


def _problem(file: str, error: PictureError) -> str:
    return error.message.removeprefix(f"{file}: ").removeprefix(f"{file} ")
