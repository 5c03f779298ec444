"""The picture of a panel: boxes of stored pictures, joined."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from schemas.images import (
    PREVIEW_RATIO,
    Box,
    PictureError,
    PictureLimits,
    decode_picture,
    fullest_part,
    stored_bytes,
)
from schemas.records import Panel, PanelPart, Row
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from PIL import Image

KEPT_PIXELS = 24_000_000
"""Of decoded slices that a reader keeps; the last one in any case."""

Shown = Callable[[PanelPart, Box, int | None], "Image.Image"]
"""A part of a stored picture: the part, its corners, and the longest side that is needed."""


def panel_pixels(
    layout: Layout, panel: Panel, limits: PictureLimits, target_px: int | None = None
) -> Image.Image:
    """The picture of a panel of the catalog, from the store, verified; holds one stored picture
    at a time. `target_px` is the longest side that the caller needs; it is never below that,
    unless the panel is.

    Errors:  PictureError when a stored picture is gone or damaged
    """

    def shown(part: PanelPart, box: Box, side_px: int | None) -> Image.Image:
        data = stored_bytes(layout.picture(part.file), part.picture_id)
        return decode_picture(data, limits, side_px, partial(_within, box))

    return joined(panel, shown, target_px)


def panel_of_bytes(
    slices: Sequence[bytes], panel: Panel, limits: PictureLimits, target_px: int | None = None
) -> Image.Image:
    """The same from the bytes of its stored pictures, in order, where no file may be read.

    Errors:  PictureError
    """
    left = iter(slices)
    return joined(
        panel,
        lambda _, box, side_px: decode_picture(next(left), limits, side_px, partial(_within, box)),
        target_px,
    )


def panel_preview(
    layout: Layout, panel: Panel, limits: PictureLimits, side_px: int
) -> Image.Image | None:
    """A copy of a panel with a longest side of at most `side_px`, None when a stored picture is
    gone or damaged; of one that is very long its fullest part, so that it can be made out."""
    try:
        return preview_of(panel, side_px, partial(panel_pixels, layout, panel, limits))
    except PictureError:
        return None


def preview_of(panel: Panel, side_px: int, shown: Callable[[int], Image.Image]) -> Image.Image:
    """The same of the picture that `shown` makes of the panel with a longest side of so many
    pixels."""
    short, long = sorted(panel.box[2:])
    made = fullest_part(shown(round(side_px * max(1.0, long / (PREVIEW_RATIO * short)))))
    made.thumbnail((side_px, side_px))
    return made


def joined(panel: Panel, shown: Shown, target_px: int | None = None) -> Image.Image:
    """The same, where `shown` gives the part of each stored picture, in any size."""
    from PIL import Image

    _, _, width, height = panel.box
    scale = 1.0 if target_px is None else min(1.0, target_px / max(width, height))
    made = Image.new("RGB", (max(1, round(width * scale)), max(1, round(height * scale))))
    end, top = 0.0, 0
    for part in panel.slices:
        left, upper, across, down = part.box
        end += down * width / across
        bottom = made.height if part is panel.slices[-1] else round(end * scale)
        size = (made.width, max(1, bottom - top))
        needed = None if target_px is None else max(size)
        image = shown(part, (left, upper, left + across, upper + down), needed)
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


class PictureReader:
    """Pictures and panels of the catalog, verified and decoded, for several threads.

    Panels of a strip are read one after the other: the slices decoded last are kept.
    """

    def __init__(self, layout: Layout, limits: PictureLimits) -> None:
        self.layout, self.limits = layout, limits
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Image.Image] = OrderedDict()

    def image(self, row: Row, target_px: int | None = None) -> Image.Image:
        """The picture of a row (picture_id, file, panel); of one that is no panel possibly smaller,
        but never below the target.

        Errors:  PictureError
        """
        panel = Panel.of_text(row["panel"])
        if panel is not None:
            return joined(panel, self._part)
        data = stored_bytes(self.layout.picture(row["file"]), row["picture_id"])
        return decode_picture(data, self.limits, target_px)

    def _part(self, part: PanelPart, box: Box, _: int | None) -> Image.Image:
        whole = self._slice(part)
        return whole.crop(_within(box, *whole.size))

    def _slice(self, part: PanelPart) -> Image.Image:
        with self._lock:
            if part.picture_id in self._kept:
                self._kept.move_to_end(part.picture_id)
                return self._kept[part.picture_id]
            data = stored_bytes(self.layout.picture(part.file), part.picture_id)
            made = self._kept[part.picture_id] = decode_picture(data, self.limits)
            while len(self._kept) > 1 and self._held() > KEPT_PIXELS:
                self._kept.popitem(last=False)
            return made

    def _held(self) -> int:
        return sum(one.width * one.height for one in self._kept.values())
