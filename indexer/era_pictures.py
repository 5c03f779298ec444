"""The pictures of an era laid over each other: mean, median and mode picture.

Every picture is squeezed into one square, so that a place on the result is a place on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.attempt import in_order
from schemas.images import PictureLimits, decode_stored
from schemas.progress import Progress
from schemas.storage.layout import Layout

SIDE_PX = 96
MODE_LEVELS = 16  # the mode of 256 levels would be noise
BINS = 32


@dataclass(frozen=True)
class EraPictures:
    """The pictures of one era, laid over each other.

    `histogram` holds the share of pixels in each of BINS levels of red, green and blue.

    Shapes:  mean, median, mode (96, 96, 3) uint8; histogram (3, 32)
    """

    era: str
    count: int
    mean: np.ndarray
    median: np.ndarray
    mode: np.ndarray
    histogram: np.ndarray


def overlay(
    layout: Layout,
    limits: PictureLimits,
    files: Sequence[tuple[str, str]],
    progress: Progress | None = None,
) -> list[EraPictures]:
    """Lay the files of each era over each other; files that cannot be read are left out.

    `files` are (era, stored file), grouped by era.
    """

    def read(job: tuple[str, str]) -> np.ndarray | None:
        image = decode_stored(layout.picture(job[1]), limits, 2 * SIDE_PX)
        return None if image is None else np.asarray(image.resize((SIDE_PX, SIDE_PX), 4))  # box

    stacks: dict[str, list[np.ndarray]] = {}
    for done, ((era, _), pixels) in enumerate(in_order(read, files, 64), 1):
        if isinstance(pixels, np.ndarray):
            stacks.setdefault(era, []).append(pixels)
        if progress:
            progress(done, len(files))
    return [_overlaid(era, np.stack(stack)) for era, stack in stacks.items()]


def _overlaid(era: str, stack: np.ndarray) -> EraPictures:
    """(N, H, W, 3) uint8 -> the overlay."""
    mean = stack.mean(axis=0).round().astype(np.uint8)
    median = np.median(stack, axis=0).astype(np.uint8)
    levels = stack.reshape(-1, 3).T // (256 // BINS)
    counts = np.stack([np.bincount(channel, minlength=BINS) for channel in levels])
    shares = counts / counts.sum(axis=1, keepdims=True)
    return EraPictures(era, len(stack), mean, median, mode_picture(stack), shares)


def mode_picture(stack: np.ndarray) -> np.ndarray:
    """The most frequent level of each place and channel, the darker of equals.

    Shapes:  (N, H, W, 3) uint8 -> (H, W, 3) uint8
    """
    width = 256 // MODE_LEVELS
    counts = [(stack // width == level).sum(axis=0) for level in range(MODE_LEVELS)]
    return np.asarray(np.argmax(counts, axis=0) * width + width // 2, dtype=np.uint8)
