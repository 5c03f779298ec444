"""Pictures by three artists who draw differently, for tests that need real ones."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

HANDS = ("Anna Línea", "Bertil Block", "Chung 정")
TITLES_PER_HAND = 2
PICTURES_PER_TITLE = 4


def draw(artist: int, seed: int) -> Image.Image:
    """A picture by artist 0 (thin lines), 1 (flat colours) or 2 (dots)."""
    rng = random.Random(1000 * artist + seed)
    image = Image.new("RGB", (160, 128), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(24):
        x, y = rng.randrange(140), rng.randrange(110)
        w, h = rng.randrange(8, 60), rng.randrange(8, 60)
        if artist == 0:
            pen.line((x, y, x + w, y + h), fill="black", width=1)
        elif artist == 1:
            colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
            pen.rectangle((x, y, x + w, y + h), fill=colour)
        else:
            for step in range(12):
                at = (x + 5 * step, y + 3 * (step % 4))
                pen.ellipse((*at, at[0] + 3, at[1] + 3), fill="navy")
    return image


def draw_folder(root: Path, pictures: int = PICTURES_PER_TITLE) -> None:
    """Two titles by each artist, laid out as author/title/picture."""
    for artist, author in enumerate(HANDS):
        for title in range(TITLES_PER_HAND):
            folder = root / author / f"Book {artist}{title}"
            folder.mkdir(parents=True)
            for number in range(pictures):
                draw(artist, max(10, pictures) * title + number).save(folder / f"{number}.png")
