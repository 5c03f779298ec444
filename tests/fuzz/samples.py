"""Sound picture files of every accepted kind, small and drawn from a seed."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw

Rng = np.random.Generator


def strokes(rng: Rng, mode: str = "RGB") -> Image.Image:
    """A few strokes on paper."""
    width, height = rng.integers(24, 72, 2).tolist()
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        ends = rng.integers(0, 72, 4).tolist()
        pen.line(ends, fill=tuple(rng.integers(0, 200, 3).tolist()), width=3)
    return image.convert(mode)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def icc_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(rng: Rng, *, orientation: int | None = None, odd: bool = True) -> bytes:
    """A TIFF structure as cameras write it; `odd` ones have types, counts and offsets that lie."""
    order = "<" if rng.integers(2) else ">"
    entries = []
    if orientation is not None:
        entries.append(struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0))
    tags = [0x0100, 0x010E, 0x010F, 0x0112, 0x011A, 0x0128, 0x0132, 0x8769, 0x8825, 0x927C, 0xA005]
    special = (0, 1, 8, 26, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
    for _ in range(int(rng.integers(0, 8)) if odd else 0):
        entries.append(
            struct.pack(
                order + "HHII",
                int(rng.choice(tags)) if rng.integers(2) else int(rng.integers(0x10000)),
                int(rng.integers(0, 15)),
                int(rng.choice(special)) if rng.integers(2) else int(rng.integers(12)),
                int(rng.choice(special)) if rng.integers(2) else int(rng.integers(200)),
            )
        )
    count = len(entries) if not odd or rng.integers(4) else int(rng.choice([0, 99, 0xFFFF]))
    follow = int(rng.choice(special)) if odd and rng.integers(2) else 0
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, count)
    return head + b"".join(entries) + struct.pack(order + "I", follow) + rng.bytes(24 * odd)


def jpeg(rng: Rng) -> bytes:
    """Baseline or progressive, grey, colour or CMYK, with any of the usual segments."""
    options: dict[str, Any] = {"quality": int(rng.integers(40, 96))}
    options["progressive"] = bool(rng.integers(2))
    options["optimize"] = bool(rng.integers(2))
    if rng.integers(2):
        options["subsampling"] = int(rng.integers(3))
    if not rng.integers(3):
        options["exif"] = b"Exif\0\0" + exif(rng, orientation=int(rng.integers(1, 9)), odd=False)
    if not rng.integers(4):
        options["icc_profile"] = icc_profile()
    if not rng.integers(4):
        options["comment"] = rng.bytes(20)
    if not rng.integers(4):
        options["restart_marker_rows"] = 1
    mode = str(rng.choice(["RGB", "RGB", "L", "CMYK"]))
    if mode == "CMYK":
        options.pop("icc_profile", None)
    data = saved(strokes(rng, mode), "JPEG", **options)
    if not rng.integers(4):
        data = (
            data[:2]
            + segment(0xED, b"Photoshop 3.0\0" + photoshop(0x0404, rng.bytes(12)))
            + data[2:]
        )
    if not rng.integers(4):
        data = data[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>") + data[2:]
    return data


def mpo(rng: Rng) -> bytes:
    """Two JPEG files in one, as phones write them."""
    first = strokes(rng)
    return saved(first, "MPO", save_all=True, append_images=[strokes(rng).resize(first.size)])


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def photoshop(number: int, body: bytes) -> bytes:
    """One of Photoshop's image resources."""
    return b"8BIM" + struct.pack(">HHI", number, 0, len(body)) + body + b"\0" * (len(body) % 2)


PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(rng: Rng) -> bytes:
    """Any colour type and bit depth, interlaced or not, with any of the usual chunks."""
    kind, depth = [
        (0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8),
        (4, 8), (4, 16), (6, 8), (6, 16),
    ][int(rng.integers(15))]  # fmt: skip
    image = np.asarray(strokes(rng))
    height, width, _ = image.shape
    grey = image.mean(axis=2)
    top = 2**depth - 1
    if kind in (0, 3):
        values = (grey / 255 * top).round()[..., None]
    elif kind == 4:
        values = np.stack([grey / 255 * top, rng.integers(top // 2, top + 1, grey.shape)], axis=2)
    else:
        values = image / 255 * top
        if kind == 6:
            values = np.dstack([values, rng.integers(top // 2, top + 1, grey.shape)])
    values = values.round().astype(np.uint16)
    interlaced = bool(rng.integers(2))
    lines = []
    for x, y, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        for row in values[y::down, x::across]:
            if len(row):
                lines.append(b"\0" + packed(row, depth))
    body = zlib.compress(b"".join(lines))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))]
    if not rng.integers(3):
        parts.append(chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(icc_profile())))
    if not rng.integers(3):
        parts.append(chunk(b"gAMA", struct.pack(">I", 45455)))
    if not rng.integers(3):
        parts.append(chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)))
    if kind == 3:
        parts.append(chunk(b"PLTE", bytes(v for n in range(top + 1) for v in [n * 255 // top] * 3)))
        if rng.integers(2):
            parts.append(chunk(b"tRNS", bytes([0, 128][: top + 1])))
    elif kind == 0 and not rng.integers(3):
        parts.append(chunk(b"tRNS", struct.pack(">H", 0)))
    if not rng.integers(3):
        parts.append(chunk(b"tEXt", b"Title\0a drawing"))
    half = len(body) // 2
    parts += [chunk(b"IDAT", body[:half]), chunk(b"IDAT", body[half:])]
    if not rng.integers(3):
        parts.append(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 50)))
    if not rng.integers(4):
        parts.append(chunk(b"eXIf", exif(rng, orientation=int(rng.integers(1, 9)), odd=False)))
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")])


def packed(row: np.ndarray, depth: int) -> bytes:
    """One line of samples; (W, channels) -> bytes"""
    flat = row.reshape(-1)
    if depth == 16:
        return flat.astype(">u2").tobytes()
    if depth == 8:
        return flat.astype(np.uint8).tobytes()
    bits = (flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes()


def apng(rng: Rng) -> bytes:
    first = strokes(rng)
    more = [strokes(rng).resize(first.size) for _ in range(2)]
    return saved(first, "PNG", save_all=True, append_images=more, duration=80)


def gif(rng: Rng) -> bytes:
    first = strokes(rng)
    more = [strokes(rng).resize(first.size) for _ in range(int(rng.integers(0, 3)))]
    options: dict[str, Any] = {"comment": rng.bytes(12)} if rng.integers(2) else {}
    if rng.integers(2):
        options["loop"] = 0
    return saved(first, "GIF", save_all=True, append_images=more, duration=60, **options)


def webp(rng: Rng) -> bytes:
    first = strokes(rng, str(rng.choice(["RGB", "RGBA"])))
    options: dict[str, Any] = {"lossless": bool(rng.integers(2)), "method": 0}
    if rng.integers(2):
        options["exif"] = exif(rng, orientation=int(rng.integers(1, 9)), odd=False)
    if not rng.integers(3):
        options["xmp"] = b"<x:xmpmeta/>"
    if not rng.integers(3):
        options["icc_profile"] = icc_profile()
    if not rng.integers(3):
        more = [strokes(rng).resize(first.size) for _ in range(2)]
        options |= {"save_all": True, "append_images": more, "duration": 80}
    return saved(first, "WEBP", **options)


SAMPLES: dict[str, tuple[Callable[[Rng], bytes], ...]] = {
    "JPEG": (jpeg, jpeg, mpo),
    "PNG": (png, png, apng),
    "GIF": (gif,),
    "WEBP": (webp,),
}


def sample(rng: Rng) -> tuple[str, bytes]:
    """A format and a sound file of it."""
    format = str(rng.choice(list(SAMPLES)))
    makers = SAMPLES[format]
    return format, makers[int(rng.integers(len(makers)))](rng)
