"""SVG to pictures: size, ground, colours, and what an odd file costs."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from crawler.hands.draw import MAX_SVG_BYTES, SIDE_PX, SvgError, SvgRenderer, on_white

pytest.importorskip("resvg_py", reason="drawing SVG files needs resvg-py")

START = '<svg xmlns="http://www.w3.org/2000/svg" viewBox='
RED = f'{START}"0 0 24 24"><rect width="24" height="12" fill="#f00"/></svg>'


@pytest.fixture(scope="module")
def renderer() -> Iterator[SvgRenderer]:
    made = SvgRenderer()
    yield made
    made.close()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_colours_ground_and_margin(renderer: SvgRenderer) -> None:
    drawn = pixels(renderer.draw(RED, margin=16))
    assert drawn.shape == (SIDE_PX, SIDE_PX, 3)
    assert drawn[100, 192].tolist() == [255, 0, 0]
    assert drawn[300, 192].tolist() == [255, 255, 255]  # transparent in the file
    assert (drawn[:16] == 255).all()
    assert (pixels(renderer.draw(RED, margin=0))[0] == [255, 0, 0]).all()


@pytest.mark.parametrize(
    ("box", "shape"),
    [("0 0 40 10", (96, 384)), ("0,0,10,40", (384, 96)), ("-9 -9 20 20", (384,) * 2)],
)
def test_the_longest_side_decides(renderer: SvgRenderer, box: str, shape: tuple[int, int]) -> None:
    svg = f'{START}"{box}"><circle cx="5" cy="5" r="4"/></svg>'
    assert pixels(renderer.draw(svg, margin=0)).shape[:2] == shape


@pytest.mark.parametrize(
    ("svg", "reason"),
    [
        ("not an SVG", "unknown token"),
        (f'{START}"0 0 24 24"></svg>', "nothing is seen"),
        (f'{START}"0 0 24 24"><path d="M0 0h24v24z" fill="#fff"/></svg>', "nothing is seen"),
        (f'{START}"0 0 24 24"><image href="/etc/hostname"/></svg>', "outside"),
        (f'{START}"0 0 24 24"><path d="M0 0h9v9z" fill="url(http://a)"/></svg>', "outside"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]>' + RED, "outside"),
        (RED.replace("</svg>", " " * MAX_SVG_BYTES + "</svg>"), "larger"),
    ],
)
def test_what_cannot_be_drawn_says_why(renderer: SvgRenderer, svg: str, reason: str) -> None:
    with pytest.raises(SvgError, match=reason):
        renderer.draw(svg)


def test_parts_of_the_same_file_may_be_used(renderer: SvgRenderer) -> None:
    svg = (
        f'{START}"0 0 24 24"><defs><rect id="a" width="24" height="24" fill="#00f"/></defs>'
        '<use href = "#a"/></svg>'
    )
    assert pixels(renderer.draw(svg))[192, 192].tolist() == [0, 0, 255]


def test_one_that_takes_too_long_costs_itself_only() -> None:
    levels = ['<g id="l0"><rect width="9" height="9" filter="url(#f)"/></g>']
    levels += [f'<g id="l{n}">{f"""<use href="#l{n - 1}"/>""" * 9}</g>' for n in range(1, 9)]
    blur = '<filter id="f"><feGaussianBlur stdDeviation="3"/></filter>'
    slow = f'{START}"0 0 24 24"><defs>{blur}{"".join(levels)}</defs><use href="#l8"/></svg>'
    renderer = SvgRenderer(seconds=0.3)
    try:
        with pytest.raises(SvgError, match="not drawn within"):
            renderer.draw(slow)
        assert renderer.draw(RED)
    finally:
        renderer.close()


def test_a_small_picture_is_not_enlarged() -> None:
    image = Image.new("RGBA", (40, 20))
    assert on_white(image, 384).size == (40, 20)
    assert on_white(image, 30, margin=5).size == (30, 20)
    assert on_white(image, 384).getpixel((3, 3)) == (255, 255, 255)
