"""What is trained and measured on: labelled pictures, author-disjoint splits, folds of series.

A benchmark is a manifest (a folder of drawings with `manifest.csv`, or any list of pictures) or
the catalog. Its splits are those of `splits.json` beside the manifest; without one, five are
drawn, the same ones for the same authors.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from indexer.labels.calibration import LabelDataset
from indexer.training.augmentation import MADE_HANDS
from schemas.errors import InputError, UsageError, nearest
from schemas.manifest import WRONG_YEAR, ManifestRow, manifest_rows, read_manifest
from schemas.names import author_key
from schemas.records import DECADE, era_of
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

# --- Labelled pictures and their splits.

MANIFEST_FILE = "manifest.csv"
SPLITS_FILE = "splits.json"
REPORT_FILE = "report.json"
"""Authors on whom nothing is ever chosen; they are asked once for each release."""
SPLITS = 5
FOLDS = 5
MIN_AUTHORS = 4
NO_YEAR = -1


@dataclass(frozen=True)
class Split:
    """Authors to learn from and authors to be measured on."""

    train: frozenset[str]
    test: frozenset[str]


@dataclass(frozen=True)
class Benchmark:
    """Pictures of a folder with their labels; empty or NO_YEAR is "not known".

    `genres` are those of each picture, the main one first; `notes` say what is odd about the rows.

    Shapes:  N paths and genres; authors and series (N,) str, years (N,) int
    """

    root: Path
    paths: tuple[str, ...]
    authors: np.ndarray
    series: np.ndarray
    genres: tuple[tuple[str, ...], ...]
    years: np.ndarray
    name: str
    splits: tuple[Split, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, rows: np.ndarray) -> Benchmark:
        """Some of the pictures, in the order of the rows; (M,) int."""
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows.tolist()),
            authors=self.authors[rows],
            series=self.series[rows],
            genres=tuple(self.genres[row] for row in rows.tolist()),
            years=self.years[rows],
        )


def held_out(bench: Benchmark, file: Path) -> Split:
    """The split whose test authors are those that a JSON file lists.

    Errors:  InputError when the file cannot be read or names an author without pictures
    """
    try:
        test = frozenset(str(name) for name in json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    known = frozenset(bench.authors.tolist())
    if not test or test - known:
        missing = min(test - known, default="nobody")
        raise InputError(f"{file}: there is no picture by {missing!r}")
    return Split(known - test, test)


def read_splits(root: Path) -> list[Split]:
    """Read the fixed author-disjoint splits of a folder of drawings.

    Errors:  InputError when they are missing, damaged or share an author
    """
    path = root / SPLITS_FILE
    try:
        splits = [
            Split(frozenset(entry["train"]), frozenset(entry["test"]))
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    for number, split in enumerate(splits, 1):
        shared = split.train & split.test
        if shared:
            raise InputError(f"{path}: split {number} has {min(shared)!r} on both sides")
    return splits


# --- From labels as people write them to classes that can be learnt.
#
# A picture may lack any label. Authors with too few pictures are learnt from without a class of
# their own; genres may be merged and may be several; eras are decades or the user's own ranges.

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


def parse_genres(text: str | None) -> tuple[str, ...]:
    """`comic, daily` -> ("comic", "daily").

    Errors:  UsageError when there is only one: nothing could be told apart
    """
    found = tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))
    if text is not None and len(found) < 2:
        raise UsageError(f"--genres {text!r} names fewer than two genres", "Write --genres a,b.")
    return found


def of_genres(
    bench: Benchmark, genres: tuple[str, ...], rules: LabelRules
) -> tuple[Benchmark, np.ndarray]:
    """The pictures of some genres, named as they are after merging, without their other genres;
    and their rows (M,).

    Errors:  InputError when no picture has one of them
    """
    merge = dict(rules.merge)
    known = {merge.get(genre, genre) for several in bench.genres for genre in several}
    for name in genres:
        if name not in known:
            raise InputError(f"no picture has the genre {name!r}", nearest(name, sorted(known)))
    left = tuple(
        tuple(genre for genre in several if merge.get(genre, genre) in genres)
        for several in bench.genres
    )
    rows = np.array([row for row, several in enumerate(left) if several])
    return replace(bench, genres=left).part(rows), rows


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

    def dataset(self, vectors: np.ndarray, ood: np.ndarray) -> LabelDataset:
        """The pictures as labels are fitted on them; of several genres the first counts.

        Shapes:  vectors (N, D) unit, ood (N,)
        """
        genre = np.full(len(vectors), NONE)
        if self.genre.size:
            genre = np.where(self.genre.any(1), self.genre.argmax(1), NONE)
        codes = {"author": self.author, "genre": genre, "era": self.era}
        rows = np.arange(len(vectors))
        return LabelDataset(vectors, rows, self.series, codes, self.names, ood)


def apply_rules(bench: Benchmark, rules: LabelRules) -> Classes:
    """Classes of a benchmark's pictures.

    Errors:  InputError when fewer than two authors are left: there is nothing to distinguish
    """
    names, inverse, counts = np.unique(bench.authors, return_inverse=True, return_counts=True)
    chosen = np.flatnonzero((counts >= rules.min_pictures_per_author) & (names != ""))
    if len(chosen) < 2:
        raise InputError(
            f"{len(chosen)} authors have {rules.min_pictures_per_author} pictures or more;"
            " at least 2 are needed",
            "Lower --min-pictures-per-author, or add pictures.",
        )
    code = np.full(len(names), NONE)
    code[chosen] = np.arange(len(chosen))
    merge = dict(rules.merge)
    genres = [{merge.get(genre, genre) for genre in several} for several in bench.genres]
    genre_names = tuple(sorted(set().union(*genres)))
    shares = np.zeros((len(bench), len(genre_names)), np.float32)
    for row, several in enumerate(genres):
        for name in several:
            shares[row, genre_names.index(name)] = 1.0 / len(several)
    eras = [_era(year, rules) for year in bench.years.tolist()]
    era_names = tuple(sorted(set(eras) - {""}))
    era = np.array([era_names.index(name) if name else NONE for name in eras])
    _, series = np.unique(bench.series, return_inverse=True)
    return Classes(
        code[inverse.reshape(-1)],
        series.reshape(-1),
        era,
        shares,
        {
            "author": tuple(str(names[place]) for place in chosen),
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


# --- Benchmarks from manifests and the catalog.

FIX = "Correct the manifest and run the command again."


def benchmark_of_rows(
    rows: Sequence[ManifestRow], root: Path, name: str, training: bool = False
) -> Benchmark:
    """A benchmark from manifest rows.

    Rows without an author or a series are left out: nothing can be asked about them. For
    `training` they stay, a picture without a series as one of its own, and there are no splits.

    Errors:  InputError names the first file that is missing, a picture with two authors, or
             says that there are too few authors with two series
    """
    used: list[tuple[str, str, str, tuple[str, ...], int]] = []
    labels_of: dict[str, tuple[str, str]] = {}
    spellings: dict[str, str] = {}
    for row in rows:
        path, author = row.file, next(iter(row.authors), "")
        author = spellings.setdefault(author_key(author), author)
        series = row.title_id or row.series or row.title
        if not path or not (training or (author and series)):
            continue
        series = series or path
        if path in labels_of:
            if labels_of[path] != (author, series):
                raise InputError(f"row {row.number}: {path} has contradictory labels", FIX)
            continue
        labels_of[path] = (author, series)
        if not (root / path).is_file():
            raise InputError(f"row {row.number}: there is no file {root / path}", FIX)
        used.append((path, author, series, row.genres, row.year or NO_YEAR))
    if not used:
        raise InputError(f"{name}: no row has a path, an author and a series")
    paths, authors, series_of, genres, years = zip(*used, strict=True)
    arrays = np.array(authors), np.array(series_of), genres, np.array(years)
    bench = Benchmark(root, paths, *arrays, name)
    if training:
        return bench
    has_splits = (root / SPLITS_FILE).is_file()
    return replace(bench, splits=tuple(read_splits(root) if has_splits else author_splits(bench)))


def benchmark_of_manifest(file: Path, training: bool = False) -> Benchmark:
    """A benchmark from a manifest file, with the splits that lie beside it.

    Errors:  as of `benchmark_of_rows`, and those of reading the manifest
    """
    manifest = read_manifest(file)
    if wrong := manifest.notes.of(WRONG_YEAR):
        raise InputError(wrong[0], FIX)
    bench = benchmark_of_rows(manifest.rows, manifest.root, str(file), training)
    return replace(bench, notes=tuple(manifest.notes.lines()))


def benchmark_of_catalog(layout: Layout, training: bool = False) -> Benchmark:
    """The stored pictures of a catalog, each with the labels of its (first) title.

    Errors:  InputError when the catalog holds too little
    """
    catalog = Catalog(layout)
    titles = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    found: dict[str, dict[str, Any]] = {}
    for row in catalog.read("pictures").to_pylist():
        title = titles.get(row["title_id"])
        if row["status"] == "stored" and title is not None:
            found.setdefault(
                row["picture_id"],
                {
                    "path": row["file"],
                    "author": [author["name"] for author in title.get("authors") or []],
                    "series": row["title_id"],
                    "genre": title.get("genres"),
                    "year": row.get("year") or title.get("year"),
                },
            )
    rows = manifest_rows(sorted(found.values(), key=lambda row: str(row["path"])))
    if not rows:
        raise InputError("the catalog holds no picture", "Run `toonsearch import` first.")
    return benchmark_of_rows(rows, layout.pictures, "the catalog", training)


def joined(first: Benchmark, second: Benchmark) -> Benchmark:
    """Pictures of two folders, those of the second without genre and year: it only adds hands."""
    paths = [
        str((bench.root / path).absolute()) for bench in (first, second) for path in bench.paths
    ]
    nothing: tuple[tuple[str, ...], ...] = ((),) * len(second)
    return replace(
        first,
        root=Path("/"),
        paths=tuple(paths),
        authors=np.concatenate([first.authors, second.authors]),
        series=np.concatenate([first.series, second.series]),
        genres=first.genres + nothing,
        years=np.concatenate([first.years, np.full(len(second), NO_YEAR)]),
    )


def few_of_each(bench: Benchmark, most: int) -> Benchmark:
    """At most so many pictures of each author, the same series of all where they share series."""
    order = np.array([crc32(name.encode()) for name in bench.series.tolist()])
    kept = []
    for author in np.unique(bench.authors):
        own = np.flatnonzero(bench.authors == author)
        kept.append(own[np.argsort(order[own], kind="stable")][:most])
    return bench.part(np.sort(np.concatenate(kept)))


def author_splits(bench: Benchmark) -> list[Split]:
    """Halves of the authors, those with several series spread evenly over both.

    Errors:  InputError with fewer than four authors of two series: nothing can be asked
    """
    names = np.unique(bench.authors)
    several = [a for a in names if len(np.unique(bench.series[bench.authors == a])) > 1]
    if len(several) < MIN_AUTHORS:
        raise InputError(
            f"{len(several)} authors have two series or more; at least {MIN_AUTHORS} are needed",
            "Style is measured across series: name the series of each picture.",
        )
    rest = sorted(set(names.tolist()) - set(several))
    random = np.random.default_rng(0)
    splits = []
    for _ in range(SPLITS):
        halves: tuple[list[str], list[str]] = ([], [])
        for group in (several, rest):
            order = random.permutation(len(group))
            halves[0].extend(str(group[place]) for place in order[::2])
            halves[1].extend(str(group[place]) for place in order[1::2])
        splits.append(Split(frozenset(halves[0]), frozenset(halves[1])))
    return splits


def series_folds(bench: Benchmark) -> np.ndarray:
    """A fold for each picture: whole series, each author's spread over the folds.

    Shapes:  -> (N,) int
    """
    folds = np.zeros(len(bench), np.int64)
    for number, author in enumerate(np.unique(bench.authors)):
        own = bench.authors == author
        for place, series in enumerate(np.unique(bench.series[own])):
            folds[own & (bench.series == series)] = (place + number) % FOLDS
    return folds


def several_series(bench: Benchmark) -> np.ndarray:
    """Which pictures are by an author with two series or more; (N,) bool."""
    pairs = np.unique(np.stack([bench.authors, bench.series], 1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(bench.authors, names[counts > 1])


# --- What training learns from, and what it is measured on.

MIN_SEVERAL = 6
UNSEEN_SHARE = 0.25
MIN_UNSEEN = 4
TITLES_ASIDE = 0.5
MIN_SERIES_ASIDE = 3
MAX_EVALUATED = 800
"""Pictures of unseen authors that R@1 is measured on, during training and after it."""


def unseen_authors(bench: Benchmark, seed: int) -> frozenset[str]:
    """Authors with several series that no training step will see.

    Errors:  InputError when there are too few to spare any
    """
    several = several_series(bench) & (bench.authors != "")
    names = np.unique(bench.authors[several])
    if len(names) < MIN_SEVERAL:
        raise InputError(
            f"{len(names)} authors have two series or more; at least {MIN_SEVERAL} are needed, "
            f"{MIN_UNSEEN} of them to stop and to measure on",
            "Style is measured across series: name the series of each picture.",
        )
    count = max(MIN_UNSEEN, round(UNSEEN_SHARE * len(names)))
    chosen = np.random.default_rng(seed).choice(names, count, replace=False)
    return frozenset(str(name) for name in chosen)


def halves(unseen: frozenset[str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """The unseen authors who decide when training stops and which weights are used, and those
    who only measure what came of it."""
    names = np.random.default_rng(seed).permutation(sorted(unseen)).tolist()
    return frozenset(names[::2]), frozenset(names[1::2])


BALANCES = {"none": 1.0, "sqrt": 0.5, "equal": 0.0}
"""With so large a power of its pictures an author is drawn."""
MADE_SHARE = 0.25
"""Share of a batch's hands that are made: pictures of an author, redrawn."""
EXTRA_SHARE = 0.4
"""Share of a batch's other hands that come from the extra pictures."""


@dataclass(frozen=True)
class Batch:
    """What one step learns from: rows, how each is redrawn (0: not at all), a seed for each."""

    rows: np.ndarray  # (B,) int
    made: np.ndarray  # (B,) int
    seeds: tuple[int, ...]  # (B,)


class Samples:
    """A benchmark with its classes, divided into rows to train on, rows that decide when to stop
    and rows that only measure; batches of several hands, each from several series.

    The pictures from row `main` on are extra hands: they are learnt from, and nothing else. With
    `titles_aside` a series of some of the authors is not trained on either: what the softmax heads
    are worth shows on those.

    Shapes:  train, evaluated (to stop on), measured and aside (M,) rows
    """

    def __init__(
        self,
        bench: Benchmark,
        classes: Classes,
        unseen: frozenset[str],
        main: int | None = None,
        seed: int = 0,
        balance: str = "sqrt",
        even_genres: bool = False,
        titles_aside: bool = False,
    ) -> None:
        self.bench, self.classes = bench, classes
        self.balance, self.even_genres = balance, even_genres
        self.main = len(bench) if main is None else main
        self.train = np.flatnonzero(~np.isin(bench.authors, sorted(unseen)))
        self.evaluated, self.measured = (_spread(bench, part) for part in halves(unseen, seed))
        self.aside = np.empty(0, np.int64)
        if titles_aside:
            self.aside = self.train[_one_title_each(bench.part(self.train), seed)]
            self.train = np.setdiff1d(self.train, self.aside)
        code = classes.author[self.train]
        self._rows = {int(c): self.train[code == c] for c in np.unique(code[code >= 0])}
        if len(self._rows) < 2:
            raise InputError(
                "fewer than two authors are left to learn from",
                "Lower --min-pictures-per-author, or add pictures.",
            )
        sizes = np.array([len(rows) for rows in self._rows.values()], float)
        chance = sizes ** BALANCES[balance]
        if even_genres:  # each is drawn as often as any other
            own = np.stack([classes.genre[rows].mean(0) for rows in self._rows.values()])
            chance *= (own / np.maximum(chance @ own, 1e-9)).sum(1)
        extra = np.array([rows[0] >= self.main for rows in self._rows.values()])
        self._extra = {name for name, is_extra in zip(self._rows, extra, strict=True) if is_extra}
        if extra.any() and not extra.all():
            chance[extra] *= EXTRA_SHARE / chance[extra].sum()
            chance[~extra] *= (1.0 - EXTRA_SHARE) / chance[~extra].sum()
        self._chance = chance / chance.sum()
        self._unnamed = self.train[code < 0]  # no author's class, but perhaps a genre or a year

    def batch(self, number: int, hands: int, each: int, seed: int) -> Batch:
        """What a step learns from: always the same for the same number, so that a resumed run
        sees what an undisturbed one does.

        The order in which series are taken is one for the whole batch, so that hands that have
        drawn the same things are shown with the same things.
        """
        rng = np.random.default_rng([seed, number])
        names = list(self._rows)
        redrawn = min(round(MADE_SHARE * hands), hands - 1)
        size = min(hands - redrawn, len(names))
        chosen = [
            names[place] for place in rng.choice(len(names), size, replace=False, p=self._chance)
        ]
        taken = [(name, 0) for name in chosen]
        originals = [name for name in chosen if name not in self._extra] or chosen
        for place in range(redrawn):
            original = originals[place % len(originals)]
            taken.append((original, int(rng.integers(1, len(MADE_HANDS) + 1))))
        turn = rng.random(self.classes.series.max() + 1)
        rows: list[int] = []
        made: list[int] = []
        for name, how in taken:
            found = self._across(self._rows[name], each, turn, rng)
            rows += found
            made += [how] * len(found)
        if len(self._unnamed):
            count = min(each, len(self._unnamed))
            rows += rng.choice(self._unnamed, count, replace=False).tolist()
            made += [0] * count
        seeds = tuple(rng.integers(0, 2**31, len(rows)).tolist())
        return Batch(np.array(rows), np.array(made), seeds)

    def _across(
        self, rows: np.ndarray, each: int, turn: np.ndarray, rng: np.random.Generator
    ) -> list[int]:
        """Pictures of one hand, in turn from its series."""
        rows = rng.permutation(rows)
        series = self.classes.series[rows]
        place = np.zeros(len(rows), int)
        for one in np.unique(series):
            own = np.flatnonzero(series == one)
            place[own] = np.arange(len(own))
        return [int(row) for row in rows[np.lexsort((turn[series], place))][:each]]

    def hands(self, batch: Batch) -> np.ndarray:
        """The hand of each picture of a batch, below HANDS for each author, NONE where the author
        is not known; (B,) int."""
        code = self.classes.author[batch.rows]
        own = code + batch.made * len(self.classes.names["author"])
        return np.where(code < 0, NONE, own)

    def shares(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Classes of a kind as shares, and each class's weight in the loss: rare ones count more,
        unless they are drawn as often as any other.

        Shapes:  -> (N, C), (C,)
        """
        count = max(1, len(self.classes.names[kind]))
        shares = np.zeros((len(self.bench), count), np.float32)
        if kind == "genre":
            shares[:, : self.classes.genre.shape[1]] = self.classes.genre
        else:
            codes = self.classes.author if kind == "author" else self.classes.era
            known = codes >= 0
            shares[known, codes[known]] = 1.0
        power = BALANCES[self.balance] - 1.0
        if (kind == "author" and power == -1.0) or (kind == "genre" and self.even_genres):
            power = 0.0
        weight = np.maximum(shares[self.train].sum(0), 1.0) ** power
        return shares, np.asarray(weight / weight.mean(), np.float32)


def _one_title_each(bench: Benchmark, seed: int) -> np.ndarray:
    """The pictures of one series of TITLES_ASIDE of the authors who have enough; (M,) rows."""
    rng = np.random.default_rng(seed)
    pairs = np.unique(np.stack([bench.authors, bench.series], 1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    many = names[(counts >= MIN_SERIES_ASIDE) & (names != "")]
    chosen = []
    for author in rng.permutation(many)[: round(TITLES_ASIDE * len(many))].tolist():
        own = bench.authors == author
        series = rng.choice(np.unique(bench.series[own]))
        chosen.append(np.flatnonzero(own & (bench.series == series)))
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def _spread(bench: Benchmark, authors: frozenset[str]) -> np.ndarray:
    """At most MAX_EVALUATED pictures of some authors, spread over all of theirs; (M,) rows."""
    rows = np.flatnonzero(np.isin(bench.authors, sorted(authors)))
    return rows[:: max(1, -(-len(rows) // MAX_EVALUATED))]
