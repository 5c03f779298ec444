"""A manifest of labelled pictures, and its splits."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.errors import InputError

MANIFEST_FILE = "manifest.csv"
SPLITS_FILE = "splits.json"


@dataclass(frozen=True)
class Manifest:
    """Pictures of a folder with author and series, in the file's order."""

    root: Path
    paths: tuple[str, ...]
    authors: np.ndarray  # (N,) str
    series: np.ndarray  # (N,) str

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, rows: np.ndarray) -> Manifest:
        """Some of the pictures, in the order of the rows; (M,) int."""
        paths = tuple(self.paths[row] for row in rows.tolist())
        return Manifest(self.root, paths, self.authors[rows], self.series[rows])


def read_manifest(root: Path) -> Manifest:
    """Read `manifest.csv` of a folder of drawings.

    Errors:  InputError when it is missing, empty or lacks a column
    """
    path = root / MANIFEST_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    missing = {"path", "author", "series"} - set(rows[0] if rows else ())
    if missing:
        raise InputError(f"{path}: no pictures, or no column {', '.join(sorted(missing))}")
    return Manifest(
        root,
        tuple(row["path"] for row in rows),
        np.array([row["author"] for row in rows]),
        np.array([row["series"] for row in rows]),
    )


@dataclass(frozen=True)
class Split:
    """Authors to learn from and authors to be measured on."""

    train: frozenset[str]
    test: frozenset[str]


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
