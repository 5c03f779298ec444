"""Picture files changed by structure: segments, chunks, lengths, counts, orders, as well as bytes.

What must hold: a picture or a `PictureError`, in bounded time and memory, and nothing else; and
a change of metadata alone leaves the pixels as they were.
"""

from __future__ import annotations

import json
import resource
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from crawler.images import check_and_store
from schemas.images import PictureError, PictureLimits, decode_picture, inspect_picture, is_blank
from schemas.storage.layout import Layout
from tests.fuzz.pieces import Piece, join, pack, split
from tests.fuzz.samples import Rng, exif, photoshop, sample

LIMITS = PictureLimits(max_pixels=1_000_000)
MISSING_SHARE = 0.012
"""A JPEG without its last bytes may lack one per cent of its pixels."""
MAX_SECONDS = 10.0
MAX_GROWTH = 600 << 10
"""KiB that one case may add to the most memory this process ever had."""
SPECIAL = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def make(rng: Rng, folder: Path) -> None:
    """Write a sound file, a changed one, and what the change must keep."""
    format, sound = sample(rng)
    what = int(rng.integers(8))
    if what < 4:
        keeps, changed, steps = _with_other_metadata(rng, format, sound)
    elif what == 4 and b"\xff\xc2" not in sound:  # each scan of a progressive JPEG is a picture
        size = int(rng.integers(1, len(sound) + 1))
        keeps, changed, steps = "pixels or nothing", sound[:size], [f"cut at {size}"]
    else:
        keeps = "nothing"
        changed, steps = sound, []
        for _ in range(int(rng.integers(1, 4))):
            changed, step = _changed(rng, format, changed, sound)
            steps.append(step)
    (folder / "sound").write_bytes(sound)
    (folder / "changed").write_bytes(changed)
    facts = {"format": format, "keeps": keeps, "steps": steps}
    (folder / "case.json").write_text(json.dumps(facts), "utf-8")


def check(folder: Path) -> None:
    """Hold a case against the rules."""
    facts = json.loads((folder / "case.json").read_text("utf-8"))
    sound = np.asarray(decode_picture((folder / "sound").read_bytes(), LIMITS))
    data = (folder / "changed").read_bytes()
    before, began = _memory(), time.monotonic()
    try:
        seen = inspect_picture(data, LIMITS)
        image: Image.Image | None = decode_picture(data, LIMITS)
    except PictureError as error:
        assert "nothing" in facts["keeps"], f"refused ({error}): {facts['steps']}"
        image = None
    try:
        small = decode_picture(data, LIMITS, 16)
        assert small.mode == "RGB" and min(small.size) > 0, small
    except PictureError:
        assert "nothing" in facts["keeps"], f"refused when reduced: {facts['steps']}"
    row = check_and_store(Layout(folder.parent / "store"), LIMITS, data, sync=False)
    assert (row.status == "stored") == (row.reason is None) == (row.file is not None), row
    assert time.monotonic() - began < MAX_SECONDS, f"{time.monotonic() - began:.1f} s"
    assert _memory() - before < MAX_GROWTH, f"{_memory() - before:,} KiB more"
    if image is None:
        return
    assert image.mode == "RGB" and image.width * image.height <= LIMITS.max_pixels, image
    assert seen.width_px * seen.height_px == image.width * image.height, (seen, image)
    may_lack = "nothing" in facts["keeps"]
    if may_lack and is_blank(image):  # of an animation, whose next frame is cut
        return
    if facts["keeps"].startswith("pixels"):
        found = np.asarray(image)
        others = [
            (found != turned).any(axis=2).mean()
            for turned in _turns(sound)
            if turned.shape == found.shape
        ]
        most = MISSING_SHARE if may_lack else 0.0
        assert min(others, default=1.0) <= most, f"other pixels ({others}): {facts['steps']}"


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _turns(pixels: np.ndarray) -> list[np.ndarray]:
    """A picture in the eight ways that an orientation can turn it."""
    found = []
    for one in (pixels, pixels.transpose(1, 0, 2)):
        found += [one, one[::-1], one[:, ::-1], one[::-1, ::-1]]
    return found


# --- Metadata: whatever happens to it, the pixels stay.


def _with_other_metadata(rng: Rng, format: str, sound: bytes) -> tuple[str, bytes, list[str]]:
    """What is kept (`pixels`, or the `picture` where a colour profile may count), and how."""
    pieces, steps, keeps, tail = split(format, sound), [], "pixels", b""
    for _ in range(int(rng.integers(1, 4))):
        mine = [at for at, piece in enumerate(pieces) if piece.is_meta]
        what = int(rng.integers(7))
        if what < 3 or not mine:
            piece = NEW[format](rng)
            pieces.insert(_place(rng, format, pieces), piece)
            steps.append(f"new {piece.name!r} {piece.body[:16]!r}")
        elif what == 6 and format in ("JPEG", "PNG"):
            if format == "JPEG" and pieces[-1].name == "EOI" and rng.integers(2):
                pieces.pop()
                steps.append("no EOI")
            elif format == "PNG" and pieces[-1].name == "IEND" and rng.integers(2):
                pieces.pop()
                steps.append("no IEND")
            else:
                tail = rng.bytes(int(rng.integers(1, 200)))
                steps.append("trailing bytes")
        else:
            at = int(rng.choice(mine))
            piece = pieces[at]
            steps.append(f"{('drop', 'repeat', 'change')[what % 3]} {piece.name!r}")
            if _is_profile(piece):
                keeps = "picture"
            if what % 3 == 0:
                pieces.pop(at)
            elif what % 3 == 1:
                pieces.insert(at, piece)
            elif format == "GIF":  # its bytes hold the frames of its blocks
                pieces[at] = _gif_metadata(rng)
            else:
                pieces[at] = replace(piece, body=_other_bytes(rng, piece.body), raw=None)
    if pieces[-1].name not in ("EOI", "IEND", "end", "rest") and format != "WEBP":
        tail = b""  # without an end mark it would belong to the pixels
    return keeps, join(format, pieces) + tail, steps


def _is_profile(piece: Piece) -> bool:
    return (
        piece.name in ("iCCP", "ICCP", "gAMA", "cHRM", "sRGB") or piece.body[:11] == b"ICC_PROFILE"
    )


def _place(rng: Rng, format: str, pieces: list[Piece]) -> int:
    """Where metadata may stand: not among the pixels, and not before the head."""
    names = [piece.name for piece in pieces]
    first = {"PNG": "IDAT", "JPEG": "\xda", "GIF": "image", "WEBP": ""}[format]
    if format == "WEBP":
        return len(pieces)
    until = names.index(first)
    if format == "GIF" and until > 1 and names[until - 1] == "extension":
        until -= 1  # a control block belongs to the image that follows it
    if format == "PNG" and names[-1] == "IEND" and not rng.integers(3):
        return len(pieces) - 1
    return int(rng.integers(1, until + 1))


def _other_bytes(rng: Rng, body: bytes) -> bytes:
    """The same with some bytes changed, cut off or added."""
    found = bytearray(body)
    for _ in range(int(rng.integers(0, 6))):
        if found:
            found[int(rng.integers(len(found)))] = int(rng.integers(256))
    what = int(rng.integers(4))
    if what == 0:
        del found[int(rng.integers(len(found) + 1)) :]
    elif what == 1:
        found += rng.bytes(int(rng.integers(1, 3000)))
    return bytes(found[:65_000])


def _jpeg_metadata(rng: Rng) -> Piece:
    marker, body = [
        (0xE1, b"Exif\0\0" + exif(rng)),
        (0xE1, b"Exif\0\0" + rng.bytes(int(rng.integers(40)))),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + rng.bytes(30)),
        (0xE2, b"ICC_PROFILE\0" + rng.bytes(int(rng.integers(60)))),
        (0xE2, b"MPF\0" + exif(rng)),
        (0xE2, b"MPF\0" + rng.bytes(30)),
        (0xE2, b"FPXR\0" + rng.bytes(30)),
        (0xED, b"Photoshop 3.0\0" + rng.bytes(int(rng.integers(40)))),
        (0xED, b"Photoshop 3.0\0" + photoshop(0x03ED, rng.bytes(16))),
        (0xED, b"Photoshop 3.0\0" + photoshop(0x03ED, rng.bytes(3))),
        (0xEC, b"Ducky" + rng.bytes(10)),
        (0xE5, rng.bytes(20)),
        (0xFE, rng.bytes(int(rng.integers(100)))),
        (0xFE, b"x" * 65_000),
    ][int(rng.integers(14))]
    return Piece(chr(marker), body, True)


LARGE = zlib.compress(b"x" * 3_000_000)
NOISE = zlib.compress(np.random.default_rng(0).bytes(1_200_000), 0)


def _png_metadata(rng: Rng) -> Piece:
    name, body = [
        ("tEXt", b"Title\0" + rng.bytes(20)),
        ("tEXt", b"x" * 1_200_000),
        ("zTXt", b"Comment\0\0" + LARGE),
        ("zTXt", b"Comment\0\x07" + rng.bytes(9)),
        ("zTXt", b""),
        ("iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
        ("iTXt", b"a\0" + rng.bytes(9)),
        ("iTXt", b"Key\0\0\0\0\0" + b"\xff" * 9),
        ("eXIf", exif(rng)),
        ("eXIf", rng.bytes(20)),
        ("iCCP", rng.bytes(30)),
        ("iCCP", b"ICC Profile\0\0" + NOISE),
        ("pHYs", rng.bytes(int(rng.integers(12)))),
        ("tIME", rng.bytes(int(rng.integers(9)))),
        ("bKGD", rng.bytes(int(rng.integers(7)))),
        ("hIST", rng.bytes(8)),
        ("sBIT", rng.bytes(int(rng.integers(5)))),
        ("sPLT", rng.bytes(10)),
        ("caBX", rng.bytes(100)),
        ("prVt", rng.bytes(10)),
    ][int(rng.integers(20))]
    piece = Piece(name, body, True)
    if rng.integers(4):
        return piece
    return replace(piece, raw=pack("PNG", piece)[:-4] + rng.bytes(4))  # a wrong checksum


def _webp_metadata(rng: Rng) -> Piece:
    name, body = [
        ("EXIF", exif(rng)),
        ("EXIF", rng.bytes(20)),
        ("XMP ", rng.bytes(40)),
        ("ABCD", rng.bytes(11)),
    ][int(rng.integers(4))]
    return Piece(name, body, True)


def _gif_metadata(rng: Rng) -> Piece:
    text = rng.bytes(int(rng.integers(1, 200)))
    head = [b"\x21\xfe", b"\x21\xff\x0bNETSCAPE2.0", b"\x21\xff\x0bXMP DataXMP", b"\x21\xff\x03abc"]
    body = head[int(rng.integers(4))] + bytes([len(text)]) + text + b"\0"
    return Piece("extension", body, True)


NEW: dict[str, Callable[[Rng], Piece]] = {
    "JPEG": _jpeg_metadata,
    "PNG": _png_metadata,
    "WEBP": _webp_metadata,
    "GIF": _gif_metadata,
}


# --- Everything else: no promise but that it ends well.


def _changed(rng: Rng, format: str, data: bytes, sound: bytes) -> tuple[bytes, str]:
    try:
        pieces = split(format, data)
    except (IndexError, KeyError, ValueError, UnicodeError):
        pieces = []  # what an earlier change left is no file any more
    pieces = pieces or split(format, sound)
    at = int(rng.integers(len(pieces)))
    piece = pieces[at]
    what = int(rng.integers(12))
    if what == 0:
        pieces.pop(at)
    elif what == 1:
        pieces.insert(int(rng.integers(len(pieces) + 1)), piece)
    elif what == 2:
        other = int(rng.integers(len(pieces)))
        pieces[at], pieces[other] = pieces[other], pieces[at]
    elif what == 3:
        pieces[at] = replace(piece, body=piece.body[: int(rng.integers(len(piece.body) + 1))])
    elif what == 4:
        length = int(rng.choice(SPECIAL)) if rng.integers(2) else len(piece.body) + 1
        pieces[at] = replace(piece, raw=pack(format, piece, length))
    elif what == 5:
        pieces[at] = replace(piece, body=_other_bytes(rng, piece.body))
    elif what == 6:  # a number in the middle: sizes, counts, offsets
        size = int(rng.choice([1, 2, 4]))
        place = int(rng.integers(max(1, len(piece.body) - size)))
        order = "little" if rng.integers(2) else "big"
        value = (int(rng.choice(SPECIAL)) % 256**size).to_bytes(size, order)  # type: ignore[arg-type]
        pieces[at] = replace(piece, body=piece.body[:place] + value + piece.body[place + size :])
    elif what == 7:
        pieces.insert(at, NEW[format](rng))
    elif what == 8:
        names = [other.name for other in pieces]
        pieces[at] = replace(piece, name=str(rng.choice(names)) if rng.integers(2) else "zzzz")
    elif what == 9:
        whole = join(format, pieces[: at + 1])
        return whole[: len(whole) - int(rng.choice([0, 0, 1, 5]))], f"cut after {piece.name!r}"
    elif what == 10:
        other_format, other_sound = sample(rng)
        if other_format != format or rng.integers(2):
            place = int(rng.integers(len(data) + 1))
            return data[:place] + other_sound, f"splice with {other_format}"
        theirs = split(format, other_sound)
        pieces = pieces[:at] + theirs[int(rng.integers(len(theirs))) :]
    else:
        found = bytearray(data)
        for place in rng.integers(0, len(data), 4):
            found[place] = int(rng.integers(256))
        return bytes(found), "bytes"
    return join(format, pieces), f"{what} of {piece.name!r}"
