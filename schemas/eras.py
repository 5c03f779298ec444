"""Eras: ranges of years as labels, all of the width that an index was built with."""

from __future__ import annotations

import re

DECADE = 10
"""Years of an era where nothing else is set."""


def era_of(year: int | None, years: int) -> str | None:
    """The era that a year falls into, as a label.

    >>> era_of(2005, 10), era_of(2007, 5), era_of(2005, 1)
    ('2000s', '2005-2009', '2005')

    Units:   years of an era, at least 1
    """
    if year is None:
        return None
    start = year // years * years
    if years == DECADE:
        return f"{start}s"
    return str(start) if years == 1 else f"{start}-{start + years - 1}"


def era_start(label: str) -> int:
    """The first year of an era of any width.

    Errors:  ValueError when it is no era
    """
    found = re.match(r"-?\d+", label)
    if found is None:
        raise ValueError(f"{label!r} is no era")
    return int(found[0])


def is_era(label: str, years: int) -> bool:
    """Whether a label is an era of this width, and not one of another index's."""
    return era_of(era_start(label), years) == label


def era_sql(year: str, years: int) -> str:
    """`era_of` of an SQL expression, for SQLite and DuckDB alike; null where the year is."""
    start = f"({year} - {year} % {years})"
    if years == DECADE:
        return f"({start} || 's')"
    if years == 1:
        return f"cast({start} as varchar)"
    return f"({start} || '-' || ({start} + {years - 1}))"
