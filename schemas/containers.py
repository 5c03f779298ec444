"""What of a picture file decides its pixels, apart from its metadata.

Text, EXIF, profiles and whatever else may stand in a file are taken out before a decoder sees
it: however large, odd or damaged they are, they never decide whether the pixels can be read. Of
the metadata only the orientation and the colour profile are used.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

MAX_PARTS = 100_000
"""Of a file; the many small ones of an honest PNG are fewer."""
MAX_PROFILE_BYTES = 4 << 20
"""A larger colour profile is left out: those of cameras and screens have kilobytes."""


class DamagedContainerError(ValueError):
    """The parts of a file cannot be told apart."""


@dataclass(frozen=True)
class Container:
    """A picture file without metadata.

    format          name of the decoder
    data            what the decoder gets
    orientation     1 to 8, as EXIF numbers them
    profile         ICC profile, empty without one
    is_buffered     decoding takes memory for all pixels, also when they are reduced meanwhile
    is_animated     a PNG has frames, which `data` holds if they were asked for
    is_cut          the file ends before one of its parts does
    """

    format: str
    data: bytes
    orientation: int = 1
    profile: bytes = b""
    is_buffered: bool = True
    is_animated: bool = False
    is_cut: bool = False


def open_container(data: bytes, *, frames: bool = False) -> Container | None:
    """A file without its metadata, None when it is of no known format.

    `frames` keeps those of an animated PNG. Other animations always keep theirs.

    Errors:  DamagedContainerError
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data, frames)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Container("GIF", data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return None


# --- JPEG: of several pictures in one file (MPO) the first one is read.

_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)
_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"


def _jpeg(data: bytes) -> Container:
    kept = [data[:2]]
    exif = xmp = b""
    profile: dict[int, bytes] = {}
    at, layers, is_buffered, is_cut = 2, 0, False, False
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)
        if found is None or (marker := found[1][0]) == _END:
            break
        start = found.end()
        at = start + int.from_bytes(data[start : start + 2], "big")
        body = data[start + 2 : at]
        if at < start + 2:
            break
        if at > len(data):
            is_cut = True
            break
        if marker in range(0xE0, 0xF0) or marker == _COMMENT:
            if body.startswith(_EXIF):
                exif += body[len(_EXIF) :] if exif else body
            elif body.startswith(_XMP):
                xmp = body
            elif body.startswith(_ICC) and len(body) > 14:
                profile[body[12]] = body[14:]
            if not _says_colours(marker, body):
                continue
        kept.append(b"\xff" + data[start - 1 : at])
        if marker in _FRAMES and len(body) > 5:
            layers, is_buffered = body[5], marker in _PROGRESSIVE
        if marker == _SCAN:
            # One scan for each layer: they come together only when all are there.
            is_buffered |= bool(body) and body[0] < layers
            kept.append(data[at:])
            break
    else:
        raise DamagedContainerError("too many parts")
    return Container(
        "JPEG",
        b"".join(kept),
        _orientation(exif, xmp),
        _bounded(b"".join(profile[number] for number in sorted(profile))),
        is_buffered,
        is_cut=is_cut,
    )


def _says_colours(marker: int, body: bytes) -> bool:
    """Whether a segment tells the decoder how colours are stored."""
    is_jfif = marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14
    return is_jfif or (marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12)


def jpeg_is_whole(data: bytes) -> bool:
    """Whether the scans of a JPEG whose end is missing hold every bit of every coefficient, as
    far as their headers say; always so when it is not progressive."""
    at, missing = 2, {0: True}
    is_progressive = False
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)
        if found is None:
            break
        start, marker = found.end(), found[1][0]
        at = start + int.from_bytes(data[start : start + 2], "big")
        body = data[start + 2 : at]
        if marker in _FRAMES and len(body) > 5:
            is_progressive = marker in _PROGRESSIVE
            layers = body[6 : 6 + 3 * body[5] : 3]
            missing = {64 * layer + place: True for layer in layers for place in range(64)}
        elif marker == _SCAN and body and len(body) == 4 + 2 * body[0]:
            first, last, bits = body[-3:]
            if bits & 15 == 0:
                for layer in body[1:-3:2]:
                    for place in range(first, min(last, 63) + 1):
                        missing.pop(64 * layer + place, None)
    return not (is_progressive and missing)


# --- PNG


def _png(data: bytes, frames: bool) -> Container:
    kept = [data[:8]]
    exif = xmp = profile = b""
    colours, has_pixels, is_animated, is_cut = -1, False, False, False
    at = 8
    for _ in range(MAX_PARTS):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        start, end = at + 8, at + 12 + length
        if name == b"IEND" or not name.isalpha():
            break
        if end > len(data):
            if name == b"IDAT" and start + length <= len(data):
                kept.append(_chunk(name, data[start : start + length]))
            elif name in (b"IDAT", b"fdAT") or not has_pixels:
                kept.append(data[at:])
                is_cut = True
            break
        if name in (b"IHDR", b"PLTE", b"IDAT"):
            kept.append(data[at:end])
            has_pixels |= name == b"IDAT"
            if name == b"IHDR" and length >= 10:
                colours = data[start + 9]
        elif name == b"tRNS":
            body = data[start : end - 4]
            if length >= {0: 2, 2: 6, 3: 1}.get(colours, length + 1):
                kept.append(_chunk(name, body))
        elif name in (b"acTL", b"fcTL", b"fdAT"):
            is_animated |= name == b"acTL"
            if frames:
                kept.append(data[at:end])
        elif name == b"eXIf":
            exif = data[start : end - 4]
        elif name == b"iCCP":
            profile = _inflated(data[start : end - 4].partition(b"\0")[2])
        elif name == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0\0", start):
            xmp = data[start : end - 4]
        at = end
    else:
        raise DamagedContainerError("too many parts")
    if not is_cut:
        kept.append(_chunk(b"IEND", b""))
    return Container(
        "PNG",
        b"".join(kept),
        _orientation(exif, xmp),
        profile,
        is_animated=is_animated,
        is_cut=is_cut,
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _inflated(packed: bytes) -> bytes:
    """A profile of an iCCP chunk, after its name; empty when it is damaged or too large."""
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if packed[:1] == b"\0" and inflate.eof else b""


# --- WebP

_WEBP_FLAGS = 0x20 | 0x08 | 0x04  # profile, EXIF and XMP


def _webp(data: bytes) -> Container:
    said = 8 + int.from_bytes(data[4:8], "little")
    kept: list[bytes] = []
    other: dict[bytes, bytes] = {}
    at, is_cut = 12, False
    for _ in range(MAX_PARTS):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        start, end = at + 8, at + 8 + length
        if at >= said or len(name) < 4:
            break
        body = data[start:end]
        if name in (b"EXIF", b"ICCP", b"XMP "):
            other.setdefault(name, body)
        elif end > len(data):
            kept.append(data[at:])
            is_cut = True
            break
        elif name == b"VP8X" and body:
            kept.append(data[at:start] + bytes([body[0] & ~_WEBP_FLAGS]) + body[1:])
        else:
            kept.append(data[at:end] + b"\0" * (length % 2))
        at = end + length % 2
    else:
        raise DamagedContainerError("too many parts")
    content = b"WEBP" + b"".join(kept)
    size = max(len(content), said - 8) if is_cut else len(content)
    return Container(
        "WEBP",
        b"RIFF" + struct.pack("<I", size) + content,
        _orientation(other.get(b"EXIF", b""), other.get(b"XMP ", b"")),
        _bounded(other.get(b"ICCP", b"")),
        is_cut=is_cut,
    )


# --- What all formats have


def _bounded(profile: bytes) -> bytes:
    return profile if len(profile) <= MAX_PROFILE_BYTES else b""


_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
_TURNED = 0x0112


def _orientation(exif: bytes, xmp: bytes) -> int:
    """1 to 8, from EXIF or else from XMP; 1 when neither says so."""
    said = _exif_orientation(exif)
    if said is None and (found := _XMP_ORIENTATION.search(xmp)):
        said = int(found[1])
    return said if said is not None and 1 <= said <= 8 else 1


def _exif_orientation(exif: bytes) -> int | None:
    """The one number of the first directory that matters; None when it is not there."""
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2], "")
    said = None
    if order and len(exif) >= 8:
        at = int(struct.unpack(order + "I", exif[4:8])[0])
        count = int.from_bytes(exif[at : at + 2], "little" if order == "<" else "big")
        for start in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
            tag, kind, many = struct.unpack(order + "HHI", exif[start : start + 8])
            if tag == _TURNED and many == 1 and kind in _WHOLE_NUMBERS:
                code = order + _WHOLE_NUMBERS[kind]
                said = struct.unpack_from(code, exif, start + 8)[0]
    return said
