"""Thumbnails in the terminal: kitty, iTerm2, sixel, or coloured half blocks anywhere else.

The terminal is recognised by its environment; asking it could hang in a pipe or a
multiplexer, which swallows pictures anyway and therefore gets blocks.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

import numpy as np

from schemas.errors import ToonsearchError
from schemas.images import PictureLimits, decode_picture
from schemas.records import Answer, Hit
from schemas.storage.layout import Layout
from search.cli.context import plain

if TYPE_CHECKING:
    from PIL import Image

ROWS = 8
"""Height of a thumbnail in lines; a letter is taken to be twice as high as wide."""
CELL_PX = (10, 20)
KITTY_CHUNK = 4096  # bytes; the protocol's own limit
SIXEL_COLOURS = 64


def terminal_style(environ: Mapping[str, str]) -> str:
    """The best way of showing pictures that this terminal is known to have."""
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if environ.get("TMUX") or term.startswith(("screen", "tmux")):
        return "blocks"
    if environ.get("KITTY_WINDOW_ID") or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    if term.startswith(("foot", "mlterm", "contour", "yaft")) or "sixel" in term:
        return "sixel"
    return "blocks"


def write_previews(
    out: TextIO, answer: Answer, by: str, layout: Layout, limits: PictureLimits, style: str = "auto"
) -> None:
    """A strip of thumbnails for each hit, in the order of the table."""
    style = terminal_style(os.environ) if style == "auto" else style
    width = shutil.get_terminal_size().columns
    groups = (
        [(f"{title.rank}  {title.name}", title.hits) for title in answer.titles]
        if by == "title"
        else [(f"{rank}", (hit,)) for rank, hit in enumerate(answer.pictures, 1)]
    )
    for caption, hits in groups:
        images = [image for hit in hits if (image := _stored(hit, layout, limits)) is not None]
        if not images:
            continue
        strip = _strip(images, min(width * CELL_PX[0], 900))
        out.write(plain(caption) + "\n")
        out.writelines(_drawn(strip, style))
        out.write("\n")
    out.flush()


def _stored(hit: Hit, layout: Layout, limits: PictureLimits) -> Image.Image | None:
    """The hit's picture; None when its file is gone, which must not cost the answer."""
    if hit.file is None:
        return None
    try:
        data = layout.picture(hit.file).read_bytes()
        return decode_picture(data, limits, target_px=ROWS * CELL_PX[1] * 2)
    except (OSError, ToonsearchError):
        return None


def _strip(images: list[Image.Image], max_width_px: int) -> Image.Image:
    """Pictures of one height side by side, as many as fit."""
    from PIL import Image

    height = ROWS * CELL_PX[1]
    scaled = [i.resize((max(1, min(i.width * height // i.height, 4 * height)), height))
              for i in images]  # fmt: skip
    gap = CELL_PX[0]
    while len(scaled) > 1 and sum(i.width + gap for i in scaled) > max_width_px:
        scaled.pop()
    strip = Image.new("RGB", (min(sum(i.width + gap for i in scaled), max_width_px), height))
    left = 0
    for image in scaled:
        strip.paste(image, (left, 0))
        left += image.width + gap
    return strip


def _drawn(strip: Image.Image, style: str) -> Iterator[str]:
    if style == "kitty":
        return kitty(strip)
    if style == "iterm":
        return iterm(strip)
    return sixel(strip) if style == "sixel" else blocks(strip)


def _png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def kitty(image: Image.Image) -> Iterator[str]:
    """Source:  sw.kovidgoyal.net/kitty/graphics-protocol, "remote client" transfer"""
    data = base64.standard_b64encode(_png(image)).decode("ascii")
    for start in range(0, len(data), KITTY_CHUNK):
        head = f"a=T,f=100,r={ROWS}," if start == 0 else ""
        more = int(start + KITTY_CHUNK < len(data))
        yield f"\x1b_G{head}m={more};{data[start : start + KITTY_CHUNK]}\x1b\\"
    yield "\n"


def iterm(image: Image.Image) -> Iterator[str]:
    """Source:  iterm2.com/documentation-images.html"""
    data = base64.standard_b64encode(_png(image)).decode("ascii")
    yield f"\x1b]1337;File=inline=1;height={ROWS};preserveAspectRatio=1:{data}\x07\n"


def sixel(image: Image.Image) -> Iterator[str]:
    """Source:  DEC STD 070, chapter 9; run lengths as in its `!` introducer"""
    paletted = image.quantize(SIXEL_COLOURS)
    palette = paletted.getpalette() or []
    pixels = np.asarray(paletted)  # (H, W)
    height, width = pixels.shape
    yield f'\x1bPq"1;1;{width};{height}'
    for colour in range(min(SIXEL_COLOURS, len(palette) // 3)):
        red, green, blue = (round(v * 100 / 255) for v in palette[3 * colour : 3 * colour + 3])
        yield f"#{colour};2;{red};{green};{blue}"
    bits = 1 << np.arange(6)
    for top in range(0, height, 6):
        band = pixels[top : top + 6]  # (6, W)
        for colour in np.unique(band).tolist():
            mask = ((band == colour) * bits[: len(band), None]).sum(axis=0)  # (W,)
            yield f"#{colour}" + _runs(mask) + "$"
        yield "-"
    yield "\x1b\\\n"


def _runs(mask: np.ndarray) -> str:
    edges = np.flatnonzero(np.diff(mask)) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.append(starts, len(mask)))
    return "".join(
        f"!{length}{chr(63 + mask[start])}"
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
    )


def blocks(image: Image.Image) -> Iterator[str]:
    """Two averaged pixels a cell: the upper half block in one colour on a ground of another."""
    columns = max(1, image.width // CELL_PX[0])
    pixels = np.asarray(image.resize((columns, 2 * ROWS), resample=4))  # (2 R, W, 3)
    for row in range(0, 2 * ROWS, 2):
        cells = (
            f"\x1b[38;2;{r};{g};{b}m\x1b[48;2;{r2};{g2};{b2}m▀"
            for (r, g, b), (r2, g2, b2) in zip(
                pixels[row].tolist(), pixels[row + 1].tolist(), strict=True
            )
        )
        yield "".join(cells) + "\x1b[0m\n"
