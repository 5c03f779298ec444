"""What a picture file is: the only module that opens one.

Only formats whose decoders have a clean record are allowed, and the dimensions are known to
be within the caps before a pixel is decoded.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schemas.containers import Container, DamagedContainerError, jpeg_is_whole, open_container
from schemas.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageCms import ImageCmsTransform
    from PIL.ImageFile import ImageFile

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
    """Caps that hold before anything is decoded.

    `max_pixels` is what a decoder may hold. That is all pixels of a picture, but a quarter of
    those of a usual JPEG, which is reduced while it is decoded, and twice those of WebP, whose
    decoder keeps a copy.
    """

    max_bytes: int = 128 * 1024 * 1024
    max_pixels: int = 120_000_000
    min_side_px: int = 8


def picture_id_of(data: bytes) -> str:
    """The picture's identity: SHA-256 of its bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def unread(error: OSError) -> PictureError:
    """What an error of the system says of a file: it is missing, or there and not to be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return PictureError(Reason.MISSING, f"cannot be found ({error.strerror})")
    return PictureError(Reason.UNREADABLE, f"cannot be read ({error.strerror})")


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
    except OSError as error:
        raise unread(error) from error
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


def _container(data: bytes, limits: PictureLimits, *, frames: bool = False) -> Container:
    if not data:
        raise PictureError(Reason.EMPTY, "the file is empty")
    if len(data) > limits.max_bytes:
        raise PictureError(
            Reason.TOO_MANY_BYTES,
            f"the file has {len(data):,} bytes, more than the cap of {limits.max_bytes:,}",
            "Scale the picture down, or save it as JPEG.",
        )
    try:
        found = open_container(data, frames=frames)
    except DamagedContainerError as error:
        raise PictureError(Reason.DAMAGED, f"the picture is damaged ({error})") from error
    if found is None:
        raise PictureError(
            Reason.FORMAT,
            "not a picture that can be read",
            f"Allowed are {', '.join(FORMATS)}.",
        )
    return found


def _open(file: Container, limits: PictureLimits) -> ImageFile:
    from PIL import Image, UnidentifiedImageError

    with _decoding(file):
        Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses from twice as many on
        try:
            image = Image.open(io.BytesIO(file.data), formats=(file.format,))
        except UnidentifiedImageError as error:
            raise ValueError("its header cannot be read") from error
    _check_size(image.size, file, limits)
    return image


@contextlib.contextmanager
def _decoding(file: Container) -> Iterator[None]:
    """Whatever a decoder raises, as a PictureError: its bug must cost one row, not the run."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own caps are the stricter ones
            yield
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(
            Reason.TOO_MANY_PIXELS, "the picture has more pixels than any decoder takes"
        ) from error
    except MemoryError as error:
        raise PictureError(
            Reason.TOO_MANY_PIXELS, "the picture does not fit in memory", TOO_LARGE
        ) from error
    except Exception as error:
        text = str(error)
        is_cut = file.is_cut or "truncated" in text.lower()
        reason = Reason.TRUNCATED if is_cut else Reason.DAMAGED
        detail = "its file ends too early" if is_cut else text
        raise PictureError(reason, f"the picture is {reason} ({detail})") from error


MOST_PIXELS = 480_000_000
"""No limits allow more; above it not even a header is read to its end."""
TOO_LARGE = "Scale it down, or cut out a part of it."


def _check_size(size: tuple[int, int], file: Container, limits: PictureLimits) -> None:
    width, height = size
    most = limits.max_pixels * (1 if file.is_buffered else 4) // (2 if file.format == "WEBP" else 1)
    if width * height > most:
        raise PictureError(
            Reason.TOO_MANY_PIXELS,
            f"the picture is {width} x {height}, more than the cap of {most:,} pixels",
            TOO_LARGE,
        )
    if min(width, height) < limits.min_side_px:
        raise PictureError(
            Reason.TOO_SMALL,
            f"the picture is {width} x {height}; the shorter side needs"
            f" {limits.min_side_px} pixels",
        )


def inspect_picture(data: bytes, limits: PictureLimits) -> PictureFacts:
    """Read the header only.

    Errors:  PictureError with its reason
    """
    file = _container(data, limits)
    return PictureFacts(file.format, *_open(file, limits).size)


def upright_size(data: bytes, limits: PictureLimits) -> tuple[int, int]:
    """Width and height of the picture as `decode_picture` gives it, from the header.

    Errors:  PictureError with its reason
    """
    file = _container(data, limits)
    width, height = _open(file, limits).size
    return (height, width) if file.orientation >= 5 else (width, height)


def is_animated(data: bytes, limits: PictureLimits) -> bool:
    """Whether a picture has several frames, of which only one is decoded.

    Errors:  PictureError with its reason
    """
    file = _container(data, limits)
    if file.format not in ("GIF", "WEBP"):
        return file.is_animated
    with _decoding(file):
        return bool(getattr(_open(file, limits), "is_animated", False))


Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""

MANY_PIXELS = 32_000_000
"""Larger pictures are decoded one at a time, however many threads there are."""
_ONE_AT_A_TIME = threading.Lock()


def decode_picture(
    data: bytes,
    limits: PictureLimits,
    target_px: int | None = None,
    part: Callable[[int, int], Box] | None = None,
) -> Image.Image:
    """Decode a picture to upright sRGB: EXIF turned, colour profile applied, transparency laid
    on white, or on dark grey where white hides what is drawn. Of an animation it is the first
    frame on which something is drawn.

    `target_px` is the longest side that the caller needs: JPEG files are then decoded at a
    fraction of their size (never below the target) and large others are box-reduced early,
    which is several times cheaper for big pictures. `part` says, from width and height of the
    upright picture, which part of it is wanted; the target is then the part's.

    Units:   pixels
    Errors:  PictureError with its reason
    """
    file = _container(data, limits)
    image = _open(file, limits)
    held = image.width * image.height // (1 if file.is_buffered else 4)
    with _ONE_AT_A_TIME if held > MANY_PIXELS else contextlib.nullcontext():
        job = _Job(file, limits, target_px, part and _unturned(image.size, file, part), image.size)
        made = job.first(image)
        has_frames = file.format in ("GIF", "WEBP") or file.is_animated
        return job.later(data, made) if has_frames and is_blank(made) else made


def decode_preview(
    data: bytes,
    limits: PictureLimits,
    side_px: int,
    part: Callable[[int, int], Box] | None = None,
) -> Image.Image:
    """A copy with a longest side of at most `side_px`; of a strip its fullest part, so that it
    can be made out.

    Errors:  PictureError with its reason
    """
    file = _container(data, limits)
    size = _open(file, limits).size
    left, top, right, bottom = _unturned(size, file, part) if part else (0, 0, *size)
    short, long = sorted((right - left, bottom - top))
    whole_px = round(side_px * max(1.0, long / (PREVIEW_RATIO * short)))
    image = decode_picture(data, limits, whole_px, part)
    image.thumbnail((whole_px, whole_px))
    image = fullest_part(image)
    image.thumbnail((side_px, side_px))
    return image


def decode_stored(path: Path, limits: PictureLimits, target_px: int) -> Image.Image | None:
    """A file of the store as `decode_picture` gives it, None when it is gone or damaged."""
    try:
        return decode_picture(path.read_bytes(), limits, target_px)
    except (OSError, PictureError):
        return None


def stored_preview(path: Path, limits: PictureLimits, side_px: int) -> Image.Image | None:
    """A file of the store as `decode_preview` gives it, None when it is gone or damaged."""
    try:
        return decode_preview(path.read_bytes(), limits, side_px)
    except (OSError, PictureError):
        return None


PREVIEW_RATIO = 2.5
"""A preview is at most so many times as long as wide."""


def fullest_part(image: Image.Image) -> Image.Image:
    """Of a strip the part with most drawn on it; any other picture whole."""
    width, height = image.size
    length = round(PREVIEW_RATIO * min(width, height))
    if max(width, height) <= length:
        return image
    grey = np.asarray(image.convert("L"), np.int16)
    if height > width:
        grey = grey.T
    change = np.abs(np.diff(grey, axis=0, prepend=grey[:1])).sum(axis=0, dtype=np.int64)
    change += np.abs(np.diff(grey, axis=1, prepend=grey[:, :1])).sum(axis=0, dtype=np.int64)
    total = np.concatenate([[0], np.cumsum(change)])  # along the strip
    start = int(np.argmax(total[length:] - total[:-length]))
    box = (
        (0, start, width, start + length) if height > width else (start, 0, start + length, height)
    )
    return image.crop(box)


# --- From what the decoder gives to upright sRGB.

MAX_FRAMES = 120
MAX_FRAME_PIXELS = 240_000_000
"""Of an animation, looked through for one on which something is drawn."""


@dataclass(frozen=True)
class _Job:
    """How one file is decoded; `box` is the part wanted, in pixels of the unturned `size`."""

    file: Container
    limits: PictureLimits
    target_px: int | None
    box: Box | None
    size: tuple[int, int]

    def first(self, image: ImageFile) -> Image.Image:
        """The picture, or the first frame of an animation."""
        with _decoding(self.file):
            if self.file.format == "JPEG":
                self._reduce_while_decoding(image)
            deep = image.mode == "I;16"
            if deep:
                _as_8_bit(image, "L;16B")
            try:
                image.load()
            except OSError:
                ended = self._with_end()
                if ended is None:
                    raise
                image = ended
            if deep and image.getextrema()[1] == 0:  # 8 bits in the lower half of 16
                image = _open(self.file, self.limits)
                _as_8_bit(image, "L;16")
            return self._finished(image)

    def later(self, data: bytes, first: Image.Image) -> Image.Image:
        """The first later frame on which something is drawn, else the first of all."""
        with contextlib.suppress(PictureError), _decoding(self.file):
            file = _container(data, self.limits, frames=True)
            image = _open(file, self.limits)
            count = MAX_FRAME_PIXELS // (image.width * image.height)
            for number in range(1, min(MAX_FRAMES, count)):
                try:
                    image.seek(number)
                except EOFError:
                    break
                _check_size(image.size, file, self.limits)
                image.load()
                made = self._finished(image.copy())
                if not is_blank(made):
                    return made
        return first

    def _reduce_while_decoding(self, image: ImageFile) -> None:
        width, height = self.size
        scale = 1.0 if width * height <= self.limits.max_pixels else 0.5
        if self.target_px is not None:
            left, top, right, bottom = self.box or (0, 0, width, height)
            scale = min(scale, self.target_px / max(right - left, bottom - top))
        if scale < 1:
            image.draft(None, (max(1, int(width * scale)), max(1, int(height * scale))))

    def _with_end(self) -> ImageFile | None:
        """A JPEG that lacks its end marker, None when it lacks more.

        Whether pixels are missing shows by what follows: more data change a picture only where
        its own were not all there.
        """
        from PIL import ImageChops

        if self.file.format != "JPEG" or not jpeg_is_whole(self.file.data):
            return None
        data = self.file.data.rstrip(b"\xff")  # half a marker
        end, noise = b"\xff\xd9", bytes(range(1, 200))
        more = noise + b"".join(bytes((0xFF, mark)) + noise for mark in range(0xD0, 0xD8))
        one, other, image = (
            _open(replace(self.file, data=data + tail), self.limits)
            for tail in (end, more + end, end)
        )
        self._reduce_while_decoding(image)
        if one.width * one.height > MANY_PIXELS:
            for each in (one, other):
                each.draft(None, (one.width // 4, one.height // 4))
        width, height = one.size
        left, top, *_ = ImageChops.difference(one, other).getbbox() or (width, height)
        if (width - left) * (height - top) > min(MISSING_PX, width * height / 100):
            return None
        image.load()
        return image

    def _finished(self, image: Image.Image) -> Image.Image:
        """Cut out, turned upright, reduced, and in sRGB without transparency or metadata."""
        from PIL import Image

        if self.box is not None:
            across, down = image.width / self.size[0], image.height / self.size[1]
            left, top, right, bottom = self.box
            left, top = int(left * across), int(top * down)
            image = image.crop((left, top, math.ceil(right * across), math.ceil(bottom * down)))
        if self.file.orientation > 1:
            image = image.transpose(Image.Transpose(_TURNS[self.file.orientation]))
        kind = _KINDS.get(image.mode)
        image = _reduce_early(image, self.target_px)
        if kind != "CMYK":
            image = _opaque(image)
        if self.file.profile and kind:
            image = _in_srgb(image, self.file.profile, kind)
        image = _opaque(image)
        image.info = {}
        return image


MISSING_PX = 1024
"""A JPEG whose last bytes are missing is whole when they hold no more than that, or one per cent
of a small picture."""

_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Of each EXIF orientation the `Image.Transpose` that turns the picture upright."""


def _unturned(size: tuple[int, int], file: Container, part: Callable[[int, int], Box]) -> Box:
    """A part of the upright picture in pixels of the file, which is of this size."""
    width, height = size
    turned = file.orientation
    left, top, right, bottom = part(height, width) if turned >= 5 else part(width, height)
    if turned >= 5:
        left, top, right, bottom = top, left, bottom, right
    if turned in (2, 3, 7, 8):
        left, right = width - right, width - left
    if turned in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _as_8_bit(image: ImageFile, raw: str) -> None:
    """Let 16-bit grey be decoded to its upper (`L;16B`) or lower (`L;16`) byte: that costs no
    more than 8-bit grey."""
    if "transparency" in image.info:
        grey = int(image.info["transparency"])
        image.info["transparency"] = grey >> 8 if raw == "L;16B" else grey & 255
    image._mode = "L"
    image.tile = [tile._replace(args=raw) for tile in image.tile]


def _reduce_early(image: Image.Image, target_px: int | None) -> Image.Image:
    """Box-reduce by a whole factor while at least twice the target remains."""
    from PIL import Image

    if target_px is None:
        return image
    width, height = image.size
    factor = min(max(width, height) // (2 * target_px), width, height)
    if factor < 2:
        return image
    if image.mode in ("L", "RGB", "CMYK"):
        return image.reduce(factor)
    if image.mode not in ("RGBA", "LA") and width * height <= MANY_PIXELS:
        return image
    # Colours are averaged weighted by their alpha, in bands: copies of all pixels are not held.
    made = Image.new("RGBA", (-(-width // factor), -(-height // factor)))
    rows = 256 * factor
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        made.paste(band.convert("RGBa").reduce(factor).convert("RGBA"), (0, top // factor))
    return made


DARK = 64
"""Grey level of the ground for ink that white hides."""
FAINT_RANGE = 48
"""Levels between the darkest and brightest averaged cells of any channel below which ink is hard
to see on white."""


def _opaque(image: Image.Image) -> Image.Image:
    """RGB; transparency is laid on white, or on dark grey when that shows much more."""
    if image.mode not in ("RGBA", "LA") and "transparency" not in image.info:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image.convert("RGBA")
    white = _laid_on(layer, 255)
    if layer.getchannel("A").getextrema()[0] == 255:
        return white
    shown = _range(white)
    if shown >= FAINT_RANGE and not is_blank(white):
        return white
    dark = _laid_on(layer, DARK)
    return dark if _range(dark) > 2 * shown else white


def _laid_on(layer: Image.Image, grey: int) -> Image.Image:
    from PIL import Image

    ground = Image.new("RGBA", layer.size, (grey, grey, grey, 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


def _range(image: Image.Image) -> float:
    """Levels between the darkest and brightest of 64 x 64 averaged cells, of the widest channel."""
    cells = np.asarray(image.resize((64, 64), resample=4), np.int16)
    return float(np.ptp(cells, axis=(0, 1)).max())


# --- Colour profiles

SAME_LEVELS = 3
"""A profile that moves no colour further than that is taken for sRGB."""
_KINDS = {"RGB": "RGB", "RGBA": "RGB", "P": "RGB", "L": "L", "LA": "L", "CMYK": "CMYK"}
"""Of each mode what a profile is applied to."""
_SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}


def _in_srgb(image: Image.Image, profile: bytes, kind: str) -> Image.Image:
    """The picture's colours as sRGB; a profile that cannot be used changes nothing."""
    from PIL import ImageCms

    transform = _to_srgb(profile, kind)
    if transform is None:
        return image
    try:
        colours = image.getchannel(0) if kind == "L" else image
        return ImageCms.applyTransform(colours, transform) or image
    except Exception:  # of the library, which has no common type
        return image


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes, kind: str) -> ImageCmsTransform | None:
    """From a profile to sRGB; None for sRGB itself, for profiles of other kinds and for damaged
    ones."""
    if profile[16:20] != _SPACES[kind] or profile[36:40] != b"acsp":
        return None
    from PIL import Image, ImageCms

    levels = np.linspace(0, 255, 6).astype(np.uint8)
    colours = np.stack(np.meshgrid(*[levels] * Image.getmodebands(kind), indexing="ij"), axis=-1)
    probe = Image.frombytes(kind, (6, colours.size // colours.shape[-1] // 6), colours.tobytes())
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, kind, "RGB")
        made = ImageCms.applyTransform(probe, transform)
    except Exception:  # of the library, which has no common type
        return None
    moved = np.asarray(made, np.int16).reshape(-1, 3)
    plain = np.asarray(probe.convert("RGB"), np.int16).reshape(-1, 3)
    if np.abs(moved - plain).max() <= SAME_LEVELS:
        return None
    # One that leaves no light between black and white would hide what is drawn.
    dark, bright = (int(place) for place in (plain.sum(1).argmin(), plain.sum(1).argmax()))
    return transform if (moved[bright] - moved[dark]).min() > 127 else None


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
