"""Terminal pictures, decoded again."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.images import PictureLimits, is_blank
from schemas.settings import Settings
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture
from search.output import preview
from search.output.preview import (
    CELL_PX,
    HEIGHT_PX,
    ROWS,
    drawn,
    terminal_style,
    write_previews,
)
from tests.search.answers import answer
from tests.search.artists import draw

FOUR = Image.new("RGB", (20, 160))
FOUR.paste((255, 0, 0), (0, 0, 10, 80))
FOUR.paste((0, 0, 255), (10, 80, 20, 160))


@pytest.mark.parametrize(
    ("environ", "style"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/x"}, "blocks"),
        ({}, "blocks"),
    ],
)
def test_terminals_are_recognised(environ: dict[str, str], style: str) -> None:
    assert terminal_style(environ) == style


def test_kitty_carries_the_picture_in_small_parts() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    written = drawn(Image.fromarray(noise), "kitty")
    parts = re.findall(r"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\", written)
    assert all(len(data) <= 4096 for _, data in parts)
    assert re.search(r"f=32,s=200,v=160,c=20,r=8", parts[0][0])
    pixels = np.frombuffer(b"".join(base64.b64decode(data) for _, data in parts), np.uint8)
    assert np.array_equal(pixels.reshape(160, 200, 4)[:, :, :3], noise)


def test_iterm_carries_the_picture() -> None:
    data = drawn(FOUR, "iterm").partition(":")[2].partition("\x07")[0]
    image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    assert np.array_equal(np.asarray(image), FOUR)


def test_sixel_decodes_to_the_picture() -> None:
    decoded = decode_sixel(drawn(FOUR, "sixel"), (160, 20))
    # Whole bands of six lines; the colours are percents.
    assert np.abs(decoded[:78].astype(int) - np.asarray(FOUR)[:78]).max() <= 3


def decode_sixel(text: str, shape: tuple[int, int]) -> np.ndarray:
    """A slow decoder for the part of the language that is written."""
    body = text[text.index("q") + 1 : text.index("\x1b\\")]
    picture = np.zeros((shape[0] + 6, shape[1], 3), dtype=np.uint8)
    palette: dict[int, list[int]] = {}
    x = y = colour = 0
    tokens = r'"[\d;]+|#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])'
    for found in re.finditer(tokens, body):
        number, red, green, blue, chosen, count, run, single, control = found.groups()
        if number:
            palette[int(number)] = [round(int(v) * 255 / 100) for v in (red, green, blue)]
        elif chosen:
            colour = int(chosen)
        elif run or single:
            for _ in range(int(count or 1)):
                for bit in range(6):
                    if (ord(run or single) - 63) >> bit & 1:
                        picture[y + bit, x] = palette[colour]
                x += 1
        elif control:
            x, y = 0, y + 6 * (control == "-")
    return picture[: shape[0]]


def test_blocks_have_the_colours_of_the_picture() -> None:
    lines = drawn(FOUR, "blocks").splitlines()
    assert len(lines) == ROWS
    assert "2;255;0;0m" in lines[0] and "2;0;0;255m" not in lines[0]
    assert "2;0;0;255m" in lines[-1] and "2;255;0;0m" not in lines[-1]


@pytest.mark.parametrize("style", ["kitty", "iterm", "sixel", "blocks", "auto"])
@pytest.mark.parametrize("by", ["title", "picture"])
def test_hits_are_shown(engine: Engine, settings: Settings, style: str, by: str) -> None:
    data = io.BytesIO()
    draw(1, 5).save(data, "PNG")
    found = engine.query([QueryPicture("q", data.getvalue())], QueryOptions(k=2, by=by))
    out = io.StringIO()
    write_previews(out, found, by, settings.layout, engine.limits, style)
    assert len(out.getvalue()) > 1000


def test_a_strip_is_shown_by_a_part(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    strip = Image.new("RGB", (690, 9000), "white")
    strip.paste(draw(1, 3).resize((690, 552)), (0, 7000))
    file = settings.layout.picture("ab/strip.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    strip.save(file, compress_level=1)
    shown: list[Image.Image] = []

    def watched(image: Image.Image, style: str) -> str:
        shown.append(image)
        return drawn(image, style)

    monkeypatch.setattr(preview, "drawn", watched)
    found = answer(file="ab/strip.png")
    write_previews(io.StringIO(), found, "title", settings.layout, PictureLimits(), "blocks")
    assert shown[0].height == HEIGHT_PX and shown[0].width - CELL_PX[0] >= 60
    assert not is_blank(shown[0].crop((0, 0, 60, HEIGHT_PX)))


def test_small_copies_leave_wide_margins_out() -> None:
    page = Image.new("RGB", (1000, 800), "white")
    page.paste((200, 0, 0), (700, 600, 900, 700))
    shown = preview.closer(page, 100)
    drawn = np.asarray(shown)[:, :, 1] < 128  # (H, W)
    assert shown.size == (100, 54) and drawn.mean() > 0.75
    page.paste((200, 0, 0), (0, 0, 1000, 30))  # ink on a side is no margin
    assert preview.closer(page, 100).size == (100, 74)
    line = Image.new("RGB", (1000, 800), "white")
    line.paste((0, 0, 0), (100, 400, 900, 430))
    assert preview.closer(line, 100).size == (100, 40)  # paper stays around what is long


def test_lost_files_cost_nothing(settings: Settings) -> None:
    out = io.StringIO()
    lost = answer(file="no/such/file.png")
    write_previews(out, lost, "title", settings.layout, PictureLimits(), "blocks")
    assert out.getvalue() == ""
    assert Path(settings.layout.root).is_dir()
