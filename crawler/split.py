"""Which drawings the demo keeps out of its index, and which of those it shows.

Two cases matter to a user: a hand that the catalog knows, in a picture it has not seen, and
a hand that nobody in the catalog has. All choices follow from the pictures and the seed, so
everybody sees the same demo.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PICTORIAL = (
    "people",
    "animals",
    "transportation",
    "food",
    "recreation",
    "plants",
    "buildings",
    "tools",
)
"""Genres in which somebody drew a thing; flags, signs, maps and icons follow a norm instead."""

_NORMED = ("roadsigns", "aiga-symbols")
"""Series inside those genres that follow a norm all the same."""

MIN_PICTURES = 8
"""Pictures that an author needs before some are held out: the rest must still show a hand."""

MAX_HELD_OUT = 3
UNKNOWN_SIZES = (15, 90)
"""Pictures of an author left out: enough to be a hand, few enough not to thin the catalog."""

UNKNOWN_AUTHORS = 2
_MUCH = 200
"""Pictures of one author beyond which more make no difference to a showcase."""

_MIN_PICTORIAL_SHARE = 0.5
_MIN_UNKNOWN_SERIES = 3


@dataclass(frozen=True)
class Held:
    """Positions of the rows held out, and how."""

    queries: frozenset[int]
    unknown: frozenset[int]
    unknown_authors: tuple[str, ...]
    whole_series_count: int


def hold_out(rows: Sequence[Mapping[str, str]], traits: np.ndarray, *, seed: int) -> Held:
    """Choose queries and unknown authors.

    `traits` are rough looks of each picture (colours and strokes), to measure whether an
    author's drawings resemble each other. Of every author with enough pictures two go out
    whose series stay: new pictures of known works. Of an author with three series or more
    one small series goes out whole as well: a new work, of which only the hand is known.

    Shapes:  rows N, traits (N, D) float32
    """
    by_author: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_author[row["author"]].append(place)
    left_out = choose_unknown(rows, traits, by_author)
    queries: set[int] = set()
    whole = 0
    for author, places in sorted(by_author.items()):
        if author in left_out or len(places) < MIN_PICTURES:
            continue
        series: dict[str, list[int]] = defaultdict(list)
        for place in places:
            series[rows[place]["title_id"]].append(place)
        small = [held for held in series.values() if len(held) <= MAX_HELD_OUT]
        gone: list[int] = []
        if len(series) >= 3 and small:
            small.sort(
                key=lambda held: (not _is_pictorial(rows[held[0]]), _lot(seed, rows, held[0]))
            )
            gone = small[0]
            queries.update(gone)
            whole += 1
        # A single picture must leave others of its series behind, or the series is gone.
        spare = [place for held in series.values() if len(held) >= 4 for place in held]
        spare = sorted(
            set(spare) - set(gone),
            key=lambda place: (not _is_pictorial(rows[place]), _lot(seed, rows, place)),
        )
        queries.update(spare[:2])
    unknown = {place for author in left_out for place in by_author[author]}
    return Held(frozenset(queries), frozenset(unknown), tuple(left_out), whole)


def choose_unknown(
    rows: Sequence[Mapping[str, str]], traits: np.ndarray, by_author: Mapping[str, Sequence[int]]
) -> list[str]:
    """The authors to leave out: medium-sized, pictorial, and plainly of one hand.

    Plainly means: how often the nearest of all pictures, in rough looks, is the same
    author's from *another* series. The own series does not count, so that twelve copies
    of one subject do not pass for a style.
    """
    scored: list[tuple[float, str]] = []
    for author, places in sorted(by_author.items()):
        if not UNKNOWN_SIZES[0] <= len(places) <= UNKNOWN_SIZES[1]:
            continue
        share = sum(_is_pictorial(rows[place]) for place in places) / len(places)
        titles = np.array([rows[place]["title_id"] for place in places])
        if share < _MIN_PICTORIAL_SHARE or len(set(titles)) < _MIN_UNKNOWN_SERIES:
            continue
        own = np.zeros(len(rows), dtype=bool)
        own[list(places)] = True
        at_home = 0
        for place, title in zip(places, titles, strict=True):
            gaps = ((traits - traits[place]) ** 2).sum(axis=1)
            gaps[[other for other, held in zip(places, titles, strict=True) if held == title]] = (
                np.inf
            )
            at_home += bool(own[np.argmin(gaps)])
        scored.append((-at_home / len(places), author))
    return [author for _, author in sorted(scored)[:UNKNOWN_AUTHORS]]


def showcase(
    queries_rows: Sequence[Mapping[str, str]],
    unknown_rows: Sequence[Mapping[str, str]],
    n: int = 6,
    *,
    catalog_rows: Sequence[Mapping[str, str]] = (),
) -> list[dict[str, str]]:
    """The pictures that a demo shows: different authors and genres, rich drawings first.

    A third comes from unknown authors, each in turn. With `catalog_rows`, hands of which the
    catalog holds much come before those of which it holds little. Richness is the size of
    the PNG: what compresses badly has many strokes and shades, what compresses well is a
    flag or an icon.
    """
    held = Counter(row["author"] for row in catalog_rows)
    strange = _varied(unknown_rows, min(n // 3, len(unknown_rows)), held, repeat_authors=True)
    known = _varied(queries_rows, n - len(strange), held, repeat_authors=False)
    return known + strange


def _varied(
    rows: Sequence[Mapping[str, str]], n: int, held: Mapping[str, int], *, repeat_authors: bool
) -> list[dict[str, str]]:
    """Richest rows first, while authors and genres repeat as little as possible."""
    chosen: list[Mapping[str, str]] = []
    authors: Counter[str] = Counter()
    genres: Counter[str] = Counter()
    left = list(rows)
    while left and len(chosen) < n:
        best = min(
            left,
            key=lambda row: (
                authors[row["author"]],
                not _is_pictorial(row),
                genres[row["genre"]],
                -min(held.get(row["author"], 0), _MUCH) // 50,
                -_richness(row["path"]),
                row["path"],
            ),
        )
        if authors[best["author"]] and not repeat_authors:
            break
        chosen.append(best)
        left.remove(best)
        authors[best["author"]] += 1
        genres[best["genre"]] += 1
    return [dict(row) for row in chosen]


def _richness(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _is_pictorial(row: Mapping[str, str]) -> bool:
    """Whether the row's genre is one of drawn things, and its series no set of signs."""
    return row["genre"] in PICTORIAL and not any(word in row["series"] for word in _NORMED)


def _lot(seed: int, rows: Sequence[Mapping[str, str]], place: int) -> bytes:
    """A draw that depends on the seed and the picture's source, not on its position."""
    return hashlib.sha256(f"{seed}:{rows[place]['source']}".encode()).digest()
