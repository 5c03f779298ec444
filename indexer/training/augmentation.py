"""Changes that a picture survives without being drawn in another style.

`augmented` makes training crops; VIEWS are the fixed copies that robustness is measured on, three
of which the closed form learns to ignore. Never colour jitter of the ink, never blur: strokes and
palette are the style.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from indexer.embedding.preprocess import PixelSpec, prepare

CROP_PX = 224
TURN_DEGREES = 4.0
SCALES = (0.8, 1.15)
THUMBNAIL_BOX_PX = (200, 120)
JPEG_QUALITY = 30
CROP_SHARE = 0.8
MARGIN_SHARE = 0.1
SMALL_THUMBNAIL_PX = 112
LATIN, HANGUL = "BOOM! What was that?", "쿵! 방금 그건 뭐였지?"
HANGUL_FONTS = (
    *("NanumGothic.ttf", "NotoSansCJK-Regular.ttc", "NotoSansKR-Regular.otf"),
    *("UnDotum.ttf", "gulim.ttf", "malgun.ttf", "AppleSDGothicNeo.ttc"),
)
"""Looked for in the system's font folders: Debian has the first in fonts-nanum."""
LETTERING_SHARE = 0.09
View = Callable[[Image.Image], Image.Image]


def augmented(image: Image.Image, spec: PixelSpec, rng: np.random.Generator) -> np.ndarray:
    """A square part of a picture at about the scale that the network will see it at.

    Shapes:  -> (CROP_PX, CROP_PX, 3) uint8
    """
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.3:
        image = _rotated(image, float(rng.uniform(-TURN_DEGREES, TURN_DEGREES)))
    pixels = prepare(image, spec)
    scale = float(rng.uniform(*SCALES))
    height, width = (max(CROP_PX, round(side * scale)) for side in pixels.shape[:2])
    whole = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    left, top = int(rng.integers(width - CROP_PX + 1)), int(rng.integers(height - CROP_PX + 1))
    part = whole.crop((left, top, left + CROP_PX, top + CROP_PX))
    if rng.random() < 0.25:
        part = _grey(part)
    if rng.random() < 0.25:  # the paper's tone is the scanner's, not the author's
        tone = 1.0 - rng.uniform(0.0, 0.2, 3) * np.array([0.2, 0.5, 1.0])
        part = Image.fromarray((np.asarray(part) * tone).astype(np.uint8))
    if rng.random() < 0.25:
        part = _jpeg(part, int(rng.integers(30, 90)))
    return np.asarray(part)


def _jpeg(image: Image.Image, quality: int = JPEG_QUALITY) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _scaled(image: Image.Image, share: float) -> Image.Image:
    width, height = (max(1, round(side * share)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _within(image: Image.Image, width_px: int, height_px: int) -> Image.Image:
    scale = min(width_px / image.width, height_px / image.height)
    return _scaled(image, scale) if scale < 1.0 else image


def _crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    left, top = (round(side * (1 - CROP_SHARE) / 2) for side in image.size)
    return image.crop((left, top, max(left + 1, width - left), max(top + 1, height - top)))


def _paper(image: Image.Image) -> tuple[int, ...]:
    """The median colour of the border: what a margin or a turned page would show."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(border, axis=0))


def _rotated(image: Image.Image, degrees: float = TURN_DEGREES) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=_paper(image))


def _margin(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, round(max(image.size) * MARGIN_SHARE), fill=_paper(image))


@cache
def hangul_font() -> str | None:
    """The file of a font with Hangul on this machine."""
    for name in HANGUL_FONTS:
        with contextlib.suppress(OSError):
            return str(ImageFont.truetype(name).path)
    return None


def _lettered(image: Image.Image) -> Image.Image:
    """A line of Latin laid over the upper part and one of Hangul over the lower, black with a
    white edge; without a font for Hangul, Latin stands in both places."""
    size_px = max(8, round(LETTERING_SHARE * min(image.size)))
    latin, font = ImageFont.load_default(size_px), hangul_font()
    lines = [(LATIN, latin, 0.2)]
    if font is None:
        lines.append((LATIN, latin, 0.75))
    else:
        lines.append((HANGUL, ImageFont.truetype(font, size_px), 0.75))
    image = image.copy()
    pen = ImageDraw.Draw(image)
    for text, chosen, height in lines:
        place = (image.width / 2, height * image.height)
        edge = max(1, size_px // 8)
        pen.text(place, text, "black", chosen, "mm", stroke_width=edge, stroke_fill="white")
    return image


VIEWS: dict[str, View] = {
    "JPEG quality 30": _jpeg,
    "half size": lambda image: _scaled(image, 0.5),
    "thumbnail": lambda image: _within(image, *THUMBNAIL_BOX_PX),
    "thumbnail of 112 px": lambda image: _within(image, SMALL_THUMBNAIL_PX, SMALL_THUMBNAIL_PX),
    "lettering": _lettered,
    "80 % crop": _crop,
    "mirrored": ImageOps.mirror,
    "turned by 4 degrees": _rotated,
    "margin of 10 %": _margin,
    "grey": _grey,
}
NUISANCE_VIEWS = ("half size", "thumbnail", "grey")
"""What changes between these copies and their pictures is not style: the closed form ignores it."""
