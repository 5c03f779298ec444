"""Pictures by three hands that draw differently, for tests that need real ones."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

HANDS = ("Anna Línea", "Bertil Block", "Chung 정")
TITLES_PER_HAND = 2
PICTURES_PER_TITLE = 4


def draw(hand: int, seed: int) -> Image.Image:
    """A picture by hand 0 (thin lines), 1 (flat colours) or 2 (dots)."""
    rng = random.Random(1000 * hand + seed)
    image = Image.new("RGB", (160, 128), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(24):
        x, y = rng.randrange(140), rng.randrange(110)
        w, h = rng.randrange(8, 60), rng.randrange(8, 60)
        if hand == 0:
            pen.line((x, y, x + w, y + h), fill="black", width=1)
        elif hand == 1:
            colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
            pen.rectangle((x, y, x + w, y + h), fill=colour)
        else:
            for step in range(12):
                at = (x + 5 * step, y + 3 * (step % 4))
                pen.ellipse((*at, at[0] + 3, at[1] + 3), fill="navy")
    return image


def draw_folder(root: Path) -> None:
    """Two titles by each hand, laid out as author/title/picture."""
    for hand, author in enumerate(HANDS):
        for title in range(TITLES_PER_HAND):
            folder = root / author / f"Book {hand}{title}"
            folder.mkdir(parents=True)
            for number in range(PICTURES_PER_TITLE):
                draw(hand, 10 * title + number).save(folder / f"{number}.png")
