"""Thumbnails in the terminal by chafa: kitty, iTerm2, sixel, or coloured blocks anywhere else.

The terminal is recognised by its environment; asking it could hang in a pipe or a
multiplexer, which swallows pictures anyway and therefore gets blocks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

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
STYLES = {"kitty": "KITTY", "iterm": "ITERM2", "sixel": "SIXELS", "blocks": "SYMBOLS"}
"""And what chafa calls them."""


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
    if style == "auto":
        style = terminal_style(os.environ)
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
            out.write(drawn(_strip(images), style))
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


def drawn(image: Image.Image, style: str) -> str:
    """A picture as a terminal of a style shows it, in ROWS lines."""
    import chafa  # a native library: only for whoever asks for pictures

    config = chafa.CanvasConfig()
    config.width, config.height = max(1, image.width // CELL_PX[0]), ROWS
    config.cell_width, config.cell_height = CELL_PX
    config.canvas_mode = chafa.CanvasMode.CHAFA_CANVAS_MODE_TRUECOLOR
    config.pixel_mode = getattr(chafa.PixelMode, f"CHAFA_PIXEL_MODE_{STYLES[style]}")
    canvas = chafa.Canvas(config)
    kind = chafa.PixelType.CHAFA_PIXEL_RGB8
    canvas.draw_all_pixels(kind, image.tobytes(), *image.size, 3 * image.width)
    # Not what this terminal is found to be: for that the library would ask it.
    shown: bytes = canvas.print(term_info=chafa.TermDb().get_fallback_info())
    return shown.decode() + "\n"
