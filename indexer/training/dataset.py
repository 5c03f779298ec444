"""A manifest of labelled pictures, and what is computed once over all of them."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.pixels import PixelSpec, Prepared, prepare
from indexer.restoration import conditions
from indexer.training.views import View
from schemas.errors import InputError
from schemas.pictures import PictureError, PictureLimits, decode_picture, grey_thumbnail, is_blank

MANIFEST_FILE = "manifest.csv"
SPLITS_FILE = "splits.json"
WINDOW = 64  # pictures decoded ahead of the network


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


@dataclass(frozen=True)
class Drawing:
    """One picture, ready for the network, with what the protocol needs to know of it."""

    prepared: Prepared
    grey: np.ndarray  # (32, 32) uint8
    blank: bool


def _prepare(path: Path, spec: PixelSpec, view: View | None) -> Drawing:
    try:
        # A view starts from the whole picture; otherwise JPEG may be reduced as it decodes.
        target = None if view else spec.decode_px
        image = decode_picture(path.read_bytes(), PictureLimits(), target_px=target)
    except (OSError, PictureError) as error:
        raise InputError(f"{path.name}: {error}") from error
    if view is not None:
        image = view(image)
    return Drawing(prepare(image, spec), grey_thumbnail(image), is_blank(image))


def prepared_pictures(
    manifest: Manifest, spec: PixelSpec, view: View | None = None, threads: int = 1
) -> Iterator[Drawing]:
    """Every picture of a manifest, in order, decoded a bounded window ahead.

    `view` changes each decoded picture before it is brought to size.

    Errors:  InputError at the first picture that cannot be used: a benchmark is whole or not
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        ahead: deque[Future[Drawing]] = deque()
        for path in manifest.paths:
            ahead.append(pool.submit(_prepare, manifest.root / path, spec, view))
            if len(ahead) >= WINDOW:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


@dataclass(frozen=True)
class Statistics:
    """What the network says of each picture, and what the protocol needs.

    Shapes:  rows (N, S) float32, grey (N, 32, 32) uint8, blank (N,) bool, conditions (N, 2)
    """

    rows: np.ndarray
    grey: np.ndarray
    blank: np.ndarray
    conditions: np.ndarray


def compute_statistics(
    manifest: Manifest,
    spec: PixelSpec,
    network: Callable[[np.ndarray], np.ndarray],
    view: View | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Run a network over every picture, one by one: shapes differ, and order is kept.

    Shapes:  network takes (1, H, W, 3) uint8 and gives (1, S)
    """
    if not len(manifest):
        raise InputError("there is no picture to learn from")
    rows: list[np.ndarray] = []
    grey: list[np.ndarray] = []
    blank: list[bool] = []
    found: list[tuple[float, float]] = []
    for picture in prepared_pictures(manifest, spec, view):
        rows.append(network(picture.prepared.pixels[None])[0])
        grey.append(picture.grey)
        blank.append(picture.blank)
        found.append(conditions(picture.prepared))
        if progress:
            progress(len(rows), len(manifest))
    return Statistics(
        np.stack(rows).astype(np.float32), np.stack(grey), np.array(blank), np.array(found)
    )
