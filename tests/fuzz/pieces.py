"""Picture files as the pieces that their formats are made of, to be changed one by one."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """A segment, chunk or block. `raw`, when given, stands as it is instead of what `name` and
    `body` would be packed to. `is_meta` says that pixels do not depend on it."""

    name: str
    body: bytes
    is_meta: bool = False
    raw: bytes | None = None


def split(format: str, data: bytes) -> list[Piece]:
    """The pieces of a sound file."""
    return {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif}[format](data)


def join(format: str, pieces: list[Piece]) -> bytes:
    """A file of these pieces."""
    parts = [piece.raw if piece.raw is not None else pack(format, piece) for piece in pieces]
    data = b"".join(parts)
    if format == "PNG":
        return b"\x89PNG\r\n\x1a\n" + data
    if format == "WEBP":
        return b"RIFF" + struct.pack("<I", (len(data) + 4) & 0xFFFFFFFF) + b"WEBP" + data
    return data


def pack(format: str, piece: Piece, length: int | None = None) -> bytes:
    """A piece with its frame; `length` is what its length field says instead of the truth."""
    name, body = piece.name.encode("latin-1"), piece.body
    size = len(body) if length is None else length
    if format == "PNG":
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", size & 0xFFFFFFFF) + name + body + check
    if format == "WEBP":
        return name + struct.pack("<I", size & 0xFFFFFFFF) + body + b"\0" * (len(body) % 2)
    if format == "JPEG" and len(name) == 1:
        return b"\xff" + name + struct.pack(">H", (size + 2) & 0xFFFF) + body
    return body


META_JPEG = {0xE1, 0xE2, *range(0xE3, 0xEE), 0xFE}
"""APP0 and APP14 say which colours the samples mean."""


def _jpeg(data: bytes) -> list[Piece]:
    pieces, at = [Piece("SOI", data[:2])], 2
    while at < len(data):
        if data[at] != 0xFF or data[at + 1] == 0xD8:
            break  # what follows the picture
        marker = data[at + 1]
        if marker == 0xD9:
            pieces.append(Piece("EOI", data[at : at + 2]))
            at += 2
            break
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + size]
        pieces.append(Piece(chr(marker), body, marker in META_JPEG))
        at += 2 + size
        if marker == 0xDA:
            end = at
            while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
            pieces.append(Piece("scan", data[at:end]))
            at = end
    if at < len(data):
        pieces.append(Piece("rest", data[at:], True))
    return pieces


PIXELS_PNG = ("IHDR", "PLTE", "IDAT", "IEND", "tRNS", "acTL", "fcTL", "fdAT")


def _png(data: bytes) -> list[Piece]:
    pieces, at = [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8].decode("latin-1")
        pieces.append(Piece(name, data[at + 8 : at + 8 + size], name not in PIXELS_PNG))
        at += 12 + size
    return pieces


def _webp(data: bytes) -> list[Piece]:
    pieces, at = [], 12
    while at < len(data):
        name = data[at : at + 4].decode("latin-1")
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        pieces.append(Piece(name, data[at + 8 : at + 8 + size], name in ("EXIF", "XMP ", "ICCP")))
        at += 8 + size + size % 2
    return pieces


def _gif(data: bytes) -> list[Piece]:
    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(data[10])
    pieces = [Piece("head", data[:at])]

    def blocks(start: int) -> int:
        while data[start]:
            start += 1 + data[start]
        return start + 1

    while at < len(data):
        begin, kind = at, data[at]
        if kind == 0x2C:
            at = blocks(at + 10 + table(data[at + 9]) + 1)
            pieces.append(Piece("image", data[begin:at]))
        elif kind == 0x21:
            at = blocks(at + 2)
            is_meta = data[begin + 1] in (0xFE, 0xFF)
            pieces.append(Piece("extension", data[begin:at], is_meta))
        else:
            pieces.append(Piece("end", data[at:]))
            break
    return pieces
