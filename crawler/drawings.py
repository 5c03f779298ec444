"""Debian's Open Clip Art as drawings: where each picture lies and what is known of it.

The packages hold the same tree twice, as `svg/` and `png/`. The metadata is in the SVG,
the picture is the PNG of the same path; the top folder is the genre.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crawler.dates import parse_date, parse_year
from crawler.names import normalise_author
from crawler.svg import MAX_BYTES, read_metadata
from schemas.errors import InputError

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
