"""The folder to train on: pictures and `manifest.csv` in the benchmark's own format."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import os
import re
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crawler.hands.draw import SIDE_PX, SvgError, SvgRenderer, on_white, png_of
from crawler.hands.sources import Sketch
from schemas.attempt import in_order
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits, decode_picture, read_capped
from schemas.progress import Progress
from schemas.storage.fsio import replace_file, storage_errors

COLUMNS = ("path", "author", "series", "genre", "year", "license", "source", "content")
"""Genre and year stay empty: what these pictures show and when they were made says nothing about
the genres and eras of drawings."""
MANIFEST = "manifest.csv"
ASKED = "asked-emoji"
"""A folder of the same kind inside: hands to measure with, never to train on."""
LIMITS = PictureLimits(max_pixels=24_000_000)
VERSION = 1
"""Of the rules by which pictures are drawn; raise it when they change."""
_STAMP = "drawn.txt"
_MAX_NAMED = 6


def path_of(sketch: Sketch) -> str:
    """Where a sketch's picture lies in its folder; always the same for the same sketch."""
    parts = [sketch.kind, sketch.hand.partition(":")[2], sketch.name]
    return f"images/{'/'.join(_plain(part) for part in parts)}.png"


def _plain(text: str) -> str:
    """A part of a path: ASCII, and unique where it had to be changed."""
    plain = re.sub(r"[^a-zA-Z0-9_-]+", "-", text).strip("-")[:80]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


# --- Pictures.


@dataclass
class Drawn:
    """The sketches that have a picture now, how many had one before, and why others have none."""

    sketches: list[Sketch] = field(default_factory=list)
    reused: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        hands = len({sketch.hand for sketch in self.sketches})
        text = f"{len(self.sketches)} pictures by {hands} hands, {self.reused} of them kept"
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common(4))
        return f"{text}; left out: {reasons}" if reasons else text


def draw_all(sketches: Sequence[Sketch], folder: Path, progress: Progress) -> Drawn:
    """Draw sketches of one kind into `images/`; a picture that is there is not drawn again.

    Pictures of another version of the package or of the rules are removed first.

    Errors:  StorageError when the disk refuses, InputError without the package that draws
    """
    drawn = Drawn()
    if not sketches:
        return drawn
    if importlib.util.find_spec("resvg_py") is None:
        raise InputError("resvg-py, which draws SVG files, is not installed", "make train-env")
    with storage_errors(str(folder)):
        _prepare(folder / "images" / sketches[0].kind, _stamp(sketches[0]))
    local = threading.local()
    renderers: list[SvgRenderer] = []

    def draw(sketch: Sketch) -> str:
        """What became of it: "" is drawn, "reused" was there, else the reason."""
        path = folder / path_of(sketch)
        if path.is_file():
            return "reused"
        if not hasattr(local, "renderer"):
            local.renderer = SvgRenderer()
            renderers.append(local.renderer)
        try:
            data = _picture(sketch, local.renderer)
        except SvgError as error:
            return str(error)
        with storage_errors(str(path)):
            _write(path, data)
        return ""

    try:
        outcomes = in_order(draw, sketches, 64, len(os.sched_getaffinity(0)))
        for number, (sketch, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, PictureError):
                drawn.dropped[str(outcome.reason)] += 1
            elif outcome in ("", "reused"):
                drawn.sketches.append(sketch)
                drawn.reused += outcome == "reused"
            else:
                drawn.dropped[outcome] += 1
            progress(number, len(sketches), f"Drawing {sketch.kind}")
    finally:
        for renderer in renderers:
            renderer.close()
    return drawn


def _stamp(sketch: Sketch) -> str:
    """What a kind's pictures depend on: the rules and the package with its version."""
    package = re.match(r"[^#]*@[\d.]+\d|[^/#]*", sketch.source)
    return f"{VERSION} {package[0] if package else ''}\n"


def _prepare(top: Path, stamp: str) -> None:
    mark = top / _STAMP
    if not mark.is_file() or mark.read_text(encoding="utf-8") != stamp:
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir(parents=True)
        replace_file(mark, stamp.encode())


def _picture(sketch: Sketch, renderer: SvgRenderer) -> bytes:
    if sketch.file is None:
        return renderer.draw(sketch.svg() if sketch.svg else "", sketch.margin_px)
    image = decode_picture(read_capped(sketch.file, LIMITS), LIMITS, target_px=SIDE_PX)
    return png_of(on_white(image, SIDE_PX))


def _write(path: Path, data: bytes) -> None:
    """In one step, so that a killed run leaves no half picture; without fsync, which takes longer
    than drawing: after a power cut the folder is drawn again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
    part.write_bytes(data)
    part.replace(path)


# --- The manifest, and what it says about licences.


def write_manifest(sketches: Sequence[Sketch], folder: Path) -> None:
    """Write `manifest.csv`: one row for each picture, in the order of the sketches.

    Errors:  StorageError when the disk refuses
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in sketches:
        labels = (one.hand, one.series, "", "", one.license, one.source, one.content)
        writer.writerow((path_of(one), *labels))
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / MANIFEST, text.getvalue().encode("utf-8", "surrogateescape"))


def licence_table(folder: Path) -> str:
    """A Markdown table of what lies in a folder: sources, licences, hands, pictures.

    Errors:  InputError when there is no manifest
    """
    lines = ["| source | licence | hands | pictures | used |", "| --- | --- | --- | --- | --- |"]
    for top, used in ((folder, "trained on"), (folder / ASKED, "asked only")):
        hands: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for row in _read(top / MANIFEST):
            hands[_source(row["source"]), row["license"]][row["author"]] += 1
        for (source, license), count in sorted(hands.items()):
            many = len(count) > _MAX_NAMED
            names = f"{len(count)} hands" if many else ", ".join(sorted(count))
            lines.append(f"| {source} | {license} | {names} | {count.total()} | {used} |")
    return "\n".join(lines)


def _source(source: str) -> str:
    """A package and, of several sets in it, the set."""
    several = re.fullmatch(r"(.+@[\d.]+\d)/(?:json/)?([\w-]+)\.json#.*", source)
    return f"{several[1]}, {several[2]}" if several else source.partition("/")[0]


def _read(manifest: Path) -> list[dict[str, str]]:
    try:
        with manifest.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
            return list(csv.DictReader(handle))
    except OSError as error:
        raise InputError(f"{manifest} cannot be read", "Draw the hands first.") from error
