"""Answers for people: tables that fit the terminal, and the probable artists below.

Piped output has no colours, full names and a fixed layout.
"""

from __future__ import annotations

import math
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TextIO

from schemas.records import LABEL_KINDS, Answer, LabelProbability, Labels
from search.cli.context import colour_wanted, plain

BAR_CELLS = 10
MIN_CELLS = 8  # no column is squeezed below this
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def write_answer(out: TextIO, answer: Answer, by: str) -> None:
    """The hits, best first, then the labels."""
    header = ["", "title", "by", "genre", "year", "similarity", "nearer than"]
    if by == "title":
        rows = [
            [
                str(title.rank),
                title.name,
                ", ".join(title.authors) or "-",
                ", ".join(title.genres) or "-",
                str(title.year or "-"),
                f"{title.similarity:.3f}",
                percent(title.percentile),
            ]
            for title in answer.titles
        ]
    else:
        header[1:4] = ["picture", "title", "by"]
        title_of = {title.title_id: title for title in answer.titles}
        rows = [
            [
                str(rank),
                (hit.source_path or hit.picture_id[:12]).rpartition("/")[2],
                title_of[hit.title_id].name,
                ", ".join(title_of[hit.title_id].authors) or "-",
                str(hit.year or "-"),
                f"{hit.similarity:.3f}",
                percent(hit.percentile),
            ]
            for rank, hit in enumerate(answer.pictures, 1)
        ]
    if rows:
        numbers = [name in ("", "year", "similarity", "nearer than") for name in header]
        write_table(out, header, rows, numbers)
    else:
        out.write("nothing was found\n")
    paint = colour_wanted(out)
    for line in [*label_lines(answer.labels), *panel_lines(answer)]:
        style = DIM if line.startswith(" ") else BOLD
        out.write((f"{style}{line}{RESET}" if paint and line else line) + "\n")


def panel_lines(answer: Answer) -> list[str]:
    """The panels that carried the answer, and where they lie; nothing where no picture was cut."""
    from search.panels import carriers

    found = carriers(answer)
    if not found:
        return []
    rows = []
    for panel in found:
        part, more = panel.parts[0], panel.parts[1:]
        name = answer.queries[part.picture - 1].rpartition("/")[2] if answer.queries else ""
        place = f"{name} at row {part.box[1]:,}" + (" and in the next slice" if more else "")
        similarity = panel.similarity or 0.0
        rows.append([f"  {panel.number}", _plain(place), f"{similarity:.3f}", _bar(similarity)])
    asked = sum(panel.asks for panel in answer.panels)
    heading = f"Which panels? ({asked} asked)"
    return ["", heading, *_lines(rows, [True, False, True, False])]


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
        none = LabelProbability("none of the known artists", labels.unknown_author)
        rest = 1.0 - labels.unknown_author - sum(one.probability for one in labels.authors)
        others = LabelProbability("some other known artist", max(0.0, rest))
        first = labels.unknown_author > 0.5
        shown = [none, *labels.authors] if first else [*labels.authors, none]
        lines += ["", "Which artist?", *_bars([*shown, others])]
    only = (
        " (out of distribution: only how common each is in the index)"
        if labels.is_out_of_distribution
        else ""
    )
    for kind, (_, word, _) in LABEL_KINDS.items():
        if kind != "author" and (found := labels.of(kind)):
            lines += ["", f"Which {word}?{only}", *_bars(found)]
    return lines


def _bars(labels: Sequence[LabelProbability]) -> list[str]:
    shown = [one for one in labels if one.probability >= 0.005]
    rows = [
        [f"  {_plain(one.label)}", f"{one.probability * 100:3.0f} %", _bar(one.probability)]
        for one in shown
    ]
    return _lines(rows, [False, True, False])


def _bar(share: float) -> str:
    eighths = round(share * BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")) or "▏"


def write_table(
    out: TextIO,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    most_cells: int | None = None,
) -> None:
    """A table with its `numbers` to the right.

    On a terminal text is cut so that a line fits, and to `most_cells`; piped it is whole.
    """
    body = [[_plain(cell) for cell in row] for row in (header, *rows)]
    if out.isatty():
        widths = [max(cells(row[c]) for row in body) for c in range(len(header))]
        if most_cells is not None:
            widths = [min(width, most_cells) for width in widths]
        _squeeze(widths, numbers, shutil.get_terminal_size().columns)
        body = [[cut(cell, size) for cell, size in zip(row, widths, strict=True)] for row in body]
    head, *lines = _lines(body, numbers)
    out.write((f"{BOLD}{head}{RESET}" if colour_wanted(out) else head) + "\n")
    out.writelines(line + "\n" for line in lines)


def _lines(rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> list[str]:
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        gaps = [" " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)]
        padded = (g + c if n else c + g for c, g, n in zip(row, gaps, numbers, strict=True))
        lines.append("  ".join(padded).rstrip())
    return lines


def _squeeze(widths: list[int], numbers: Sequence[bool], width: int) -> None:
    """Take cells from the widest text column until the row fits; numbers are never cut."""
    while sum(widths) + 2 * (len(widths) - 1) > width:
        text = [(size, c) for c, size in enumerate(widths) if not numbers[c] and size > MIN_CELLS]
        if not text:
            return
        widths[max(text)[1]] -= 1


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", plain(text))


def cells(text: str) -> int:
    """Columns that a text takes in a terminal: Hangul and other wide letters take two."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth

    return wcswidth(text)


def cut(text: str, width: int) -> str:
    """At most `width` cells, with an ellipsis where something is missing."""
    if cells(text) <= width:
        return text
    from wcwidth import clip

    return clip(text, 0, width - 1).rstrip() + "…"
