"""From SVG to a picture on white, in another process: an odd file costs itself at most."""

from __future__ import annotations

import io
import multiprocessing
import re
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from schemas.images import is_blank

if TYPE_CHECKING:
    from PIL import Image

SIDE_PX = 384
"""Longest side of a picture, as in the benchmark's."""
MARGIN_PX = 16
MAX_SVG_BYTES = 1024 * 1024
MAX_SECONDS = 20.0
"""Of processor time, so that a busy machine draws the same pictures."""
MAX_MEMORY = 2 * 1024**3

_OUTSIDE = re.compile(r"(?:href\s*=\s*|url\(\s*)[\"']?\s*(?![\"'#\s])")
"""References to anything but a part of the same file."""


def on_white(image: Image.Image, side: int, margin: int = 0) -> Image.Image:
    """A picture reduced to a longest side of `side` px, a white margin included.

    Transparent ground becomes white. A smaller picture is not enlarged.
    """
    from PIL import Image

    image = image.convert("RGBA")
    inner = side - 2 * margin
    image.thumbnail((inner, inner), Image.Resampling.LANCZOS)
    ground = Image.new("RGB", (image.width + 2 * margin, image.height + 2 * margin), "white")
    ground.paste(image, (margin, margin), image)
    return ground


def png_of(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _render(svg: str, margin: int) -> bytes:
    """Draw one SVG: the picture as PNG.

    Errors:  ValueError when it is no SVG, or when nothing is seen on white
    """
    import resvg_py
    from PIL import Image

    inner, is_wide = SIDE_PX - 2 * margin, _is_wide(svg)
    data = resvg_py.svg_to_bytes(
        svg_string=svg,
        skip_system_fonts=True,
        width=inner if is_wide else None,
        height=None if is_wide else inner,
    )
    picture = on_white(Image.open(io.BytesIO(bytes(data))), SIDE_PX, margin)
    if is_blank(picture):
        raise ValueError("nothing is seen on white")
    return png_of(picture)


def _is_wide(svg: str) -> bool:
    box = re.search(r"viewBox\s*=\s*[\"']([^\"']{1,200})", svg)
    try:
        _, _, width, height = (
            float(part) for part in re.split(r"[\s,]+", (box or [""])[1].strip())
        )
    except (ValueError, IndexError):
        return True
    return width >= height


def _serve(connection: Connection, seconds: float) -> None:
    """The other process: an answer for each SVG, "+" and a PNG or "-" and the reason.

    An SVG that takes longer ends it: nothing handles the timer's signal.
    """
    import resource

    import PIL.Image  # noqa: F401 - not to be timed with the first SVG
    import resvg_py  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    with suppress(EOFError, OSError):
        while True:
            margin, _, svg = connection.recv_bytes().partition(b"\n")
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                answer = b"+" + _render(svg.decode("utf-8"), int(margin))
            except BaseException as error:  # a panic of native code is no Exception
                answer = b"-" + (str(error) or type(error).__name__).encode("utf-8", "replace")
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send_bytes(answer)


class SvgError(ValueError):
    """One SVG that cannot be drawn, and why."""


class SvgRenderer:
    """Draws SVG files in another process, which is replaced when it dies or takes too long."""

    def __init__(self, seconds: float = MAX_SECONDS) -> None:
        self._seconds = seconds
        self._process: Any = None
        self._connection: Connection | None = None

    def draw(self, svg: str, margin: int = MARGIN_PX) -> bytes:
        """The picture as PNG: longest side SIDE_PX, a white margin of `margin` px included.

        Errors:  SvgError
        """
        data = svg.encode("utf-8", "replace")
        if len(data) > MAX_SVG_BYTES:
            raise SvgError(f"larger than {MAX_SVG_BYTES} bytes")
        if _OUTSIDE.search(svg) or "<!ENTITY" in svg:
            raise SvgError("refers to something outside the file")
        try:
            connection = self._started()
            connection.send_bytes(b"%d\n%b" % (margin, data))
            answer = connection.recv_bytes()
        except (EOFError, OSError) as error:
            self._process.join(timeout=10)
            is_late = self._process.exitcode == -signal.SIGPROF
            self.close()
            why = f"not drawn within {self._seconds:g} s" if is_late else "it ended the renderer"
            raise SvgError(why) from error
        if answer[:1] != b"+":
            raise SvgError(answer[1:].decode("utf-8", "replace"))
        return answer[1:]

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(theirs, self._seconds), daemon=True
            )
            self._process.start()
            theirs.close()
        return self._connection

    def close(self) -> None:
        """End the other process."""
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._connection = None
