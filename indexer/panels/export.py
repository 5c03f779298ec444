"""Panels as files: pictures, one JSON for each strip or page, and a preview."""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.panels.cut import CutOptions
from indexer.panels.stitch import CutPanel, Strip, continues
from schemas.errors import InputError, UsageError
from schemas.images import (
    PictureError,
    PictureLimits,
    decode_picture,
    is_animated,
    read_capped,
)
from schemas.names import natural_key
from schemas.storage.fsio import storage_error
from schemas.storage.outputs import write_text

RECORD = "panels.json"
"""The name of the JSON beside the pictures of a strip or page."""

PREVIEW_ROWS = 3000
PREVIEW_WIDTH = {"strip": 240, "page": 900}


@dataclass(frozen=True)
class Source:
    """What is cut as one: the slices of an episode in order, or a single page."""

    name: str
    paths: list[Path]
    kind: str
    """`strip` or `page`."""


def find_sources(
    groups: Sequence[tuple[str, Sequence[Path]]], limits: PictureLimits, kind: str = "auto"
) -> list[Source]:
    """Strips and pages among pictures that lie together in folders.

    With `auto` the pictures of a folder are the slices of one strip when a drawing runs on from
    one of the first to the next, and otherwise pages.
    """
    sources: list[Source] = []
    for name, paths in groups:
        ordered = sorted(paths, key=lambda path: natural_key(path.name))
        if len(ordered) > 1 and (kind == "strip" or (kind == "auto" and _run_on(ordered, limits))):
            sources.append(Source(name, ordered, "strip"))
        else:
            sources += [Source(_page_name(name, path), [path], "page") for path in ordered]
    return sources


def _page_name(folder: str, path: Path) -> str:
    return f"{folder}/{path.stem}" if folder else path.stem


def _run_on(paths: Sequence[Path], limits: PictureLimits) -> bool:
    above: np.ndarray | None = None
    for path in paths[:8]:
        try:
            rows = np.asarray(decode_picture(read_capped(path, limits), limits))
        except PictureError:
            continue
        if above is not None and min(len(above), len(rows)) > 2 and continues(above, rows):
            return True
        above = rows[-3:]
    return False


@dataclass
class Written:
    """What came of one source."""

    source: Source
    folder: Path
    record: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def panels(self) -> int:
        return len(self.record["panels"])


def write_panels(
    source: Source,
    out: Path,
    limits: PictureLimits,
    options: CutOptions,
    *,
    preview: bool = False,
    numbers_only: bool = False,
) -> Written:
    """Cut a source and write its panels into a folder; an earlier result there is replaced.

    `numbers_only` names the pictures 0.jpg, 1.jpg, ... instead of 001.jpg, 002.jpg, ...

    Errors:  InputError when the folder holds files of another kind, StorageError
    """
    started = time.perf_counter()
    _clear(out)
    strip = Strip(source.paths, limits)
    overlay = _Preview(PREVIEW_WIDTH[source.kind]) if preview else None
    rows: list[dict[str, Any]] = []
    for order, one in enumerate(strip.panels(options, overlay.add if overlay else None)):
        name = f"{order}.jpg" if numbers_only else f"{order + 1:03}.jpg"
        _save(out / name, one.pixels)
        rows.append({"order": order + 1, "picture": name} | _facts(one))
        if overlay:
            overlay.boxes.append(one.panel.box)
    strip.notes += [
        f"{one.path.name} is an animation: one frame was cut"
        for one in strip.slices
        if is_animated(read_capped(one.path, limits), limits)
    ]
    if strip.slices and not rows:
        found = "only what was left out" if strip.left_out else "nothing is drawn on it"
        strip.notes.append(f"no panels: {found}")
    for row in rows:
        row["slices"] = [
            {"file": part.path.name, "box": box} for part, box in strip.in_slices(row["box"])
        ]
    record = {
        "name": source.name,
        "kind": source.kind,
        "width": strip.width,
        "height": strip.height,
        "direction": "rtl" if options.rtl else "ltr",
        "files": [
            {"file": one.path.name, "y": one.y, "height": one.height} for one in strip.slices
        ],
        "panels": rows,
        "left_out": [{"what": one.what, "box": one.box} for one in strip.left_out],
        "notes": strip.notes,
        "failed": strip.failed,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if not strip.slices:
        (out / RECORD).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the user's own files stay
            out.rmdir()
        return Written(source, out, record, strip.failed)
    if overlay:
        _save(out / "preview.jpg", overlay.picture(strip.width))
    write_text(out / RECORD, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return Written(source, out, record, strip.failed)


def _facts(one: CutPanel) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "box": one.panel.box,
        "border": one.panel.border,
        "confidence": one.panel.confidence,
    }
    return facts | ({"polygon": one.panel.polygon} if one.panel.polygon else {})


def _clear(out: Path) -> None:
    """Make the folder, without the files of an earlier result.

    Errors:  InputError, StorageError
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        mine = re.compile(r"\d+\.jpg|preview\.jpg|panels\.json")
        there = [path for path in out.iterdir() if mine.fullmatch(path.name)]
        if there and not (out / RECORD).exists():
            raise InputError(
                f"{out} has pictures that did not come from here", "Choose another --out."
            )
        for path in there:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    except OSError as error:
        raise storage_error(error, str(out)) from error
    write_text(out / RECORD, "{}\n")  # so that an interrupted result is known and replaced


def check_targets(sources: Sequence[Source], targets: Sequence[Path]) -> None:
    """Refuse, before any work is done, folders of results that would cost an input or each other.

    Errors:  UsageError
    """
    inputs = {path.resolve().parent for source in sources for path in source.paths}
    known: dict[Path, str] = {}
    for source, target in zip(sources, targets, strict=True):
        real = target.resolve()
        if real in inputs:
            raise UsageError(f"{target} holds what is to be cut", "Choose another --out.")
        if real in known:
            raise UsageError(
                f"{known[real]} and {source.name} would both go into {target}",
                "Cut one after the other; `--as strip` takes each folder as one strip.",
            )
        known[real] = source.name


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    # JPEG allows no side above 65,500 pixels.
    buffer = io.BytesIO()
    Image.fromarray(pixels[:65_000]).save(buffer, "JPEG", quality=92)
    try:
        path.write_bytes(buffer.getvalue())
    except OSError as error:
        raise storage_error(error, str(path)) from error


class _Preview:
    """A small copy of a strip in columns, with the panels drawn on it."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.boxes: list[tuple[int, int, int, int]] = []
        self.parts: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        import cv2

        scale = min(1.0, self.width / rows.shape[1])
        size = (max(1, round(rows.shape[1] * scale)), max(1, round(len(rows) * scale)))
        self.parts.append(cv2.resize(rows, size, interpolation=cv2.INTER_AREA))

    def picture(self, width: int) -> np.ndarray:
        import cv2

        whole = np.concatenate(self.parts)
        scale = whole.shape[1] / width
        for order, box in enumerate(self.boxes):
            x, y, w, h = (round(value * scale) for value in box)
            cv2.rectangle(whole, (x, y), (x + w - 1, y + h - 1), (220, 30, 30), 2)
            for colour, weight in (((255, 255, 255), 5), ((220, 30, 30), 2)):
                cv2.putText(
                    whole,
                    str(order + 1),
                    (x + 6, y + 28),
                    cv2.FONT_HERSHEY_SIMPLEX,
                    0.8,
                    colour,
                    weight,
                )
        columns = -(-len(whole) // PREVIEW_ROWS)
        tall = min(len(whole), PREVIEW_ROWS)
        filled = np.full((columns * tall, whole.shape[1], 3), 128, np.uint8)
        filled[: len(whole)] = whole
        return np.concatenate(np.split(filled, columns), axis=1)
