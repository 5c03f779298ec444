"""The table for people."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.output import text as table
from search.output.text import cells, cut, label_lines, percent, write_answer
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


def test_an_unknown_artist_comes_first_when_it_is_probable() -> None:
    first = label_lines(answer(name="Anna", unknown=0.71).labels)[2]
    assert "none of the known artists" in first
    assert "71 %" in first
    assert "Anna" in label_lines(answer(name="Anna", unknown=0.3).labels)[2]
    lines = label_lines(answer(name="Anna").labels)
    assert not any(line.strip().startswith("x ") for line in lines)  # a hundredth of a percent


def test_nothing_found_is_said() -> None:
    from dataclasses import replace

    out = io.StringIO()
    write_answer(out, replace(answer(), titles=()), "title")
    assert out.getvalue().startswith("nothing was found\n")


def test_shares_of_the_catalog_are_not_printed_as_an_answer() -> None:
    plain, strange = (label_lines(answer(strange=share).labels) for share in (0.4, 0.9))
    assert "Which era?" in plain and "Which genre?" in plain
    headings = [line for line in strange if line.startswith(("Which genre", "Which era"))]
    assert headings == [
        f"Which {kind}? (out of distribution: only how common each is in the index)"
        for kind in ("genre", "era")
    ]
