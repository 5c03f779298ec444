"""A small real index: three hands that draw differently, two titles each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from crawler.importers import import_folder
from indexer.build import build_generation
from indexer.embed import embed_pending
from indexer.generations import publish
from schemas.settings import Settings, load_settings
from search.engine import Engine

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
            colour = tuple(rng.randrange(256) for _ in range(3))
            pen.rectangle((x, y, x + w, y + h), fill=colour)
        else:
            for step in range(12):
                at = (x + 5 * step, y + 3 * (step % 4))
                pen.ellipse((*at, at[0] + 3, at[1] + 3), fill="navy")
    return image


HANDS = ("Anna Línea", "Bertil Block", "Chung 정")


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawings")
    for hand, author in enumerate(HANDS):
        for title in range(2):
            folder = root / author / f"Book {hand}{title}"
            folder.mkdir(parents=True)
            for number in range(PICTURES_PER_TITLE):
                draw(hand, 10 * title + number).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, drawings: Path) -> Settings:
    made = load_settings(
        {"store.root": str(tmp_path_factory.mktemp("root"))}, environ={}, cwd=drawings
    )
    import_folder(made.layout, made, drawings)
    embed_pending(made.layout, made)
    report = build_generation(made.layout, made)
    assert report.generation_id is not None
    publish(made.layout, report.generation_id)
    return made


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    with Engine.open(settings.layout, settings) as opened:
        yield opened


@pytest.fixture
def new_picture(tmp_path: Path) -> Path:
    """A picture by hand 0 that the index does not hold."""
    file = tmp_path / "new.png"
    draw(0, 99).save(file)
    return file
