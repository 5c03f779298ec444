"""Pages and strips that tests draw: panels with invented pictures on a ground, and balloons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[int, int, int, int]
WHITE = (255, 255, 255)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """A picture full of strokes, with a tone of its own."""
    rng = np.random.default_rng(seed)
    tone = tuple(int(value) for value in rng.integers(90, 200, 3))
    made = Image.new("RGB", (width, height), tone)
    pen = ImageDraw.Draw(made)
    for _ in range(max(30, width * height // 250)):
        x, y = int(rng.integers(-10, width)), int(rng.integers(-10, height))
        dx, dy = rng.integers(-30, 31, 2).tolist()
        ink = tuple(int(value) for value in rng.integers(0, 90, 3))
        pen.line((x, y, x + dx, y + dy), fill=ink, width=int(rng.integers(1, 4)))
    return made


def page(
    size: tuple[int, int],
    boxes: Sequence[Box],
    ground: tuple[int, int, int] | None = WHITE,
    border: int = 3,
) -> Image.Image:
    """A page with a picture in each box; without a ground colour it is a gradient."""
    width, height = size
    if ground is None:
        ramp = np.linspace((250, 220, 180), (70, 100, 190), height)[:, None].repeat(width, 1)
        made = Image.fromarray(ramp.astype(np.uint8))
    else:
        made = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(made)
    for seed, (x, y, w, h) in enumerate(boxes):
        made.paste(picture(w, h, seed), (x, y))
        if border:
            pen.rectangle((x, y, x + w - 1, y + h - 1), outline=(0, 0, 0), width=border)
    return made


def balloon(made: Image.Image, box: Box, dark: bool = False) -> None:
    """A balloon with two lines of lettering."""
    x, y, w, h = box
    pen = ImageDraw.Draw(made)
    inside, ink = ((15, 15, 15), WHITE) if dark else (WHITE, (0, 0, 0))
    pen.ellipse((x, y, x + w, y + h), fill=inside, outline=ink, width=2)
    for row in (0.38, 0.55):
        for k in range(6):
            left, top = x + w * (0.25 + 0.08 * k), y + h * row
            pen.rectangle((left, top, left + w * 0.04, top + h * 0.08), fill=ink)


def slices(
    strip: Image.Image, heights: Sequence[int], folder: Path, overlap: int = 0
) -> list[Path]:
    """Cut a strip into files 1.png, 2.png, ...; each begins `overlap` rows before the last ends."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, top = [], 0
    for number, height in enumerate(heights, 1):
        if top + overlap >= strip.height:
            break
        path = folder / f"{number}.png"
        strip.crop((0, top, strip.width, min(strip.height, top + height))).save(path)
        paths.append(path)
        top += height - overlap
    return paths


def iou(a: Sequence[int], b: Sequence[int]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0, width) * max(0, height)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def assert_boxes(found: Sequence[Sequence[int]], true: Sequence[Box], least: float = 0.9) -> None:
    """The boxes are the true ones, in their order."""
    assert len(found) == len(true), (found, true)
    for one, other in zip(found, true, strict=True):
        assert iou(one, other) >= least, (found, true)
