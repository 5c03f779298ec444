"""Decoded pictures to the pixels that the network sees: the one preprocessing path.

Index, query, web page, training and evaluation all come through here, so a change that
matters changes `PixelSpec.digest`, which every generation carries.

Uniform margins are cut off first: a scanner or a thumbnail service adds them or takes them away,
and the network would count their share of the picture as style. Then the picture is scaled, never
padded: padding would enter the channel statistics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from schemas.errors import InputError
from schemas.images import PictureLimits, decode_picture

if TYPE_CHECKING:
    from PIL import Image

PIXELS_VERSION = 1
"""Raise it when the code below gives other pixels for the same picture and spec."""

FILTERS = ("bilinear", "bicubic", "lanczos")
MAX_SIDE_PX = 4096
"""No spec may ask for more; a damaged one must not make a query allocate gigabytes."""
MAX_ZOOM = 16.0

INK_LEVELS = 32
"""A pixel is ink when a channel is further than this (of 255) from the paper: above the noise
of JPEG at low quality and the tone of old paper."""
INK_SHARE = 0.004
"""A row or column belongs to the drawing when more of it than this is ink: specks do not."""
MIN_SIDE_PX = 16
"""What would be left of a nearly blank picture is no drawing; such a picture stays whole."""


@dataclass(frozen=True)
class PixelSpec:
    """How a picture is brought to size.

    max_side_px   longer pictures are reduced to this longest side
    min_side_px   shorter pictures are enlarged to this longest side; 0: never enlarged
    multiple_px   both sides are rounded to a multiple of it, at least one
    filter        resampling filter, always with its support scaled (no aliasing)
    trim          uniform margins are cut off first
    zoom          how many times larger a picture may become by that; 0: without limit.
                  A motif on an empty canvas keeps the scale of its strokes
    """

    max_side_px: int = 352
    min_side_px: int = 0
    multiple_px: int = 32
    filter: str = "bicubic"
    trim: bool = False
    zoom: float = 0.0

    def __post_init__(self) -> None:
        sides = (self.max_side_px, self.min_side_px, self.multiple_px)
        if any(type(side) is not int for side in sides):
            raise InputError(f"pixel spec: sides must be whole numbers, not {sides}")
        if not (
            0 < self.multiple_px <= self.max_side_px <= MAX_SIDE_PX
            and 0 <= self.min_side_px <= self.max_side_px
        ):
            raise InputError(f"pixel spec: sides {sides} are out of range")
        if type(self.trim) is not bool:
            raise InputError(f"pixel spec: trim must be true or false, not {self.trim!r}")
        if type(self.zoom) is not float or not (self.zoom == 0 or 1 <= self.zoom <= MAX_ZOOM):
            raise InputError(f"pixel spec: zoom must be 0 or 1 to {MAX_ZOOM}, not {self.zoom!r}")
        if self.filter not in FILTERS:
            raise InputError(
                f"pixel spec: unknown filter {self.filter!r}", f"Known: {', '.join(FILTERS)}."
            )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a spec from a model's description.

        Errors:  InputError when a field is missing, unknown or out of range, or when the
                 description was made for another version of this preprocessing
        """
        fields = dict(value)
        version = fields.pop("version", None)
        if version != PIXELS_VERSION:
            raise InputError(
                f"the model was made for preprocessing version {version}, this is {PIXELS_VERSION}",
                "Use the model that came with this release.",
            )
        try:
            return cls(**fields)
        except TypeError as error:
            raise InputError(f"pixel spec: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The spec with the version of the code that applies it."""
        return {"version": PIXELS_VERSION, **asdict(self)}

    @property
    def digest(self) -> str:
        """16 hex digits that differ whenever the same picture would give other pixels."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def decode_px(self) -> int:
        """The longest side that a decoder may not go below; margins are still to be cut off."""
        return int((self.zoom or 2.0) * self.max_side_px) if self.trim else self.max_side_px

    def size_for(self, width_px: int, height_px: int, whole_px: int = 0) -> tuple[int, int]:
        """Width and height that a picture of this size is brought to.

        `whole_px` is its longest side before its margins were cut off.
        """
        scale = self._scale(max(width_px, height_px))
        if self.zoom and whole_px:
            scale = min(scale, self.zoom * self._scale(whole_px))
        scale /= self.multiple_px
        # floor(x + 0.5) and not round(): a tie must not depend on which side is even.
        width, height = (max(1, int(side * scale + 0.5)) for side in (width_px, height_px))
        return width * self.multiple_px, height * self.multiple_px

    def _scale(self, longest_px: int) -> float:
        return min(max(longest_px, self.min_side_px), self.max_side_px) / longest_px


def prepare(image: Image.Image, spec: PixelSpec) -> np.ndarray:
    """Bring a decoded picture to the size that the network takes.

    Shapes:  -> (H, W, 3) uint8, H and W multiples of the spec's
    """
    from PIL import Image

    if image.mode != "RGB":
        image = image.convert("RGB")
    whole_px = max(image.size)
    if spec.trim:
        image = without_margin(image)
    size = spec.size_for(*image.size, whole_px)
    if image.size != size:
        image = image.resize(size, Image.Resampling[spec.filter.upper()])
    return np.asarray(image)


def picture_to_pixels(data: bytes, limits: PictureLimits, spec: PixelSpec) -> np.ndarray:
    """Decode a picture file's bytes and bring it to size.

    Shapes:  as of `prepare`
    Errors:  PictureError with its reason
    """
    # The decoder may reduce JPEG files while it decodes, but never below the size wanted.
    return prepare(decode_picture(data, limits, target_px=spec.decode_px), spec)


def without_margin(image: Image.Image) -> Image.Image:
    """An RGB picture less its margin of paper."""
    box = drawing_box(image)
    return image if box == (0, 0, *image.size) else image.crop(box)


def drawing_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is drawn; the whole picture when there is no margin.

    The paper's colour is the median of the outermost pixels, and a side that has ink is not
    cut. One margin goes: a bare frame counts as one when nothing is outside it.
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
