"""From labels as people write them to classes that can be learnt.

A picture may lack any label. Authors with too few pictures are learnt from without a class of
their own; genres may be merged and may be several; eras are decades or the user's own ranges.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from indexer.training.benchmark import NO_YEAR, Benchmark
from schemas.eras import DECADE, era_of
from schemas.errors import InputError, UsageError

NONE = -1


@dataclass(frozen=True)
class LabelRules:
    """What becomes a class.

    min_pictures_per_author  authors with fewer have no class
    merge                    genre -> the genre that it counts as
    eras                     (first year, last year) of each range; empty: decades
    """

    min_pictures_per_author: int = 2
    merge: tuple[tuple[str, str], ...] = ()
    eras: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_merge(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`myth=legend` -> ("myth", "legend").

    Errors:  UsageError
    """
    found = []
    for text in texts:
        name, equals, target = (part.strip() for part in text.partition("="))
        if not (name and equals and target):
            raise UsageError(f"--merge-genre {text!r} is not valid", "Write OLD=NEW.")
        found.append((name, target))
    return tuple(found)


def parse_eras(text: str | None) -> tuple[tuple[int, int], ...]:
    """`1840-1859,1860-1889` -> ranges that do not overlap.

    Errors:  UsageError
    """
    found: list[tuple[int, int]] = []
    for part in (text or "").split(","):
        if not part.strip():
            continue
        match = re.fullmatch(r"\s*(\d{4})\s*-\s*(\d{4})\s*", part)
        if match is None or int(match[1]) > int(match[2]):
            raise UsageError(
                f"--eras: {part.strip()!r} is not a range", "Write 1840-1859,1860-1889."
            )
        found.append((int(match[1]), int(match[2])))
    found.sort()
    for (_, last), (first, _) in itertools.pairwise(found):
        if first <= last:
            raise UsageError(f"--eras: two ranges hold the year {first}", "They may not overlap.")
    return tuple(found)


@dataclass(frozen=True)
class Classes:
    """Classes of each picture.

    Shapes:  author, series, era (N,) int, NONE where there is none; genre (N, G) shares that
             sum to 1, or to 0 where there is none
    """

    author: np.ndarray
    series: np.ndarray
    era: np.ndarray
    genre: np.ndarray
    names: dict[str, tuple[str, ...]]


def apply_rules(bench: Benchmark, rules: LabelRules) -> Classes:
    """Classes of a benchmark's pictures.

    Errors:  InputError when fewer than two authors are left: nothing could be told apart
    """
    names, inverse, counts = np.unique(
        bench.manifest.authors, return_inverse=True, return_counts=True
    )
    kept = np.flatnonzero((counts >= rules.min_pictures_per_author) & (names != ""))
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} authors have {rules.min_pictures_per_author} pictures or more;"
            " at least 2 are needed",
            "Lower --min-pictures-per-author, or add pictures.",
        )
    code = np.full(len(names), NONE)
    code[kept] = np.arange(len(kept))
    merge = dict(rules.merge)
    genres = [{merge.get(genre, genre) for genre in several} for several in bench.all_genres]
    genre_names = tuple(sorted(set().union(*genres)))
    shares = np.zeros((len(bench), len(genre_names)), np.float32)
    for row, several in enumerate(genres):
        for name in several:
            shares[row, genre_names.index(name)] = 1.0 / len(several)
    eras = [_era(year, rules) for year in bench.years.tolist()]
    era_names = tuple(sorted(set(eras) - {""}))
    era = np.array([era_names.index(name) if name else NONE for name in eras])
    _, series = np.unique(bench.manifest.series, return_inverse=True)
    return Classes(
        code[inverse.reshape(-1)],
        series.reshape(-1),
        era,
        shares,
        {
            "author": tuple(str(names[place]) for place in kept),
            "genre": genre_names,
            "era": era_names,
        },
    )


def _era(year: int, rules: LabelRules) -> str:
    if year == NO_YEAR:
        return ""
    if not rules.eras:
        return era_of(year, DECADE) or ""
    for first, last in rules.eras:
        if first <= year <= last:
            return f"{first}-{last}"
    return ""
