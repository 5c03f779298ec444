"""The one preprocessing path: margins, sizes, digest, and what a picture may look like."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from indexer.embedding import preprocess as preprocess_module
from indexer.embedding.preprocess import (
    MIN_SIDE_PX,
    PixelSpec,
    drawing_box,
    picture_to_pixels,
    prepare,
    without_margin,
)
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits
from tests.search.artists import draw

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
    assert np.array_equal(prepare(Image.fromarray(values), SPEC), values)


def test_nothing_is_padded() -> None:
    flat = Image.new("RGB", (500, 130), (10, 200, 30))
    assert np.unique(prepare(flat, SPEC).reshape(-1, 3), axis=0).tolist() == [[10, 200, 30]]


def test_bytes_and_image_give_the_same_pixels() -> None:
    values = np.random.default_rng(1).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    assert np.array_equal(
        picture_to_pixels(file_of(image), PictureLimits(), SPEC),
        prepare(image, SPEC),
    )


def test_a_large_jpeg_is_close_to_its_full_decoding() -> None:
    ramp = np.linspace(0, 255, 2000).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp[None, :, None], (1500, 2000, 3)).copy())
    fast = picture_to_pixels(file_of(image, "JPEG"), PictureLimits(), SPEC)
    slow = prepare(image, SPEC)
    assert fast.shape == slow.shape
    assert np.abs(fast.astype(int) - slow.astype(int)).max() <= 4


def test_grey_pictures_become_three_equal_channels() -> None:
    prepared = prepare(Image.new("L", (64, 64), 77), SPEC)
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
    ]
    digests = {spec.digest for spec in (SPEC, *others)}
    version = preprocess_module.PIXELS_VERSION + 1
    monkeypatch.setattr(preprocess_module, "PIXELS_VERSION", version)
    assert len(digests | {SPEC.digest}) == 8


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"max_side_px": 0},
        {"max_side_px": 10**9},
        {"min_side_px": 353},
        {"min_side_px": -1},
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


# --- Margins of paper are cut off, drawings are not.

PAPER = (233, 222, 190)


def page(size: tuple[int, int] = (200, 150), paper: tuple[int, int, int] = PAPER) -> Image.Image:
    """A drawing that touches all four edges of its own picture, each in less than half."""
    image = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0] // 4, size[1] // 4), fill=(90, 20, 10))
    pen.rectangle((size[0] * 3 // 4, size[1] * 3 // 4, *size), fill=(90, 120, 10))
    pen.ellipse((40, 30, 120, 110), outline=(120, 10, 10), width=4)
    return image


@pytest.mark.parametrize("margin", [1, 7, 40, 200])
@pytest.mark.parametrize("paper", [PAPER, (255, 255, 255), (0, 0, 0), (250, 3, 120)])
def test_a_margin_of_any_paper_is_cut_off(margin: int, paper: tuple[int, int, int]) -> None:
    drawing = page(paper=(255, 255, 255))
    found = without_margin(ImageOps.expand(drawing, margin, paper))
    assert found.tobytes() == drawing.tobytes()


def test_each_side_has_its_own_margin() -> None:
    whole = Image.new("RGB", (400, 300), PAPER)
    whole.paste(page(), (31, 97))
    assert drawing_box(whole) == (31, 97, 231, 247)


def test_a_drawing_that_reaches_the_edges_stays_whole() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    assert drawing_box(Image.fromarray(noise)) == (0, 0, 120, 90)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (15, 15), (300, 200)])
def test_blank_pictures_stay_whole(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, PAPER)
    assert drawing_box(image) == (0, 0, *size)


def test_a_speck_is_no_drawing_and_no_part_of_one() -> None:
    whole = Image.new("RGB", (600, 500), PAPER)
    whole.putpixel((5, 5), (0, 0, 0))
    assert drawing_box(whole) == (0, 0, 600, 500)
    whole.paste(page(), (200, 200))
    assert drawing_box(whole) == (200, 200, 400, 350)


def test_what_is_left_of_a_nearly_blank_picture_is_at_least_a_drawing() -> None:
    whole = Image.new("RGB", (300, 300), PAPER)
    small = MIN_SIDE_PX - 1
    ImageDraw.Draw(whole).rectangle((50, 50, 50 + small - 1, 50 + small - 1), fill="black")
    assert drawing_box(whole) == (0, 0, 300, 300)
    ImageDraw.Draw(whole).rectangle((50, 50, 50 + small, 50 + small), fill="black")
    assert drawing_box(whole) == (50, 50, 50 + MIN_SIDE_PX, 50 + MIN_SIDE_PX)


def test_noise_of_paper_and_jpeg_is_not_ink() -> None:
    rng = np.random.default_rng(3)
    whole = np.asarray(ImageOps.expand(page(), 60, PAPER), np.float32)
    whole = np.clip(whole + rng.normal(0, 5, whole.shape), 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(whole).filter(ImageFilter.GaussianBlur(0.5)).save(data, "JPEG", quality=30)
    left, top, right, bottom = drawing_box(Image.open(data).convert("RGB"))
    assert abs(left - 60) <= 3 and abs(top - 60) <= 3
    assert abs(right - 260) <= 3 and abs(bottom - 210) <= 3


def test_the_network_sees_the_same_with_a_margin_as_without() -> None:
    trimmed = PixelSpec(352, 352, 32, trim=True)
    drawing = page((400, 260))
    wide = ImageOps.expand(drawing, 50, PAPER)
    assert np.array_equal(prepare(wide, trimmed), prepare(drawing, trimmed))
    plain = PixelSpec(352, 352, 32)
    framed, bare = (prepare(image, plain) for image in (wide, drawing))
    assert framed.shape != bare.shape or not np.array_equal(framed, bare)


def test_a_real_hand_is_found_with_and_without_a_margin() -> None:
    image = draw(1, 1)
    wide = ImageOps.expand(image, 40, image.getpixel((0, 0)))
    assert without_margin(wide).size == without_margin(image).size


def test_a_motif_on_an_empty_canvas_keeps_the_scale_of_its_strokes() -> None:
    spec = PixelSpec(352, 352, 32, trim=True, zoom=1.25)
    motif = page((100, 75))
    canvas = Image.new("RGB", (800, 600), PAPER)
    canvas.paste(motif, (350, 200))
    # 800 px become 352: the motif may be 1.25 * 44 px wide, and no side is below 32
    assert prepare(canvas, spec).shape == (32, 64, 3)
    assert prepare(canvas, PixelSpec(352, 352, 32, trim=True)).shape == (256, 352, 3)


@given(st.integers(40, 900), st.integers(40, 900), st.integers(0, 400))
def test_a_small_margin_leaves_no_trace_and_a_large_one_no_jump(
    width: int, height: int, margin: int
) -> None:
    spec = PixelSpec(352, 352, 32, trim=True, zoom=1.25)
    whole = max(width, height)
    found = spec.size_for(width, height, whole + 2 * margin)
    if 2 * margin <= 0.25 * whole:
        assert found == spec.size_for(width, height)
    wider = spec.size_for(width, height, whole + 2 * margin + 2)
    assert all(0 <= a - b <= 32 for a, b in zip(found, wider, strict=True))
