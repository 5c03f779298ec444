"""The picture of a panel: boxes of stored pictures, joined."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from schemas.images import Box, PictureLimits, decode_picture, stored_bytes
from schemas.records import Panel
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from PIL import Image


def panel_pixels(
    layout: Layout, panel: Panel, limits: PictureLimits, target_px: int | None = None
) -> Image.Image:
    """The picture of a panel of the catalog, from the store, verified; holds one stored picture
    at a time. `target_px` is the longest side that the caller needs; it is never below that,
    unless the panel is.

    Errors:  PictureError when a stored picture is gone or damaged
    """
    slices = (stored_bytes(layout.picture(part.file), part.picture_id) for part in panel.slices)
    return joined(slices, panel, limits, target_px)


def joined(
    slices: Iterable[bytes], panel: Panel, limits: PictureLimits, target_px: int | None = None
) -> Image.Image:
    """The same from the bytes of the panel's stored pictures, in order.

    Errors:  PictureError
    """
    from PIL import Image

    _, _, width, height = panel.box
    scale = 1.0 if target_px is None else min(1.0, target_px / max(width, height))
    made = Image.new("RGB", (max(1, round(width * scale)), max(1, round(height * scale))))
    ends = 0.0
    top = 0
    for data, part in zip(slices, panel.slices, strict=True):
        left, upper, across, down = part.box
        box = (left, upper, left + across, upper + down)
        ends += down * width / across
        bottom = made.height if part is panel.slices[-1] else round(ends * scale)
        size = (made.width, max(1, bottom - top))
        image = decode_picture(data, limits, max(size), partial(_within, box))
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        made.paste(image, (0, top))
        top = bottom
    return made


def _within(box: Box, width: int, height: int) -> Box:
    """A box, moved into a picture of this size; a damaged row must not ask for other pixels."""
    left, top, right, bottom = box
    left, top = max(0, min(left, width - 1)), max(0, min(top, height - 1))
    return left, top, max(left + 1, min(right, width)), max(top + 1, min(bottom, height))
