"""Which parts of two pictures make them alike: how much less similar they are with a part wiped.

picture     -> prepare       what the network sees, its margins cut off
-> _wiped                    copies, in each of which one cell is smoothed until no line is left
-> Encoder.encode            their vectors
-> Map                       the similarity of the pair less that with the copy

A wiped cell keeps its colour, so that an empty one changes nothing; a patch of one colour would
itself be seen. The other picture stays whole: one map says which parts of the query look like the
hit, the other which parts of the hit look like the query. A style lies in all of a drawing, so
each fall is small, and their pattern counts more than their size.

Source:  Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks" (occlusion)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.embedding.encoder import Encoder
from indexer.embedding.preprocess import PixelSpec, drawing_box, prepare

CELLS = 4
"""Along the longer side: each is one more pass through the network."""
SMOOTH = 0.1
"""Radius by which a wiped cell is smoothed, as a share of the longer side."""
EDGE = 0.017
"""Radius by which its own edge is softened, so that no line is drawn there."""
EVEN = 0.004
"""When all cells are worth less than this, none of them can be pointed at."""
Box = tuple[float, float, float, float]
PINK = np.array([222, 0, 122], np.float32)
"""Few drawings are pink. The page's own heat (static/why.js) has the same colour and strength."""
LIGHT = np.array([0.3, 0.59, 0.11], np.float32)
"""How light each of red, green and blue is."""
STRONGEST = 240 / 255
ALL_OF_IT = "no part stands out: the likeness lies in all of the drawing"


@dataclass(frozen=True)
class Map:
    """By how much the similarity falls with each cell wiped; below 0 where it rises.

    box      what of the picture the cells lie on: left, top, width and height as shares of it
    falls    (rows, columns)
    """

    box: Box
    falls: np.ndarray

    @property
    def is_even(self) -> bool:
        """Whether no part carries enough to be pointed at."""
        return float(self.falls.max()) < EVEN


@dataclass(frozen=True)
class Why:
    """A pair of pictures: their similarity (cosine), and which parts of each carry it."""

    similarity: float
    query: Map
    hit: Map


def whole_spec(spec: PixelSpec) -> PixelSpec:
    """How pictures are to be decoded for `why`: large enough for the network, with margins."""
    side = max(spec.decode_px, spec.max_side_px)
    return replace(spec, max_side_px=side, min_side_px=0, multiple_px=1, trim=False, zoom=0.0)


def why(encoder: Encoder, query: np.ndarray, hit: np.ndarray) -> Why:
    """Compare two pictures part by part.

    Shapes:  two (H, W, 3) uint8, decoded by `whole_spec`
    """
    asked, box = _seen(query, encoder.pixel_spec)
    found, hit_box = _seen(hit, encoder.pixel_spec)
    own, other = encoder.encode([asked, found]).vectors  # (D,) each
    return Why(
        float(own @ other),
        Map(box, _falls(encoder, asked, own, other)),
        Map(hit_box, _falls(encoder, found, other, own)),
    )


def why_nearest(
    encoder: Encoder, queries: Sequence[np.ndarray], hit: np.ndarray
) -> tuple[int, Why]:
    """`why` for that of several pictures which is most like the hit, and its place among them.

    Shapes:  (H, W, 3) uint8 each, decoded by `whole_spec`
    """
    place = 0
    if len(queries) > 1:
        seen = [_seen(one, encoder.pixel_spec)[0] for one in (*queries, hit)]
        *near, found = encoder.encode(seen).vectors
        place = int(np.argmax([float(one @ found) for one in near]))
    return place, why(encoder, queries[place], hit)


def in_words(found: Why) -> str:
    """Where the parts lie that carry the likeness most, for those who read."""
    named = [
        f"{_name(_strongest(one))} of {whose}"
        for one, whose in ((found.query, "your picture"), (found.hit, "the one found"))
        if not one.is_even
    ]
    return f"above all {' and '.join(named)}" if named else ALL_OF_IT


def _strongest(one: Map) -> tuple[float, float]:
    """The middle of the cell that carries most, as shares of the picture."""
    left, top, width, height = one.box
    rows, columns = one.falls.shape
    row, column = divmod(int(one.falls.argmax()), columns)
    return left + width * (column + 0.5) / columns, top + height * (row + 0.5) / rows


def _name(place: tuple[float, float]) -> str:
    """A ninth of a picture in words."""
    across, down = (min(int(3 * share), 2) for share in place)
    if across == down == 1:
        return "the middle"
    if down == 1:
        return f"the {('left', '', 'right')[across]}"
    if across == 1:
        return f"the {('top', '', 'bottom')[down]}"
    return f"the {('upper', '', 'lower')[down]} {('left', '', 'right')[across]}"


def heat(picture: np.ndarray, found: Map) -> np.ndarray:
    """A picture with the parts coloured that carry the likeness, the pinker the more; paper stays
    white, and where no part stands out all of it stays as it is.

    Shapes:  (H, W, 3) uint8 -> the same
    """
    from PIL import Image

    if found.is_even:
        return picture
    height, width = picture.shape[:2]
    left, top, across, down = found.box
    size = (max(1, round(across * width)), max(1, round(down * height)))
    share = np.maximum(0, found.falls / found.falls.max()) ** 1.5
    cells = Image.fromarray((255 * share).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    strength = Image.new("L", (width, height))
    strength.paste(cells, (round(left * width), round(top * height)))
    alpha = STRONGEST * np.asarray(strength, np.float32)[..., None] / 255  # (H, W, 1)
    grey, own = picture.astype(np.float32) @ LIGHT, float(PINK @ LIGHT)  # (H, W), one number
    lighter = np.clip((grey - own) / (255 - own), 0, 1)[..., None]
    painted = PINK + (255 - PINK) * lighter
    mixed: np.ndarray = np.rint(picture * (1 - alpha) + painted * alpha)
    return mixed.astype(np.uint8)


def _seen(picture: np.ndarray, spec: PixelSpec) -> tuple[np.ndarray, Box]:
    """What the network sees of a picture, and where that lies in it."""
    from PIL import Image

    image = Image.fromarray(picture)
    width, height = image.size
    left, top, right, bottom = drawing_box(image) if spec.trim else (0, 0, width, height)
    box = (left / width, top / height, (right - left) / width, (bottom - top) / height)
    return prepare(image, spec), box


def _falls(encoder: Encoder, picture: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Shapes:  picture (H, W, 3), vectors (D,) -> (rows, columns)"""
    sides = np.asarray(picture.shape[:2])
    rows, columns = (int(count) for count in np.maximum(1, np.rint(CELLS * sides / sides.max())))
    near = [
        float(encoder.encode([copy]).vectors[0] @ other) for copy in _wiped(picture, rows, columns)
    ]
    return (float(own @ other) - np.asarray(near)).reshape(rows, columns)


def _wiped(picture: np.ndarray, rows: int, columns: int) -> Iterator[np.ndarray]:
    """Copies with one cell smoothed in each, row by row."""
    from PIL import Image, ImageFilter

    image = Image.fromarray(picture)
    width, height = image.size
    smooth = image.filter(ImageFilter.GaussianBlur(SMOOTH * max(image.size)))
    soften = ImageFilter.GaussianBlur(EDGE * max(image.size))
    for row in range(rows):
        for column in range(columns):
            cell = Image.new("L", image.size)
            left, right = width * column // columns, width * (column + 1) // columns
            top, bottom = height * row // rows, height * (row + 1) // rows
            cell.paste(255, (left, top, right, bottom))
            yield np.asarray(Image.composite(smooth, image, cell.filter(soften)))
