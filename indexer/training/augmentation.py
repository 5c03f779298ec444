"""Ways in which a picture of a drawing may differ without the drawing being another.

`thumbnail` stands for what a thumbnail service does; the others are the robustness views of the
protocol. Each is a fixed function of the picture.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.training.cache import digest_of

# --- Changes that drawing style survives: parts, mirrors, small turns, paper, scanning.
#
# Never colour jitter of the ink, never blur: strokes and palette are the style.

CROP_PX = 224
TURN_DEGREES = 4.0
SCALES = (0.8, 1.15)


def augmented(image: Image.Image, spec: PixelSpec, rng: np.random.Generator) -> np.ndarray:
    """A square part of a picture at about the scale that the network will see it at.

    Shapes:  -> (CROP_PX, CROP_PX, 3) uint8
    """
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.3:
        edge = tuple(int(v) for v in np.median(np.asarray(image)[0], axis=0))
        angle = float(rng.uniform(-TURN_DEGREES, TURN_DEGREES))
        image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=edge)
    pixels = prepare(image, spec).pixels
    scale = float(rng.uniform(*SCALES))
    height, width = (max(CROP_PX, round(side * scale)) for side in pixels.shape[:2])
    whole = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    left, top = int(rng.integers(width - CROP_PX + 1)), int(rng.integers(height - CROP_PX + 1))
    part = whole.crop((left, top, left + CROP_PX, top + CROP_PX))
    if rng.random() < 0.25:
        part = part.convert("L").convert("RGB")
    if rng.random() < 0.25:  # the paper's tone is the scanner's, not the hand's
        tone = 1.0 - rng.uniform(0.0, 0.2, 3) * np.array([0.2, 0.5, 1.0])
        part = Image.fromarray((np.asarray(part) * tone).astype(np.uint8))
    if rng.random() < 0.25:
        data = io.BytesIO()
        part.save(data, "JPEG", quality=int(rng.integers(30, 90)))
        part = Image.open(data).convert("RGB")
    return np.asarray(part)


THUMBNAIL_BOX_PX = (200, 120)
JPEG_QUALITY = 30
CROP_SHARE = 0.8
ROTATION_DEGREES = 4.0
MARGIN_SHARE = 0.1
View = Callable[[Image.Image], Image.Image]


def _jpeg(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=JPEG_QUALITY)
    return Image.open(data).convert("RGB")


def _scaled(image: Image.Image, share: float) -> Image.Image:
    size = tuple(max(1, round(side * share)) for side in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    left, top = (round(side * (1 - CROP_SHARE) / 2) for side in image.size)
    return image.crop((left, top, max(left + 1, width - left), max(top + 1, height - top)))


def _paper(image: Image.Image) -> tuple[int, ...]:
    """The median colour of the border: what a margin or a turned page would show."""
    import numpy as np

    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(border, axis=0))


def _rotate(image: Image.Image) -> Image.Image:
    return image.rotate(ROTATION_DEGREES, Image.Resampling.BICUBIC, fillcolor=_paper(image))


def _margin(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, round(max(image.size) * MARGIN_SHARE), fill=_paper(image))


def _thumbnail(image: Image.Image) -> Image.Image:
    scale = min(*(b / s for b, s in zip(THUMBNAIL_BOX_PX, image.size, strict=True)), 1.0)
    return _scaled(image, scale) if scale < 1.0 else image


VIEWS: dict[str, View] = {
    "JPEG quality 30": _jpeg,
    "half size": lambda image: _scaled(image, 0.5),
    "80 % crop": _crop,
    "mirrored": ImageOps.mirror,
    "turned by 4 degrees": _rotate,
    "margin of 10 %": _margin,
    "grey": lambda image: image.convert("L").convert("RGB"),
}
THUMBNAIL: View = _thumbnail


def named(name: str, view: View) -> str:
    """A view's name for kept results: another one as soon as the module that makes it changes."""
    module = inspect.getmodule(view)
    return f"{name} {digest_of(inspect.getsource(module) if module else name)}"
