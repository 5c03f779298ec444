"""Eras: labels of any width, read back, and the same in SQL."""

from __future__ import annotations

import sqlite3

import duckdb
import pytest

from schemas.records import era_of, era_sql, era_start, is_era

WIDTHS = (1, 5, 7, 10, 20, 100)
YEARS = (1790, 1899, 1900, 1999, 2000, 2001, 2004, 2005, 2009, 2010, 2026)


def test_decades_are_what_they_were() -> None:
    eras = [era_of(year, 10) for year in (1999, 2000, 2009, None)]
    assert eras == ["1990s", "2000s", "2000s", None]


@pytest.mark.parametrize(
    ("year", "years", "label"),
    [(2004, 5, "2000-2004"), (2005, 5, "2005-2009"), (2009, 5, "2005-2009"), (2005, 1, "2005"),
     (2005, 20, "2000-2019"), (1999, 100, "1900-1999"), (2005, 7, "2002-2008"),
     (None, 5, None)],
)  # fmt: skip
def test_other_widths_name_their_first_and_last_year(
    year: int | None, years: int, label: str | None
) -> None:
    assert era_of(year, years) == label


@pytest.mark.parametrize("years", WIDTHS)
def test_a_label_tells_its_first_year_and_its_width(years: int) -> None:
    labels = [era_of(year, years) or "" for year in YEARS]
    starts = [era_start(label) for label in labels]
    assert starts == [year - year % years for year in YEARS]
    assert sorted(set(labels)) == sorted(set(labels), key=era_start)  # text order is time's
    for other in WIDTHS:
        assert {is_era(label, other) for label in labels} == {other == years}
    for wrong in ("", "s", "unknown"):
        with pytest.raises(ValueError, match="no era"):
            era_start(wrong)


@pytest.mark.parametrize("years", WIDTHS)
def test_both_dialects_of_sql_agree(years: int) -> None:
    values = ", ".join(f"({year})" for year in YEARS)
    asked = f"with years(y) as (values {values}, (null)) select y, {era_sql('y', years)} from years"
    for run in (sqlite3.connect(":memory:").execute, duckdb.connect(":memory:").execute):
        found = run(asked).fetchall()
        assert len(found) == len(YEARS) + 1
        assert dict(found) == {year: era_of(year, years) for year in (*YEARS, None)}
