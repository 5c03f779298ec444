"""Answers for people: tables that fit the terminal, and the probable artists below.

Piped output has no colours, full names and a fixed layout.
"""

from __future__ import annotations

import math
import os
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from schemas.errors import UsageError, nearest
from schemas.records import LABEL_KINDS, Answer, Bar, Hit, Labels, TitleHit
from search.cli.context import colour_wanted, plain

if TYPE_CHECKING:
    from schemas.storage.layout import Layout

BAR_CELLS = 10
MIN_CELLS = 8  # no column is squeezed below this
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"


COLUMNS = ("title", "by", "genre", "year", "closeness")
"""Of a table where no others are named."""
MORE_COLUMNS = ("similarity", "percentile", "title_id", "picture_id", "url")
EXPANDED = "Also found, through the first ten:"


def parse_columns(text: str) -> tuple[str, ...]:
    """Columns as a user names them, with commas between.

    Errors:  UsageError when there is no such column
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = (*COLUMNS, "picture", *MORE_COLUMNS)
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise UsageError(
            f"no such column: {', '.join(wrong) or text!r}",
            nearest(wrong[0] if wrong else "", known),
        )
    return names


def write_answer(
    out: TextIO,
    answer: Answer,
    by: str,
    columns: Sequence[str] = (),
    layout: Layout | None = None,
) -> None:
    """The hits in the order of their similarity, then what is concluded of the labels.

    Columns that are empty in all rows are left out where nobody named them. With a layout, a row
    links to its (best) picture where a terminal takes that (`Layout.picture_to_name`).
    """
    title_of = {title.title_id: title for title in answer.titles}
    shown: Sequence[TitleHit | Hit] = answer.titles if by == "title" else answer.pictures
    names = columns or (COLUMNS if by == "title" else ("picture", *COLUMNS))
    if answer.subject and not columns:  # the words for closeness are of style alone
        names = tuple("percentile" if name == "closeness" else name for name in names)
    rows: list[list[str]] = []
    links: list[str] = []
    for rank, one in enumerate(shown, 1):
        title = title_of[one.title_id]
        best = one.hits[0] if isinstance(one, TitleHit) else one
        links.append(_address(layout, best))
        cells_of = {
            "title": title.name,
            "by": ", ".join(title.authors),
            "genre": ", ".join(title.genres),
            "year": str(one.year or title.year or ""),
            "closeness": one.closeness,
            "similarity": f"{one.similarity:.3f}",
            "percentile": percent(one.percentile),
            "picture": (best.source_path or best.picture_id[:12]).rpartition("/")[2],
            "title_id": one.title_id,
            "picture_id": best.picture_id,
            "url": title.url or "",
        }
        rows.append([str(rank), *(cells_of[name] for name in names)])
    if rows:
        kept = [at for at in range(len(names) + 1) if columns or any(row[at] for row in rows)]
        header = ["", *names]
        table = [[row[at] or "-" for at in kept] for row in rows]
        header = [header[at] for at in kept]
        numbers = [name in ("", "year", "similarity", "percentile") for name in header]
        first = sum(isinstance(one, TitleHit) or not one.expanded for one in shown)
        write_table(out, header, table, numbers, heading=(first, EXPANDED), links=links)
    else:
        out.write("nothing was found\n")
    paint = colour_wanted(out)
    for line in [*label_lines(answer.labels), *panel_lines(answer)]:
        style = DIM if line.startswith(" ") else BOLD
        out.write((f"{style}{line}{RESET}" if paint and line else line) + "\n")


def write_whys(out: TextIO, whys: Sequence[tuple[int, str]]) -> None:
    """Which parts make the first results alike: their ranks, and a sentence for each."""
    if not whys:
        return
    paint = colour_wanted(out)
    out.write(f"\n{BOLD}Why alike?{RESET}\n" if paint else "\nWhy alike?\n")
    for rank, said in whys:
        line = f"  {rank}  {said}"
        out.write((f"{DIM}{line}{RESET}" if paint else line) + "\n")


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
    """What is concluded; then who, what and when, each with bars that add up to 100 %."""
    lines = ["", _plain(labels.sentence)] if labels.sentence else []
    for kind, (_, word, _) in LABEL_KINDS.items():
        if bars := labels.bars(kind):
            lines += ["", f"Which {word}?{only_shares(labels, kind)}", *_bars(bars)]
    return lines


def only_shares(labels: Labels, kind: str) -> str:
    """What stands beside the heading of labels that say nothing of the picture."""
    if kind == "author" or labels.conclusion != "other kind":
        return ""
    return " (only how common each is in the catalog)"


def _bars(bars: Sequence[Bar]) -> list[str]:
    rows = [
        [f"  {_plain(one.label)}", f"{round(100 * one.share):3d} %", _bar(one.share)]
        for one in bars
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
    heading: tuple[int, str] | None = None,
    links: Sequence[str] = (),
) -> None:
    """A table with its `numbers` to the right; a `heading` stands before the row of its number.
    `links` are the addresses of rows, empty where one has none.

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
    if links and takes_links(out):
        lines = [linked(line, url) if url else line for line, url in zip(lines, links, strict=True)]
    if heading is not None and heading[0] < len(lines):
        lines.insert(heading[0], heading[1])
    out.writelines(line + "\n" for line in lines)


def _address(layout: Layout | None, hit: Hit) -> str:
    path = layout and layout.picture_to_name(hit.file, hit.source_path)
    return path.absolute().as_uri() if path else ""


def takes_links(stream: TextIO) -> bool:
    """Whether a terminal makes OSC 8 a link, or at least passes over it."""
    term = os.environ.get("TERM", "")
    return colour_wanted(stream) and not term.startswith(("linux", "screen", "vt"))


def linked(text: str, url: str) -> str:
    """Source:  gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda (OSC 8)"""
    return f"\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\"


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
