"""The demo's catalog: Debian's public-domain clip art, cleaned and split.

`fetch` gets the packages, `prepare` turns them into three lists: what goes into the index,
what is asked of it, and two authors whom it has never seen. Pictures stay where they are.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from crawler.debian import Progress, unpack_packages
from crawler.drawings import DrawingFile, list_drawings, read_drawings
from crawler.looks import NEAR_DUPLICATE, Look, look_at_all
from crawler.names import author_key, merge_authors
from crawler.near import near_duplicate_groups
from crawler.split import hold_out, showcase
from schemas.pictures import Reason

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
