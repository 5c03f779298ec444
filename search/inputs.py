"""Pictures of a query: files, standard input, and a part of a picture."""

from __future__ import annotations

import errno
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from schemas.errors import InputError, UsageError
from schemas.images import (
    Box,
    PictureError,
    PictureLimits,
    Reason,
    decode_picture,
    decode_preview,
    is_blank,
    picture_id_of,
    upright_size,
)

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from indexer.embedding.preprocess import PixelSpec

STDIN = "-"
MAX_LINE_BYTES = 1 << 16
"""Of a list of paths: several times as long as a path can be."""


@dataclass(frozen=True)
class Crop:
    """A part of the upright picture; each number is in pixels, or in percent of its side."""

    numbers: tuple[float, float, float, float]
    percent: tuple[bool, bool, bool, bool]

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Read `x,y,w,h`, where a number with % is a share of the picture's side.

        Errors:  UsageError
        """
        parts = [part.strip() for part in text.split(",")]
        try:
            x, y, w, h = (float(part.removesuffix("%")) for part in parts)
            percents = tuple(part.endswith("%") for part in parts)
        except ValueError:
            raise _bad_crop(text) from None
        if not (0 <= x < 1e6 and 0 <= y < 1e6 and 0 < w < 1e6 and 0 < h < 1e6):
            raise _bad_crop(text)
        return cls((x, y, w, h), (percents[0], percents[1], percents[2], percents[3]))

    def box(self, width_px: int, height_px: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, cut off at the picture's edges.

        Errors:  InputError when nothing of the picture is inside
        """
        sides = (width_px, height_px, width_px, height_px)
        x, y, w, h = (
            round(number * side / 100 if share else number)
            for number, side, share in zip(self.numbers, sides, self.percent, strict=True)
        )
        box = (x, y, min(x + w, width_px), min(y + h, height_px))
        if box[0] >= box[2] or box[1] >= box[3]:
            raise InputError(f"--crop lies outside the picture, which is {width_px} x {height_px}")
        return box


def _bad_crop(text: str) -> UsageError:
    return UsageError(
        f"--crop {text!r} is not x,y,width,height",
        "Use pixels (10,20,300,200) or percent (0,0,50%,100%).",
    )


def parse_weights(text: str) -> tuple[float, ...]:
    """How much each picture counts, such as `2,1` or `100%,50%`: only their ratios matter.

    Errors:  UsageError
    """
    try:
        weights = tuple(float(part.strip().removesuffix("%")) for part in text.split(","))
    except ValueError:
        weights = ()
    if not weights:
        raise UsageError(
            f"--weights {text[:80]!r} are not numbers",
            "Give one for each picture, as in 2,1: the first counts twice as much.",
        )
    return weights


@dataclass(frozen=True)
class QueryPicture:
    """A picture of a query, still encoded."""

    name: str
    data: bytes
    crop: Crop | None = None

    @property
    def picture_id(self) -> str:
        return picture_id_of(self.data)

    def part(self, limits: PictureLimits) -> Box:
        """Where the part that the query is about lies in the upright picture: left, top, right,
        bottom. Nothing is decoded for it.

        Errors:  PictureError, with the picture's name
        """
        with self._named():
            width_px, height_px = upright_size(self.data, limits)
            part = self._part(limits)
            return part(width_px, height_px) if part else (0, 0, width_px, height_px)

    def image(self, limits: PictureLimits, target_px: int | None = None) -> Image.Image:
        """The part that the query is about, as `decode_picture` gives it.

        Errors:  PictureError, with the picture's name
        """
        with self._named():
            return decode_picture(self.data, limits, target_px, self._part(limits))

    def preview(self, limits: PictureLimits, side_px: int) -> Image.Image:
        """A small copy of that part, as `decode_preview` gives it.

        Errors:  PictureError, with the picture's name
        """
        with self._named():
            return decode_preview(self.data, limits, side_px, self._part(limits))

    def pixels(
        self, limits: PictureLimits, spec: PixelSpec, image: Image.Image | None = None
    ) -> np.ndarray:
        """What the network sees of it; `image` is it in full size where that is at hand.

        Errors:  PictureError, with the picture's name
        """
        from indexer.embedding.preprocess import prepare

        if image is None or max(image.size) > spec.decode_px:
            image = self.image(limits, spec.decode_px)
        with self._named():
            if is_blank(image):
                raise PictureError(
                    Reason.BLANK, "nothing is drawn on it", "Ask about a drawing, or a part of one."
                )
        return prepare(image, spec)

    def _part(self, limits: PictureLimits) -> Callable[[int, int], Box] | None:
        crop = self.crop
        if crop is None:
            return None

        def box(width_px: int, height_px: int) -> Box:
            found = crop.box(width_px, height_px)
            if min(found[2] - found[0], found[3] - found[1]) < limits.min_side_px:
                raise PictureError(
                    Reason.TOO_SMALL, f"the crop's shorter side needs {limits.min_side_px} pixels"
                )
            return found

        return box

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except PictureError as error:
            raise PictureError(error.reason, f"{self.name}: {error.message}", error.hint) from error


def read_picture(
    source: str, limits: PictureLimits, *, crop: Crop | None = None, stdin: BinaryIO | None = None
) -> QueryPicture:
    """Read a file, or standard input when the source is `-`.

    Errors:  InputError when there is nothing to read
    """
    cap = limits.max_bytes + 1  # one byte over is enough for the decoder to refuse it
    if source == STDIN:
        if stdin is None or stdin.isatty():
            raise InputError(
                "`-` reads a picture from standard input, and nothing is piped there",
                "Try `toonsearch query - < picture.jpg`.",
            )
        data = stdin.read(cap)
        if not data:
            raise InputError("nothing came from standard input")
        return QueryPicture("standard input", data, crop)
    if not source:
        raise InputError("the name of a picture is empty")
    name = shown(source)
    try:
        with Path(source).open("rb") as file:
            return QueryPicture(name, file.read(cap), crop)
    except IsADirectoryError as error:
        raise InputError(
            f"{name} is a directory", f"Name pictures, as in `toonsearch query {name}/*.jpg`."
        ) from error
    except (OSError, ValueError) as error:
        missing = getattr(error, "errno", None) in (errno.ENOENT, errno.ENOTDIR)
        reason = getattr(error, "strerror", None) or error
        why = "does not exist" if missing else f"cannot be read ({reason})"
        raise InputError(f"{name} {why}") from error


def listed_paths(source: str, stdin: BinaryIO) -> Iterator[str]:
    """The paths of a list, one a line, as they come; of standard input when the source is `-`.
    Empty lines are left out. The list itself is opened at once.

    Errors:  InputError when it cannot be read, or is no list of paths
    """
    if source == STDIN:
        if stdin.isatty():
            raise InputError(
                "`-` reads a list of paths from standard input, and nothing is piped there",
                "Try `find new -name '*.png' | toonsearch query --batch - --nl`.",
            )
        return _lines(source, stdin)
    try:
        return _lines(source, Path(source).open("rb"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"the list {shown(source)} cannot be read ({why})") from error


def _lines(source: str, lines: BinaryIO) -> Iterator[str]:
    name = "standard input" if source == STDIN else shown(source)
    with nullcontext() if source == STDIN else lines:
        number = 0
        while line := lines.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES or b"\0" in line:
                raise InputError(
                    f"line {number:,} of {name} is no path", "A list of paths has one a line."
                )
            path = os.fsdecode(line.removeprefix(BOM_UTF8 if number == 1 else b"").strip(b"\r\n"))
            if path.strip():
                yield f"./{path}" if path == STDIN else path


def shown(path: str) -> str:
    """A path as text that every output can carry; odd bytes become question marks."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
