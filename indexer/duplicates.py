"""Equal, near-equal and copied drawings of the catalog.

Three lists, from certain to probable:

    exact    the same bytes in several titles
    near     almost the same picture, by the same author
    copied   almost the same picture, by different authors

"Almost the same" takes two tests: perceptual hashes that differ in few bits, which is
quick to search, and grey thumbnails that correlate, which is what an eye would call the
same. Both thresholds are those of the importer (`crawler/demo/openclipart.py` says how they were
found); a redrawn copy, or one that was cropped or turned, passes neither.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexer.embedding.embed import in_order
from indexer.vector_index.faiss_index import near_hashes
from indexer.vector_index.metadata import author_names
from schemas.errors import ToonsearchError
from schemas.images import decode_picture, grey_thumbnail
from schemas.progress import Progress
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

MAX_HAMMING_BITS = 10
"""Of 64."""
MIN_CORRELATION = 0.98
"""Of 32 x 32 grey thumbnails."""
MAX_CANDIDATES = 200_000  # pairs that are compared by thumbnail, fewest differing bits first
BATCH = 4096


@dataclass(frozen=True)
class Holder:
    """A picture in one title."""

    picture_id: str
    title_id: str
    title: str
    authors: tuple[str, ...]
    file: str | None
    source_path: str | None


@dataclass(frozen=True)
class Pair:
    """Two pictures that are almost the same.

    Units:   differing bits of 64; correlation -1..1
    """

    first: Holder
    second: Holder
    bits: int
    correlation: float


@dataclass
class Copies:
    """The three lists; `unread` counts candidates whose files could not be compared, `left`
    pairs beyond MAX_CANDIDATES."""

    exact: list[tuple[Holder, ...]] = field(default_factory=list)
    near: list[Pair] = field(default_factory=list)
    copied: list[Pair] = field(default_factory=list)
    compared: int = 0
    unread: int = 0
    left: int = 0


def find_copies(
    layout: Layout,
    settings: Settings,
    *,
    max_bits: int = MAX_HAMMING_BITS,
    min_correlation: float = MIN_CORRELATION,
    progress: Progress | None = None,
) -> Copies:
    """Look for copies among all stored pictures.

    Errors:  InputError when a table cannot be read
    """
    holders, hashes = _holders(Catalog(layout))
    found = Copies()
    for held in holders:
        if len(held) > 1:
            found.exact.append(tuple(held))
    pairs, bits, found.left = _candidates(hashes, max_bits)
    thumbs = _thumbnails(layout, settings, holders, np.unique(pairs), progress)
    for (one, other), differing in zip(pairs.tolist(), bits.tolist(), strict=True):
        if one not in thumbs or other not in thumbs:
            found.unread += 1
            continue
        found.compared += 1
        correlation = float(thumbs[one] @ thumbs[other])
        if correlation < min_correlation:
            continue
        first, second = holders[one][0], holders[other][0]
        same = set(first.authors) & set(second.authors)
        pair = Pair(first, second, int(differing), correlation)
        (found.near if same or not (first.authors and second.authors) else found.copied).append(
            pair
        )
    for listed in (found.near, found.copied):
        listed.sort(key=lambda p: (-p.correlation, p.first.picture_id, p.second.picture_id))
    return found


def _holders(catalog: Catalog) -> tuple[list[list[Holder]], np.ndarray]:
    """For each stored picture the titles that hold it, and its hash; (N,) uint64."""
    titles = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    columns = ["picture_id", "title_id", "file", "source_path", "perceptual_hash", "status"]
    held: dict[str, list[Holder]] = defaultdict(list)
    hashes: dict[str, int] = {}
    for row in catalog.read("pictures", columns).to_pylist():
        title: dict[str, Any] | None = titles.get(row["title_id"])
        if row["status"] != "stored" or title is None:
            continue
        held[row["picture_id"]].append(
            Holder(
                row["picture_id"], row["title_id"], title["name"] or row["title_id"],
                tuple(author_names(title)), row["file"], row["source_path"],
            )
        )  # fmt: skip
        if row["perceptual_hash"]:
            hashes[row["picture_id"]] = int(row["perceptual_hash"], 16)
    order = sorted(picture for picture in held if picture in hashes)
    order += sorted(picture for picture in held if picture not in hashes)
    known = [hashes[picture] for picture in order if picture in hashes]
    sorted_holders = [sorted(held[p], key=lambda holder: holder.title_id) for p in order]
    return sorted_holders, np.asarray(known, dtype=np.uint64)


def _candidates(hashes: np.ndarray, max_bits: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Pairs with few differing bits, fewest first; (N,) -> (P, 2), (P,), pairs left out."""
    if len(hashes) < 2:
        return np.empty((0, 2), np.int64), np.empty(0, np.int64), 0
    first, second = zip(*near_hashes(hashes, max_bits), strict=True)
    one, other = np.concatenate(first), np.concatenate(second)
    bits = np.bitwise_count(hashes[one] ^ hashes[other]).astype(np.int64)
    order = np.lexsort((other, one, bits))
    left = max(0, len(order) - MAX_CANDIDATES)
    order = order[:MAX_CANDIDATES]
    return np.stack([one[order], other[order]], axis=1), bits[order], left


def _thumbnails(
    layout: Layout,
    settings: Settings,
    holders: list[list[Holder]],
    places: np.ndarray,
    progress: Progress | None,
) -> dict[int, np.ndarray]:
    """Centred grey thumbnails of length one; place -> (1024,)."""
    limits = settings.decode.limits

    def read(place: int) -> np.ndarray | None:
        file = holders[place][0].file
        if file is None:
            return None
        try:
            image = decode_picture(layout.picture(file).read_bytes(), limits, target_px=128)
        except (OSError, ToonsearchError):
            return None
        row = grey_thumbnail(image).astype(np.float32).ravel()
        row -= row.mean()
        length = float(np.linalg.norm(row))
        return row / length if length > 1e-3 else None

    found: dict[int, np.ndarray] = {}
    for done, (place, row) in enumerate(in_order(read, places.tolist(), 64), 1):
        if row is not None:
            found[place] = row
        if progress:
            progress(done, len(places))
    return found
