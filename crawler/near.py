"""Pictures that are almost the same picture.

Two tests must agree: few differing bits of the perceptual hash, which is quick to search,
and a high correlation of grey thumbnails, which is what the eye would call the same. The
hash alone confuses flat drawings on white, the correlation alone is slow for all pairs.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import numpy as np

MAX_HAMMING_BITS = 10
"""Of 64. Of the 670 pairs in Debian's clip art (generated stars aside) whose thumbnails
correlate above 0.98, all but 32 lie within; those beyond are mostly flags and checks that
share a layout only."""

MIN_CORRELATION = 0.98
"""Of 32 x 32 grey thumbnails: recoloured and re-bordered copies are above, cards of another
value and folders with another emblem mostly below."""

_BAND_BITS = 16
_BANDS = 64 // _BAND_BITS


def near_duplicate_groups(
    hashes: np.ndarray,
    thumbs: np.ndarray,
    *,
    max_hamming_bits: int = MAX_HAMMING_BITS,
    min_correlation: float = MIN_CORRELATION,
) -> np.ndarray:
    """Put each picture into the group of the first earlier picture that it nearly copies.

    The group id is the position of the group's first picture, its leader; so a picture
    whose id is its own position is kept. Every member is near to its leader and no two
    leaders are near to each other: groups do not grow by chaining, by which a pack of
    cards would melt into one. Earlier pictures win, so order the input by preference.

    Shapes:  hashes (N,) uint64, thumbs (N, H, W) uint8 -> (N,) int64
    Errors:  ValueError when lengths differ
    Source:  Norouzi et al. 2012, multi-index hashing (exact for any distance)
    """
    count = len(hashes)
    if len(thumbs) != count:
        raise ValueError(f"{count} hashes but {len(thumbs)} thumbnails")
    hashes = np.asarray(hashes, dtype=np.uint64)
    units = _unit_rows(thumbs)
    # Within r bits overall, one of four bands differs by at most r // 4 bits (pigeonhole).
    probes = _masks(max_hamming_bits // _BANDS)
    bands = hashes[:, None] >> np.arange(0, 64, _BAND_BITS, dtype=np.uint64)
    values = (bands & np.uint64(0xFFFF)).astype(np.int64)
    buckets: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(_BANDS)]
    groups = np.arange(count, dtype=np.int64)
    for place in range(count):
        near: set[int] = set()
        for band, bucket in enumerate(buckets):
            value = int(values[place, band])
            for mask in probes:
                if (leaders := bucket.get(value ^ mask)) is not None:
                    near.update(leaders)
        leader = _first_near(place, near, hashes, units, max_hamming_bits, min_correlation)
        if leader is not None:
            groups[place] = leader
            continue
        for band, bucket in enumerate(buckets):
            bucket[int(values[place, band])].append(place)
    return groups


def _first_near(
    place: int,
    near: set[int],
    hashes: np.ndarray,
    units: np.ndarray,
    max_hamming_bits: int,
    min_correlation: float,
) -> int | None:
    """The earliest of the candidates that passes both tests, or None."""
    if not near:
        return None
    leaders = np.fromiter(near, dtype=np.int64, count=len(near))
    leaders.sort()
    leaders = leaders[np.bitwise_count(hashes[leaders] ^ hashes[place]) <= max_hamming_bits]
    if not len(leaders):
        return None
    # einsum, not BLAS: one picture's figures must not depend on how many stand beside it.
    alike = np.einsum("ij,j->i", units[leaders], units[place]) > min_correlation
    return int(leaders[np.argmax(alike)]) if alike.any() else None


def _unit_rows(thumbs: np.ndarray) -> np.ndarray:
    """Centred rows of length one, whose dot products are correlations; flat ones are zero."""
    if thumbs.size == 0:
        return np.zeros((len(thumbs), 1), dtype=np.float32)
    rows = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    # A flat picture correlates with nothing: it is blank, and that is another reason.
    units = np.zeros_like(rows)
    np.divide(rows, lengths, out=units, where=lengths > 1e-3)
    return units


def _masks(bits: int) -> list[int]:
    """All 16-bit patterns with at most so many bits set, fewest first."""
    return [
        sum(1 << place for place in places)
        for size in range(min(bits, _BAND_BITS) + 1)
        for places in combinations(range(_BAND_BITS), size)
    ]
