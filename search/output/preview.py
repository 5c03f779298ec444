"""Thumbnails in the terminal: kitty, iTerm2, sixel, or coloured half blocks anywhere else.

The terminal is recognised by its environment; asking it could hang in a pipe or a
multiplexer, which swallows pictures anyway and therefore gets blocks.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

import numpy as np

from schemas.images import PREVIEW_RATIO, PictureLimits, stored_preview
from schemas.records import Answer, Hit
from schemas.storage.layout import Layout
from search.cli.context import plain

if TYPE_CHECKING:
    from PIL import Image

ROWS = 8
"""Height of a thumbnail in lines; a letter is taken to be twice as high as wide."""
CELL_PX = (10, 20)
HEIGHT_PX = ROWS * CELL_PX[1]
LONGEST_PX = round(PREVIEW_RATIO * HEIGHT_PX)
MOST_WIDTH_PX = 900
KITTY_CHUNK_BYTES = 4096  # the protocol's own limit
SIXEL_COLORS = 64


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
    """A strip of thumbnails for each hit, in the order of the table; lost files are left out."""
    draw = {"kitty": kitty, "iterm": iterm, "sixel": sixel, "blocks": blocks}[
        terminal_style(os.environ) if style == "auto" else style
    ]
    groups = (
        [(f"{title.rank}  {title.name}", title.hits) for title in answer.titles]
        if by == "title"
        else [(f"{rank}", (hit,)) for rank, hit in enumerate(answer.pictures, 1)]
    )
    for caption, hits in groups:
        found = (hit_preview(layout, hit, limits, LONGEST_PX) for hit in hits)
        images = [image for image in found if image is not None]
        if images:
            out.write(plain(caption) + "\n")
            out.writelines(draw(_strip(images)))
            out.write("\n")
    out.flush()


def hit_preview(
    layout: Layout, hit: Hit, limits: PictureLimits, side_px: int, *, whole: bool = False
) -> Image.Image | None:
    """A small copy of a picture or panel that was found, without wide margins unless it is to be
    `whole`; None when its file is gone or damaged."""
    if hit.panel is not None:
        from indexer.panels.picture import panel_preview

        return panel_preview(layout, hit.panel, limits, side_px)
    if hit.file is None or whole:
        file = hit.file and layout.picture(hit.file)
        return stored_preview(file, limits, side_px) if file else None
    image = stored_preview(layout.picture(hit.file), limits, round(CLOSER * side_px))
    return image and closer(image, side_px)


CLOSER = 2.5
"""A small copy is made so many times larger before its margins go: a drawing in the corner of a
page stays sharp."""
RIM = 0.04
"""Of the drawing's longer side: paper that stays around it."""


def closer(image: Image.Image, side_px: int) -> Image.Image:
    """A picture less its wide margins of paper, as the network sees it, with a longest side of at
    most `side_px`, and never longer than PREVIEW_RATIO. A small drawing is not enlarged."""
    from indexer.embedding.preprocess import drawing_box

    left, top, right, bottom = drawing_box(image)
    longest = max(right - left, bottom - top)
    box = (
        *_with_rim(left, right, image.width, longest),
        *_with_rim(top, bottom, image.height, longest),
    )
    image = image.crop((box[0], box[2], box[1], box[3]))
    image.thumbnail((side_px, side_px))
    return image


def _with_rim(start: int, end: int, limit: int, longest: int) -> tuple[int, int]:
    """One side of a drawing with some paper around it, and enough for the shape of a preview."""
    least = (1 + 2 * RIM) * longest / PREVIEW_RATIO
    rim = max(RIM * longest, (least - (end - start)) / 2)
    return max(0, round(start - rim)), min(limit, round(end + rim))


def _strip(images: list[Image.Image]) -> Image.Image:
    """Pictures of one height side by side, cut where the line ends."""
    from PIL import Image

    widths = [one.width * HEIGHT_PX // one.height for one in images]
    line_px = min(shutil.get_terminal_size().columns * CELL_PX[0], MOST_WIDTH_PX)
    strip = Image.new("RGB", (min(sum(widths) + len(widths) * CELL_PX[0], line_px), HEIGHT_PX))
    left = 0
    for image, width in zip(images, widths, strict=True):
        strip.paste(image.resize((width, HEIGHT_PX)), (left, 0))
        left += width + CELL_PX[0]
    return strip


def _png(image: Image.Image) -> str:
    held = io.BytesIO()
    image.save(held, "PNG")
    return base64.standard_b64encode(held.getvalue()).decode("ascii")


def kitty(image: Image.Image) -> Iterator[str]:
    """Source:  sw.kovidgoyal.net/kitty/graphics-protocol, "remote client" transfer"""
    data = _png(image)
    for start in range(0, len(data), KITTY_CHUNK_BYTES):
        end = start + KITTY_CHUNK_BYTES
        head = f"a=T,f=100,r={ROWS}," if start == 0 else ""
        yield f"\x1b_G{head}m={int(end < len(data))};{data[start:end]}\x1b\\"
    yield "\n"


def iterm(image: Image.Image) -> Iterator[str]:
    """Source:  iterm2.com/documentation-images.html"""
    yield f"\x1b]1337;File=inline=1;height={ROWS};preserveAspectRatio=1:{_png(image)}\x07\n"


def sixel(image: Image.Image) -> Iterator[str]:
    """Source:  DEC STD 070, chapter 9; run lengths as in its `!` introducer"""
    paletted = image.quantize(SIXEL_COLORS)
    pixels = np.asarray(paletted)  # (H, W)
    yield f'\x1bPq"1;1;{pixels.shape[1]};{pixels.shape[0]}'
    for number, color in enumerate(np.reshape(paletted.getpalette() or [], (-1, 3))):
        red, green, blue = (round(v * 100 / 255) for v in color.tolist())
        yield f"#{number};2;{red};{green};{blue}"
    bits = 1 << np.arange(6)
    for top in range(0, len(pixels), 6):
        band = pixels[top : top + 6]  # (6, W)
        for number in np.unique(band).tolist():
            mask = ((band == number) * bits[: len(band), None]).sum(axis=0) + ord("?")  # (W,)
            line = mask.astype(np.uint8).tobytes().decode("ascii")
            runs = re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", line)
            yield f"#{number}{runs}$"
        yield "-"
    yield "\x1b\\\n"


def blocks(image: Image.Image) -> Iterator[str]:
    """Two averaged pixels a cell: the upper half block in one colour on a ground of another."""
    columns = max(1, image.width // CELL_PX[0])
    pixels = np.asarray(image.resize((columns, 2 * ROWS), resample=4))  # (2 ROWS, W, 3)
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True):
            yield f"\x1b[38;2;{r};{g};{b}m\x1b[48;2;{r2};{g2};{b2}m▀"
        yield "\x1b[0m\n"
