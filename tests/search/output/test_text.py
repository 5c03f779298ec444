"""The table for people."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import UsageError
from schemas.records import LabelProbability, Labels
from schemas.storage.layout import Layout
from search.output import text as table
from search.output.each import write_each
from search.output.text import (
    EXPANDED,
    cells,
    cut,
    label_lines,
    parse_columns,
    percent,
    write_answer,
)
from tests.search.answers import answer

LETTERS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=30)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@given(LETTERS, st.integers(1, 40))
def test_cut_text_fits(text: str, width: int) -> None:
    short = cut(text, width)
    assert cells(short) <= width
    if cells(text) <= width:
        assert short == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0 %"), (93.26, "93.2 %"), (98.99, "98.9 %"), (99.0, "99.00 %"),
     (99.899, "99.89 %"), (99.95, "99.950 %"), (99.9999, "99.999 %"), (100.0, "100 %")],
)  # fmt: skip
def test_percentiles_never_round_up(value: float, text: str) -> None:
    assert percent(value) == text


def test_rows_link_to_their_picture_where_a_terminal_takes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layout, file = Layout(Path("/my data")), "ab/cd/abcd.png"
    start, end = "\x1b]8;;file:///my%20data/pictures/ab/cd/abcd.png\x1b\\", "\x1b]8;;\x1b\\"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for by, count in (("title", 1), ("picture", 2)):
        out = Terminal()
        write_answer(out, answer(file=file), by, layout=layout)
        rows = [line for line in out.getvalue().splitlines() if line.startswith(start)]
        assert len(rows) == count and all(row.endswith(end) for row in rows)
    for out, term in ((io.StringIO(), "xterm"), (Terminal(), "linux"), (Terminal(), "dumb")):
        monkeypatch.setenv("TERM", term)
        write_answer(out, answer(file=file), "title", layout=layout)
        assert "\x1b]8" not in out.getvalue()
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    write_answer(out, answer(file=None), "title", layout=layout)
    assert "\x1b]8" not in out.getvalue()
    own = tmp_path / "my own.png"
    found = answer(file=file)
    [title] = found.titles
    hits = tuple(replace(hit, source_path=str(own)) for hit in title.hits)
    found = replace(found, titles=(replace(title, hits=hits),))
    for prefix in (start, f"\x1b]8;;{own.as_uri()}\x1b\\"):  # the user's own, once it is there
        out = Terminal()
        write_answer(out, found, "title", layout=layout)
        assert out.getvalue().splitlines()[1].startswith(prefix)
        own.touch()


def test_piped_output_is_plain_and_whole() -> None:
    for by in ("title", "picture"):
        out = io.StringIO()
        write_answer(out, answer(), by)
        text = out.getvalue()
        assert "\x1b" not in text
        assert "신의 탑 é" in text  # composed, so that its width is known
        assert "…" not in text


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_terminals_get_lines_that_fit(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    write_answer(out, answer(name="신의 탑 " * 10, titles=12), "title")
    found = out.getvalue().split("\n\n")[0].splitlines()
    narrowest = 7 * 8  # numbers are never cut, and no column is squeezed to nothing
    assert len(found) == 13
    assert max(cells(line) for line in found) <= max(columns, narrowest + 14)


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    write_answer(out, answer(), "title")
    assert table.BOLD in out.getvalue()
    assert "\x1b[31m" not in out.getvalue()  # a title's own escape is not passed on
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    write_answer(out, answer(), "title")
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("unknown", "strange", "said"),
    [(0.2, 0.0, "Looks like Anna"), (0.57, 0.0, "Not sure who drew this"),
     (0.9, 0.0, "Probably nobody in this catalog"), (0.2, 0.9, "Not a drawing of this kind")],
)  # fmt: skip
def test_one_of_four_ideas_is_said(unknown: float, strange: float, said: str) -> None:
    lines = label_lines(answer(name="Anna", unknown=unknown, strange=strange).labels)
    assert lines[:4] == ["", said, "", "Which artist?"]
    assert ("nobody in this catalog" in lines[4]) == (unknown > 0.5)
    assert not any(line.strip().startswith("x ") for line in lines)  # a hundredth of a percent


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5), st.floats(0.0, 1.0))
def test_bars_add_up_to_a_hundred_percent(weights: list[float], unknown: float) -> None:
    scale = max(sum(weights), 1.0) / (1.0 - unknown) if unknown < 1.0 else 1.0
    shares = sorted((0.0 if unknown == 1.0 else w / scale for w in weights), reverse=True)
    known = tuple(LabelProbability(f"A{n}", share) for n, share in enumerate(shares))
    labels = Labels(known, unknown, known)
    for kind in ("author", "genre"):
        bars = labels.bars(kind)
        assert sum(round(100 * bar.share) for bar in bars) == 100
        drawn = [bar.share for bar in bars if bar.what != "others"]
        assert all(share >= 0.01 for share in drawn)
        exact = {one.label: one.probability for one in known} | {"nobody in this catalog": unknown}
        for bar in bars:
            if bar.what != "others":
                assert abs(bar.share - exact[bar.label]) < 0.01 + 1e-9
    assert labels.bars("era") == []


def test_columns_are_chosen_and_empty_ones_dropped() -> None:
    out = io.StringIO()
    write_answer(out, answer(name="Anna"), "title", parse_columns("title, similarity,percentile"))
    head, row = out.getvalue().splitlines()[:2]
    assert head.split() == ["title", "similarity", "percentile"]
    assert row.split() == ["1", "Anna", "0.700", "99.950", "%"]
    usual = io.StringIO()
    write_answer(usual, answer(name="Anna"), "title")
    assert usual.getvalue().split("\n")[0].split() == ["title", "by", "genre", "year", "closeness"]
    bare = replace(answer(name="Anna"), titles=(replace(answer().titles[0], genres=(), year=None),))
    usual = io.StringIO()
    write_answer(usual, bare, "title")
    assert usual.getvalue().split("\n")[0].split() == ["title", "by", "closeness"]
    for wrong in ("", " , ", "title,colour"):
        with pytest.raises(UsageError, match="no such column"):
            parse_columns(wrong)


def test_what_was_found_through_the_first_ten_stands_apart() -> None:
    found = answer()
    out = io.StringIO()
    late = replace(found.pictures[1], expanded=True)
    write_answer(out, replace(found, pictures=(found.pictures[0], late)), "picture")
    lines = out.getvalue().splitlines()
    assert lines[2] == EXPANDED and lines[1].startswith("1") and lines[3].startswith("2")
    out = io.StringIO()
    write_answer(out, found, "picture")
    assert EXPANDED not in out.getvalue()


def test_nothing_found_is_said() -> None:
    out = io.StringIO()
    write_answer(out, replace(answer(), titles=()), "title")
    assert out.getvalue().startswith("nothing was found\n")


def test_shares_of_the_catalog_are_not_printed_as_an_answer() -> None:
    plain, strange = (label_lines(answer(strange=share).labels) for share in (0.4, 0.9))
    assert "Which era?" in plain and "Which genre?" in plain
    headings = [line for line in strange if line.startswith(("Which genre", "Which era"))]
    assert headings == [
        f"Which {kind}? (only how common each is in the catalog)" for kind in ("genre", "era")
    ]


def test_a_table_of_files_shows_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    file = "/home/somebody/pictures/drawings/of many people/one/an_architect_01.png"
    for out, shown in ((Terminal(), "…/one/an_architect_01.png"), (io.StringIO(), file)):
        write_each(out, [(file, answer(name="Kim"))], "title", Layout(Path("/data")), "table")
        assert out.getvalue().splitlines()[1].startswith(f"{shown}  ")
        assert cells(out.getvalue().splitlines()[1]) <= 80 or not out.isatty()
