"""Slices of an episode: order, widths, overlaps, damage, and strips of any height."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.panels.cut import CutOptions
from indexer.panels.stitch import Strip, continues, overlap, row_marks
from schemas.images import PictureLimits
from schemas.names import natural_key
from tests.strips import Box, assert_boxes, page, picture, slices

LIMITS = PictureLimits()
BOXES: list[Box] = [
    (0, 60, 400, 500),
    (30, 640, 340, 300),
    (0, 1010, 190, 260),
    (210, 1010, 190, 260),
]
BOXES += [(20, 1350, 360, 700)]
WHOLE = page((400, 2120), BOXES)


def cut(paths: list[Path], **options: object) -> tuple[Strip, list[Box]]:
    strip = Strip(paths, LIMITS)
    found = [one.panel.box for one in strip.panels(CutOptions(**options))]  # type: ignore[arg-type]
    return strip, found


def test_natural_order() -> None:
    names = ["10.jpg", "2.jpg", "1.jpg", "a-2-b10.png", "a-2-b9.png", "A-1.png"]
    assert sorted(names, key=natural_key)[:3] == ["1.jpg", "2.jpg", "10.jpg"]
    assert sorted(names, key=natural_key)[3:] == ["A-1.png", "a-2-b9.png", "a-2-b10.png"]


@pytest.mark.parametrize("height", [130, 400, 777, 2120])
def test_slices_that_cut_through_panels(tmp_path: Path, height: int) -> None:
    strip, found = cut(slices(WHOLE, [height] * -(-2120 // height), tmp_path))
    assert (strip.width, strip.height, strip.notes) == (400, 2120, [])
    assert_boxes(found, BOXES)


@pytest.mark.parametrize("shared", [24, 60, 150])
def test_overlapping_slices(tmp_path: Path, shared: int) -> None:
    strip, found = cut(slices(WHOLE, [500] * 7, tmp_path, shared))
    assert strip.height == 2120
    assert_boxes(found, BOXES)
    assert any(f"repeats {shared} rows" in note for note in strip.notes)


def test_a_repeated_slice(tmp_path: Path) -> None:
    paths = slices(WHOLE, [430] * 5, tmp_path)
    again = tmp_path / "2b.png"
    again.write_bytes(paths[1].read_bytes())
    strip, found = cut([*paths[:2], again, *paths[2:]])
    assert strip.height == 2120
    assert strip.notes == ["2b.png repeats what is above it: left out"]
    assert_boxes(found, BOXES)


def test_equal_ground_is_no_overlap(tmp_path: Path) -> None:
    made = page((400, 900), [(50, 50, 300, 250), (50, 650, 300, 200)])
    strip, _ = cut(slices(made, [450, 450], tmp_path))
    assert strip.height == 900 and strip.notes == []


def test_rows_that_look_alike_are_no_overlap() -> None:
    columns = np.asarray(picture(400, 40, 0))[:1].repeat(300, 0)
    assert overlap(row_marks(columns), row_marks(columns[:200])) == 0


def test_a_missing_slice_is_said(tmp_path: Path) -> None:
    paths = slices(WHOLE, [300] * 8, tmp_path)
    strip, _ = cut([path for path in paths if path.stem != "4"])
    assert strip.notes == ["slices seem to be missing: 4"]


def test_slices_of_other_widths_are_scaled(tmp_path: Path) -> None:
    paths = slices(WHOLE, [430] * 5, tmp_path)
    with Image.open(paths[3]) as image:
        image.resize((600, 645)).save(paths[3])
    strip, found = cut(paths)
    assert strip.width == 400 and strip.height == 2120
    assert "4.png is 600 px wide, not 400: scaled" in strip.notes
    assert_boxes(found, BOXES)
    parts = strip.in_slices(BOXES[4])
    assert [part.path.stem for part, _ in parts] == ["4", "5"]
    assert parts[0][1] == (30, 90, 540, 555)


def test_a_seam_of_one_pixel(tmp_path: Path) -> None:
    paths = slices(WHOLE, [300] * 8, tmp_path)
    for path in paths[1:]:
        with Image.open(path) as image:
            ImageDraw.Draw(image).line((0, 0, 400, 0), fill=(0, 0, 0))
            image.save(path)
    _, found = cut(paths)
    assert_boxes(found, BOXES)


def test_a_damaged_slice_costs_only_itself(tmp_path: Path) -> None:
    paths = slices(WHOLE, [430] * 5, tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:40])
    paths.append(tmp_path / "6.png")
    strip, found = cut(paths)
    assert set(strip.failed) == {"5.png", "6.png"}
    assert len(strip.notes) == 2 and strip.height == 1720
    assert_boxes(found[:4], BOXES[:4])


def test_boxes_in_slices_add_up(tmp_path: Path) -> None:
    strip, found = cut(slices(WHOLE, [430] * 6, tmp_path, 40))
    for box in found:
        parts = strip.in_slices(box)
        assert sum(part[3] for _, part in parts) == box[3]
        with Image.open(parts[0][0].path) as image:
            x, y, w, h = parts[0][1]
            shown = np.asarray(image.convert("RGB").crop((x, y, x + w, y + h)))
        assert (shown == np.asarray(WHOLE)[box[1] : box[1] + h, x : x + w]).all()


def test_a_strip_without_any_gutter(tmp_path: Path) -> None:
    whole = picture(200, 6000, 3)
    strip, found = cut(slices(whole, [1000] * 6, tmp_path))
    assert any("no gutter in" in note for note in strip.notes)
    assert sum(box[3] for box in found) == 6000
    assert all(box[2] == 200 for box in found)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255)])
def test_an_empty_strip(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    strip, found = cut(slices(Image.new("RGB", (300, 5000), colour), [1000] * 5, tmp_path))
    assert found == [] and strip.height == 5000


def test_an_animation_is_its_first_picture(tmp_path: Path) -> None:
    frames = [WHOLE.crop((0, 0, 400, 990)), Image.new("RGB", (400, 990), (255, 255, 255))]
    frames[0].save(tmp_path / "1.gif", save_all=True, append_images=frames[1:])
    _, found = cut([tmp_path / "1.gif"])
    assert_boxes(found, BOXES[:2])


def test_other_titles_at_the_end_are_left_out(tmp_path: Path) -> None:
    small: list[Box] = [(20 + 130 * k, 2300, 100, 100) for k in range(3)]
    made = page((400, 2460), BOXES + small)
    strip, found = cut(slices(made, [500] * 5, tmp_path))
    assert_boxes(found, BOXES)
    assert [one.what for one in strip.left_out] == ["advertisement"]


def test_memory_does_not_grow_with_the_strip(tmp_path: Path) -> None:
    block = np.asarray(page((100, 320), [(5, 20, 90, 280)]))
    peaks = []
    for count in (8, 32):
        strip = Strip([], LIMITS)
        rows = [block] * count
        strip._rows = lambda rows=rows: iter(rows)  # type: ignore[method-assign, misc]
        tracemalloc.start()
        assert sum(1 for _ in strip.panels(CutOptions())) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_drawing_that_runs_on() -> None:
    rows = np.asarray(WHOLE)
    assert continues(rows[:300], rows[300:600])
    assert not continues(rows[:600], rows[600:])
    assert not continues(rows[:300], np.asarray(picture(400, 300, 9)))
