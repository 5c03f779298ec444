"""Safe decoding: what a picture file may be, and what each bad one is called."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from schemas import images
from schemas.images import (
    PictureError,
    PictureLimits,
    Reason,
    decode_picture,
    decode_preview,
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


def chunk(name: bytes, body: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + crc


def png(width: int, height: int, bits: int, kind: int, rows: bytes, extra: bytes = b"") -> bytes:
    ihdr = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", ihdr)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has almost no pixels."""
    return png(width, height, 8, 2, b"\0" * 99)


def ink(rgb: tuple[int, ...], alpha: int = 255) -> Image.Image:
    """A few strokes on a transparent layer."""
    layer = Image.new("RGBA", (120, 90), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    draw.ellipse((20, 10, 90, 80), outline=(*rgb, alpha), width=6)
    draw.line((10, 80, 110, 15), fill=(*rgb, alpha), width=5)
    return layer


def pixels(data: bytes, **options: object) -> np.ndarray:
    return np.asarray(decode_picture(data, LIMITS, **options), np.int16)  # type: ignore[arg-type]


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
        (png_header(12_000, 12_000), Reason.TOO_MANY_PIXELS),
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


# --- Sizes: what a decoder holds is bounded, not what a file says.


@pytest.mark.parametrize(
    ("size", "format", "options"),
    [
        ((800, 60_000), "PNG", {}),
        ((800, 60_000), "JPEG", {"quality": 30}),
        ((800, 16_383), "WEBP", {"quality": 20, "method": 0}),
        ((12_000, 9_000), "JPEG", {"quality": 10}),
        ((16_320, 12_240), "JPEG", {"quality": 10}),
    ],
)
@pytest.mark.slow
def test_strips_and_phone_pictures_are_taken(
    size: tuple[int, int], format: str, options: dict[str, object]
) -> None:
    image = Image.new("L", size, 230)
    image.paste(20, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    data = saved(image, format, **options)
    facts = inspect_picture(data, LIMITS)
    assert (facts.width_px, facts.height_px) == size
    small = decode_picture(data, LIMITS, target_px=600)
    assert max(small.size) >= 600
    assert abs(small.width / small.height / (size[0] / size[1]) - 1) < 0.1
    low, high = small.convert("L").getextrema()
    assert low < 40 and high > 210


def test_a_usual_jpeg_counts_for_a_quarter_and_is_reduced_to_what_may_be_held() -> None:
    data = saved(drawing(400, 300), "JPEG")
    progressive = saved(drawing(400, 300), "JPEG", progressive=True)
    tight = PictureLimits(max_pixels=31_000)
    assert decode_picture(data, tight).size == (200, 150)
    part = decode_picture(data, tight, part=lambda width, height: (0, 0, width // 2, height))
    assert part.size == (100, 150)
    for other, limits in ((data, PictureLimits(max_pixels=29_000)), (progressive, tight)):
        with pytest.raises(PictureError) as caught:
            decode_picture(other, limits)
        assert caught.value.reason is Reason.TOO_MANY_PIXELS
        assert "decode." not in str(caught.value)  # visitors have no settings


def test_a_thin_strip_survives_reduction() -> None:
    strip = Image.new("RGB", (8, 30_000), "white")
    strip.paste("black", (2, 100, 6, 20_000))
    assert decode_picture(saved(strip, "JPEG"), LIMITS, target_px=352).height >= 352


def test_sixteen_bit_grey_costs_what_eight_bit_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = (np.arange(300 * 400).reshape(300, 400) * 65535 // (300 * 400 - 1)).astype(np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    seen: list[str] = []
    reduce = images._reduce_early

    def watched(image: Image.Image, target_px: int | None) -> Image.Image:
        seen.append(image.mode)
        return reduce(image, target_px)

    monkeypatch.setattr(images, "_reduce_early", watched)
    made = pixels(png(400, 300, 16, 0, rows))
    assert seen == ["L"]  # one byte a pixel
    assert np.abs(made[..., 0] - grey / 257.0).max() <= 1
    clear = struct.pack(">H", int(grey[299, 399]))
    shown = pixels(png(400, 300, 16, 0, rows, chunk(b"tRNS", clear)))
    assert shown[299, 399].tolist() == [255, 255, 255]


def test_eight_bits_in_sixteen_are_not_black() -> None:
    grey = np.arange(64 * 4).reshape(16, 16).astype(np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)
    assert np.array_equal(pixels(png(16, 16, 16, 0, rows))[..., 0], grey)


# --- Files without their last bytes.


@pytest.mark.parametrize("size", [(90, 60), (333, 251), (64, 40), (8, 9)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}, {"restart_marker_blocks": 3}],
)
def test_a_jpeg_without_its_end_marker_is_whole(
    size: tuple[int, int], mode: str, options: dict[str, object]
) -> None:
    data = saved(drawing(*size).convert(mode), "JPEG", **options)
    whole = pixels(data)
    for cut in (1, 2):
        assert np.array_equal(pixels(data[:-cut]), whole)
    if size[0] > 100:
        assert np.array_equal(pixels(data[:-2], target_px=64), pixels(data, target_px=64))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 95}, {"restart_marker_blocks": 3}]
)
def test_a_jpeg_that_lacks_pixels_is_truncated(share: float, options: dict[str, object]) -> None:
    data = saved(drawing(300, 200), "JPEG", **options)
    for end in range(int(share * len(data)), int(share * len(data)) + 4):
        for target_px in (None, 100):
            with pytest.raises(PictureError) as caught:
                decode_picture(data[:end], LIMITS, target_px)
            assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP"])
def test_other_formats_are_truncated_when_pixels_are_missing(format: str) -> None:
    data = saved(drawing(200, 150), format)
    for share in (0.5, 0.9):
        with pytest.raises(PictureError) as caught:
            decode_picture(data[: int(share * len(data))], LIMITS)
        assert caught.value.reason is Reason.TRUNCATED


def test_a_png_without_its_end_is_whole() -> None:
    data = saved(drawing())
    for cut in (4, 12, 16):
        assert np.array_equal(pixels(data[:-cut]), pixels(data))


# --- Transparency, animations and colour.


@pytest.mark.parametrize(
    "rgb", [(255, 255, 255), (250, 250, 245), (255, 255, 224), (240, 240, 240), (232, 240, 236)]
)
@pytest.mark.parametrize("kind", ["RGBA", "LA", "PNG palette", "GIF", "WEBP"])
def test_white_ink_is_laid_on_a_ground_that_shows_it(rgb: tuple[int, ...], kind: str) -> None:
    layer = ink(rgb)
    if kind == "PNG palette":
        data = saved(layer.quantize(8))
    else:
        format = kind if kind in ("GIF", "WEBP") else "PNG"
        data = saved(layer.convert("LA") if kind == "LA" else layer, format)
    made = decode_picture(data, LIMITS)
    assert not is_blank(made)
    assert np.ptp(np.asarray(made), axis=(0, 1)).min() > 100


@pytest.mark.parametrize("rgb", [(0, 0, 0), (90, 90, 90), (200, 30, 30), (255, 220, 0)])
def test_other_ink_stays_on_white(rgb: tuple[int, ...]) -> None:
    assert pixels(saved(ink(rgb)))[0, 0].tolist() == [255, 255, 255]


def test_white_filling_in_black_lines_stays_on_white() -> None:
    layer = ink((0, 0, 0))
    ImageDraw.Draw(layer).ellipse((26, 16, 84, 74), fill=(255, 255, 255, 255))
    assert pixels(saved(layer))[0, 0].tolist() == [255, 255, 255]


def test_nothing_on_transparency_is_blank() -> None:
    assert is_blank(decode_picture(saved(Image.new("RGBA", (40, 40), (9, 9, 9, 0))), LIMITS))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("blank", [1, 3, 40])
@pytest.mark.parametrize("ground", ["white", "black"])
def test_an_animation_is_seen_by_its_first_frame_with_something_on_it(
    format: str, blank: int, ground: str
) -> None:
    level = 252 if ground == "white" else 0  # frames that are equal would be saved as one
    frames = [Image.new("RGB", (90, 60), (level, level, level + n % 3)) for n in range(blank)]
    frames += [drawing(), drawing().transpose(Image.Transpose.ROTATE_180)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert np.abs(pixels(data) - np.asarray(drawing(), np.int16)).mean() < 25


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_an_animation_with_nothing_on_it_is_blank(format: str) -> None:
    frames = [Image.new("RGB", (90, 60), (250, 250, 250 + n)) for n in range(4)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    assert is_blank(decode_picture(data, LIMITS))


def profile(green: tuple[float, float], gamma: float) -> bytes:
    """The ICC profile of a wide screen: primaries and white point D50, one gamma."""
    primaries = np.array([(0.64, 0.33), green, (0.15, 0.06)])
    columns = (
        np.stack([primaries[:, 0], primaries[:, 1], 1 - primaries.sum(axis=1)]) / primaries[:, 1]
    )
    white = np.array([0.9642, 1.0, 0.8249])
    matrix = columns * np.linalg.solve(columns, white)

    tags = [
        (name, b"XYZ " + bytes(4) + fixed(matrix[:, place]))
        for place, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
    ]
    return icc_of(b"RGB ", tags + [(name, curve(gamma)) for name in (b"rTRC", b"gTRC", b"bTRC")])


def grey_profile(gamma: float) -> bytes:
    return icc_of(b"GRAY", [(b"kTRC", curve(gamma))])


def ink_profile() -> bytes:
    """Of print: Lab of paper, of each colour of ink and of all mixtures, and of black."""
    inks = [(100, 0, 0), (89, -5, 93), (48, 74, -3), (47, 68, 48), (55, -37, -50), (50, -65, 27)]
    inks += [(24, 22, -46), (23, 0, 0)]
    mixtures = [lab for ink in inks for lab in (ink, (8, 0, 0))]  # without and with black
    table = b"".join(bytes((round(lab[0] * 2.55), lab[1] + 128, lab[2] + 128)) for lab in mixtures)
    levels = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + fixed(np.eye(3).ravel())
    return icc_of(b"CMYK", [(b"A2B0", lut + 4 * levels + table + 3 * levels)], b"Lab ")


def fixed(values: np.ndarray) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))


def icc_of(space: bytes, tags: list[tuple[bytes, bytes]], to: bytes = b"XYZ ") -> bytes:
    white = np.array([0.9642, 1.0, 0.8249])
    words = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [(b"desc", words), (b"wtpt", b"XYZ " + bytes(4) + fixed(white)), *tags]
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags:
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"mntr", space, to)
    head = head.ljust(36, b"\0") + b"acsp" + bytes(28) + fixed(white)
    made = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(made)) + made[4:]


WIDE = profile((0.21, 0.71), 2.2)


def seen_by(icc: bytes, rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """What is stored under a profile so that a colour of sRGB is seen."""
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(icc)), "RGB", "RGB"
    )
    made = ImageCms.applyTransform(Image.new("RGB", (1, 1), rgb), transform)
    assert made is not None
    return made.getpixel((0, 0))  # type: ignore[return-value]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "RGBA", "palette"])
@pytest.mark.parametrize("icc", [WIDE, profile((0.1, 0.8), 1.8)])
def test_one_red_is_one_red_whatever_the_profile(format: str, icc: bytes) -> None:
    image = Image.new("RGB", (80, 60), seen_by(icc, (230, 60, 50)))
    image.paste("white", (0, 0, 20, 60))
    made = {
        "RGBA": image.convert("RGBA"), "palette": image.quantize(4)
    }.get(format, image)  # fmt: skip
    options: dict[str, object] = {"quality": 95} if format in ("JPEG", "WEBP") else {}
    data = saved(
        made,
        format if format in ("JPEG", "WEBP") else "PNG",
        icc_profile=icc,
        **options,
    )
    decoded = decode_picture(data, LIMITS)
    red = np.asarray(decoded.getpixel((60, 30)), int)
    assert np.abs(red - (230, 60, 50)).max() <= 6
    assert not decoded.info  # a copy that is saved again must not carry the profile


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_grey_and_ink_have_profiles_too(format: str) -> None:
    grey = Image.linear_gradient("L")
    seen = decode_picture(saved(grey, format, icc_profile=grey_profile(1.0)), LIMITS)
    assert seen.getpixel((9, 0)) == (0, 0, 0) and seen.getpixel((9, 255)) == (255, 255, 255)
    assert np.abs(np.asarray(seen.getpixel((9, 55))) - 128).max() <= 2
    if format == "PNG":
        seen = decode_picture(
            saved(grey.convert("LA"), "PNG", icc_profile=grey_profile(1.0)), LIMITS
        )
        assert seen.getpixel((9, 55)) == (128, 128, 128)
        return
    for ink, rgb in (((0, 255, 255, 0), (214, 12, 23)), ((0, 0, 0, 0), (255, 255, 255))):
        data = saved(Image.new("CMYK", (80, 60), ink), "JPEG", icc_profile=ink_profile())
        seen = decode_picture(data, LIMITS)
        assert np.abs(np.asarray(seen.getpixel((40, 30)), int) - rgb).max() <= 6


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "icc",
    [
        SRGB,
        profile((0.3, 0.6), 2.2)[:300],
        b"\0" * 5000,
        WIDE.replace(b"RGB ", b"GRAY", 1),
        WIDE.replace(b"RGB ", b"CMYK", 1),
        WIDE + bytes(5 << 20),
        WIDE.replace(struct.pack(">IHxx", 1, round(2.2 * 256)), struct.pack(">IHxx", 1, 0)),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_profile_that_is_srgb_or_none_changes_nothing(icc: bytes, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    plain = saved(drawing(), format, **options)
    marked = saved(drawing(), format, icc_profile=icc, **options)
    assert np.array_equal(pixels(marked), pixels(plain))


# --- Turning, parts and previews.


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_part_is_of_the_upright_picture(turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    data = saved(drawing(90, 60), exif=exif)
    whole = decode_picture(data, LIMITS)
    asked: list[tuple[int, int]] = []

    def part(width: int, height: int) -> tuple[int, int, int, int]:
        asked.append((width, height))
        return 7, 11, 31, 50

    made = decode_picture(data, LIMITS, part=part)
    assert asked == [whole.size]
    assert made.tobytes() == whole.crop((7, 11, 31, 50)).tobytes()


@pytest.mark.parametrize("turned", [1, 6, 7])
def test_a_part_of_a_reduced_jpeg_is_the_same_part(turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    data = saved(drawing(1800, 1200), "JPEG", exif=exif, quality=92)
    box = (300, 200, 1100, 1000)
    part = decode_picture(data, LIMITS, target_px=200, part=lambda *_: box)
    assert 200 <= max(part.size) < 800
    whole = decode_picture(data, LIMITS).crop(box).resize(part.size)
    assert np.abs(np.asarray(part, float) - np.asarray(whole, float)).mean() < 12


@pytest.mark.parametrize("size", [(345, 5_000), (4000, 200), (300, 200), (60, 900)])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("side_px", [200, 400])
def test_previews_are_legible(size: tuple[int, int], format: str, side_px: int) -> None:
    image = Image.new("RGB", size, "white")
    thick = min(size) // 3
    drawn = drawing(thick, thick)
    place = (size[0] * 3 // 4 - thick // 2, size[1] * 3 // 4 - thick // 2)
    image.paste(drawn, place)
    preview = decode_preview(saved(image, format), LIMITS, side_px)
    assert max(preview.size) <= side_px
    assert min(preview.size) >= min(side_px / 3, min(size))
    assert not is_blank(preview)  # the part with the drawing, wherever it is


# --- Whatever a decoder does.


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), RecursionError(), struct.error("x"), SystemError("x"), OverflowError("x"),
        KeyError("MPO"), AssertionError(), UnicodeDecodeError("ascii", b"x", 0, 1, "x"),
        zlib.error("x"), StopIteration(), Image.DecompressionBombError(), EOFError(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load"])
def test_any_error_of_a_decoder_has_a_reason(
    error: Exception, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(drawing())

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(place, fails)
    with pytest.raises(PictureError) as caught:
        decode_picture(data, LIMITS)
    assert caught.value.reason in Reason
