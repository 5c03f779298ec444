"""Changes that a picture survives without being drawn in another style, and some that give it one.

`training_crop` makes what the network learns from; VIEWS are the fixed copies that robustness is
measured on, three of which the closed form learns to ignore. MADE_HANDS redraw a part as another
hand would: thicker, bled, hatched. Each counts as a class of its own, so that one book holds
several hands on the same paper and paper is no clue.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

CROP_PX = 160
"""Side of what is learnt from, cut out at the size at which strokes are seen in a query."""
TURN_DEGREES = 4.0
SCALES = (0.8, 1.25)
SMALL_SHARES = (0.25, 0.7)
"""What thumbnails leave of a picture's size."""
TRIES = 3
EMPTY_DEVIATION = 12.0
"""A part that deviates less than this (of 255) is empty paper; another one is tried."""
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
MadeHand = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def training_crop(pixels: np.ndarray, rng: np.random.Generator, made: int = 0) -> np.ndarray:
    """A square part of a prepared picture; `made` > 0 redraws it as MADE_HANDS[made - 1].

    Hues are turned and colours taken away, since a colour is a weak sign of a hand; copies are
    reduced and compressed, since catalogs show thumbnails.

    Shapes:  pixels (H, W, 3) uint8 -> (CROP_PX, CROP_PX, 3) uint8
    """
    side = min(*pixels.shape[:2], round(CROP_PX / rng.uniform(*SCALES)))
    # What is stretched afterwards is cut out narrower.
    width = max(1, round(side / STRETCH)) if made and MADE_HANDS[made - 1] is _stretched else side
    for _ in range(TRIES):
        top = int(rng.integers(pixels.shape[0] - side + 1))
        left = int(rng.integers(pixels.shape[1] - width + 1))
        part = pixels[top : top + side, left : left + width]
        if part.std() > EMPTY_DEVIATION:
            break
    part = np.ascontiguousarray(part)
    if made:
        part = MADE_HANDS[made - 1](part, rng)
    if rng.random() < 0.5:
        part = part[:, ::-1]
    if rng.random() < 0.3:
        share = rng.uniform(*SMALL_SHARES)
        small = [max(8, int(length * share)) for length in part.shape[1::-1]]
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    part = cv2.resize(part, (CROP_PX, CROP_PX), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.3:
        middle, degrees = (CROP_PX / 2, CROP_PX / 2), rng.uniform(-TURN_DEGREES, TURN_DEGREES)
        turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
        part = cv2.warpAffine(part, turn, (CROP_PX, CROP_PX), borderMode=cv2.BORDER_REFLECT)
    choice = rng.random()
    if choice < 0.25:
        part = cv2.cvtColor(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    elif choice < 0.45:
        part = turned_hue(part, int(rng.integers(HUES)))
    if rng.random() < 0.3:  # the paper's tone is the scanner's, not the author's
        tone = 1.0 - rng.uniform(0.0, 0.25, 3) * np.array([0.3, 0.6, 1.0])
        part = (part * tone).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        part = np.asarray(cv2.imdecode(cv2.imencode(".jpg", part, quality)[1], cv2.IMREAD_COLOR))
    return np.ascontiguousarray(part)


HUES = 180


def turned_hue(pixels: np.ndarray, turn: int) -> np.ndarray:
    """A picture whose hues are turned by `turn` of HUES; (H, W, 3) uint8 RGB."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + turn) % HUES
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


# --- Made hands: the same drawing as another hand would leave it.

STRETCH = 1.45
WOBBLE_CELL_PX, WOBBLE_PX = 9, 1.6
BLEED_PX, BLEED_CONTRAST = 1.6, 2.0
HATCH_PERIOD_PX, HATCH_WIDTH_PX, HATCH_TONE = 6.0, 1.6, 185
_STROKE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


def _thicker(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.erode(part, _STROKE))  # ink is darker than paper


def _thinner(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.dilate(part, _STROKE))


def _wobbled(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = part.shape[:2]
    cells = (2, height // WOBBLE_CELL_PX + 2, width // WOBBLE_CELL_PX + 2)
    shifts = WOBBLE_PX * rng.standard_normal(cells).astype(np.float32)
    by_x, by_y = (cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in shifts)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    edge = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(part, x + by_x, y + by_y, cv2.INTER_LINEAR, borderMode=edge))


def _bled(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    soft = cv2.GaussianBlur(part, (0, 0), BLEED_PX).astype(np.float32)
    return np.asarray(np.clip((soft - 128) * BLEED_CONTRAST + 118, 0, 255), np.uint8)


def _hatched(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = part.shape[:2]
    tone = cv2.GaussianBlur(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), (0, 0), 4.0)
    y, x = np.mgrid[:height, :width]
    lines = (x * rng.uniform(0.6, 0.95) + y) % HATCH_PERIOD_PX < HATCH_WIDTH_PX
    drawn = part.copy()
    drawn[lines & (tone < HATCH_TONE)] = (drawn[lines & (tone < HATCH_TONE)] * 0.35).astype(
        np.uint8
    )
    return drawn


def _stretched(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.resize(part, None, fx=STRETCH, fy=1.0))


MADE_HANDS: tuple[MadeHand, ...] = (_thicker, _thinner, _wobbled, _bled, _hatched, _stretched)


# --- Fixed copies that robustness is measured on.


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
