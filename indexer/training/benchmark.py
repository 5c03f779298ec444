"""What is measured on: labelled pictures, author-disjoint splits, folds of whole series.

A benchmark is a manifest (a folder of drawings with `manifest.csv`, or any list of pictures) or
the catalog. Its splits are those of `splits.json` beside the manifest; without one, five are
drawn, the same ones for the same authors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.training.dataset import SPLITS_FILE, Manifest, Split, read_splits
from schemas.catalog import Catalog
from schemas.errors import InputError
from schemas.layout import Layout

SPLITS = 5
FOLDS = 5
MIN_AUTHORS = 4
NO_YEAR = -1


@dataclass(frozen=True)
class Benchmark:
    """Pictures with labels; an empty author, series or genre stands for "not known".

    Shapes:  genres (N,) str, years (N,) int, NO_YEAR where unknown
    """

    manifest: Manifest
    genres: np.ndarray
    years: np.ndarray
    splits: tuple[Split, ...]
    name: str
    all_genres: tuple[tuple[str, ...], ...] = ()
    """Every genre of each picture, the main one first."""

    def __len__(self) -> int:
        return len(self.manifest)

    def part(self, rows: np.ndarray) -> Benchmark:
        """Some of the pictures, in the same order; rows (M,) int."""
        some = self.manifest.part(rows)
        genres = tuple(self.all_genres[row] for row in rows.tolist())
        return Benchmark(some, self.genres[rows], self.years[rows], self.splits, self.name, genres)


def benchmark_of_rows(
    rows: Sequence[Mapping[str, Any]],
    root: Path,
    name: str,
    splits: Path | None = None,
    training: bool = False,
) -> Benchmark:
    """A benchmark from manifest rows.

    Rows without an author or a series are left out: nothing can be asked about them. For
    `training` they stay, a picture without a series as one of its own, and there are no splits.

    Errors:  InputError names the first file that is missing, a picture with two authors, or
             says that there are too few authors with two series
    """
    kept: list[tuple[str, str, str, tuple[str, ...], int]] = []
    seen: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(rows, 2):
        path, author, series = (_first(row.get(key)) for key in ("path", "author", "series"))
        series = _first(row.get("title_id")) or series or _first(row.get("title"))
        if not path or not (training or (author and series)):
            continue
        series = series or path
        if path in seen:
            if seen[path] != (author, series):
                raise InputError(f"row {number}: {path} has contradictory labels", FIX)
            continue
        seen[path] = (author, series)
        if not (root / path).is_file():
            raise InputError(f"row {number}: there is no file {root / path}", FIX)
        kept.append((path, author, series, _several(row.get("genre")), _year(row, number)))
    if not kept:
        raise InputError(f"{name}: no row has a path, an author and a series")
    paths, authors, series_of, several, years = zip(*kept, strict=True)
    genres = [next(iter(names), "") for names in several]
    manifest = Manifest(root, tuple(paths), np.array(authors), np.array(series_of))
    chosen: list[Split]
    if training:
        chosen = []
    elif splits is not None and splits.is_file():
        chosen = read_splits(splits.parent)
    else:
        chosen = author_splits(manifest)
    labels = np.array(genres), np.array(years)
    return Benchmark(manifest, *labels, tuple(chosen), name, tuple(several))


FIX = "Correct the manifest and run the command again."


def _first(value: Any) -> str:
    """The first of several labels, as text."""
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return str("" if value is None else value).split(";")[0].strip()


def _several(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list | tuple) else str(value or "").split(";")
    return tuple(dict.fromkeys(part for part in (str(p).strip() for p in parts) if part))


def _year(row: Mapping[str, Any], number: int) -> int:
    text = _first(row.get("year"))
    if not text:
        return NO_YEAR
    try:
        year = int(float(text))
    except ValueError:
        year = 0
    if not 1000 <= year <= 2100:
        raise InputError(f"row {number}: {text[:40]!r} is not a year", FIX)
    return year


def benchmark_of_manifest(
    file: Path, rows: Sequence[Mapping[str, Any]], training: bool = False
) -> Benchmark:
    """A benchmark from a manifest file, with the splits that lie beside it.

    Errors:  as `benchmark_of_rows`
    """
    root = file.resolve().parent
    return benchmark_of_rows(rows, root, str(file), root / SPLITS_FILE, training)


def benchmark_of_catalog(layout: Layout, training: bool = False) -> Benchmark:
    """The stored pictures of a catalog, each with the labels of its (first) title.

    Errors:  InputError when the catalog holds too little
    """
    catalog = Catalog(layout)
    titles = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    rows, seen = [], set()
    for row in catalog.read("pictures").to_pylist():
        title = titles.get(row["title_id"])
        if row["status"] != "stored" or title is None or row["picture_id"] in seen:
            continue
        seen.add(row["picture_id"])
        authors = [author["name"] for author in title.get("authors") or []]
        rows.append(
            {
                "path": row["file"],
                "author": authors,
                "series": row["title_id"],
                "genre": title.get("genres") or "",
                "year": row.get("year") or title.get("year") or "",
            }
        )
    if not rows:
        raise InputError("the catalog holds no picture", "Run `toonsearch import` first.")
    rows.sort(key=lambda row: str(row["path"]))
    return benchmark_of_rows(rows, layout.pictures, "the catalog", training=training)


def author_splits(manifest: Manifest, count: int = SPLITS, seed: int = 0) -> list[Split]:
    """Halves of the authors, those with several series spread evenly over both.

    Errors:  InputError with fewer than four authors of two series: nothing can be asked
    """
    names = np.unique(manifest.authors)
    several = [a for a in names if len(np.unique(manifest.series[manifest.authors == a])) > 1]
    if len(several) < MIN_AUTHORS:
        raise InputError(
            f"{len(several)} authors have two series or more; at least {MIN_AUTHORS} are needed",
            "Style is measured between works: name the series of each picture.",
        )
    rest = sorted(set(names.tolist()) - set(several))
    random = np.random.default_rng(seed)
    splits = []
    for _ in range(count):
        halves: tuple[list[str], list[str]] = ([], [])
        for group in (several, rest):
            order = random.permutation(len(group))
            halves[0].extend(str(group[place]) for place in order[::2])
            halves[1].extend(str(group[place]) for place in order[1::2])
        splits.append(Split(frozenset(halves[0]), frozenset(halves[1])))
    return splits


def series_folds(manifest: Manifest, count: int = FOLDS) -> np.ndarray:
    """A fold for each picture: whole series, each author's spread over the folds.

    Shapes:  -> (N,) int
    """
    folds = np.zeros(len(manifest), np.int64)
    for number, author in enumerate(np.unique(manifest.authors)):
        own = manifest.authors == author
        for place, series in enumerate(np.unique(manifest.series[own])):
            folds[own & (manifest.series == series)] = (place + number) % count
    return folds


def several_series(manifest: Manifest) -> np.ndarray:
    """Which pictures are by an author with two series or more; (N,) bool."""
    pairs = np.unique(np.stack([manifest.authors, manifest.series], 1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(manifest.authors, names[counts > 1])
