"""Search by colour on drawings whose colours are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.palette import color_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.errors import InputError
from schemas.settings import Settings, load_settings
from search.filters import Filters
from search.palettes import holders, oklab, palette_of_file, parse_palette, query_by_color
from tests.small_model import ENVIRON

COLORS = {"navy and gold": ((0, 0, 128), (255, 215, 0)), "reds": ((200, 0, 0), (120, 0, 0)),
          "greens": ((0, 120, 0), (0, 200, 60))}  # fmt: skip


def paint(colors: tuple[tuple[int, int, int], ...], seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = np.full((96, 96, 3), 250, dtype=np.uint8)
    for row in range(0, 96, 8):
        for column in range(0, 96, 8):
            if rng.random() < 0.6:
                pixels[row : row + 8, column : column + 8] = colors[int(rng.integers(len(colors)))]
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("painted")
    for name, colors in COLORS.items():
        for title in range(2):
            folder = root / "pictures" / name / f"{name} {title}"
            folder.mkdir(parents=True)
            for number in range(2):
                paint(colors, 10 * title + number).save(folder / f"{number}.png")
    made = load_settings({"store.root": str(root / "data")}, environ=ENVIRON, cwd=root)
    import_folder(made.layout, made, root / "pictures")
    embed_pending(made.layout, made)
    report = build_generation(made.layout, made)
    assert report.generation_id is not None
    publish(made.layout, report.generation_id)
    with pytest.raises(InputError, match="toonsearch colors"):
        query_by_color(made.layout, parse_palette("red"), k=1, by="title")
    color_pending(made.layout, made)
    return made


def test_pictures_with_the_asked_colours_come_first(painted: Settings) -> None:
    answer = query_by_color(painted.layout, parse_palette("navy,gold"), k=2, by="title")
    assert [title.authors for title in answer.titles] == [("navy and gold",)] * 2
    answer = query_by_color(painted.layout, parse_palette("#c80000"), k=4, by="picture")
    by = {title.title_id: title.authors[0] for title in answer.titles}
    assert {by[hit.title_id] for hit in answer.pictures} == {"reds"}
    assert answer.pictures[0].percentile > answer.pictures[-1].percentile


def test_a_picture_is_most_like_itself(painted: Settings, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    paint(COLORS["greens"], 0).save(own)
    query = palette_of_file(str(own), painted.decode.limits)
    answer = query_by_color(painted.layout, query, k=3, by="picture")
    assert answer.pictures[0].similarity == pytest.approx(1.0, abs=0.02)
    assert answer.titles[0].authors == ("greens",)


def test_only_pictures_that_hold_every_colour_pass_the_filter(painted: Settings) -> None:
    assert len(holders(painted.layout, parse_palette("navy,gold"))) == 4
    assert holders(painted.layout, parse_palette("navy,red")) == []
    filtered = query_by_color(
        painted.layout,
        parse_palette("white"),
        k=9,
        by="title",
        filters=Filters(where="author = 'reds'"),
    )
    assert {title.authors for title in filtered.titles} == {("reds",)}


@pytest.mark.parametrize("text", ["", "bluu", "#12", "red*0", "red*x", ",", "red," * 9 + "red"])
def test_palettes_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="palette has"):
        parse_palette(text)


def test_oklab_against_published_values() -> None:
    rgb = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 0]], dtype=np.uint8)
    expected = [[1.0, 0.0, 0.0], [0.62796, 0.22486, 0.12585], [0.0, 0.0, 0.0]]
    assert oklab(rgb) == pytest.approx(np.asarray(expected), abs=2e-4)
    assert parse_palette("f00*3, 00f").weight.tolist() == [0.75, 0.25]


def test_the_server_filters_by_the_same_pictures(painted: Settings) -> None:
    from search.web.colors import PictureColors

    colors = PictureColors(painted.layout)
    assert colors.are_known()
    wanted = tuple(holders(painted.layout, parse_palette("navy,gold")))
    assert colors.holders("navy,gold") == colors.holders("navy,gold") == wanted != ()
