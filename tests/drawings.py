"""Small drawings by invented hands: each author has a pen, a palette and a way of shading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HANDS = 4


def drawing(hand: int, seed: int, side_px: int = 160) -> Image.Image:
    """A picture by one of HANDS hands; the seed chooses what is on it."""
    rng = np.random.default_rng([hand, seed])
    paper = [(255, 255, 255), (245, 235, 210), (30, 30, 40), (255, 250, 250)][hand]
    inks = [
        [(0, 0, 0)],
        [(120, 60, 20), (60, 30, 10)],
        [(240, 240, 90), (80, 220, 255), (255, 80, 160)],
        [(200, 30, 30), (30, 90, 200), (40, 160, 60)],
    ][hand]
    image = Image.new("RGB", (side_px, side_px), paper)
    pen = ImageDraw.Draw(image)
    for _ in range([60, 90, 25, 14][hand]):
        ink = inks[int(rng.integers(len(inks)))]
        x, y = rng.integers(0, side_px, 2).tolist()
        size = int(rng.integers(6, 40))
        if hand == 0:
            pen.line((x, y, x + size, y + int(rng.integers(-30, 30))), fill=ink, width=1)
        elif hand == 1:
            pen.line((x, y, x + size // 2, y + size // 2), fill=ink, width=3)
        elif hand == 2:
            pen.ellipse((x, y, x + size, y + size), outline=ink, width=4)
        else:
            pen.rectangle((x, y, x + size, y + size), fill=ink)
    return image


def draw_folder(
    root: Path, *, titles: int = 3, pictures: int = 4, hands: int = HANDS, side_px: int = 160
) -> Path:
    """Fill `root/hand N/title N.M/P.png` and return root."""
    for hand in range(hands):
        for title in range(titles):
            folder = root / f"hand {hand}" / f"title {hand}.{title}"
            folder.mkdir(parents=True, exist_ok=True)
            for picture in range(pictures):
                seed = title * pictures + picture
                drawing(hand, seed, side_px).save(folder / f"{picture}.png")
    return root


def washed(seed: int) -> Image.Image:
    """Ink over washes of colour on yellowed paper, as plates of old books have it."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (280, 384), (240, 228, 200))
    pen = ImageDraw.Draw(image)
    for _ in range(7):
        x, y, w, h = rng.integers((0, 0, 30, 30), (280, 384, 120, 120)).tolist()
        tone = tuple(rng.integers(90, 230, 3).tolist())
        pen.ellipse((x - w, y - h, x + w, y + h), fill=tone)
    image = image.filter(ImageFilter.GaussianBlur(2))
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = rng.integers((0, 0), (280, 384)).tolist()
        angle = rng.uniform(0.0, 2 * np.pi)
        across, along = np.cos(angle), np.sin(angle)
        for line in range(int(rng.integers(3, 9))):
            left, top = x - 4 * line * along, y + 4 * line * across
            pen.line((left, top, left + 30 * across, top + 30 * along), fill=(40, 30, 25))
        start = int(np.degrees(angle))
        pen.arc((x - 25, y - 25, x + 25, y + 25), start, start + 200, fill=(30, 20, 20), width=2)
    grain = rng.normal(0.0, 6.0, (384, 280, 1))
    return Image.fromarray(np.clip(np.asarray(image, float) + grain, 0, 255).astype(np.uint8))
