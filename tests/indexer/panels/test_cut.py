"""Pages into panels: every kind of gutter, border and disturbance."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.panels.cut import CutOptions, cut_page
from tests.strips import WHITE, Box, assert_boxes, balloon, page, picture

GRID: list[Box] = [
    (40, 40, 340, 300),
    (392, 40, 268, 300),
    (40, 352, 620, 250),
    (40, 614, 300, 340),
]


def boxes_of(made: Image.Image, **options: object) -> list[Box]:
    cut = cut_page(np.asarray(made), CutOptions(**options))  # type: ignore[arg-type]
    return [panel.box for panel in cut.panels]


@pytest.mark.parametrize(
    "ground", [WHITE, (0, 0, 0), (200, 60, 60), (240, 239, 224), None], ids=str
)
@pytest.mark.parametrize("border", [0, 3])
def test_gutter_of_any_colour(ground: tuple[int, int, int] | None, border: int) -> None:
    assert_boxes(boxes_of(page((700, 1000), GRID, ground, border)), GRID)


def test_narrow_gutters() -> None:
    boxes: list[Box] = [(20, 20, 325, 300), (351, 20, 329, 300), (20, 326, 660, 300)]
    assert_boxes(boxes_of(page((700, 660), boxes)), boxes)


def test_balloons_across_gutters_and_on_the_ground() -> None:
    made = page((700, 1000), GRID)
    for box in ((300, 100, 160, 90), (420, 300, 170, 90), (420, 700, 160, 90)):
        balloon(made, box)
    balloon(made, (60, 560, 150, 90), dark=True)
    assert_boxes(boxes_of(made), GRID)
    cut = cut_page(np.asarray(made))
    assert [one.what for one in cut.left_out] == ["balloon"]
    assert_boxes([one.box for one in cut.left_out], [(420, 700, 160, 90)], 0.8)


def test_balloons_widen_panels_on_request() -> None:
    box: Box = (100, 150, 500, 500)
    made = page((700, 900), [box])
    balloon(made, (250, 590, 200, 120))
    assert_boxes(boxes_of(made), [box])
    assert_boxes(boxes_of(made, keep_balloons=True), [(100, 150, 500, 563)], 0.97)


def test_slanted_gutter() -> None:
    made = Image.new("RGB", (700, 1000), WHITE)
    pen = ImageDraw.Draw(made)
    for seed, corners in enumerate(
        (
            [(30, 30), (670, 30), (670, 480), (30, 380)],
            [(30, 396), (670, 496), (670, 960), (30, 960)],
        )
    ):
        mask = Image.new("L", made.size)
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        made.paste(picture(700, 1000, seed), (0, 0), mask)
        pen.line([*corners, corners[0]], fill=(0, 0, 0), width=3)
    true: list[Box] = [(30, 30, 640, 450), (30, 396, 640, 564)]
    assert_boxes(boxes_of(made), true)
    balloon(made, (300, 380, 160, 110))  # across the gutter
    assert_boxes(boxes_of(made), true)
    polygon = cut_page(np.asarray(made)).panels[1].polygon
    assert 4 <= len(polygon) <= 6
    assert min(np.hypot(x - 670, y - 496) for x, y in polygon) < 8


def test_panels_that_share_a_line() -> None:
    boxes: list[Box] = [(50, 50, 600, 300), (50, 350, 320, 300), (370, 350, 280, 300)]
    assert_boxes(boxes_of(page((700, 700), boxes, border=2)), boxes)


def test_panels_that_bleed_over_the_edges() -> None:
    boxes: list[Box] = [(0, 0, 700, 400), (0, 420, 340, 300), (360, 420, 340, 300)]
    assert_boxes(boxes_of(page((700, 760), boxes, border=0)), boxes)


def test_inset_and_panel_laid_over_another() -> None:
    made = page((700, 1000), [(40, 40, 620, 500), (40, 560, 620, 380)])
    for seed, (x, y) in enumerate(((420, 330), (60, 860))):
        made.paste(WHITE, (x - 8, y - 8, x + 208, y + 128))
        made.paste(picture(200, 120, 10 + seed), (x, y))
    made = made.copy()
    found = boxes_of(made)
    assert_boxes(
        found,
        [(40, 40, 620, 500), (420, 330, 200, 120), (40, 560, 620, 380), (60, 860, 200, 120)],
        0.85,
    )


def test_a_vignette_without_a_border_is_one_panel() -> None:
    made = Image.new("RGB", (700, 1000), WHITE)
    rng = np.random.default_rng(0)
    pen = ImageDraw.Draw(made)
    for top in (100, 560):
        for _ in range(900):
            x, y = rng.normal((350, top + 150), (90, 60)).tolist()
            if 150 < x < 550 and top < y < top + 300:
                pen.line((x, y, x + 14, y + 9), fill=(0, 0, 0), width=2)
    cut = cut_page(np.asarray(made))
    assert len(cut.panels) == 2
    assert [panel.border for panel in cut.panels] != ["page"]
    assert all(panel.box[2] > 300 and panel.box[3] > 200 for panel in cut.panels)


def test_lettering_is_left_out_and_said() -> None:
    made = page((700, 700), [(40, 250, 620, 400)])
    pen = ImageDraw.Draw(made)
    for k in range(12):
        pen.rectangle((200 + 22 * k, 90, 214 + 22 * k, 112), fill=(0, 0, 0))
    cut = cut_page(np.asarray(made))
    assert_boxes([panel.box for panel in cut.panels], [(40, 250, 620, 400)])
    assert {one.what for one in cut.left_out} == {"lettering"}


def test_the_order_of_manga() -> None:
    right_first = [GRID[1], GRID[0], GRID[2], GRID[3]]
    assert_boxes(boxes_of(page((700, 1000), GRID), rtl=True), right_first)


def test_min_size() -> None:
    boxes: list[Box] = [(50, 50, 600, 400), (50, 480, 90, 90)]
    made = page((700, 700), boxes)
    assert_boxes(boxes_of(made), boxes)
    assert_boxes(boxes_of(made, min_size=0.2), boxes[:1])


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_an_empty_page_has_no_panels(colour: int) -> None:
    cut = cut_page(np.full((900, 700, 3), colour, np.uint8))
    assert cut.panels == [] and cut.left_out == []


def test_a_photograph_is_one_panel() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 20, 3), np.uint8)
    made = Image.fromarray(noise).resize((600, 900), Image.Resampling.BICUBIC)
    assert_boxes(boxes_of(made), [(0, 0, 600, 900)], 0.95)


def test_unsure_is_the_whole_page() -> None:
    made = Image.new("RGB", (700, 1000), WHITE)
    ImageDraw.Draw(made).ellipse((330, 480, 360, 510), fill=(0, 0, 0))
    panel = cut_page(np.asarray(made)).panels[0]
    assert panel.box == (0, 0, 700, 1000)
    assert panel.border == "page" and panel.confidence < 0.5


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 300), (300, 9), (64, 64)])
def test_tiny_pictures_do_no_harm(size: tuple[int, int]) -> None:
    for panel in cut_page(np.asarray(picture(*size, 0))).panels:
        x, y, w, h = panel.box
        assert 0 <= x < x + w <= size[0] and 0 <= y < y + h <= size[1]


def test_even_backgrounds_that_reach_to_both_sides_are_panels() -> None:
    made = Image.new("RGB", (700, 2200), WHITE)
    pen = ImageDraw.Draw(made)
    true: list[Box] = [(0, 40 + 540 * k, 700, 500) for k in range(4)]
    for k, (_, y, w, h) in enumerate(true):
        pen.rectangle((0, y, w, y + h - 1), fill=(245, 238, 225))
        for x in (0, 260, 520):  # discs, cut off by the sides
            pen.ellipse((x - 60, y + 250 - 30 * k, x + 60, y + 370 - 30 * k), fill=(40, 60, 120))
    assert_boxes(boxes_of(made), true)
