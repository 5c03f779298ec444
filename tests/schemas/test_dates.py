"""Dates are read where they are certain and left where they are not."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dates import (
    is_short_date,
    parse_date,
    parse_serial_date,
    parse_short_date,
    parse_year,
)

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
        ("2019. 3. 2. 오후 3:15:00", "2019-03-02"),
        ("2019.03.02.(토)", "2019-03-02"),
        ("19년 3월 2일", "2019-03-02"),
        ("98년 12월 31일", "1998-12-31"),
        ("2019年3月2日", "2019-03-02"),
        ("2019–03–02", "2019-03-02"),
        ("20190302.0", "2019-03-02"),
        ("20190302235959", "2019-03-02"),
        ("2019-03-02T23:59:00+09:00", "2019-03-02"),
        ("2019-03-02 00:00:00.000000000", "2019-03-02"),
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
     ("3 or 4 May 2005", 2005), ("2019.0", 2019), ("2019.000", 2019), ("2,019", 2019),
     ("2,019.00", 2019), ("2019.03", 2019),
     ("2019-03", 2019), ("2019년 3월", 2019), ("2019년도", 2019), ("19년 3월", 2019)],
)  # fmt: skip
def test_only_the_year_is_certain(text: str, year: int) -> None:
    assert parse_year(text) == year
    assert parse_date(text) is None


@pytest.mark.parametrize(
    "text",
    ["19", "19년", "10년 전", "7일 후 무료", "45년 3월 2일", "-2019", "2,0190", "2019.123",
     "0000-00-00", "1/0/1900", "43526", "1551484800", "", "Fco. Andrade", "09/01/05", "04/12/05", "23-07-05", "0999-01-01", "2101-01-01", "9999",
     "1890 or 1895", "1890s", "12345678901", "3.1415", "x" * 500 + "2005", "99999999"],
)  # fmt: skip
def test_nothing_is_certain(text: str) -> None:
    assert parse_year(text) is None
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("19.03.02", "2019-03-02"), ("24.12.01.", "2024-12-01"), ("'98. 5. 1", "1998-05-01"),
     ("70.01.01", "1970-01-01"), ("19.03.02(토)", "2019-03-02"), ("19.03.02 14:00", "2019-03-02"),
     ("１９．０３．０２", "2019-03-02"), ("69.01.01", None), ("31.12.19", None), ("19.13.02", None),
     ("19.02.30", None)],
)  # fmt: skip
def test_short_dates_as_korean_sites_write_them(text: str, expected: str | None) -> None:
    assert is_short_date(text)
    assert str(parse_short_date(text)) == str(expected)
    assert parse_date(text) is None


@pytest.mark.parametrize("text", ["2019.03.02", "19-03-02", "19.3", "119.03.02", "soon", ""])
def test_other_forms_are_no_short_dates(text: str) -> None:
    assert not is_short_date(text)
    assert parse_short_date(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("43526", "2019-03-02"), ("43526.75", "2019-03-02"), ("43526.0", "2019-03-02"),
     ("18264", "1950-01-01"), ("18263", None), ("99999", None), ("2019", None), ("435260", None)],
)  # fmt: skip
def test_the_numbers_that_spreadsheets_have_for_days(text: str, expected: str | None) -> None:
    assert str(parse_serial_date(text)) == str(expected)


def test_two_digits_never_mean_the_future() -> None:
    now = datetime.date.today()
    soon = now.year + 2
    assert parse_short_date(f"{now:%y.%m.%d}") == now
    assert parse_short_date(f"{now:%d.%m.%y}", day_first=True) == now
    assert parse_short_date(f"{soon % 100:02}.01.01") is None


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
