"""Dates as people type them, read without guessing: every doubt ends in None, and a day that
could also be a month leaves the year alone."""

from __future__ import annotations

import datetime
import re
import unicodedata

FIRST_YEAR, LAST_YEAR = 1000, 2100
"""Years outside are typing errors, sizes or serial numbers."""

_SPELLINGS = (
    "january januar janvier enero gennaio janeiro januari jan janv ene gen",
    "february februar fevrier febrero febbraio fevereiro februari feb fev febr",
    "march marz mars marzo marco maart mar mrz",
    "april avril abril aprile apr avr abr",
    "may mai mayo maggio maio mei mag",
    "june juni juin junio giugno junho jun giu",
    "july juli juillet julio luglio julho jul juil lug",
    "august aout agosto augustus aug ago",
    "september setember septembre septiembre settembre setembro sep sept set",
    "october oktober octobre octubre ottobre outubro oct okt ott out",
    "november novembre noviembre novembro nov",
    "december dezember decembre diciembre dicembre dezembro dec dez dic",
)
_MONTHS = {word: number for number, words in enumerate(_SPELLINGS, 1) for word in words.split()}

_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_PLAIN_YEAR = re.compile(r"(\d{4})(?:\.(?:0+|\d{1,2}\.?))?|(\d,\d{3})(?:\.0+)?")
"""A year as a number has it (2019.0, 2,019), or with its month (2019.03)."""
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})\s*[-/.:\s]\s*(\d{1,2})\s*[-/.:\s]\s*(\d{1,2})(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})\s*[-/.\s]\s*(\d{1,2})\s*[-/.\s]\s*(\d{4})(?!\d)")
_SHORT_YEAR_LAST = re.compile(r"^(\d{1,2})([-/.])(\d{1,2})\2(\d{2})$")
_COMPACT = re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?:\d{6})?(?:\.0+)?(?!\d)")
_EAST_ASIAN = re.compile(
    r"(?<!\d)(\d{4}|\d{2}(?=\s*[년年]\s*\d{1,2}\s*[월月]))\s*[년年]"
    r"(?:\s*(\d{1,2})\s*[월月])?(?:\s*(\d{1,2})\s*[일日])?"
)
_SHORT_YEAR_FIRST = re.compile(r"'?(\d{2})\s?\.\s?(\d{1,2})\s?\.\s?(\d{1,2})\.?(?:[\s(].*)?")
_SERIAL_NUMBER = re.compile(r"(\d{5})(?:\.\d+)?")
_LONE_YEAR = re.compile(r"(?<![\d.,])(\d{4})(?![\d.,]*\d|s\b)")
_DAY = re.compile(r"(?<![\d:])(\d{1,2})(?:st|nd|rd|th|er|\.)?(?![\d:])", re.IGNORECASE)


def parse_year(text: str) -> int | None:
    """The year, when the text names exactly one between 1000 and 2100."""
    return _read(text)[0]


def parse_date(text: str) -> datetime.date | None:
    """The date, when year, month and day are all certain; see `parse_year` for the rest."""
    return _read(text)[1]


def is_short_date(text: str) -> bool:
    """Whether a text has the form of `19.03.02`: year, month and day on Korean sites, and in
    Germany the other way round."""
    return _SHORT_YEAR_FIRST.fullmatch(_plain(text)) is not None


def parse_short_date(text: str, *, day_first: bool = False) -> datetime.date | None:
    """`19.03.02`, read as Korean sites write it: 2019-03-02. None when that is no day up to now."""
    found = _SHORT_YEAR_FIRST.fullmatch(_plain(text))
    if found is None:
        return None
    year, month, day = found.groups()
    if day_first:
        year, day = day, year
    return _checked(_century(year), int(month), int(day))[1]


def parse_serial_date(text: str) -> datetime.date | None:
    """The day that a spreadsheet counts as `43526`, from 1950 up to now.

    Only what stands in a column of dates can be one. Source: Excel counts from 1899-12-30.
    """
    found = _SERIAL_NUMBER.fullmatch(_plain(text))
    if found is None:
        return None
    day = datetime.date(1899, 12, 30) + datetime.timedelta(int(found[1]))
    return day if 1950 <= day.year <= _last_year() else None


def _last_year() -> int:
    """Nothing that exists was published later; clocks and time zones differ."""
    return datetime.date.today().year + 1


def _century(digits: str) -> int:
    """The year of two digits: of this century up to now, of the last one from 1970; else 0."""
    year = 2000 + int(digits)
    return year if year <= _last_year() else year - 100 if year >= 2070 else 0


def _plain(text: str) -> str:
    # NFKC turns full-width digits into plain ones before the accents go.
    return unicodedata.normalize("NFKC", text).translate(_DASHES).strip()


def _read(text: str) -> tuple[int | None, datetime.date | None]:
    plain = _plain(text)
    if not plain or len(plain) > 200 or re.match(r"-\s*\d", plain):
        return None, None
    if found := _PLAIN_YEAR.fullmatch(plain):
        return _checked(int((found[1] or found[2]).replace(",", "")))
    if found := _EAST_ASIAN.search(plain):
        year = _century(found[1]) if len(found[1]) == 2 else int(found[1])
        month, day = (int(part) if part else 0 for part in found.groups()[1:])
        return _checked(year, month, day)
    if found := _YEAR_FIRST.search(plain):
        return _checked(*(int(part) for part in found.groups()))
    if found := _YEAR_LAST.search(plain):
        month, day, year = (int(part) for part in found.groups())
        if month > 12:
            month, day = day, month
        if not (month and day):  # a spreadsheet's zero, 1/0/1900
            return None, None
        is_certain = month == day or day > 12
        return _checked(year, month, day) if is_certain else _checked(year)
    if found := _SHORT_YEAR_LAST.match(plain):
        # Only a day in the middle shows that the year comes last: "23-07-05" says nothing.
        # Two digits mean 1969 to 2068, as POSIX has it.
        month, day, year = int(found[1]), int(found[3]), int(found[4])
        if not month <= 12 < day <= 31:
            return None, None
        return _checked(year + (2000 if year < 69 else 1900), month, day)
    if (found := _COMPACT.search(plain)) and _checked(*map(int, found.groups()))[1] is not None:
        return _checked(*map(int, found.groups()))
    return _read_words(plain)


def _read_words(text: str) -> tuple[int | None, datetime.date | None]:
    """A year somewhere in words, perhaps with the month's name and the day beside it."""
    years = {int(year) for year in _LONE_YEAR.findall(text)}
    years = {year for year in years if FIRST_YEAR <= year <= LAST_YEAR}
    if len(years) != 1:
        return None, None
    year = years.pop()
    marked = unicodedata.normalize("NFD", text.casefold())
    plain = "".join(ch for ch in marked if not unicodedata.combining(ch))
    months = {_MONTHS[word] for word in re.findall(r"[a-z]+", plain) if word in _MONTHS}
    days = [int(day) for day in _DAY.findall(_LONE_YEAR.sub(" ", text))]
    if len(months) != 1 or len(days) != 1:
        return year, None
    return _checked(year, months.pop(), days[0])


def _checked(year: int, month: int = 0, day: int = 0) -> tuple[int | None, datetime.date | None]:
    """Year and date as far as they exist in the calendar."""
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None, None
    try:
        return year, datetime.date(year, month, day)
    except ValueError:
        return year, None
