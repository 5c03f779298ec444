"""Dates are read where they are certain and left where they are not."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.dates import parse_date, parse_year

dates = st.dates(datetime.date(1000, 1, 1), datetime.date(2100, 12, 31))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2005/05/30", "2005-05-30"),
        ("2005-08-8", "2005-08-08"),
        ("6/24/2005", "2005-06-24"),
        ("19/04/2005", "2005-04-19"),
        ("05/05/2005", "2005-05-05"),
        ("18 09 2005", "2005-09-18"),
        ("26.07.2005", "2005-07-26"),
        ("May 3, 2005", "2005-05-03"),
        ("2005 August 20", "2005-08-20"),
        ("16th September 2005", "2005-09-16"),
        ("29 setember of 2005", "2005-09-29"),
        ("sabato 10 settembre 2005", "2005-09-10"),
        ("10. Juni 2005", "2005-06-10"),
        ("3 août 1893", "1893-08-03"),
        ("20050510", "2005-05-10"),
        ("2005-09-03 14:25:10", "2005-09-03"),
        ("2005-09-24 12:42Z", "2005-09-24"),
        ("2005:05:30 12:00:00", "2005-05-30"),
        ("8/30/05", "2005-08-30"),
        ("2023년 5월 3일", "2023-05-03"),
        ("２０２３年５月３日", "2023-05-03"),
        ("2023. 5. 3.", "2023-05-03"),
    ],
)
def test_certain_date(text: str, expected: str) -> None:
    assert parse_date(text) == datetime.date.fromisoformat(expected)
    assert parse_year(text) == int(expected[:4])


@pytest.mark.parametrize(
    ("text", "year"),
    [("September 2005", 2005), ("May, 2005", 2005), ("set 2005", 2005), ("2005", 2005),
     ("08.02.2005", 2005), ("6-2-2005", 2005), ("2004-08-39", 2004), ("31/31/2005", 2005),
     ("30 February 2005", 2005), ("c. 1893", 1893), ("[1893?]", 1893), ("2023년", 2023),
     ("3 or 4 May 2005", 2005)],
)  # fmt: skip
def test_only_the_year_is_certain(text: str, year: int) -> None:
    assert parse_year(text) == year
    assert parse_date(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "Fco. Andrade", "09/01/05", "04/12/05", "23-07-05", "0999-01-01", "2101-01-01", "9999",
     "1890 or 1895", "1890s", "12345678901", "3.1415", "x" * 500 + "2005", "99999999"],
)  # fmt: skip
def test_nothing_is_certain(text: str) -> None:
    assert parse_year(text) is None
    assert parse_date(text) is None


@given(dates)
def test_iso_round_trip(day: datetime.date) -> None:
    assert parse_date(day.isoformat()) == day
    assert parse_date(f"{day.year:04d}{day.month:02d}{day.day:02d}") == day


@given(dates)
def test_day_and_month_are_never_mistaken(day: datetime.date) -> None:
    for text in (f"{day.day}/{day.month}/{day.year}", f"{day.month}/{day.day}/{day.year}"):
        assert parse_date(text) in (day, None)
        assert parse_year(text) == day.year


@given(st.text(max_size=40))
def test_any_text_gives_a_year_in_range_or_none(text: str) -> None:
    year, day = parse_year(text), parse_date(text)
    assert year is None or 1000 <= year <= 2100
    assert day is None or day.year == year
