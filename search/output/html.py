"""Pages as single files: the Jinja environment of gallery and report, and the gallery.

The gallery has no script, makes no request to anywhere, and carries a content policy that
would refuse both. The file can be mailed, printed, and opened years later.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from schemas.images import PictureLimits
from schemas.records import LABEL_KINDS, Answer, Bar, Hit, Labels, Panel
from schemas.storage.layout import Layout
from schemas.storage.outputs import check_target, write_text
from search.inputs import QueryPicture
from search.output.preview import CLOSER, closer, hit_preview
from search.output.text import EXPANDED, only_shares, percent

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
BUDGET_BYTES = 2_700_000
"""Of encoded pictures on one page: with the text it stays below 3 MB, which mail and chat
programs still carry."""
STEPS = ((360, 76), (280, 70), (220, 62), (170, 54), (120, 45), (80, 40))
"""Longest side in pixels and WebP quality, best first; the first that fits is taken."""
LEAST_PX = 60
"""Of a shorter side: a thinner copy shows nothing."""
FULL_BAR = 5.0  # decades: a bar is full at 99.999 %


def environment(*folders: Path) -> Environment:
    """Templates of these folders and the shared ones; every value is escaped.

    Control characters and lone surrogates vanish from values: names may hold anything.
    """
    made = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_printable,
    )
    made.filters |= {
        "share": lambda probability: f"{probability * 100:.0f}\u00a0%",  # never apart
        "percent": percent,
        "decades": _decades,
        "label_groups": _label_groups,
        "file_name": _file_name,
        "panel_place": panel_place,
        "csp_hash": csp_hash,
    }
    made.tests["web_address"] = lambda url: url and urlsplit(url).scheme in ("http", "https")
    return made


def _printable(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = "".join(c for c in value if c >= " " or c in "\t\n")
    return text.encode("utf-8", "replace").decode("utf-8")


def csp_hash(text: str) -> str:
    """What a content policy calls an inline style or script of exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _decades(percentile: float) -> float:
    """How near, 0..1, on a scale by decades: 90, 99, 99.9 %, because all hits are near 100."""
    return -math.log10(max(1.0 - percentile / 100.0, 10.0**-FULL_BAR)) / FULL_BAR


def _file_name(name: str) -> str:
    """The file's name alone: a page that is passed on should not tell where it lay."""
    return name.rpartition("/")[2]


def panel_place(panel: Panel | None, episode_no: int | None) -> str:
    """Where a panel that was found lies: "episode 12, panel 3"; empty for a picture."""
    if panel is None:
        return ""
    number = f"panel {panel.order}"
    return number if episode_no is None else f"episode {episode_no}, {number}"


def _label_groups(labels: Labels) -> list[tuple[str, list[Bar]]]:
    """Headings and the bars under them, which add up to 100 %."""
    return [
        (word.capitalize() + only_shares(labels, kind), bars)
        for kind, (_, word, _) in LABEL_KINDS.items()
        if (bars := labels.bars(kind))
    ]


# --- Small copies of pictures as data URIs, within a budget for the whole page.


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

    def add_hit(self, hit: Hit) -> None:
        """A picture or panel of the catalog, under its id; one that cannot be read is left out."""
        if hit.picture_id in self._images:
            return
        image = hit_preview(self.layout, hit, self.limits, STEPS[0][0])
        if image is not None:
            self._images[hit.picture_id] = image

    def add_query(self, picture: QueryPicture) -> None:
        """A picture that was asked about, under its `query_key`."""
        key = query_key(picture)
        if key not in self._images:
            side_px = STEPS[0][0]
            self._images[key] = closer(
                picture.preview(self.limits, round(CLOSER * side_px)), side_px
            )

    def encoded(self, uses: Mapping[str, int]) -> dict[str, Thumbnail]:
        """All pictures at the largest size at which the page keeps its budget.

        `uses` says how often each key appears on the page; every time costs its bytes.
        """
        made: dict[str, Thumbnail] = {}
        for side_px, quality in STEPS:
            for key, image in self._images.items():
                small = image.copy()
                longest = max(side_px, -(-LEAST_PX * max(image.size) // min(image.size)))
                small.thumbnail((longest, longest))
                made[key] = encode_webp(small, quality)
            if sum(len(made[key].uri) * n for key, n in uses.items() if key in made) <= (
                BUDGET_BYTES
            ):
                break
        return made


# --- The gallery.


@dataclass(frozen=True)
class WhyShown:
    """Why a result is like what was asked: in words, and both pictures with heat on them.

    Shapes:  (H, W, 3) uint8 each
    """

    rank: int
    said: str
    query: np.ndarray
    hit: np.ndarray

    @property
    def images(self) -> tuple[Thumbnail, Thumbnail]:
        """The query's picture, then that which was found."""
        from PIL import Image

        first, second = (Image.fromarray(one) for one in (self.query, self.hit))
        for image in (first, second):
            image.thumbnail((STEPS[0][0], STEPS[0][0]))
        return encode_webp(first, STEPS[0][1]), encode_webp(second, STEPS[0][1])


@dataclass(frozen=True)
class GallerySection:
    """One query with its answer.

    `whys` are shown above the results. `truth` says who really drew it, where that is known, `correct` whether the answer was
    right; titles by the same `author` are marked.
    """

    answer: Answer
    pictures: tuple[QueryPicture, ...]
    heading: str = ""
    truth: str = ""
    correct: bool | None = None
    author: str | None = None
    by: str = "title"
    whys: tuple[WhyShown, ...] = ()

    @property
    def hits(self) -> list[Hit]:
        """The pictures that were found."""
        if self.by == "picture":
            return list(self.answer.pictures)
        return [hit for title in self.answer.titles for hit in title.hits]

    @property
    def keys(self) -> list[str]:
        """The query's pictures among the thumbnails."""
        return [query_key(picture) for picture in self.pictures]

    @property
    def names(self) -> str:
        """Names of the query's files."""
        return ", ".join(_file_name(picture.name) for picture in self.pictures)

    @property
    def notes(self) -> str:
        """What else is to be said, without the folders of the query's files."""
        said = "; ".join(self.answer.notes)
        for picture in self.pictures:
            said = said.replace(picture.name, _file_name(picture.name))
        return said


def write_gallery(
    path: Path,
    sections: Sequence[GallerySection],
    *,
    layout: Layout,
    limits: PictureLimits,
    title: str = "Drawn alike",
    intro: str = "",
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a page with one part for each query.

    Errors:  InputError when it cannot be written
    """
    check_target(path, "html")
    images = gallery_images(sections, layout, limits)
    write_text(path, render_gallery(sections, images, title=title, intro=intro, facts=facts))


def gallery_images(
    sections: Sequence[GallerySection], layout: Layout, limits: PictureLimits
) -> dict[str, Thumbnail]:
    """The pictures of a page, by `query_key` and by picture id."""
    thumbnails = Thumbnails(layout, limits)
    uses: Counter[str] = Counter()
    for section in sections:
        for picture in section.pictures:
            thumbnails.add_query(picture)
        uses.update(section.keys)
        if len(sections) > 1:  # the contact sheet at the top
            uses.update(section.keys[:1])
        for hit in section.hits:
            thumbnails.add_hit(hit)
            uses.update([hit.picture_id])
    return thumbnails.encoded(uses)


def render_gallery(
    sections: Sequence[GallerySection],
    images: Mapping[str, Thumbnail],
    *,
    title: str = "Drawn alike",
    intro: str = "",
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """The page as text; pictures that `images` lacks are shown as missing."""
    answers = [section.answer for section in sections]
    basis = dict.fromkeys(
        f"Index {a.generation_id}: {a.pictures_count:,} pictures, model {a.model_id},"
        f" preprocessing {a.preprocessing}."
        for a in answers
    )
    return (
        environment()
        .get_template("gallery.html.j2")
        .render(
            sections=sections,
            images=defaultdict(lambda: None, images),
            title=title,
            intro=intro,
            facts=facts,
            style=(TEMPLATES / "gallery.css").read_text("utf-8"),
            basis=basis,
            expanded_heading=EXPANDED,
        )
    )


# --- A gallery of pictures that somebody put together.


def render_pictures(
    rows: Sequence[Mapping[str, Any]], images: Mapping[str, Thumbnail], *, title: str
) -> str:
    """A page of pictures without a query, in the order of the rows.

    A row has `picture_id, title, authors, genres, year, url, place, episode_url`; `place` is where
    a panel lies.
    """
    return (
        environment()
        .get_template("pictures.html.j2")
        .render(
            rows=rows,
            images=defaultdict(lambda: None, images),
            title=title,
            style=(TEMPLATES / "gallery.css").read_text("utf-8"),
        )
    )
