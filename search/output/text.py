"""Answers for people: a table that fits the terminal, and the probable hands below it.

Drawn by hand rather than by Rich, whose import alone would add a tenth of a second to
every query. Piped output has no colours, full names and a fixed layout.
"""

from __future__ import annotations

import math
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from schemas.records import Answer, LabelProbability, Labels
from search.cli.context import colour_wanted, plain

BAR_CELLS = 10
BOLD, DIM, GREEN, YELLOW, RESET = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
MIN_CELLS = 8  # no column is squeezed below this


def write_table(out: TextIO, answer: Answer, by: str) -> None:
    """The hits, best first, then the labels."""
    width = shutil.get_terminal_size().columns if out.isatty() else None
    paint = colour_wanted(out)
    rows = _title_rows(answer) if by == "title" else _picture_rows(answer)
    if rows:
        _write_rows(out, rows, width, paint)
    else:
        out.write("nothing was found\n")
    for line in label_lines(answer.labels):
        out.write(_painted(line, DIM if line.startswith(" ") else BOLD, paint) + "\n")


def _title_rows(answer: Answer) -> list[list[str]]:
    head = ["", "title", "by", "genre", "year", "similarity", "nearer than"]
    body = [
        [
            str(title.rank), title.name, ", ".join(title.authors) or "-",
            ", ".join(title.genres) or "-", str(title.year or "-"),
            f"{title.similarity:.3f}", percent(title.percentile),
        ]
        for title in answer.titles
    ]  # fmt: skip
    return [head, *body] if body else []


def _picture_rows(answer: Answer) -> list[list[str]]:
    title_of = {title.title_id: title for title in answer.titles}
    body = [
        [
            str(rank), (hit.source_path or hit.picture_id[:12]).rpartition("/")[2],
            title_of[hit.title_id].name, ", ".join(title_of[hit.title_id].authors) or "-",
            str(hit.year or "-"), f"{hit.similarity:.3f}", percent(hit.percentile),
        ]
        for rank, hit in enumerate(answer.pictures, 1)
    ]  # fmt: skip
    head = ["", "picture", "title", "by", "year", "similarity", "nearer than"]
    return [head, *body] if body else []


def percent(value: float) -> str:
    """A percentile cut (not rounded) to the digits that tell it from 100.

    >>> percent(93.26), percent(99.95), percent(99.9999), percent(100.0)
    ('93.2 %', '99.950 %', '99.999 %', '100 %')
    """
    if value >= 100.0:
        return "100 %"
    digits = 1 if value < 99 else 2 if value < 99.9 else 3
    return f"{math.floor(value * 10**digits) / 10**digits:.{digits}f} %"


def label_lines(labels: Labels) -> list[str]:
    """Who, what and when, most probable first, each with a bar."""
    lines: list[str] = []
    if labels.authors:
        lines += ["", "Whose hand?"]
        none = LabelProbability("none of the known authors", labels.unknown_author)
        rest = 1.0 - labels.unknown_author - sum(one.probability for one in labels.authors)
        others = LabelProbability("some other known author", max(0.0, rest))
        first = labels.unknown_author > 0.5
        shown = [none, *labels.authors] if first else [*labels.authors, none]
        lines += _bars([*shown, others])
    only = (
        " (of another kind; so common is each in the index)"
        if labels.is_out_of_distribution
        else ""
    )
    for heading, kind in (("Which genre?", labels.genres), ("Which era?", labels.eras)):
        if kind:
            lines += ["", heading + only, *_bars(kind)]
    return lines


def _bars(labels: Sequence[LabelProbability]) -> list[str]:
    shown = [(_plain(one.label), one.probability) for one in labels if one.probability >= 0.005]
    width = max((cells(label) for label, _ in shown), default=0)
    return [f"  {pad(label, width)}  {share * 100:4.0f} %  {_bar(share)}" for label, share in shown]


def _bar(share: float) -> str:
    eighths = round(share * BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")) or "▏"


def _write_rows(out: TextIO, rows: list[list[str]], width: int | None, paint: bool) -> None:
    right = [name in ("", "year", "similarity", "nearer than") for name in rows[0]]
    rows = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(cells(row[c]) for row in rows) for c in range(len(rows[0]))]
    if width is not None:
        _squeeze(widths, right, width)
    for number, row in enumerate(rows):
        texts = [
            pad(cut(cell, size), size, to_right)
            for cell, size, to_right in zip(row, widths, right, strict=True)
        ]
        line = "  ".join(texts).rstrip()
        if number == 0:
            line = _painted(line, DIM, paint)
        elif paint:
            texts[1] = _painted(texts[1], BOLD, True)
            line = "  ".join(texts).rstrip()
        out.write(line + "\n")


def _squeeze(widths: list[int], fixed: list[bool], width: int) -> None:
    """Take cells from the widest flexible column until the row fits."""
    while sum(widths) + 2 * (len(widths) - 1) > width:
        _, column = max((size, c) for c, size in enumerate(widths) if not fixed[c])
        if widths[column] <= MIN_CELLS:
            return
        widths[column] -= 1


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", plain(text))


def cells(text: str) -> int:
    """Columns that a text takes in a terminal: Hangul and other wide letters take two."""
    if text.isascii():
        return len(text)
    return sum(_letter_cells(c) for c in text)


def _letter_cells(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int) -> str:
    """At most `width` cells, with an ellipsis where something is missing."""
    if cells(text) <= width:
        return text
    kept, used = "", 0
    for letter in text:
        used += _letter_cells(letter)
        if used > width - 1:
            break
        kept += letter
    return kept.rstrip() + "…"


def pad(text: str, width: int, to_right: bool = False) -> str:
    """Exactly `width` cells."""
    space = " " * max(0, width - cells(text))
    return space + text if to_right else text + space


def _painted(text: str, style: str, paint: bool) -> str:
    return f"{style}{text}{RESET}" if paint and text else text
