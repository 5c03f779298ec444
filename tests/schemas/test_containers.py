"""Metadata is taken out before a decoder sees a file, and says only what is asked of it."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from schemas.containers import Container, open_container
from schemas.images import PictureLimits, decode_picture, inspect_picture

LIMITS = PictureLimits()


def drawing() -> Image.Image:
    image = Image.new("RGB", (96, 72), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 8, 60, 66), fill="orange", outline="black", width=4)
    draw.line((50, 70, 95, 5), fill="navy", width=5)
    return image


def saved(format: str, **options: object) -> bytes:
    out = io.BytesIO()
    drawing().save(out, format, **options)
    return out.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_picture(data, LIMITS))


def opened(data: bytes) -> Container:
    found = open_container(data)
    assert found is not None
    return found


def png_chunk(name: bytes, body: bytes, crc: int = 0) -> bytes:
    right = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", right ^ crc)


def png_with(name: bytes, body: bytes, crc: int = 0, after: bytes = b"IHDR") -> bytes:
    """A chunk after the first of this name."""
    data = saved("PNG")
    at = data.index(after) - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    return data[:end] + png_chunk(name, body, crc) + data[end:]


def jpeg_with(marker: int, body: bytes, at: int = 2) -> bytes:
    data = saved("JPEG")
    return data[:at] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + data[at:]


def webp_with(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """A lossless WebP with an extended header and one more chunk."""
    data = saved("WEBP", lossless=True, exif=b"Exif\0\0II*\0")
    at = data.index(b"EXIF")
    part = name + struct.pack("<I", len(body) if size is None else size) + body
    content = data[8:at] + part + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def exif(*entries: bytes, order: str = "<", data: bytes = b"") -> bytes:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    count = struct.pack(order + "IH", 8, len(entries))
    return b"Exif\0\0" + head + count + b"".join(entries) + bytes(4) + data


def entry(tag: int, kind: int, count: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")[:4]


def turned(value: int, order: str = "<") -> bytes:
    return entry(0x0112, 3, 1, struct.pack(order + "H", value), order)


BIG = bytes(range(256)) * 12_000  # 3 MB
TEXTS = {
    "zTXt": (b"zTXt", b"note\0\0" + zlib.compress(BIG)),
    "zTXt of an unknown kind": (b"zTXt", b"note\0\7" + zlib.compress(BIG)),
    "iTXt": (b"iTXt", b"note\0\1\0\0\0" + zlib.compress(BIG)),
    "plain iTXt": (b"iTXt", b"note\0\0\0ko\0\xff\xff\0" + BIG),
    "tEXt": (b"tEXt", b"note\0" + BIG),
    "a profile": (b"iCCP", b"p\0\0" + zlib.compress(BIG)),
    "a profile of another kind": (b"iCCP", b"p\0\5" + BIG),
    "an empty profile": (b"iCCP", b""),
    "EXIF": (b"eXIf", BIG),
    "short gAMA": (b"gAMA", b"\0"),
    "short cHRM": (b"cHRM", b"\0" * 7),
    "short pHYs": (b"pHYs", b"\0"),
    "empty sRGB": (b"sRGB", b""),
    "an animation of nothing": (b"acTL", b"\0" * 3),
    "a frame out of order": (b"fcTL", b"\xff" * 26),
    "empty tRNS": (b"tRNS", b""),
    "short tRNS": (b"tRNS", b"\0\1"),
    "an unknown chunk": (b"abCd", BIG),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("after", [b"IHDR", b"IDAT"])
@pytest.mark.parametrize("crc", [0, 1])
def test_what_stands_beside_the_pixels_of_a_png_does_not_matter(
    kind: str, after: bytes, crc: int
) -> None:
    data = png_with(*TEXTS[kind], crc=crc, after=after)
    assert np.array_equal(pixels(data), np.asarray(drawing()))


def test_a_whole_tail_of_texts_does_not_matter() -> None:
    info = PngImagePlugin.PngInfo()
    packed = zlib.compress(bytes(1_000_000))
    for number in range(80):  # more than Pillow's own cap of 64 MB
        info.add(b"zTXt", b"n%d\0\0" % number + packed, True)
    assert np.array_equal(pixels(saved("PNG", pnginfo=info)), np.asarray(drawing()))


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_what_decides_the_pixels_does_matter(name: bytes) -> None:
    out = io.BytesIO()
    drawing().quantize(9).save(out, "PNG")
    data = bytearray(out.getvalue())
    at = data.index(name) - 4
    data[at + 8 + int.from_bytes(data[at : at + 4], "big")] ^= 1
    with pytest.raises(Exception, match="damaged"):
        decode_picture(bytes(data), LIMITS)


def test_the_first_of_several_jpegs_in_a_file_is_read() -> None:
    out = io.BytesIO()
    other = drawing().transpose(Image.Transpose.ROTATE_180)
    drawing().save(out, "MPO", save_all=True, append_images=[other])
    data = out.getvalue()
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert inspect_picture(data, LIMITS).format == "JPEG"
    assert np.array_equal(pixels(data), pixels(saved("JPEG")))


ODD_SEGMENTS = [
    (0xE0, b"JFIF\0"), (0xE0, b""), (0xEE, b"Adobe"), (0xEE, b"Adobe\0d"), (0xE1, b"Exif\0\0"),
    (0xE1, exif(turned(1)) + b"x" * 60_000), (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"),
    (0xE2, b"ICC_PROFILE\0"), (0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 50_000),
    (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"), (0xE2, b"MPF\0"), (0xED, b"Photoshop 3.0\x008BIM\4\x04"),
    (0xED, b"x"), (0xFE, b""), (0xFE, b"\xff\xd9" * 100), (0xEF, b"\xff\xda\xff\xc0"),
]  # fmt: skip


@pytest.mark.parametrize(("marker", "body"), ODD_SEGMENTS)
@pytest.mark.parametrize("at", [2, 20])
def test_what_stands_beside_the_pixels_of_a_jpeg_does_not_matter(
    marker: int, body: bytes, at: int
) -> None:
    assert np.array_equal(pixels(jpeg_with(marker, body, at)), pixels(saved("JPEG")))


@pytest.mark.parametrize(
    ("name", "body", "size"),
    [
        (b"EXIF", b"x" * 999, None), (b"XMP ", BIG, None), (b"ICCP", b"\0", None),
        (b"zzzz", b"123", None), (b"EXIF", b"cut off", 70_000), (b"XMP ", b"", 1 << 31),
    ],
)  # fmt: skip
def test_what_stands_beside_the_pixels_of_a_webp_does_not_matter(
    name: bytes, body: bytes, size: int | None
) -> None:
    assert np.array_equal(pixels(webp_with(name, body, size)), np.asarray(drawing()))


WAYS = {
    "little": lambda n: exif(turned(n)),
    "big": lambda n: exif(turned(n, ">"), order=">"),
    "doubled header": lambda n: b"Exif\0\0" + exif(turned(n)),
    "odd tag": lambda n: exif(turned(n), entry(0xA005, 2, 5, b"\xff\xff\xff\xff")),
    "far text": lambda n: exif(entry(0x010E, 2, 1 << 30, b"\xff\xff\xff\x7f"), turned(n)),
    "zero denominator": lambda n: exif(turned(n), entry(0x011A, 5, 1, b"\x26\0\0\0"), data=bytes(8)),
    "unknown type": lambda n: exif(entry(0x0100, 99, 7, b"abcd"), turned(n)),
    "as a long": lambda n: exif(entry(0x0112, 4, 1, struct.pack("<I", n))),
    "as a byte": lambda n: exif(entry(0x0112, 1, 1, bytes([n]))),
    "more entries said": lambda n: exif(turned(n)).replace(
        b"\x08\0\0\0\x01\0", b"\x08\0\0\0\xff\xff"
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation_is_read_whatever_stands_beside_it(way: str, value: int) -> None:
    said = WAYS[way](value)
    assert opened(jpeg_with(0xE1, said)).orientation == value
    assert opened(png_with(b"eXIf", said[6:])).orientation == value
    assert opened(png_with(b"eXIf", said, after=b"IDAT")).orientation == value
    assert opened(webp_with(b"EXIF", said)).orientation == value


@pytest.mark.parametrize(
    "said",
    [
        exif(turned(0)), exif(turned(9)), exif(turned(65535)), exif(), b"Exif\0\0",
        exif(entry(0x0112, 3, 3, b"\x06\0")), exif(entry(0x0112, 5, 1, b"\x06\0")),
        b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0II*\0\x08\0\0\0",
        exif(turned(6))[:20],
    ],
)  # fmt: skip
def test_what_is_no_orientation_turns_nothing(said: bytes) -> None:
    assert opened(jpeg_with(0xE1, said)).orientation == 1


def test_xmp_tells_the_orientation_where_exif_does_not() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="8"/>'
    assert opened(jpeg_with(0xE1, xmp)).orientation == 8
    both = jpeg_with(0xE1, xmp)
    both = both[:2] + jpeg_with(0xE1, exif(turned(3)))[2:-1][: 4 + len(exif(turned(3)))] + both[2:]
    assert opened(both).orientation == 3


def test_random_directories_turn_and_never_fail() -> None:
    rng = random.Random(5)
    plain = np.asarray(decode_picture(saved("JPEG"), LIMITS))
    for _ in range(300):
        entries = [
            entry(rng.randrange(0x112), rng.randrange(20), rng.randrange(1 << 32), rng.randbytes(4))
            for _ in range(rng.randrange(5))
        ]
        entries += [turned(6), entry(rng.randrange(0x113, 1 << 16), 2, 9, rng.randbytes(4))]
        data = jpeg_with(0xE1, exif(*entries, data=rng.randbytes(rng.randrange(40))))
        assert np.array_equal(pixels(data), np.rot90(plain, -1))


def mutated(rng: random.Random, format: str) -> bytes:
    """A file with a random part of metadata more."""
    body = rng.randbytes(rng.choice((0, 1, 2, 5, 13, 60, 5000)))
    if format == "JPEG":
        marker = rng.choice([*range(0xE0, 0xEE), 0xEF, 0xFE])
        start = rng.choice((b"", b"Exif\0\0MM\0*", b"MPF\0II*\0", b"ICC_PROFILE\0\1\1", b"JFXX\0"))
        return jpeg_with(marker, start + body, rng.choice((2, 20)))
    if format == "PNG":
        names = [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"sBIT", b"bKGD", b"hIST"]
        names += [b"pHYs", b"tIME", b"acTL", b"fcTL", b"sRGB", b"cICP", b"CgBI", b"vpAg"]
        after = rng.choice((b"IHDR", b"IDAT"))
        return png_with(rng.choice(names), body, rng.choice((0, 0, 77)), after)
    return webp_with(rng.choice((b"XMP ", b"ICCP", b"EXIF", b"abcd")), body)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_random_metadata_never_changes_a_pixel(format: str) -> None:
    rng = random.Random(11)
    wanted = pixels(saved(format, lossless=True))
    for _ in range(150):
        assert np.array_equal(pixels(mutated(rng, format)), wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 200_000,
        lambda: b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"") * 200_000,
        lambda: b"RIFF\xff\xff\xff\xffWEBP" + b"abcd\0\0\0\0" * 200_000,
    ],
)
def test_millions_of_parts_are_not_counted_to_the_end(make: Callable[[], bytes]) -> None:
    with pytest.raises(Exception, match="too many parts"):
        decode_picture(make(), LIMITS)
