"""The gallery as a file: self-contained, escaped, within its budget."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.errors import InputError
from schemas.images import PictureLimits
from schemas.settings import Settings
from schemas.storage.layout import Layout
from search.engine import Engine, QueryOptions
from search.inputs import Crop, QueryPicture
from search.output.html import (
    BUDGET_BYTES,
    GallerySection,
    Thumbnails,
    environment,
    gallery_images,
    query_key,
    write_gallery,
)
from search.output.html import render_gallery as render_page
from tests.search.answers import NASTY, answer, hit
from tests.search.artists import HANDS, draw
from tests.search.pages import elements

LIMITS = PictureLimits()


def asked(hand: int = 0, name: str = "query.png") -> QueryPicture:
    data = io.BytesIO()
    draw(hand, 77).save(data, "PNG")
    return QueryPicture(name, data.getvalue())


def render_gallery(
    sections: list[GallerySection], *, layout: Layout, limits: PictureLimits, **words: Any
) -> str:
    return render_page(sections, gallery_images(sections, layout, limits), **words)


def sections(engine: Engine, count: int, by: str = "title") -> list[GallerySection]:
    made = []
    for number in range(count):
        one = asked(number % 3)
        found = engine.query([one], QueryOptions(k=6, by=by))
        made.append(
            GallerySection(found, (one,), heading=f"Query {number}", truth="drawn by X",
                           correct=number % 2 == 0, author=HANDS[number % 3], by=by)
        )  # fmt: skip
    return made


@pytest.mark.parametrize("by", ["title", "picture"])
def test_the_page_stands_alone(engine: Engine, settings: Settings, by: str) -> None:
    page = render_gallery(
        sections(engine, 3, by), layout=settings.layout, limits=LIMITS, title="Drawn alike",
        intro="An intro.", facts=[("right", "2 of 3")],
    )  # fmt: skip
    found = elements(page)
    images = [said for tag, said in found if tag == "img"]
    assert len(images) >= 3 * 6
    for said in images:
        assert str(said["src"]).startswith("data:image/webp;base64,")
        assert "alt" in said
        assert int(str(said["width"])) > 0
    assert not {tag for tag, _ in found} & {"script", "link", "iframe", "object", "form"}
    assert not any(name.startswith("on") or name == "style" for _, said in found for name in said)
    assert {tag for tag, said in found if "src" in said} == {"img"}
    assert "url(" not in page
    assert page.count('class="tag"') >= 1
    assert page.count("<b>") > 10


def test_the_policy_allows_exactly_the_style(engine: Engine, settings: Settings) -> None:
    page = render_gallery(sections(engine, 1), layout=settings.layout, limits=LIMITS, title="x")
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in page


def test_every_text_is_escaped(settings: Settings) -> None:
    section = GallerySection(
        answer(url="javascript:alert(1)", unknown=0.9), (asked(name=NASTY),),
        heading=NASTY, truth=NASTY, correct=False, author=NASTY,
    )  # fmt: skip
    page = render_gallery(
        [section, section], layout=settings.layout, limits=LIMITS, title=NASTY, intro=NASTY,
        facts=[(NASTY, NASTY)],
    )  # fmt: skip
    found = elements(page)
    assert not {tag for tag, _ in found} & {"script", "a_"}
    assert "\x1b" not in page
    assert "javascript:" not in page
    assert "Probably nobody in this catalog" in page


def test_names_are_shown_without_their_folder(settings: Settings) -> None:
    section = GallerySection(answer(name="x"), (asked(name="/home/me/secret/query.png"),))
    page = render_gallery([section], layout=settings.layout, limits=LIMITS, title="x")
    body = page.partition("<figcaption>")[2].partition("</figcaption>")[0]
    assert body == "query.png"
    assert "/home/me" not in page


def test_only_web_addresses_become_links() -> None:
    template = environment().from_string(
        '{% from "parts.html.j2" import link %}{{ link(url, "<x>") }}'
    )
    page = template.render(url="https://example.org/?a=1&b=2")
    assert page.startswith('<a href="https://example.org/?a=1&amp;b=2"')
    assert page.endswith("&lt;x&gt;</a>")
    for url in ("javascript:alert(1)", "data:text/html,x", "//example.org", "", None):
        assert template.render(url=url) == "&lt;x&gt;"


@pytest.mark.slow
def test_a_crowded_page_keeps_its_budget(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    rng = np.random.default_rng(3)
    thumbnails = Thumbnails(layout, LIMITS)
    uses: dict[str, int] = {}
    layout.pictures.mkdir()
    for number in range(60):  # noise is what packs worst
        noise = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(layout.pictures / f"{number}.png")
        thumbnails.add_hit(hit(number, f"{number}.png"))
        uses[f"{number:064x}"] = 1
    thumbnails.add_hit(hit(99, "missing.png"))
    made = thumbnails.encoded(uses)
    assert len(made) == 60
    assert sum(len(one.uri) for one in made.values()) <= BUDGET_BYTES


def long_strip() -> bytes:
    strip = Image.new("RGB", (690, 10_000), "white")
    for number in range(10):
        strip.paste(draw(1, number).resize((690, 552)), (0, 1000 * number))
    data = io.BytesIO()
    strip.save(data, "PNG", compress_level=1)
    return data.getvalue()


@pytest.mark.parametrize("uses", [1, 3000])
def test_no_picture_of_the_gallery_is_a_sliver(tmp_path: Path, uses: int) -> None:
    layout = Layout(tmp_path)
    layout.pictures.mkdir()
    (layout.pictures / "strip.png").write_bytes(long_strip())
    thumbnails = Thumbnails(layout, LIMITS)
    query = QueryPicture("q", long_strip(), Crop.parse("0,0,100%,50%"))
    thumbnails.add_query(query)
    thumbnails.add_hit(hit(1, "strip.png"))
    made = thumbnails.encoded({query_key(query): uses, hit(1).picture_id: uses})
    assert len(made) == 2
    for one in made.values():
        assert min(one.width_px, one.height_px) >= 60
        with Image.open(io.BytesIO(base64.b64decode(one.uri.partition(",")[2]))) as image:
            assert image.size == (one.width_px, one.height_px)


def test_thumbnails_carry_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    data = io.BytesIO()
    draw(0, 1).save(data, "JPEG", exif=exif)
    thumbnails = Thumbnails(Layout(tmp_path), LIMITS)
    query = QueryPicture("q", data.getvalue())
    thumbnails.add_query(query)
    key = query_key(query)
    uri = thumbnails.encoded({key: 1})[key].uri
    assert b"secret" not in base64.b64decode(uri.partition(",")[2])


def test_a_file_is_replaced_at_once_and_a_folder_never(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text("<!DOCTYPE html>old")
    write_gallery(file, sections(engine, 1), layout=settings.layout, limits=LIMITS)
    assert file.read_text("utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(InputError, match="is a directory"):
        write_gallery(tmp_path, [], layout=settings.layout, limits=LIMITS)
    with pytest.raises(InputError, match="does not exist"):
        write_gallery(tmp_path / "no" / "x.html", [], layout=settings.layout, limits=LIMITS)


def test_nothing_found_and_lost_files_still_make_a_page(settings: Settings) -> None:
    from dataclasses import replace

    empty = GallerySection(replace(answer(name="x"), titles=(), pictures=()), (asked(),))
    lost = GallerySection(answer(name="x", file="no/such.png"), (asked(),))
    page = render_gallery([empty, lost], layout=settings.layout, limits=LIMITS, title="x")
    elements(page)
    assert "Nothing was found." in page
    assert "its file is gone" in page
    assert re.search(r'href="#query-2"', page)


def test_dollar_signs_in_names_are_only_dollar_signs(settings: Settings) -> None:
    section = GallerySection(answer(name="$title ${style}"), (asked(name="$x.png"),))
    page = render_gallery([section], layout=settings.layout, limits=LIMITS, title="$sections")
    assert "$title ${style}" in page
    assert "<h1>$sections</h1>" in page


def test_shares_of_the_catalog_are_not_headed_as_an_answer() -> None:
    plain, strange = (
        render_page([GallerySection(answer(unknown=0.9, strange=share, name="Ann"), ())], {})
        for share in (0.4, 0.9)
    )
    assert "how common each is" not in plain
    assert "Probably nobody in this catalog" in plain and "Probably nobody" not in strange
    assert "Not a drawing of this kind" in strange
    assert "<h3>Artist</h3>" in strange
    for kind in ("Genre", "Era"):
        assert f"<h3>{kind} (only how common each is in the catalog)</h3>" in strange
