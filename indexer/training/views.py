"""Ways in which a picture of a drawing may differ without the drawing being another.

`thumbnail` stands for what a thumbnail service does; the others are the robustness views of the
protocol. Each is a fixed function of the picture.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable

from PIL import Image, ImageOps

from indexer.training.cache import digest_of

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
