"""The demo's catalog: Debian's public-domain clip art, cleaned and split.

`fetch` gets the packages, `prepare` turns them into three lists: what goes into the index,
what is asked of it, and two authors whom it has never seen. Pictures stay where they are.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from crawler.dates import parse_date, parse_year
from crawler.demo.authors import credit_key, merge_authors, normalise_author
from crawler.demo.debian import Progress, unpack_packages
from crawler.demo.svg import MAX_BYTES, read_metadata
from crawler.images import read_capped
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
from schemas.storage.fsio import replace_file

PACKAGES = ("openclipart-png", "openclipart-svg")
INSTALLED = Path("/usr/share/openclipart")
HINT = "Use your own pictures instead: toonsearch demo --images DIR"
VERSION = 3
"""Of the rules below; raise it when they change, and prepared folders are made again."""
COLUMNS = ("path", "author", "series", "title_id", "genre", "year", "date", "license", "source")
FILES = ("catalog.csv", "queries.csv", "unknown.csv")

Row = Mapping[str, str]


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


# --- Debian's Open Clip Art as drawings. The packages hold the same tree twice, as `svg/` and
# `png/`: the metadata is in the SVG, the picture is the PNG of the same path.

_NO_GENRE = frozenset({"unsorted", "special"})
"""Top folders that say how a file was filed, not what it shows."""

_LICENSES = {
    "http://web.resource.org/cc/PublicDomain": "public domain",
    "http://creativecommons.org/licenses/publicdomain/": "public domain",
    "http://creativecommons.org/licenses/GPL/2.0/": "GPL-2.0",
}


@dataclass(frozen=True)
class Drawing:
    """A path of the two trees, without its extension, with what is known of it.

    A side may be missing; `author` is None when the metadata names nobody; `reason` says why it
    is dropped, else digest, hash and thumbnail tell copies.
    """

    stem: str
    svg: Path | None
    png: Path | None
    credit: str = ""
    author: str | None = None
    genre: str = ""
    folder: str = ""
    year: int | None = None
    date: str = ""
    license: str = ""
    reason: str = ""
    sha256: str = ""
    hash: int = 0
    thumb: np.ndarray | None = None

    @property
    def is_link(self) -> bool:
        """Whether the picture is another name for a picture elsewhere in the tree."""
        return self.png is not None and self.png.is_symlink()

    @property
    def source(self) -> str:
        """Where it comes from, in a form that does not depend on this machine."""
        return f"debian:openclipart-svg/{self.stem}.svg"


def list_drawings(root: Path) -> list[Drawing]:
    """All drawings below a folder with `svg/` and `png/`, in path order; links count when they
    end inside the tree.

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
                if path.suffix.lower() == f".{kind}" and _lies_within(path, real_root):
                    stem = path.relative_to(top).with_suffix("").as_posix()
                    found.setdefault(stem, {})[kind] = path
    return [
        Drawing(stem, paths.get("svg"), paths.get("png")) for stem, paths in sorted(found.items())
    ]


def _lies_within(path: Path, real_root: Path) -> bool:
    try:
        real = path.resolve(strict=True) if path.is_symlink() else path
    except (OSError, RuntimeError):  # dangling, or a ring of links
        return False
    return real.is_file() and (real is path or real.is_relative_to(real_root))


def read_drawing(drawing: Drawing) -> Drawing:
    """Add what its metadata says; an unreadable file simply says nothing."""
    data = b""
    if drawing.svg is not None:
        with contextlib.suppress(OSError), drawing.svg.open("rb") as handle:
            data = handle.read(MAX_BYTES)
    metadata = read_metadata(data)
    folder = drawing.stem.rpartition("/")[0]
    top = folder.partition("/")[0]
    day = parse_date(metadata.date)
    return replace(
        drawing,
        credit=metadata.author,
        author=normalise_author(metadata.author),
        genre="" if top in _NO_GENRE else top.replace("_", " "),
        folder=folder,
        year=parse_year(metadata.date),
        date=day.isoformat() if day else "",
        # The collection took public-domain works only, and the package says so for all
        # files that do not say otherwise.
        license=_LICENSES.get(metadata.license_url, metadata.license_url or "public domain"),
    )


# --- Every drawing is checked: is it usable, and is it a copy?

LIMITS = PictureLimits(max_pixels=24_000_000)
"""Ten times smaller than the largest files of the package, which are flags."""

PATTERN, NO_AUTHOR, SPECK, NEAR_DUPLICATE = "pattern", "no_author", "speck", "near_duplicate"
"""Reasons to drop a drawing that only the demo has; all others are `schemas.images.Reason`."""

SPECK_RATIO = 0.125
"""Of the page's side: a smaller drawing (a bullet hole on an empty page) shows no style."""

_CHECK_PX = 128
_WHITE = 248
"""Grey levels from which a pixel counts as ground: resizing leaves rims a little darker."""
_NOT_DRAWN = re.compile(r"special/(?:patterns|gradients)/.*|shapes/stars/star_\d+pt\d+step")
"""Fills, gradients and stars that a program counted out."""


def check_drawing(drawing: Drawing) -> Drawing:
    """Read one drawing; add the first reason to drop it, or what tells copies."""
    drawing = read_drawing(drawing)
    try:
        if drawing.png is None:
            raise PictureError(Reason.MISSING, "")
        if _NOT_DRAWN.fullmatch(drawing.stem):
            return replace(drawing, reason=PATTERN)
        if drawing.author is None:
            return replace(drawing, reason=NO_AUTHOR)
        data = read_capped(drawing.png, LIMITS)
        image = decode_picture(data, LIMITS, target_px=_CHECK_PX)
        if is_blank(image):
            raise PictureError(Reason.BLANK, "")
    except PictureError as error:
        return replace(drawing, reason=str(error.reason))
    image = image.resize((_CHECK_PX, _CHECK_PX))
    drawn = np.asarray(image).min(axis=2) < _WHITE
    spans = [np.flatnonzero(drawn.any(axis=axis)) for axis in (0, 1)]
    if max(np.ptp(span) + 1 if len(span) else 0 for span in spans) < SPECK_RATIO * _CHECK_PX:
        return replace(drawing, reason=SPECK)
    digest, thumb = hashlib.sha256(data).hexdigest(), grey_thumbnail(image)
    return replace(drawing, sha256=digest, hash=perceptual_hash(image), thumb=thumb)


def check_all(drawings: Sequence[Drawing], progress: Progress) -> list[Drawing]:
    """Check every drawing on all cores, in order."""
    checked: list[Drawing] = []
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="drawings")
    try:
        for drawing in pool.map(check_drawing, drawings):
            checked.append(drawing)
            progress("checking pictures", len(checked), len(drawings))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return checked


MAX_HAMMING_BITS = 10
"""Of 64: nearly all pairs of this clip art whose thumbnails correlate above 0.98 lie within."""
MIN_CORRELATION = 0.98
"""Of grey thumbnails: recoloured and re-bordered copies are above, cards of another value and
folders with another emblem mostly below."""


def near_duplicate_groups(
    hashes: np.ndarray,
    thumbs: np.ndarray,
    *,
    max_hamming_bits: int = MAX_HAMMING_BITS,
    min_correlation: float = MIN_CORRELATION,
) -> np.ndarray:
    """The first earlier picture, itself not such a copy, that each picture nearly copies; else
    its own position.

    Few bits of the perceptual hash may differ and grey thumbnails must correlate: the hash alone
    confuses flat drawings on white. Groups do not grow by chaining.

    Shapes:  hashes (N,) uint64, thumbs (N, H, W) uint8 -> (N,) int64
    """
    units = thumbs.reshape(len(thumbs), -1).astype(np.float32) if len(thumbs) else thumbs
    if len(thumbs):
        units -= units.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(units, axis=1, keepdims=True)
        units *= np.where(lengths > 1e-3, 1 / np.maximum(lengths, 1e-3), 0.0)  # flat: like nothing
    groups = np.arange(len(hashes), dtype=np.int64)
    leaders, leader_hashes = np.empty_like(groups), np.empty_like(hashes)
    count = 0
    for place, own in enumerate(hashes):
        differing = np.bitwise_count(leader_hashes[:count] ^ own)
        near = leaders[:count][differing <= max_hamming_bits]
        # einsum, not BLAS: one picture's figures must not depend on how many stand beside it.
        alike = near[np.einsum("ij,j->i", units[near], units[place]) > min_correlation]
        if len(alike):
            groups[place] = alike[0]
        else:
            leaders[count], leader_hashes[count] = place, own
            count += 1
    return groups


def _drop_copies(drawings: Sequence[Drawing], dropped: Counter[str]) -> list[Drawing]:
    """One of each set of exact copies, then one of each set of near copies."""

    def preference(one: Drawing) -> tuple[bool, bool, bool, str]:
        return one.genre == "", one.is_link, one.year is None, one.stem

    first: dict[str, Drawing] = {}
    for one in sorted(drawings, key=preference):
        first.setdefault(one.sha256, one)
    distinct = list(first.values())
    if not distinct:
        return []
    groups = near_duplicate_groups(
        np.array([one.hash for one in distinct], dtype=np.uint64),
        np.stack([one.thumb for one in distinct if one.thumb is not None]),
    )
    leaders = [one for place, one in enumerate(distinct) if groups[place] == place]
    dropped[Reason.DUPLICATE.value] += len(drawings) - len(distinct)
    dropped[NEAR_DUPLICATE] += len(distinct) - len(leaders)
    return sorted(leaders, key=lambda one: one.stem)


# --- Which drawings are held out of the index, and which of those the demo shows. All choices
# follow from the pictures and the seed, so everybody sees the same demo.

PICTORIAL = frozenset(
    ("people", "animals", "transportation", "food", "recreation", "plants", "buildings", "tools")
)
"""Genres in which somebody drew a thing; flags, signs, maps and icons follow a norm instead."""
_NORMED = ("roadsigns", "aiga-symbols")
"""Series inside those genres that follow a norm all the same."""
UNKNOWN_AUTHORS = ("Linda Kim", "Jarno Vasamaa")
"""Left out of the index entirely: people who drew things, in several series, of a number that
the catalog can spare, and whose colours and strokes stay the same from series to series."""
MIN_PICTURES = 8
"""Pictures that an author needs before some are held out: the rest must still show a style."""
MAX_HELD_OUT = 3


def hold_out(
    rows: Sequence[Row], *, seed: int, unknown_authors: Sequence[str] = UNKNOWN_AUTHORS
) -> tuple[set[int], set[int]]:
    """Positions of the rows to ask about, and of those by unknown authors.

    Of every author with enough pictures two go out whose series stay: new pictures of known
    titles. Of an author with three series or more one small series goes out whole as well: a
    new title, of which only the author is known.
    """
    by_author: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_author[row["author"]].append(place)

    def order(place: int) -> tuple[bool, bytes]:
        """A draw that depends on the seed and the picture's source, not on its position."""
        draw = hashlib.sha256(f"{seed}:{rows[place]['source']}".encode()).digest()
        return not _is_pictorial(rows[place]), draw

    queries: set[int] = set()
    for author, places in by_author.items():
        if author in unknown_authors or len(places) < MIN_PICTURES:
            continue
        series: dict[str, list[int]] = defaultdict(list)
        for place in places:
            series[rows[place]["title_id"]].append(place)
        small = [held for held in series.values() if len(held) <= MAX_HELD_OUT]
        gone = min(small, key=lambda held: order(held[0])) if small and len(series) >= 3 else []
        # A single picture must leave others of its series behind, or the series is gone.
        spare = {place for held in series.values() if len(held) >= 4 for place in held}
        queries.update(gone, sorted(spare.difference(gone), key=order)[:2])
    return queries, {place for author in unknown_authors for place in by_author[author]}


def showcase(
    queries: Sequence[Row], unknown: Sequence[Row], count: int = 6, *, catalog: Sequence[Row] = ()
) -> list[dict[str, str]]:
    """The pictures that a demo shows: different authors and genres, rich drawings first.

    A third comes from unknown authors, each in turn; authors of whom `catalog` holds much come
    before those of whom it holds little.
    """
    held = Counter(row["author"] for row in catalog)
    shown = _varied(unknown, min(count // 3, len(unknown)), held, repeat_authors=True)
    return _varied(queries, count - len(shown), held, repeat_authors=False) + shown


def _varied(
    rows: Sequence[Row], count: int, held: Mapping[str, int], *, repeat_authors: bool
) -> list[dict[str, str]]:
    """Richest rows first, while authors and genres repeat as little as possible.

    What compresses badly has many strokes and shades; what compresses well is a flag or an icon.
    """
    chosen: list[dict[str, str]] = []
    authors: Counter[str] = Counter()
    genres: Counter[str] = Counter()
    left = list(rows)
    while left and len(chosen) < count:
        best = min(
            left,
            key=lambda row: (
                authors[row["author"]],
                not _is_pictorial(row),
                genres[row["genre"]],
                -min(held.get(row["author"], 0), 200) // 50,
                -Path(row["path"]).stat().st_size if Path(row["path"]).exists() else 0,
                row["path"],
            ),
        )
        if authors[best["author"]] and not repeat_authors:
            break
        chosen.append(dict(best))
        left.remove(best)
        authors[best["author"]] += 1
        genres[best["genre"]] += 1
    return chosen


def _is_pictorial(row: Row) -> bool:
    return row["genre"] in PICTORIAL and not any(word in row["series"] for word in _NORMED)


# --- The three lists.


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
    unknown_authors: list[str]
    files: dict[str, str]
    reused: bool = False


def prepare(root: Path, out_dir: Path, *, seed: int = 0, progress: Progress) -> DemoSummary:
    """Write `catalog.csv`, `queries.csv`, `unknown.csv`, then `summary.json` as the stamp.

    A second call with the same files, seed and rules reads the stamp and returns.

    Errors:  InputError when `root` is not Debian's clip art
    """
    files = list_drawings(root)
    key = _key(root, files, seed)
    if (ready := _read_stamp(out_dir, key)) is not None:
        return ready
    checked = check_all(files, progress)
    dropped = Counter(one.reason for one in checked if one.reason)
    distinct = _drop_copies([one for one in checked if not one.reason], dropped)
    names = merge_authors(Counter(one.credit for one in checked if one.author))
    rows = _rows(distinct, names)
    queries, unknown = hold_out(rows, seed=seed)
    parts: tuple[list[Row], ...] = ([], [], [])
    for place, row in enumerate(rows):
        parts[1 if place in queries else 2 if place in unknown else 0].append(row)
    out_dir.mkdir(parents=True, exist_ok=True)
    # Without its stamp the folder is unfinished, so no mixture of old and new is ever taken.
    (out_dir / "summary.json").unlink(missing_ok=True)
    digests = {}
    for name, part in zip(FILES, parts, strict=True):
        data = _csv(part)
        replace_file(out_dir / name, data)
        digests[name] = hashlib.sha256(data).hexdigest()
    summary = DemoSummary(
        version=VERSION,
        key=key,
        found=len(files),
        indexed=len(parts[0]),
        queries=len(parts[1]),
        unknown=len(parts[2]),
        dropped={reason: count for reason, count in dropped.items() if count},
        authors=len({row["author"] for row in rows}),
        unknown_authors=sorted({row["author"] for row in parts[2]}),
        files=digests,
    )
    text = json.dumps(asdict(summary), indent=2, ensure_ascii=False)
    replace_file(out_dir / "summary.json", text.encode())
    return summary


def _rows(drawings: Sequence[Drawing], names: Mapping[str, str]) -> list[Row]:
    """One row for each drawing; a title is an author's folder."""
    slugs = _slugs({names[drawing.credit] for drawing in drawings})
    rows: list[Row] = []
    for drawing in drawings:
        author = names[drawing.credit]
        folder = drawing.folder or "top"
        rows.append(
            {
                "path": str((drawing.png or Path()).absolute()),
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
    taken: Counter[str] = Counter()
    slugs = {}
    for author in sorted(authors):
        slug = _slug(author)
        taken[slug] += 1
        slugs[author] = slug if taken[slug] == 1 else f"{slug}-{taken[slug]}"
    return slugs


def _slug(text: str) -> str:
    words = [credit_key(word) for word in re.findall(r"[^\W_]+", text)]
    return "-".join(word for word in words if word) or "x"


def _key(root: Path, files: Sequence[Drawing], seed: int) -> str:
    """What the lists depend on: the rules, the seed, and every file's size and time."""
    digest = hashlib.sha256(f"{VERSION}\0{seed}\0{root.resolve()}".encode())
    for file in files:
        for path in filter(None, (file.svg, file.png)):
            facts = path.stat()
            line = f"\n{file.stem}\0{path.suffix}\0{facts.st_size}\0{facts.st_mtime_ns}"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read_stamp(out_dir: Path, key: str) -> DemoSummary | None:
    """The summary of an earlier run, when it and all its lists are as that run left them."""
    try:
        body = json.loads((out_dir / "summary.json").read_text(encoding="utf-8"))
        summary = replace(DemoSummary(**body), reused=True)
        for name in FILES:
            if hashlib.sha256((out_dir / name).read_bytes()).hexdigest() != summary.files[name]:
                return None
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, cut short or of another version: prepare again
    return summary if summary.key == key else None


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
