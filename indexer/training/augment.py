"""Changes that drawing style survives: parts, mirrors, small turns, paper, scanning.

Never colour jitter of the ink, never blur: strokes and palette are the style.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from indexer.pixels import PixelSpec, prepare

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
