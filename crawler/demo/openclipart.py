"""The demo's catalog: Debian's public-domain clip art, cleaned and split.

`fetch` gets the packages, `prepare` turns them into three lists: what goes into the index,
what is asked of it, and two authors whom it has never seen. Pictures stay where they are.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from crawler.dates import parse_date, parse_year
from crawler.demo.authors import author_key, merge_authors, normalise_author
from crawler.demo.debian import Progress, unpack_packages
from crawler.demo.svg import MAX_BYTES, read_metadata
from schemas.errors import InputError
from schemas.images import (
    PictureError,
    PictureLimits,
    Reason,
    decode_picture,
    grey_thumbnail,
    is_blank,
    perceptual_hash,
)

# --- Debian's Open Clip Art as drawings: where each picture lies and what is known of it.
#
# The packages hold the same tree twice, as `svg/` and `png/`. The metadata is in the SVG,
# the picture is the PNG of the same path; the top folder is the genre.

_NO_GENRE = frozenset({"unsorted", "special"})
"""Folders that say how a file was kept, not what it shows: those drawings have no genre."""

_LICENSES = {
    "http://web.resource.org/cc/PublicDomain": "public domain",
    "http://creativecommons.org/licenses/publicdomain/": "public domain",
    "http://creativecommons.org/licenses/GPL/2.0/": "GPL-2.0",
}


@dataclass(frozen=True)
class DrawingFile:
    """One path of the two trees, without its extension; a side may be missing."""

    stem: str
    svg: Path | None
    png: Path | None

    @property
    def is_link(self) -> bool:
        """Whether the picture is another name for a picture elsewhere in the tree."""
        return self.png is not None and self.png.is_symlink()


@dataclass(frozen=True)
class Drawing:
    """A drawing with what its metadata says; `author` is None when it names nobody."""

    file: DrawingFile
    credit: str
    author: str | None
    title: str
    genre: str
    folder: str
    year: int | None
    date: str
    license: str

    @property
    def source(self) -> str:
        """Where it comes from, in a form that does not depend on this machine."""
        return f"debian:openclipart-svg/{self.file.stem}.svg"


def list_drawings(root: Path) -> list[DrawingFile]:
    """All drawings below a folder with `svg/` and `png/`, in path order.

    Links count as drawings when they end inside the tree and as missing when they do not:
    a tree that somebody else made must not lead to files that are nobody's business.

    Errors:  InputError when the two folders are not there
    """
    found: dict[str, dict[str, Path]] = {}
    real_root = root.resolve()
    for kind in ("svg", "png"):
        top = root / kind
        if not top.is_dir():
            raise InputError(
                f"{root} has no folder {kind}/, so it is not Debian's clip art",
                "Give your own pictures with: toonsearch demo --images DIR",
            )
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if path.suffix.lower() != f".{kind}" or not _lies_within(path, real_root):
                    continue
                relative = path.relative_to(top).with_suffix("").as_posix()
                found.setdefault(relative, {})[kind] = path
    return [
        DrawingFile(stem, sides.get("svg"), sides.get("png"))
        for stem, sides in sorted(found.items())
    ]


def _lies_within(path: Path, real_root: Path) -> bool:
    if not path.is_symlink():
        return path.is_file()
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # dangling, or a ring of links
        return False
    return real.is_file() and real.is_relative_to(real_root)


def read_drawing(file: DrawingFile) -> Drawing:
    """Read one drawing's metadata; an unreadable file simply says nothing."""
    data = b""
    if file.svg is not None:
        try:
            with file.svg.open("rb") as handle:
                data = handle.read(MAX_BYTES)
        except OSError:
            data = b""
    said = read_metadata(data)
    folder = file.stem.rpartition("/")[0]
    top = folder.partition("/")[0]
    day = parse_date(said.date)
    return Drawing(
        file=file,
        credit=said.author,
        author=normalise_author(said.author),
        title=said.title,
        genre="" if top in _NO_GENRE else top.replace("_", " "),
        folder=folder,
        year=parse_year(said.date),
        date=day.isoformat() if day else "",
        # The collection took public-domain works only, and the package says so for all
        # files that do not say otherwise.
        license=_LICENSES.get(said.license_url, said.license_url or "public domain"),
    )


def read_drawings(root: Path) -> Iterator[Drawing]:
    """Read the metadata of all drawings below a folder, in path order.

    Errors:  InputError when the folder is not Debian's clip art
    """
    for file in list_drawings(root):
        yield read_drawing(file)


# --- A look at every drawing: is it usable, is it a copy, and what does it roughly look like.
#
# Runs in worker processes, one for each core: decoding eight thousand pictures is the one
# slow step between the downloaded packages and the demo's catalog.

LIMITS = PictureLimits(max_pixels=24_000_000)
"""Two decoders at work hold 2 x 24 million x 8 bytes = 384 MB at most. Ten times smaller
than the largest files of the package, which are flags rendered at 168 to 231 megapixels."""

PATTERN, NO_AUTHOR, SPECK, NEAR_DUPLICATE = "pattern", "no_author", "speck", "near_duplicate"
"""Reasons to drop a drawing that only the demo has; all others are `schemas.images.Reason`."""

_LOOK_PX = 128
_WHITE = 248
"""Grey levels from which a pixel counts as ground: resizing leaves rims a little darker."""

SPECK_RATIO = 0.125
"""Of the page's side: a drawing smaller than this (a bullet hole on an empty page) is some
40 pixels large to the encoder, and tells its subject at best, never its hand."""

_NOT_DRAWN = re.compile(r"special/(?:patterns|gradients)/.*|shapes/stars/star_\d+pt\d+step")
"""Fills, gradients and 1,375 stars that a program counted out: no hand is in them."""


@dataclass(frozen=True)
class Look:
    """What one worker found out about one drawing."""

    drawing: Drawing
    reason: str = ""
    sha256: str = ""
    hash: int = 0
    thumb: np.ndarray | None = None
    traits: np.ndarray | None = None


def look_at_all(files: Sequence[DrawingFile], progress: Progress) -> list[Look]:
    """Look at every drawing on all cores, in order."""
    looks: list[Look] = []
    workers = max(1, min(len(os.sched_getaffinity(0)), len(files) // 64))
    if workers == 1:  # few pictures are done before a process has started
        for file in files:
            looks.append(_look_at(file))
            progress("checking pictures", len(looks), len(files))
        return looks
    # Fresh processes: a fork would copy the locks of whatever threads the caller runs.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        for look in pool.map(_look_at, files, chunksize=32):
            looks.append(look)
            progress("checking pictures", len(looks), len(files))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return looks


def _ignore_interrupt() -> None:
    """Ctrl-C goes to the parent, which ends the pool; workers add no tracebacks of theirs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _look_at(file: DrawingFile) -> Look:
    """Metadata and looks of one drawing, or the first reason to drop it."""
    drawing = read_drawing(file)
    if file.png is None:
        return Look(drawing, Reason.MISSING)
    if _NOT_DRAWN.fullmatch(file.stem):
        return Look(drawing, PATTERN)
    if drawing.author is None:
        return Look(drawing, NO_AUTHOR)
    try:
        if file.png.stat().st_size > LIMITS.max_bytes:
            return Look(drawing, Reason.TOO_MANY_BYTES)
        data = file.png.read_bytes()
        image = decode_picture(data, LIMITS, target_px=_LOOK_PX)
    except PictureError as error:
        return Look(drawing, error.reason)
    except OSError:
        return Look(drawing, Reason.UNREADABLE)
    if is_blank(image):
        return Look(drawing, Reason.BLANK)
    image = image.resize((_LOOK_PX, _LOOK_PX))
    pixels = np.asarray(image)
    if _extent_ratio(pixels) < SPECK_RATIO:
        return Look(drawing, SPECK)
    return Look(
        drawing,
        sha256=hashlib.sha256(data).hexdigest(),
        hash=perceptual_hash(image),
        thumb=grey_thumbnail(image),
        traits=_traits(pixels),
    )


def _extent_ratio(pixels: np.ndarray) -> float:
    """The longer side of the box around all that is drawn, as a share of the picture's.

    Shapes:  (H, W, 3) uint8
    """
    drawn = pixels.min(axis=2) < _WHITE
    spans = [np.flatnonzero(drawn.any(axis=axis)) for axis in (0, 1)]
    return max((span[-1] - span[0] + 1) / _LOOK_PX if len(span) else 0.0 for span in spans)


def _traits(pixels: np.ndarray) -> np.ndarray:
    """Rough looks: 64 colours of the drawn part, 8 strengths of edges.

    Square roots make the Euclidean distance of two rows that of Hellinger, which does not
    let one large plain area outvote everything else.

    Shapes:  (H, W, 3) uint8 -> (72,) float32
    """
    drawn = pixels[pixels.min(axis=2) < _WHITE]  # the white ground is not the author's
    bins = (drawn >> 6).astype(np.int64) @ np.array([16, 4, 1])
    colours = np.bincount(bins, minlength=64) / max(len(drawn), 1)
    grey = pixels.mean(axis=2)
    edges = np.hypot(np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1])
    marks, _ = np.histogram(edges, bins=[0, 2, 6, 12, 24, 48, 96, 160, 400])
    strengths = marks / max(edges.size, 1)
    traits: np.ndarray = np.sqrt(np.concatenate([colours, strengths])).astype(np.float32)
    return traits


# --- Pictures that are almost the same picture.
#
# Two tests must agree: few differing bits of the perceptual hash, which is quick to search,
# and a high correlation of grey thumbnails, which is what the eye would call the same. The
# hash alone confuses flat drawings on white, the correlation alone is slow for all pairs.

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


# --- Which drawings the demo keeps out of its index, and which of those it shows.
#
# Two cases matter to a user: a hand that the catalog knows, in a picture it has not seen, and
# a hand that nobody in the catalog has. All choices follow from the pictures and the seed, so
# everybody sees the same demo.

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


__all__ = ["DemoSummary", "fetch", "prepare", "read_drawings", "showcase"]

PACKAGES = ("openclipart-png", "openclipart-svg")
INSTALLED = Path("/usr/share/openclipart")
HINT = "Use your own pictures instead: toonsearch demo --images DIR"

VERSION = 2
"""Of the rules below; raise it when they change, and prepared folders are made anew."""

COLUMNS = ("path", "author", "series", "title_id", "genre", "year", "date", "license", "source")
FILES = ("catalog.csv", "queries.csv", "unknown.csv")


@dataclass(frozen=True)
class DemoSummary:
    """What became of every drawing found: found = indexed + queries + unknown + dropped."""

    version: int
    key: str
    found: int
    indexed: int
    queries: int
    unknown: int
    dropped: dict[str, int]
    authors: int
    titles: int
    spellings_merged: int
    unknown_authors: list[str]
    series_held_out: int
    files: dict[str, str]
    seconds: float
    reused: bool = False


def fetch(dest: Path, *, progress: Progress, installed: Path = INSTALLED) -> Path:
    """The folder with `png/` and `svg/`: the installed one, or one fetched below `dest`.

    Errors:  InputError without apt or room, NetworkError when nothing can be fetched,
             LockedError when another run is fetching
    """
    if (installed / "png").is_dir() and (installed / "svg").is_dir():
        return installed
    return unpack_packages(
        PACKAGES, "usr/share/openclipart", dest / "openclipart", hint=HINT, progress=progress
    )


def prepare(root: Path, out_dir: Path, *, seed: int = 0, progress: Progress) -> DemoSummary:
    """Write `catalog.csv`, `queries.csv`, `unknown.csv`, then `summary.json` as the stamp.

    A second call with the same files, seed and rules reads the stamp and returns.

    Errors:  InputError when `root` is not Debian's clip art
    """
    started = time.monotonic()
    files = list_drawings(root)
    key = _key(root, files, seed)
    if (ready := _read_stamp(out_dir, key)) is not None:
        return ready
    looks = look_at_all(files, progress)
    dropped = Counter(str(look.reason) for look in looks if look.reason)
    kept = _drop_copies([look for look in looks if not look.reason], dropped)
    credits = Counter(look.drawing.credit for look in looks if look.drawing.author)
    names = merge_authors(credits)
    rows = _rows(kept, names)
    traits = np.stack([look.traits for look in kept if look.traits is not None]) if kept else None
    held = hold_out(rows, np.zeros((0, 1), np.float32) if traits is None else traits, seed=seed)
    parts: tuple[list[dict[str, str]], ...] = ([], [], [])
    for place, row in enumerate(rows):
        parts[1 if place in held.queries else 2 if place in held.unknown else 0].append(row)
    out_dir.mkdir(parents=True, exist_ok=True)
    # Without its stamp the folder is unfinished, so no mixture of old and new is ever taken.
    (out_dir / "summary.json").unlink(missing_ok=True)
    digests = {}
    for name, part in zip(FILES, parts, strict=True):
        digests[name] = _write(out_dir / name, _csv(part))
    summary = DemoSummary(
        version=VERSION,
        key=key,
        found=len(files),
        indexed=len(parts[0]),
        queries=len(parts[1]),
        unknown=len(parts[2]),
        dropped=dict(dropped),
        authors=len({row["author"] for row in rows}),
        titles=len({row["title_id"] for row in rows}),
        spellings_merged=len({raw for raw in credits if raw in names}) - len(set(names.values())),
        unknown_authors=list(held.unknown_authors),
        series_held_out=held.whole_series_count,
        files=digests,
        seconds=round(time.monotonic() - started, 1),
    )
    _write(out_dir / "summary.json", json.dumps(asdict(summary), indent=2, ensure_ascii=False))
    return summary


def _drop_copies(looks: list[Look], dropped: Counter[str]) -> list[Look]:
    """Keep one of each set of exact copies, then one of each set of near copies."""
    # Prefer a picture with a genre, under its own name, with a date; then by path.
    looks = sorted(
        looks,
        key=lambda look: (
            look.drawing.genre == "",
            look.drawing.file.is_link,
            look.drawing.year is None,
            look.drawing.file.stem,
        ),
    )
    first: dict[str, Look] = {}
    for look in looks:
        first.setdefault(look.sha256, look)
    distinct = list(first.values())
    if not distinct:
        return []
    groups = near_duplicate_groups(
        np.array([look.hash for look in distinct], dtype=np.uint64),
        np.stack([look.thumb for look in distinct if look.thumb is not None]),
    )
    kept = [look for place, look in enumerate(distinct) if groups[place] == place]
    for reason, count in (
        (Reason.DUPLICATE.value, len(looks) - len(distinct)),
        (NEAR_DUPLICATE, len(distinct) - len(kept)),
    ):
        if count:
            dropped[reason] += count
    return sorted(kept, key=lambda look: look.drawing.file.stem)


def _rows(looks: Sequence[Look], names: Mapping[str, str]) -> list[dict[str, str]]:
    """One row for each picture kept; a title is an author's folder."""
    slugs = _slugs({names[look.drawing.credit] for look in looks})
    rows = []
    for look in looks:
        drawing = look.drawing
        author = names[drawing.credit]
        folder = drawing.folder or "top"
        rows.append(
            {
                "path": str((drawing.file.png or Path()).absolute()),
                "author": author,
                "series": folder.replace("_", " ").replace("/", " / "),
                "title_id": f"openclipart:{slugs[author]}/{_slug(folder)}",
                "genre": drawing.genre,
                "year": str(drawing.year or ""),
                "date": drawing.date,
                "license": drawing.license,
                "source": drawing.source,
            }
        )
    return rows


def _slugs(authors: set[str]) -> dict[str, str]:
    """A slug for each author; a number tells apart authors whose slugs would be equal."""
    taken: dict[str, list[str]] = defaultdict(list)
    slugs = {}
    for author in sorted(authors):
        slug = _slug(author)
        taken[slug].append(author)
        count = len(taken[slug])
        slugs[author] = slug if count == 1 else f"{slug}-{count}"
    return slugs


def _slug(text: str) -> str:
    """Folded words joined by hyphens, in their order; any script."""
    words = [author_key(word) for word in re.findall(r"[^\W_]+", text)]
    return "-".join(word for word in words if word) or "x"


def _key(root: Path, files: Sequence[DrawingFile], seed: int) -> str:
    """What the lists depend on: the rules, the seed, and every file's size and time."""
    digest = hashlib.sha256(f"{VERSION}\0{seed}\0{root.resolve()}".encode())
    for file in files:
        for path in (file.svg, file.png):
            if path is not None:
                facts = path.stat()
                line = f"\n{file.stem}\0{path.suffix}\0{facts.st_size}\0{facts.st_mtime_ns}"
                digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read_stamp(out_dir: Path, key: str) -> DemoSummary | None:
    """The summary of an earlier run, when it and all its lists are as that run left them."""
    try:
        said = json.loads((out_dir / "summary.json").read_text(encoding="utf-8"))
        summary = replace(DemoSummary(**said), reused=True)
        for name in FILES:
            if hashlib.sha256((out_dir / name).read_bytes()).hexdigest() != summary.files[name]:
                return None
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, cut short or of another version: prepare again
    return summary if summary.key == key else None


def _csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> str:
    """Write a file aside, sync it, rename it; returns the SHA-256 of its bytes."""
    data = text.encode("utf-8", "surrogateescape")
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(aside).chmod(0o644)  # mkstemp's own 0600 would hide the list from others
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return hashlib.sha256(data).hexdigest()
