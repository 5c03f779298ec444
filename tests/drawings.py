"""Small drawings by invented hands: each author has a pen, a palette and a way of shading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

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
