"""The decoder's own process: pictures in, pixels of what asks or a thumbnail out.

Whatever a hostile file does to a native decoder, it does here: without more memory than
MEMORY_BYTES, without files to write, and with a clock that ends the process. Frames on
standard input and output are a JSON header and a body, each preceded by its length.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

MEMORY_BYTES = 5 << 28
"""Address space: the largest WebP picture, of 60 million pixels, takes 1.1 GB."""
CLOCK_S = 30
"""Ends a task whose parent is gone; the parent itself waits less."""
FRAME = struct.Struct(">IQ")
MAX_HEADER_BYTES = 1 << 19
"""Of an answer: the panels of a long strip."""
WEBP_QUALITY = 78


def _read_frame(source: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    lengths = source.read(FRAME.size)
    if len(lengths) < FRAME.size:
        return None
    head, body = FRAME.unpack(lengths)
    return json.loads(source.read(head)), source.read(body)


def _confine() -> None:
    import resource

    os.nice(1)  # the search itself goes first
    for what, limit in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(what, (limit, limit))


def _see(header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """What asks of the pictures of a query, by the same path as on the command line."""
    from indexer.embedding.preprocess import PixelSpec
    from schemas.images import PictureError, PictureLimits
    from search.inputs import Crop, QueryPicture
    from search.panels import Cutting, see

    given = header["pictures"]
    pictures = [
        QueryPicture(one["name"], part, one["crop"] and Crop(**one["crop"]))
        for one, part in zip(given, _parts(data, [one["bytes"] for one in given]), strict=True)
    ]
    limits, spec = PictureLimits(**header["limits"]), PixelSpec.from_json(header["spec"])
    seen = see(pictures, limits, spec, Cutting(**header["cutting"]))
    answer = {
        "shapes": [made.shape[:2] for made in seen.pixels],
        "panels": [asdict(panel) for panel in seen.panels],
        "is_cut": seen.is_cut,
        "notes": seen.notes,
        "refused": {
            place: [
                str(error.reason) if isinstance(error, PictureError) else "",
                error.message,
                error.hint,
            ]
            for place, error in seen.refused.items()
        },
    }
    return answer, b"".join(made.tobytes() for made in seen.pixels)


def _thumbnail(header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """A copy whose longest side is at most `side_px`, a small one without wide margins; a new file
    that carries no metadata."""
    from schemas.images import PictureLimits, decode_preview
    from schemas.records import Panel
    from search.output.preview import CLOSER, closer

    limits, side_px = PictureLimits(**header["limits"]), int(header["side_px"])
    panel = Panel.of_text(header["panel"])
    if panel is None and header["closer"]:
        image = closer(decode_preview(data, limits, round(CLOSER * side_px)), side_px)
    elif panel is None:
        image = decode_preview(data, limits, side_px)
    else:
        from indexer.panels.picture import panel_of_bytes, preview_of

        slices = list(_parts(data, header["bytes"]))
        image = preview_of(panel, side_px, lambda px: panel_of_bytes(slices, panel, limits, px))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=WEBP_QUALITY, method=3)
    return {"height": image.height, "width": image.width}, file.getvalue()


def _parts(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        yield data[at : at + length]
        at += length


TASKS = {"see": _see, "thumbnail": _thumbnail}


def main() -> None:
    """Answer frames until standard input ends."""
    from schemas.errors import ToonsearchError
    from schemas.images import PictureError

    source, out = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not look like a frame
    import PIL.Image
    import PIL.ImageOps

    PIL.Image.preinit()
    for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[name] = "1"  # each thread would take address space, and another visitor's core
    _confine()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group
    while (frame := _read_frame(source)) is not None:
        header, data = frame
        signal.alarm(CLOCK_S)
        try:
            answer, body = TASKS[header["task"]](header, data)
        except ToonsearchError as error:
            reason = error.reason if isinstance(error, PictureError) else ""
            answer, body = {"error": [str(reason), error.message, error.hint]}, b""
        except MemoryError:
            answer, body = {"error": ["too_many_pixels", "the picture does not fit", ""]}, b""
        signal.alarm(0)
        del frame, data
        head = json.dumps(answer).encode()
        out.write(FRAME.pack(len(head), len(body)) + head)
        out.write(body)
        out.flush()


if __name__ == "__main__":
    main()
