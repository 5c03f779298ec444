"""Safe decoding: what a picture file may be, and what each bad one is called."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from schemas.images import (
    PictureError,
    PictureLimits,
    Reason,
    decode_picture,
    inspect_picture,
    is_blank,
    perceptual_hash,
    picture_id_of,
)

LIMITS = PictureLimits()


def drawing(width: int = 90, height: int = 60, mode: str = "RGB") -> Image.Image:
    """A small picture with strokes, different at every place."""
    y, x = np.mgrid[0:height, 0:width]
    red = (x * 255 // width).astype(np.uint8)
    green = (y * 255 // height).astype(np.uint8)
    blue = (((x // 7 + y // 5) % 2) * 255).astype(np.uint8)
    return Image.fromarray(np.stack([red, green, blue], axis=2)).convert(mode)


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has almost no pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + crc

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_allowed_formats_decode_to_rgb(format: str) -> None:
    data = saved(drawing(), format)
    image = decode_picture(data, LIMITS)
    assert (image.mode, image.size) == ("RGB", (90, 60))
    facts = inspect_picture(data, LIMITS)
    assert (facts.format, facts.width_px, facts.height_px) == (format, 90, 60)
    error = np.abs(np.asarray(image, float) - np.asarray(drawing(), float)).mean()
    assert error < 25


@pytest.mark.parametrize("format", ["BMP", "TIFF", "TGA", "PPM", "ICO", "PCX"])
def test_other_formats_are_refused(format: str) -> None:
    with pytest.raises(PictureError) as caught:
        decode_picture(saved(drawing(), format), LIMITS)
    assert caught.value.reason is Reason.FORMAT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"just text named .jpg", Reason.FORMAT),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.FORMAT),
        (saved(drawing())[:200], Reason.TRUNCATED),
        (saved(drawing(), "JPEG")[:700], Reason.TRUNCATED),
        (png_header(30_000, 30_000), Reason.TOO_MANY_PIXELS),
        (png_header(7_000, 7_000), Reason.TOO_MANY_PIXELS),
        (saved(drawing(3, 90)), Reason.TOO_SMALL),
    ],
)
def test_bad_bytes_have_a_reason(data: bytes, reason: Reason) -> None:
    with pytest.raises(PictureError) as caught:
        decode_picture(data, LIMITS)
    assert caught.value.reason is reason
    assert "\n" not in str(caught.value)


def test_too_many_bytes_is_seen_before_anything_else() -> None:
    with pytest.raises(PictureError) as caught:
        decode_picture(b"x" * 100, PictureLimits(max_bytes=99))
    assert caught.value.reason is Reason.TOO_MANY_BYTES


def test_transparency_becomes_white() -> None:
    layer = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    layer.paste((0, 0, 255, 255), (0, 0, 10, 20))
    image = decode_picture(saved(layer), LIMITS)
    assert image.getpixel((5, 5)) == (0, 0, 255)
    assert image.getpixel((15, 5)) == (255, 255, 255)


def test_transparent_palette_becomes_white() -> None:
    layer = Image.new("P", (20, 20), 0)
    layer.putpalette([255, 0, 0, 0, 255, 0] + [0] * 762)
    layer.paste(1, (0, 0, 10, 20))
    image = decode_picture(saved(layer, transparency=0), LIMITS)
    assert image.getpixel((5, 5)) == (0, 255, 0)
    assert image.getpixel((15, 5)) == (255, 255, 255)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to be upright
    image = decode_picture(saved(drawing(90, 60), "JPEG", exif=exif), LIMITS)
    assert image.size == (60, 90)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_picture(data, LIMITS).getpixel((3, 3)) == (255, 0, 0)


def test_sixteen_bit_grey_keeps_its_range() -> None:
    grey = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    pixels = np.asarray(decode_picture(saved(Image.fromarray(grey)), LIMITS))
    assert pixels[0, 0, 0] == 0
    assert pixels[-1, -1, 0] == 255
    assert abs(int(pixels[16, 0, 0]) - 128) < 4


def test_cmyk_jpeg_is_not_inverted() -> None:
    image = decode_picture(
        saved(Image.new("RGB", (32, 32), "white").convert("CMYK"), "JPEG"), LIMITS
    )
    assert min(image.getpixel((5, 5))) > 245


def test_target_decodes_large_pictures_small_but_not_below_the_target() -> None:
    data = saved(drawing(3000, 1500), "JPEG")
    small = decode_picture(data, LIMITS, target_px=352)
    assert 352 <= max(small.size) < 1500
    png = decode_picture(saved(drawing(3000, 1500)), LIMITS, target_px=352)
    assert 352 <= max(png.size) < 1500


def test_early_reduction_of_transparent_pictures_does_not_darken_edges() -> None:
    layer = Image.new("RGBA", (1600, 1600), (0, 0, 0, 0))
    layer.paste((255, 0, 0, 255), (0, 0, 803, 1600))
    image = decode_picture(saved(layer), LIMITS, target_px=200)
    edge = np.asarray(image)[image.height // 2]
    assert edge[:, 0].min() >= 254  # red stays 255 from red to white: no dark fringe


def test_blank_and_drawn() -> None:
    assert is_blank(Image.new("RGB", (300, 200), "white"))
    stroke = Image.new("RGB", (300, 200), "white")
    stroke.paste("black", (20, 20, 280, 23))
    assert not is_blank(stroke)


def test_perceptual_hash_survives_scaling_and_jpeg_and_tells_others_apart() -> None:
    one = Image.new("RGB", (400, 300), "white")
    draw = ImageDraw.Draw(one)
    draw.ellipse((40, 60, 180, 220), fill="orange", outline="black", width=6)
    draw.line((200, 280, 390, 20), fill="navy", width=14)
    draw.rectangle((230, 190, 330, 260), fill="green")
    small = decode_picture(saved(one.resize((200, 150)), "JPEG", quality=40), LIMITS)
    other = one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert (perceptual_hash(one) ^ perceptual_hash(small)).bit_count() <= 6
    assert (perceptual_hash(one) ^ perceptual_hash(other)).bit_count() >= 16


def test_picture_id_is_the_sha256() -> None:
    assert picture_id_of(b"abc").startswith("ba7816bf")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_mutated_files_never_raise_anything_else(format: str) -> None:
    """2,000 mutations of each tier run in `make faults`; this is the commit tier."""
    rng = np.random.default_rng(7)
    data = bytearray(saved(drawing(), format))
    outcomes = set()
    for _ in range(300):
        mutant = bytearray(data)
        for place in rng.integers(0, len(data), 4):
            mutant[place] = int(rng.integers(0, 256))
        try:
            outcomes.add(decode_picture(bytes(mutant), LIMITS).mode)
        except PictureError as error:
            outcomes.add(str(error.reason))
    assert outcomes <= {"RGB", *(str(reason) for reason in Reason)}
    assert len(outcomes) > 1
