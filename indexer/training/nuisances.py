"""What changes a drawing and is not the hand's, made up at random.

Scanning, printing and thumbnail services: paper and ink tones, grey copies, contrast,
resampling, sharpening, grain and JPEG. Another part of the same drawing: what it shows, how
large and how full, while the hand stays. The whitening learns from pairs of a drawing and such
a copy what to ignore; no label is needed for it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

GREY = 2 / 7
PAPER, INK = 0.7, 0.5
SMALL, SOFT, SHARP = 0.35, 0.15, 0.1
"""At most one of them: resampled from a smaller copy, out of focus, sharpened."""
GRAIN = 0.4
JPEG = 0.5
MIN_SIDE_PX = 16

PART, NARROWER = (0.6, 0.92), 0.15
"""A part's share of the sides, and by how much (log) its shape may differ from the whole's."""
MIRRORED = 0.5
MIN_PART_PX = 32

REDUCED, REDUCED_TO = 0.25, (0.4, 0.8)
"""How many of the scanned parts are reduced, and to what share of their sides: as readers ask with
small copies (docs/model-card.md has more and fewer)."""


def scanned(image: Image.Image) -> Image.Image:
    """A copy as some scanner might have made it: always the same for the same picture."""
    return _scan(image, _chance(image))


def part(image: Image.Image) -> Image.Image:
    """A part of a drawing, half of them mirrored: always the same of the same picture."""
    return _part(image, _chance(image, 1))


def scanned_part(image: Image.Image) -> Image.Image:
    """Another part of it, scanned, some of them reduced."""
    rng = _chance(image, 2)
    copy = _scan(_part(image, rng), rng)
    if rng.random() >= REDUCED:
        return copy
    share = float(np.exp(rng.uniform(*np.log(REDUCED_TO))))
    width, height = (min(side, max(MIN_SIDE_PX, int(side * share))) for side in copy.size)
    return copy.resize((width, height), Image.Resampling.LANCZOS)


class Nuisance(NamedTuple):
    """A change, and what it counts beside what varies within authors."""

    view: Callable[[Image.Image], Image.Image]
    share: float


NUISANCES = {
    "scanned": Nuisance(scanned, 0.1),
    "part": Nuisance(part, 4.0),
    "scanned part": Nuisance(scanned_part, 4.0),
}
"""Shares were chosen on the five splits (docs/model-card.md)."""


def _chance(image: Image.Image, *kind: int) -> np.random.Generator:
    """Chance that depends on the picture alone, so that a copy can be made again."""
    return np.random.default_rng([zlib.crc32(image.tobytes()), *kind])


def _part(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share, shape = rng.uniform(*PART), float(np.exp(rng.uniform(-NARROWER, NARROWER)))
    width = int(min(image.width, max(MIN_PART_PX, image.width * share * shape)))
    height = int(min(image.height, max(MIN_PART_PX, image.height * share / shape)))
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    cut = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cut) if rng.random() < MIRRORED else cut


def _scan(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(image, np.float32) / 255.0
    if rng.random() < GREY:
        values = np.repeat(values.mean(2, keepdims=True), 3, 2)
    paper, ink = np.ones(3), np.zeros(3)
    if rng.random() < PAPER:  # yellowed: blue goes first
        yellowed = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.8), 1.0])
        paper = 1.0 - rng.uniform(0.0, 0.3) * yellowed
    if rng.random() < INK:  # faded: red stays longest
        ink = rng.uniform(0.0, 0.25) * np.array([1.0, 0.8, 0.7])
    values = ink + (paper - ink) * values ** float(np.exp(rng.normal(0.0, 0.25)))
    copy = _optics(_image(255.0 * values), rng)
    if rng.random() < GRAIN:
        shape = (copy.size[1], copy.size[0], 1)
        copy = _image(np.asarray(copy, np.float32) + rng.normal(0.0, rng.uniform(1, 8), shape))
    if rng.random() < JPEG:
        data = io.BytesIO()
        copy.save(data, "JPEG", quality=int(rng.integers(25, 85)))
        copy = Image.open(data).convert("RGB")
    return copy


def _optics(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    choice = rng.random()
    if choice < SMALL:
        share = rng.uniform(0.5, 0.9)
        width, height = (max(MIN_SIDE_PX, int(side * share)) for side in image.size)
        small = image.resize((width, height), Image.Resampling.LANCZOS)
        return small.resize(image.size, Image.Resampling.BICUBIC)
    if choice < SMALL + SOFT:
        return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.0))))
    if choice < SMALL + SOFT + SHARP:
        return image.filter(ImageFilter.UnsharpMask(1, int(rng.integers(40, 150)), 1))
    return image


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0.0, 255.0).astype(np.uint8))
