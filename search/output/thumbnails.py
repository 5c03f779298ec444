"""Small copies of pictures as data URIs, within a budget for the whole page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import ToonsearchError
from schemas.images import PictureLimits, decode_picture
from schemas.storage.layout import Layout
from search.inputs import QueryPicture

if TYPE_CHECKING:
    from PIL import Image

BUDGET_BYTES = 2_700_000
"""Of encoded pictures on one page: with the text it stays below 3 MB, which mail and chat
programs still carry."""
STEPS = ((360, 76), (280, 70), (220, 62), (170, 54), (120, 45), (80, 40))
"""Longest side in pixels and WebP quality, best first; the first that fits is taken."""


class Thumbnail(NamedTuple):
    """An encoded picture and its size."""

    uri: str
    width_px: int
    height_px: int


def encode_webp(image: Image.Image, quality: int) -> Thumbnail:
    """A picture as a data URI; a new file, so that no metadata is carried along."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4)
    data = base64.standard_b64encode(file.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/webp;base64,{data}", *image.size)


def query_key(picture: QueryPicture) -> str:
    """The name under which a query's picture is found among thumbnails."""
    return f"{picture.picture_id} {picture.crop}"


class Thumbnails:
    """Collects pictures first, so that their number decides their size."""

    def __init__(self, layout: Layout, limits: PictureLimits) -> None:
        self.layout, self.limits = layout, limits
        self._images: dict[str, Image.Image] = {}

    def add_stored(self, file: str | None) -> None:
        """A picture of the catalog; one that cannot be read is left out."""
        if file is None or file in self._images:
            return
        try:
            data = self.layout.picture(file).read_bytes()
            self._add(file, decode_picture(data, self.limits, target_px=STEPS[0][0]))
        except (OSError, ToonsearchError):
            return

    def add_query(self, picture: QueryPicture) -> None:
        """A picture that was asked about, under its `query_key`."""
        key = query_key(picture)
        if key not in self._images:
            self._add(key, picture.image(self.limits, STEPS[0][0]))

    def _add(self, key: str, image: Image.Image) -> None:
        image.thumbnail((STEPS[0][0], STEPS[0][0]))
        self._images[key] = image

    def encoded(self, uses: Mapping[str, int]) -> dict[str, Thumbnail]:
        """All pictures at the largest size at which the page keeps its budget.

        `uses` says how often each key appears on the page; every time costs its bytes.
        """
        made: dict[str, Thumbnail] = {}
        for side_px, quality in STEPS:
            for key, image in self._images.items():
                small = image.copy()
                small.thumbnail((side_px, side_px))
                made[key] = encode_webp(small, quality)
            if sum(len(made[key].uri) * n for key, n in uses.items() if key in made) <= (
                BUDGET_BYTES
            ):
                break
        return made
