"""Reading what is asked about."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.embedding.preprocess import PixelSpec
from schemas.errors import InputError, UsageError
from schemas.images import PictureError, PictureLimits, Reason
from search.inputs import Crop, QueryPicture, read_picture, shown
from tests.search.artists import draw

LIMITS = PictureLimits()


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,30,40", (10, 20, 40, 60)),
        ("0,0,50%,100%", (0, 0, 100, 100)),
        ("25%, 10, 500, 5000", (50, 10, 200, 100)),
        ("0.4,0,10,10", (0, 0, 10, 10)),
    ],
)
def test_crops_count_pixels_of_the_upright_picture(
    text: str, box: tuple[int, int, int, int]
) -> None:
    assert Crop.parse(text).box(200, 100) == box


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "-1,0,5,5", "0,0,0,5", "0,0,nan,5", "0,0,inf,5"]
)
def test_a_crop_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--crop"):
        Crop.parse(text)


def test_a_crop_outside_or_too_small_is_refused() -> None:
    data = io.BytesIO()
    Image.new("RGB", (60, 40)).save(data, "PNG")
    with pytest.raises(InputError, match="60 x 40"):
        QueryPicture("x.png", data.getvalue(), Crop.parse("60,0,5,5")).image(LIMITS)
    with pytest.raises(PictureError, match=r"x\.png: .* 8 pixels"):
        QueryPicture("x.png", data.getvalue(), Crop.parse("0,0,5,30")).image(LIMITS)


def test_a_crop_turns_the_picture_upright_first() -> None:
    image = Image.new("RGB", (60, 40), "white")
    image.paste((0, 0, 0), (0, 0, 30, 40))  # left half black
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: the left half comes on top
    data = io.BytesIO()
    image.save(data, "PNG", exif=exif)
    top = QueryPicture("x", data.getvalue(), Crop.parse("0,0,100%,40%")).image(LIMITS)
    assert top.size == (40, 24)
    assert top.getextrema() == ((0, 0), (0, 0), (0, 0))


def test_a_part_on_which_nothing_is_drawn_is_refused() -> None:
    image = Image.new("RGB", (200, 100), "white")
    image.paste((0, 0, 0), (20, 20, 60, 60))
    data = io.BytesIO()
    image.save(data, "PNG")
    spec = PixelSpec()
    drawn = QueryPicture("x.png", data.getvalue(), Crop.parse("0,0,50%,100%"))
    assert drawn.pixels(LIMITS, spec).min() == 0
    for seen in (drawn.image(LIMITS), drawn.preview(LIMITS, 50)):
        assert seen.getextrema()[0] == (0, 255)
    blank = QueryPicture("x.png", data.getvalue(), Crop.parse("50%,0,50%,100%"))
    with pytest.raises(PictureError, match=r"x\.png: nothing is drawn on it") as caught:
        blank.pixels(LIMITS, spec)
    assert caught.value.reason is Reason.BLANK
    assert caught.value.exit_code == 3


def test_a_part_of_a_strip_is_seen_at_its_own_size() -> None:
    strip = Image.new("RGB", (400, 9000), "white")
    for left in range(0, 400, 8):  # lines that vanish when the whole strip is reduced
        strip.paste((0, 0, 0), (left, 3000, left + 4, 3400))
    data = io.BytesIO()
    strip.save(data, "JPEG", quality=95)
    part = QueryPicture("x", data.getvalue(), Crop.parse("0,3000,100%,400")).image(LIMITS, 352)
    assert part.size == (400, 400)
    low, high = part.convert("L").resize((400, 1), box=(0, 50, 400, 350)).getextrema()
    assert low < 40 and high > 215


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png does not exist"):
        read_picture(str(tmp_path / "none.png"), LIMITS)
    with pytest.raises(InputError, match="is a directory"):
        read_picture(str(tmp_path), LIMITS)
    with pytest.raises(InputError, match="cannot be read"):
        read_picture("a\0b", LIMITS)
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    with pytest.raises(PictureError, match=r"text\.jpg: not a picture"):
        read_picture(str(text), LIMITS).image(LIMITS)


def test_standard_input_is_read_to_the_cap() -> None:
    assert read_picture("-", LIMITS, stdin=io.BytesIO(b"data")).data == b"data"
    small = PictureLimits(max_bytes=10)
    assert len(read_picture("-", small, stdin=io.BytesIO(b"x" * 99)).data) == 11
    with pytest.raises(InputError, match="nothing came"):
        read_picture("-", LIMITS, stdin=io.BytesIO(b""))


def test_odd_file_names_can_be_shown() -> None:
    assert shown("a\udcffb.png") == "a\ufffdb.png"


@pytest.mark.parametrize("size", [(450, 400), (590, 420), (640, 480), (1300, 900)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_decoded_picture_is_seen_as_its_file(size: tuple[int, int], kind: str) -> None:
    data = io.BytesIO()
    draw(1, 5).resize(size).save(data, kind)
    picture, limits = QueryPicture("a", data.getvalue()), LIMITS
    spec = PixelSpec(max_side_px=480, min_side_px=480, trim=True, zoom=1.25)
    seen = picture.pixels(limits, spec, picture.image(limits))
    assert np.array_equal(seen, picture.pixels(limits, spec))
