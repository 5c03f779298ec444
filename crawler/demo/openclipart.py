"""The demo's catalog: drawings of Debian's public-domain clip art, cleaned and split.

`prepare` turns the packages into three lists: what goes into the index, what is asked of it, and
what two authors drew who are left out. Pictures are not moved.
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
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from crawler.demo.authors import merge_authors, normalise_author
from crawler.demo.debian import HINT
from crawler.demo.svg import MAX_BYTES, read_metadata, shows_other_file
from crawler.importers.ingest import slug
from schemas.attempt import in_order
from schemas.dates import parse_date, parse_year
from schemas.errors import InputError
from schemas.images import (
    PictureError,
    PictureLimits,
    Reason,
    decode_picture,
    grey_thumbnail,
    is_blank,
    perceptual_hash,
    read_capped,
)
from schemas.progress import Progress
from schemas.storage.fsio import replace_file

VERSION = 6
"""Of the rules below; raise it when they change, and prepared folders are made again."""
COLUMNS = ("path", "author", "series", "title_id", "genre", "year", "date", "license", "source")
FILES = ("catalog.csv", "queries.csv", "unknown.csv")

Row = Mapping[str, str]


# --- Debian's Open Clip Art as drawings. The packages hold the same tree twice, as `svg/` and
# `png/`: the metadata is in the SVG, the picture is the PNG of the same path.

CATEGORIES = ("people", "animals", "plants", "food", "recreation", "buildings", "tools")
"""Top folders in which somebody drew a thing as they see it. Flags, signs, symbols, maps, icons
and shapes follow a norm: they show no style."""
_SETS = re.compile(r"(?:people/smilies|recreation/games/(?:cards|chess|dice))(?:/.*)?")
"""Folders of those that hold sets after a norm all the same."""

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
    shows_other_file: bool = False
    reason: str = ""
    sha256: str = ""
    hash: int = 0
    thumb: np.ndarray | None = None


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
            raise InputError(f"{root} has no folder {kind}/, so it is not Debian's clip art", HINT)
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                real = Path(os.path.realpath(path))
                lies_within = real.is_file() and real.is_relative_to(real_root)
                if lies_within and path.suffix.lower() == f".{kind}":
                    stem = path.relative_to(top).with_suffix("").as_posix()
                    found.setdefault(stem, {})[kind] = path
    return [
        Drawing(stem, paths.get("svg"), paths.get("png")) for stem, paths in sorted(found.items())
    ]


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
        genre=top.replace("_", " "),
        folder=folder,
        year=parse_year(metadata.date),
        date=day.isoformat() if day else "",
        # The collection took public-domain works only, and the package says so for all
        # files that do not say otherwise.
        license=_LICENSES.get(metadata.license_url, metadata.license_url or "public domain"),
        shows_other_file=shows_other_file(data),
    )


# --- Every drawing is checked: is it usable, and is it a copy?

LIMITS = PictureLimits(max_pixels=24_000_000)
"""Ten times smaller than the largest files of the package."""

SPECK_RATIO = 0.25
"""Of the page's side: a page with a smaller drawing is nearly empty, and no thumbnail shows it."""

_CHECK_PX = 128
_WHITE = 248
"""Grey levels from which a pixel counts as ground: resizing leaves rims a little darker."""


def check_drawing(drawing: Drawing, every_category: bool = False) -> Drawing:
    """Read one drawing; add the first reason to drop it, or what tells copies."""
    folder = drawing.stem.rpartition("/")[0]
    is_thing = folder.partition("/")[0] in CATEGORIES and not _SETS.fullmatch(folder)
    if not (is_thing or every_category):
        return replace(drawing, reason="other_category")
    drawing = read_drawing(drawing)
    try:
        if drawing.png is None:
            raise PictureError(Reason.MISSING, "")
        if drawing.author is None:
            return replace(drawing, reason="no_author")
        if drawing.shows_other_file:
            return replace(drawing, reason="other_file")
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
        return replace(drawing, reason="speck")
    digest, thumb = hashlib.sha256(data).hexdigest(), grey_thumbnail(image)
    return replace(drawing, sha256=digest, hash=perceptual_hash(image), thumb=thumb)


def check_all(
    drawings: Sequence[Drawing], progress: Progress, every_category: bool = False
) -> list[Drawing]:
    """Check every drawing on all cores, in order."""
    checked: list[Drawing] = []
    check = partial(check_drawing, every_category=every_category)
    cores = len(os.sched_getaffinity(0))
    for drawing, found in in_order(check, drawings, 64, cores):
        if isinstance(found, PictureError):
            found = replace(drawing, reason=str(found.reason))
        checked.append(found)
        progress(len(checked), len(drawings), "Checking pictures")
    return checked


MAX_HAMMING_BITS = 10
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
    """The first earlier picture, itself no such copy, that each picture nearly copies; else
    its own position.

    Shapes:  hashes (N,) uint64, thumbs (N, H, W) uint8 -> (N,) int64
    """
    size = int(np.prod(thumbs.shape[1:]))
    units = thumbs.astype(np.float32).reshape(len(thumbs), size)
    units -= units.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(units, axis=1, keepdims=True)
    units *= np.where(lengths > 1e-3, 1 / np.maximum(lengths, 1e-3), 0.0)  # flat: like nothing
    groups = np.arange(len(hashes), dtype=np.int64)
    for place in range(len(hashes)):
        leaders = np.flatnonzero(groups[:place] == np.arange(place))
        near = leaders[np.bitwise_count(hashes[leaders] ^ hashes[place]) <= max_hamming_bits]
        # The hash alone confuses flat drawings on white. einsum, not BLAS: one picture's
        # figures must not depend on how many are compared.
        alike = near[np.einsum("ij,j->i", units[near], units[place]) > min_correlation]
        if len(alike):
            groups[place] = alike[0]
    return groups


def _drop_copies(drawings: Sequence[Drawing], dropped: Counter[str]) -> list[Drawing]:
    """One of each set of exact copies, then one of each set of near copies."""
    first: dict[str, Drawing] = {}
    for one in sorted(drawings, key=lambda one: (one.year is None, one.stem)):
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
    dropped["near_duplicate"] += len(distinct) - len(leaders)
    return sorted(leaders, key=lambda one: one.stem)


# --- Which drawings are held out of the index, and which of those the demo shows. All choices
# follow from the pictures, so everybody sees the same demo.

FIGURES = ("people", "animals")
"""Categories that a demo shows first: nothing tells hands apart as figures do."""
_PARTS = ("bodypart", "clothing")
"""Series of those without a figure."""
UNKNOWN_AUTHORS = ("Linda Kim", "Jarno Vasamaa")
"""Left out of the index entirely: people who drew things, in several series, of a number that
the catalog can spare, and whose colours and strokes stay the same from series to series."""
MAX_PICTURES = 60
"""Of one author: three drew half of the collection, and would be half of every answer."""
MIN_PICTURES = 6
"""Pictures that an author needs before some are held out: the rest must still show a style."""
MAX_HELD_OUT = 3


def hold_out(
    rows: Sequence[Row], unknown_authors: Sequence[str] = UNKNOWN_AUTHORS
) -> tuple[set[int], set[int]]:
    """Positions of the rows to ask about, and of those by unknown authors.

    Of every author with enough pictures two go out whose series stay: new pictures of known
    titles. Of an author with three series or more one small series goes out whole as well: a
    new title, of which only the author is known.
    """
    by_author: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_author[row["author"]].append(place)

    def order(place: int) -> bytes:
        return _draw(rows[place])

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


def at_most(rows: Sequence[Row], count: int) -> list[Row]:
    """So many of each author's, drawn from all of them, in their order."""
    by_author: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=_draw):
        by_author[row["author"]].append(row)
    chosen = {row["source"] for some in by_author.values() for row in some[:count]}
    return [row for row in rows if row["source"] in chosen]


def _draw(row: Row) -> bytes:
    """A draw that depends on the picture's source alone; 0 is its seed."""
    return hashlib.sha256(f"0:{row['source']}".encode()).digest()


def showcase(rows: Sequence[Row]) -> list[Row]:
    """The order in which a demo shows pictures: figures first, each author once before anybody
    twice, genres in turn, and first what compresses badly, so has many strokes."""
    authors: Counter[str] = Counter()
    genres: Counter[str] = Counter()
    turns: list[tuple[bool, int, int]] = []
    ordered = sorted(rows, key=lambda row: (_shows_no_figure(row), -_bytes(row), row["path"]))
    for row in ordered:
        turns.append((_shows_no_figure(row), authors[row["author"]], genres[row["genre"]]))
        authors[row["author"]] += 1
        genres[row["genre"]] += 1
    return [ordered[place] for place in sorted(range(len(ordered)), key=turns.__getitem__)]


def _bytes(row: Row) -> int:
    return Path(row["path"]).stat().st_size


def _shows_no_figure(row: Row) -> bool:
    return row["genre"] not in FIGURES or any(part in row["series"] for part in _PARTS)


# --- The three lists.


@dataclass(frozen=True)
class DemoSummary:
    """What became of every drawing found: found = indexed + queries + unknown + dropped; `authors`
    are those of the indexed ones."""

    key: str
    found: int
    indexed: int
    queries: int
    unknown: int
    dropped: dict[str, int]
    authors: int
    unknown_authors: list[str]
    reused: bool = False


def prepare(
    root: Path, out_dir: Path, *, progress: Progress, every_category: bool = False
) -> DemoSummary:
    """Write `catalog.csv`, `queries.csv`, `unknown.csv`, then `summary.json` as the stamp.

    The demo takes CATEGORIES alone; hands to train on come from every category.

    A second call with the same files and rules reads the stamp and returns.

    Errors:  InputError when `root` is not Debian's clip art
    """
    files = list_drawings(root)
    key = _key(files, every_category)
    if (ready := _read_stamp(out_dir, key)) is not None:
        return ready
    checked = check_all(files, progress, every_category)
    dropped = Counter(one.reason for one in checked if one.reason)
    distinct = _drop_copies([one for one in checked if not one.reason], dropped)
    names = merge_authors(Counter(one.credit for one in checked if one.author))
    every = _rows(distinct, names)
    rows = at_most(every, MAX_PICTURES)
    dropped["author_has_enough"] += len(every) - len(rows)
    queries, unknown = hold_out(rows)
    parts: tuple[list[Row], ...] = ([], [], [])
    for place, row in enumerate(rows):
        parts[1 if place in queries else 2 if place in unknown else 0].append(row)
    out_dir.mkdir(parents=True, exist_ok=True)
    # Without its stamp the folder is unfinished, so no mixture of old and new is ever taken.
    (out_dir / "summary.json").unlink(missing_ok=True)
    for name, part in zip(FILES, parts, strict=True):
        replace_file(out_dir / name, _csv(part))
    summary = DemoSummary(
        key=key,
        found=len(files),
        indexed=len(parts[0]),
        queries=len(parts[1]),
        unknown=len(parts[2]),
        dropped={reason: count for reason, count in dropped.items() if count},
        authors=len({row["author"] for row in parts[0]}),
        unknown_authors=sorted({row["author"] for row in parts[2]}),
    )
    text = json.dumps(asdict(summary), indent=2, ensure_ascii=False)
    replace_file(out_dir / "summary.json", text.encode())
    return summary


def _rows(drawings: Sequence[Drawing], names: Mapping[str, str]) -> list[Row]:
    """One row for each drawing; a title is an author's folder."""
    rows: list[Row] = []
    for drawing in drawings:
        author = names[drawing.credit]
        folder = drawing.folder or "top"
        rows.append(
            {
                "path": str((drawing.png or Path()).absolute()),
                "author": author,
                "series": folder.replace("_", " ").replace("/", " / "),
                "title_id": f"openclipart:{slug(author)}/{slug(folder)}",
                "genre": drawing.genre,
                "year": str(drawing.year or ""),
                "date": drawing.date,
                "license": drawing.license,
                "source": f"debian:openclipart-svg/{drawing.stem}.svg",
            }
        )
    return rows


def _key(files: Sequence[Drawing], every_category: bool) -> str:
    """What the lists depend on: the rules, and every file's size and time."""
    paths = [path for file in files for path in (file.svg, file.png) if path is not None]
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(
        repr((VERSION, facts, *(("every",) if every_category else ()))).encode()
    ).hexdigest()


def _read_stamp(out_dir: Path, key: str) -> DemoSummary | None:
    """The summary of an earlier run of the same."""
    try:
        body = json.loads((out_dir / "summary.json").read_text(encoding="utf-8"))
        summary = replace(DemoSummary(**body), reused=True)
    except (OSError, ValueError, TypeError):
        return None  # absent, cut short or of another version: prepare again
    ready = summary.key == key and all((out_dir / name).is_file() for name in FILES)
    return summary if ready else None


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
