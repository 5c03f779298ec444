"""The one preprocessing path: sizes, digest, and what a picture may look like."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from indexer.embedding import preprocess as room
from indexer.embedding.preprocess import PixelSpec, picture_to_pixels, prepare
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits

SPEC = PixelSpec(max_side_px=352, min_side_px=224, multiple_px=32)


def file_of(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_sides_are_multiples_within_bounds_and_near_the_shape(width: int, height: int) -> None:
    w, h = SPEC.size_for(width, height)
    assert w % 32 == h % 32 == 0 and min(w, h) >= 32
    assert 224 <= max(w, h) <= 352
    wanted = min(max(max(width, height), 224), 352) / max(width, height)
    assert abs(w - width * wanted) <= 16 or w == 32
    assert abs(h - height * wanted) <= 16 or h == 32


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_turning_a_picture_turns_its_size(width: int, height: int) -> None:
    assert SPEC.size_for(width, height) == SPEC.size_for(height, width)[::-1]


def test_a_small_picture_is_enlarged_only_to_the_minimum() -> None:
    assert SPEC.size_for(90, 60) == (224, 160)
    assert PixelSpec(min_side_px=0).size_for(90, 60) == (96, 64)


def test_a_picture_of_the_right_size_is_untouched() -> None:
    values = np.random.default_rng(0).integers(0, 256, (224, 320, 3), dtype=np.uint8)
    assert np.array_equal(prepare(Image.fromarray(values), SPEC).pixels, values)


def test_nothing_is_padded() -> None:
    flat = Image.new("RGB", (500, 130), (10, 200, 30))
    assert np.unique(prepare(flat, SPEC).pixels.reshape(-1, 3), axis=0).tolist() == [[10, 200, 30]]


def test_bytes_and_image_give_the_same_pixels() -> None:
    values = np.random.default_rng(1).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    assert np.array_equal(
        picture_to_pixels(file_of(image), PictureLimits(), SPEC).pixels,
        prepare(image, SPEC).pixels,
    )


def test_a_large_jpeg_is_close_to_its_full_decoding() -> None:
    ramp = np.linspace(0, 255, 2000).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp[None, :, None], (1500, 2000, 3)).copy())
    fast = picture_to_pixels(file_of(image, "JPEG"), PictureLimits(), SPEC).pixels
    slow = prepare(image, SPEC).pixels
    assert fast.shape == slow.shape
    assert np.abs(fast.astype(int) - slow.astype(int)).max() <= 4


@pytest.mark.parametrize(
    ("side", "doublings"), [(704, 0.0), (224, 0.0), (112, 1.0), (56, 2.0), (20, 2.0)]
)
def test_a_prepared_picture_knows_how_often_it_was_doubled(side: int, doublings: float) -> None:
    data = file_of(Image.new("RGB", (side, side // 2), (9, 9, 9)))
    found = picture_to_pixels(data, PictureLimits(min_side_px=8), SPEC)
    assert found.enlarged == pytest.approx(doublings, abs=1e-9)


def test_cutting_a_margin_off_counts_only_where_it_enlarges() -> None:
    spec = PixelSpec(352, 352, 32, trim=True, zoom=1.25)
    canvas = Image.new("RGB", (352, 352), "white")
    noise = np.random.default_rng(0).integers(0, 200, (100, 100, 3), dtype=np.uint8)
    canvas.paste(Image.fromarray(noise), (120, 120))
    assert prepare(canvas, spec).enlarged == pytest.approx(np.log2(1.28))  # 100 px become 128


@pytest.mark.parametrize(
    ("side", "doublings"), [(960, 0.0), (480, 0.0), (352, 0.0), (176, 1.0), (88, 2.0)]
)
def test_magnifying_all_pictures_is_no_enlarging(side: int, doublings: float) -> None:
    spec = PixelSpec(480, 480, 32, sharp_px=352)
    found = prepare(Image.new("RGB", (side, side // 2), (9, 9, 9)), spec)
    assert max(found.pixels.shape) == 480
    assert found.enlarged == pytest.approx(doublings, abs=1e-9)


@pytest.mark.parametrize(
    ("side", "longest"), [(960, 480), (480, 480), (352, 480), (176, 416), (88, 352), (44, 320)]
)
def test_small_pictures_are_enlarged_less_and_told_to_be_as_small(side: int, longest: int) -> None:
    """0.2 doublings less for each that is wanting, to a multiple of 32: 176 px are one short, and
    480 / 2**0.2 = 418."""
    spec = PixelSpec(480, 480, 32, sharp_px=352)
    eased = replace(spec, ease=0.2)
    picture = Image.new("RGB", (side, side // 2), (9, 9, 9))
    assert max(prepare(picture, eased).pixels.shape) == longest
    assert prepare(picture, eased).enlarged == prepare(picture, spec).enlarged


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_easing_never_makes_a_larger_picture_smaller_than_a_smaller_one(a: int, b: int) -> None:
    spec = PixelSpec(480, 480, 32, sharp_px=352, ease=0.2)
    less, more = sorted((a, b))
    assert spec.size_for(less, less) <= spec.size_for(more, more)


def test_grey_pictures_become_three_equal_channels() -> None:
    prepared = prepare(Image.new("L", (64, 64), 77), SPEC).pixels
    assert prepared.shape == (224, 224, 3) and (prepared == 77).all()


def test_a_bad_file_has_a_reason() -> None:
    with pytest.raises(PictureError) as caught:
        picture_to_pixels(b"this is not a picture", PictureLimits(), SPEC)
    assert caught.value.reason == "format"


def test_json_round_trip() -> None:
    assert PixelSpec.from_json(SPEC.to_json()) == SPEC


def test_digest_changes_with_every_field_and_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        PixelSpec(384, 224, 32),
        PixelSpec(352, 0, 32),
        PixelSpec(352, 224, 16),
        PixelSpec(352, 224, 32, "lanczos"),
        PixelSpec(352, 224, 32, trim=True),
        PixelSpec(352, 224, 32, trim=True, zoom=1.25),
        PixelSpec(352, 224, 32, sharp_px=300),
        PixelSpec(352, 224, 32, ease=0.2),
    ]
    digests = {spec.digest for spec in (SPEC, *others)}
    monkeypatch.setattr(room, "PIXELS_VERSION", room.PIXELS_VERSION + 1)
    assert len(digests | {SPEC.digest}) == 10


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"max_side_px": 0},
        {"max_side_px": 10**9},
        {"min_side_px": 353},
        {"min_side_px": -1},
        {"sharp_px": 353},
        {"sharp_px": -1},
        {"sharp_px": 352.0},
        {"ease": -0.1},
        {"ease": 1.0},
        {"ease": float("nan")},
        {"ease": 1},
        {"multiple_px": 0},
        {"multiple_px": 1000},
        {"max_side_px": "352"},
        {"filter": "nearest"},
        {"colour": "grey"},
        {"zoom": 0.5},
        {"zoom": 1e9},
        {"zoom": "1.25"},
    ],
)
def test_a_damaged_spec_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        PixelSpec.from_json({**SPEC.to_json(), **change})
