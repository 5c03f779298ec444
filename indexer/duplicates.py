"""Duplicates of the catalog: equal pictures, and near-duplicates by the same or other authors.

Two pictures are near-duplicates when their perceptual hashes differ in few bits and their grey
thumbnails correlate. A redrawn, cropped or turned copy is none.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field

import numpy as np

from indexer.panels.catalog import searched
from indexer.panels.picture import PictureReader
from schemas.attempt import in_order
from schemas.images import PictureError, grey_thumbnail
from schemas.progress import Progress
from schemas.records import author_names
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

MAX_HAMMING_BITS = 10
"""Of 64."""
MIN_CORRELATION = 0.98
"""Of 32 x 32 grey thumbnails."""
MAX_CANDIDATES = 200_000  # pairs that are compared by thumbnail, fewest differing bits first
BLOCK = 1 << 18  # pairs whose bits are counted at a time


@dataclass(frozen=True)
class Holder:
    """A picture or panel in one title; `panel` as `Panel.to_text`."""

    picture_id: str
    title_id: str
    title: str
    authors: tuple[str, ...]
    file: str | None
    source_path: str | None
    panel: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two near-duplicates.

    Units:   differing bits of 64; correlation -1..1
    """

    first: Holder
    second: Holder
    bits: int
    correlation: float


@dataclass
class Duplicates:
    """`exact` are the same bytes in several titles, `near` near-duplicates by the same author,
    `copied` near-duplicates by different authors.

    `unread` counts candidates whose files could not be compared, `left` pairs beyond
    MAX_CANDIDATES.
    """

    exact: list[tuple[Holder, ...]] = field(default_factory=list)
    near: list[Pair] = field(default_factory=list)
    copied: list[Pair] = field(default_factory=list)
    compared: int = 0
    unread: int = 0
    left: int = 0


def find_duplicates(
    layout: Layout,
    settings: Settings,
    *,
    max_bits: int = MAX_HAMMING_BITS,
    min_correlation: float = MIN_CORRELATION,
    progress: Progress | None = None,
) -> Duplicates:
    """Compare all stored pictures.

    Errors:  InputError when a table cannot be read
    """
    holders, hashes = _holders(Catalog(layout))
    found = Duplicates([tuple(held) for held in holders if len(held) > 1])
    pairs, bits, found.left = _candidates(hashes, max_bits)
    thumbnails = _thumbnails(layout, settings, holders, np.unique(pairs), progress)
    for (one, other), differing in zip(pairs.tolist(), bits.tolist(), strict=True):
        if one not in thumbnails or other not in thumbnails:
            found.unread += 1
            continue
        found.compared += 1
        correlation = float(thumbnails[one] @ thumbnails[other])
        if correlation < min_correlation:
            continue
        first, second = holders[one][0], holders[other][0]
        differ = first.authors and second.authors and not {*first.authors} & {*second.authors}
        pair = Pair(first, second, differing, correlation)
        (found.copied if differ else found.near).append(pair)
    for listed in (found.near, found.copied):
        listed.sort(key=lambda p: (-p.correlation, p.first.picture_id, p.second.picture_id))
    return found


def _holders(catalog: Catalog) -> tuple[list[list[Holder]], np.ndarray]:
    """For each stored picture the titles that hold it, those with a hash first; and the hashes,
    (N,) uint64."""
    titles = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    columns = ["picture_id", "title_id", "file", "source_path", "perceptual_hash", "status"]
    held: dict[str, list[Holder]] = defaultdict(list)
    hashes: dict[str, int] = {}
    for row in searched(catalog, columns).to_pylist():
        picture, title = row["picture_id"], titles.get(row["title_id"])
        if row["status"] != "stored" or title is None:
            continue
        name, authors = title["name"] or row["title_id"], tuple(author_names(title))
        holder = Holder(
            picture, row["title_id"], name, authors, row["file"], row["source_path"], row["panel"]
        )
        held[picture].append(holder)
        if row["perceptual_hash"]:
            hashes[picture] = int(row["perceptual_hash"], 16)
    order = sorted(held, key=lambda picture: (picture not in hashes, picture))
    holders = [sorted(held[picture], key=lambda one: one.title_id) for picture in order]
    return holders, np.asarray([hashes[p] for p in order if p in hashes], dtype=np.uint64)


def _candidates(hashes: np.ndarray, max_bits: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Pairs with few differing bits, fewest first; (N,) -> (P, 2), (P,), pairs left out."""
    parts = [np.empty((3, 0), np.int64)]  # one, other, bits
    step = max(1, BLOCK // max(1, len(hashes)))
    for start in range(0, len(hashes), step):
        bits = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, start:])
        one, other = np.nonzero(bits <= max_bits)
        once = other > one  # each pair once, and none with itself
        one, other = one[once], other[once]
        parts.append(np.stack([one + start, other + start, bits[one, other]]))
    one, other, bits = np.concatenate(parts, axis=1)
    order = np.lexsort((other, one, bits))
    best = order[:MAX_CANDIDATES]
    return np.stack([one[best], other[best]], axis=1), bits[best], len(order) - len(best)


def _thumbnails(
    layout: Layout,
    settings: Settings,
    holders: list[list[Holder]],
    places: np.ndarray,
    progress: Progress | None,
) -> dict[int, np.ndarray]:
    """Centred grey thumbnails of length one; place -> (1024,)."""

    reader = PictureReader(layout, settings.decode.limits)

    def read(place: int) -> np.ndarray | None:
        try:
            image = reader.image(asdict(holders[place][0]), 128)
        except PictureError:
            return None
        row = grey_thumbnail(image).astype(np.float32).ravel()
        row -= row.mean()
        length = float(np.linalg.norm(row))
        return row / length if length > 1e-3 else None

    found: dict[int, np.ndarray] = {}
    for done, (place, row) in enumerate(in_order(read, places.tolist(), 64), 1):
        if isinstance(row, np.ndarray):
            found[place] = row
        if progress:
            progress(done, len(places))
    return found
