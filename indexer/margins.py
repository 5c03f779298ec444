"""The margin of paper around a drawing, which says nothing of the hand.

A scanner, a page, a gutter or a thumbnail service adds it or takes it away; the network would
count its share of the picture as style. Uniform borders are cut off before anything is scaled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

INK_LEVELS = 32
"""A pixel is ink when a channel is further than this (of 255) from the paper: above the noise
of JPEG at low quality and the tone of old paper."""

INK_SHARE = 0.004
"""A row or column belongs to the drawing when more of it than this is ink: specks do not."""

MIN_SIDE_PX = 16
"""What would be left of a nearly blank picture is no drawing; such a picture stays whole."""


def drawing_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is drawn; the whole picture when there is no margin.

    The paper's colour is the median of the outermost pixels, and a side that has ink is not
    cut. One margin goes: a bare frame counts as one when nothing is outside it.

    Shapes:  any RGB image
    """
    ink = _ink(image)  # (H, W) uint8, 0 or 1
    height, width = ink.shape
    whole = (0, 0, width, height)
    rows = np.flatnonzero(ink.sum(axis=1, dtype=np.uint32) > INK_SHARE * width)
    if not len(rows):
        return whole
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    inked = ink[top:bottom].sum(axis=0, dtype=np.uint32)
    columns = np.flatnonzero(inked > INK_SHARE * (bottom - top))
    if not len(columns):
        return whole
    left, right = int(columns[0]), int(columns[-1]) + 1
    if min(right - left, bottom - top) < MIN_SIDE_PX:
        return whole
    return left, top, right, bottom


def _ink(image: Image.Image) -> np.ndarray:
    """1 where a channel is far from the paper's. Shapes: -> (H, W) uint8

    Pillow's tables and maxima take a fifth of the time of comparing arrays.
    """
    from PIL import ImageChops

    width, height = image.size
    sides = (
        (0, 0, width, 1),
        (0, height - 1, width, height),
        (0, 0, 1, height),
        (width - 1, 0, width, height),
    )
    edge = np.concatenate([np.asarray(image.crop(side)).reshape(-1, 3) for side in sides])
    tables: list[int] = []
    for level in np.median(edge, axis=0):
        low, high = max(0, int(level - INK_LEVELS)), min(255, int(level + INK_LEVELS))
        tables += [int(value < low or value > high) for value in range(256)]
    red, green, blue = image.point(tables).split()
    return np.asarray(ImageChops.lighter(ImageChops.lighter(red, green), blue))


def without_margin(image: Image.Image) -> Image.Image:
    """A picture less its margin of paper.

    Shapes:  any RGB image -> RGB image, no larger
    """
    box = drawing_box(image)
    return image if box == (0, 0, *image.size) else image.crop(box)
