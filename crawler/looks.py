"""A look at every drawing: is it usable, is it a copy, and what does it roughly look like.

Runs in worker processes, one for each core: decoding eight thousand pictures is the one
slow step between the downloaded packages and the demo's catalog.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from crawler.debian import Progress
from crawler.drawings import Drawing, DrawingFile, read_drawing
from schemas.pictures import (
    PictureError,
    PictureLimits,
    Reason,
    decode_picture,
    grey_thumbnail,
    is_blank,
    perceptual_hash,
)

LIMITS = PictureLimits(max_pixels=24_000_000)
"""Two decoders at work hold 2 x 24 million x 8 bytes = 384 MB at most. Ten times smaller
than the largest files of the package, which are flags rendered at 168 to 231 megapixels."""

PATTERN, NO_AUTHOR, SPECK, NEAR_DUPLICATE = "pattern", "no_author", "speck", "near_duplicate"
"""Reasons to drop a drawing that only the demo has; all others are `schemas.pictures.Reason`."""

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
