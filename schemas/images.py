"""What a picture file is: the only module that opens one.

Only formats whose decoders have a clean record are allowed, and the dimensions are known to
be within the caps before a pixel is decoded.
"""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}
"""Formats that are decoded, with the extension that stored files get. Naming them keeps
Pillow's other parsers (PSD, FITS, EPS, TGA, ... with advisories in 2026) out of reach."""


class Reason(StrEnum):
    """Why a picture is not in the index; the closed list behind `toonsearch status`."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NOT_A_FILE = "not_a_file"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    FORMAT = "format"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    BLANK = "blank"
    DUPLICATE = "duplicate"
    STORE = "store"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    ADDRESS = "address"
    OPT_OUT = "opt_out"
    UNEXPECTED = "unexpected"


SKIPPED = frozenset(
    {
        Reason.TOO_MANY_BYTES,
        Reason.TOO_MANY_PIXELS,
        Reason.TOO_SMALL,
        Reason.FORMAT,
        Reason.BLANK,
        Reason.DUPLICATE,
        Reason.ADDRESS,
        Reason.OPT_OUT,
    }
)
"""Reasons that are a decision about a sound file; all others are failures worth a retry."""


class PictureError(InputError):
    """A picture cannot be used; `reason` says why in one word."""

    def __init__(self, reason: Reason, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.reason = reason


@dataclass(frozen=True)
class PictureLimits:
    """Caps that hold before anything is decoded."""

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 40_000_000
    min_side_px: int = 8


def picture_id_of(data: bytes) -> str:
    """The picture's identity: SHA-256 of its bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def read_capped(path: Path, limits: PictureLimits) -> bytes:
    """The bytes of a user's file, never more than the cap; only files are read, because a pipe or
    a device may never end.

    Errors:  PictureError
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PictureError(Reason.NOT_A_FILE, "is not a file")
        with path.open("rb") as handle:
            data = handle.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        raise PictureError(Reason.MISSING, f"cannot be found ({error.strerror})") from error
    except OSError as error:
        raise PictureError(Reason.UNREADABLE, f"cannot be read ({error.strerror})") from error
    if len(data) > limits.max_bytes:
        raise PictureError(Reason.TOO_MANY_BYTES, f"has more than {limits.max_bytes:,} bytes")
    return data


def stored_bytes(path: Path, picture_id: str) -> bytes:
    """The bytes of a stored picture, verified by its id.

    Errors:  PictureError with the reason `store`
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(Reason.STORE, f"the stored file is gone ({error.strerror})") from error
    if picture_id_of(data) != picture_id:
        raise PictureError(Reason.STORE, "the stored file was changed")
    return data


@dataclass(frozen=True)
class PictureFacts:
    """What the header says, before any pixel is decoded."""

    format: str
    width_px: int
    height_px: int


def _open(data: bytes, limits: PictureLimits) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError(Reason.EMPTY, "the file is empty")
    if len(data) > limits.max_bytes:
        raise PictureError(
            Reason.TOO_MANY_BYTES,
            f"the file has {len(data):,} bytes, more than the cap of {limits.max_bytes:,}",
            "Raise decode.max_bytes if you trust it.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own pixel cap below is the stricter one
            image = Image.open(io.BytesIO(data), formats=tuple(FORMATS))
    except Image.DecompressionBombError as error:
        raise PictureError(
            Reason.TOO_MANY_PIXELS,
            f"the picture has more pixels than the cap of {limits.max_pixels:,}",
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(
            Reason.FORMAT,
            "not a picture that can be read",
            f"Allowed are {', '.join(FORMATS)}.",
        ) from error
    except Exception as error:  # Pillow's parsers raise many types on hostile headers
        raise PictureError(Reason.DAMAGED, f"the picture's header is damaged ({error})") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise PictureError(
            Reason.TOO_MANY_PIXELS,
            f"the picture is {width} x {height}, more than the cap of {limits.max_pixels:,} pixels",
            "Scale it down, or raise decode.max_pixels if you trust it.",
        )
    if min(width, height) < limits.min_side_px:
        raise PictureError(
            Reason.TOO_SMALL,
            f"the picture is {width} x {height}; the shorter side needs"
            f" {limits.min_side_px} pixels",
        )
    return image


def inspect_picture(data: bytes, limits: PictureLimits) -> PictureFacts:
    """Read the header only.

    Errors:  PictureError with its reason
    """
    image = _open(data, limits)
    return PictureFacts(str(image.format), *image.size)


def decode_picture(data: bytes, limits: PictureLimits, target_px: int | None = None) -> Image.Image:
    """Decode a picture to upright RGB on white: first frame, EXIF turned, alpha flattened.

    `target_px` is the longest side that the caller needs: JPEG files are then decoded at a
    fraction of their size (never below the target) and large others are box-reduced early,
    which is several times cheaper for big pictures.

    Units:   pixels
    Errors:  PictureError with its reason
    """
    from PIL import Image, ImageOps

    image = _open(data, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if target_px is not None and image.format == "JPEG":
                scale = target_px / max(image.size)
                if scale < 1:
                    image.draft(None, (int(image.width * scale), int(image.height * scale)))
            image.load()
            image = ImageOps.exif_transpose(image)
            image = _reduce_early(image, target_px)
            return _rgb_on_white(image)
    except PictureError:
        raise
    except OSError as error:
        text = str(error)
        reason = Reason.TRUNCATED if "truncated" in text.lower() else Reason.DAMAGED
        raise PictureError(reason, f"the picture is {reason} ({text})") from error
    except (MemoryError, Image.DecompressionBombError) as error:
        raise PictureError(Reason.TOO_MANY_PIXELS, "the picture does not fit in memory") from error
    except Exception as error:  # a decoder bug must cost one row, not the run
        raise PictureError(Reason.DAMAGED, f"the picture is damaged ({error})") from error


def decode_stored(path: Path, limits: PictureLimits, target_px: int) -> Image.Image | None:
    """A file of the store as `decode_picture` gives it, None when it is gone or damaged."""
    try:
        return decode_picture(path.read_bytes(), limits, target_px)
    except (OSError, PictureError):
        return None


def _reduce_early(image: Image.Image, target_px: int | None) -> Image.Image:
    """Box-reduce by a whole factor while at least twice the target remains."""
    if target_px is None or image.mode not in ("L", "RGB", "RGBA", "LA", "CMYK"):
        return image
    factor = max(image.size) // (2 * target_px)
    factor = min(factor, min(image.size))
    if factor < 2:
        return image
    if image.mode in ("RGBA", "LA"):  # average colours weighted by their alpha, not raw
        image = image.convert("RGBa" if image.mode == "RGBA" else "La").reduce(factor)
        return image.convert("RGBA" if image.mode == "RGBa" else "LA")
    return image.reduce(factor)


def _rgb_on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit grey: convert() would clip at 255, so scale by the range of the type.
        grey = np.asarray(image, dtype=np.float64)
        top = 65535.0 if grey.max(initial=0.0) > 255 else 255.0
        image = Image.fromarray(np.clip(grey * (255.0 / top), 0, 255).astype(np.uint8))
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


BLANK_RANGE = 6
"""Grey levels between the darkest and brightest of 64 x 64 averaged cells below which a
picture shows nothing: JPEG noise and paper tone stay below, one thin stroke is above."""


def is_blank(image: Image.Image) -> bool:
    """Whether nothing is drawn on the picture."""
    low, high = image.convert("L").resize((64, 64), resample=4).getextrema()
    return float(high) - float(low) < BLANK_RANGE  # type: ignore[arg-type]


@cache
def _cosines() -> np.ndarray:
    """Rows 1..8 of the 32-point DCT-II matrix; shape (8, 32)."""
    k = np.arange(1, 9)[:, None]
    n = np.arange(32)[None, :]
    return np.asarray(np.cos(np.pi * k * (2 * n + 1) / 64.0))


def perceptual_hash(image: Image.Image) -> int:
    """64-bit DCT hash: equal for copies at other sizes, near for slightly changed ones.

    Source:  Zauner 2010, "Implementation and benchmarking of perceptual image hash
             functions", section 3.2.1 (without the first row and column)
    """
    grey = np.asarray(image.convert("L").resize((32, 32), resample=4), dtype=np.float64)
    cosines = _cosines()
    low = cosines @ grey @ cosines.T
    # Not np.median: it imports numpy.ma when it is first called, which fails when two threads do.
    median = np.sort(low, axis=None)[31:33].mean()
    bits = (low > median).reshape(-1)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def grey_thumbnail(image: Image.Image, side_px: int = 32) -> np.ndarray:
    """A (side, side) uint8 grey copy, to confirm near-duplicates by correlation."""
    return np.asarray(image.convert("L").resize((side_px, side_px), resample=4))
