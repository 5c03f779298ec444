"""Results that are panels of strips: shown legibly wherever they are shown, with their place."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.panels.strips import cut_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.images import PictureLimits
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from search.cli.app import main
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture
from search.output.html import GallerySection, gallery_images, panel_place, render_gallery
from search.output.preview import hit_preview
from tests import strips
from tests.search.artists import draw
from tests.small_model import ENVIRON

LIMITS = PictureLimits()
BOXES: list[strips.Box] = [(20, 20, 260, 240), (20, 300, 260, 300), (20, 640, 260, 220)]
PAGE = "https://comic.example/episode/1"


@pytest.fixture(scope="module")
def paneled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An index of one title with an episode of two slices, and one with drawings."""
    root = tmp_path_factory.mktemp("paneled")
    strips.slices(
        strips.page((300, 880), BOXES), [450, 450], root / "in" / "kim" / "tower" / "ep 1"
    )
    (root / "in" / "lee" / "sea").mkdir(parents=True)
    for number in range(3):
        draw(2, number).save(root / "in" / "lee" / "sea" / f"{number}.png")
    made = load_settings({"store.root": str(root / "data")}, environ=ENVIRON, cwd=root)
    import_folder(made.layout, made, root / "in")
    catalog = Catalog(made.layout)
    rows = catalog.read("pictures").to_pylist()
    slices = [{**row, "episode_no": 1} for row in rows if "ep 1" in row["source_path"]]
    catalog.upsert("pictures", slices)
    catalog.upsert("episodes", [{"title_id": slices[0]["title_id"], "episode_no": 1, "url": PAGE}])
    cut_pending(made.layout, made)
    embed_pending(made.layout, made)
    report = build_generation(made.layout, made)
    assert report.generation_id is not None
    publish(made.layout, report.generation_id)
    return made


@pytest.fixture(scope="module")
def paneled_engine(paneled: Settings) -> Iterator[Engine]:
    with Engine.open(paneled.layout, paneled) as opened:
        yield opened


def second_panel(name: str = "q.png") -> QueryPicture:
    """The panel that lies in both slices, as a query."""
    x, y, w, h = BOXES[1]
    data = io.BytesIO()
    strips.page((300, 880), BOXES).crop((x, y, x + w, y + h)).save(data, "PNG")
    return QueryPicture(name, data.getvalue())


def test_a_panel_is_found_with_its_place(paneled_engine: Engine) -> None:
    answer = paneled_engine.query([second_panel()], QueryOptions(k=3, by="picture"))
    hit = answer.pictures[0]
    assert hit.panel is not None and hit.similarity > 0.9
    strips.assert_boxes([hit.panel.box], [BOXES[1]])
    assert (hit.panel.order, len(hit.panel.slices)) == (2, 2)
    assert (hit.episode_no, hit.episode_url) == (1, PAGE)
    assert panel_place(hit.panel, hit.episode_no) == "episode 1, panel 2"


def test_it_is_shown_as_the_panel_and_not_as_its_slice(
    paneled_engine: Engine, paneled: Settings
) -> None:
    answer = paneled_engine.query([second_panel()], QueryOptions(k=3))
    hit = answer.titles[0].hits[0]
    shown = hit_preview(paneled.layout, hit, LIMITS, 200)
    _, _, w, h = BOXES[1]
    assert shown is not None and max(shown.size) == 200
    assert abs(shown.width / shown.height - w / h) < 0.03
    section = GallerySection(answer, ())
    images = gallery_images([section], paneled.layout, LIMITS)
    assert {hit.picture_id for title in answer.titles for hit in title.hits} == images.keys()
    page = render_gallery([section], images)
    assert f'href="{PAGE}"' in page and "episode 1, panel 2" in page
    for part in hit.panel.slices if hit.panel else ():
        lost = paneled.layout.picture(part.file)
        data = lost.read_bytes()
        lost.unlink()
        assert hit_preview(paneled.layout, hit, LIMITS, 200) is None
        lost.write_bytes(data)


def test_json_names_the_place(
    paneled: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "q.png"
    asked.write_bytes(second_panel().data)
    arguments = ["query", str(asked), "--json", "--data", str(paneled.store.root)]
    assert main(arguments) == 0
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    place = body["titles"][0]["pictures"][0]["panel"]
    strips.assert_boxes([place["box"]], [BOXES[1]])
    assert (place["order"], place["episode"], place["url"]) == (2, 1, PAGE)
    assert len(place["slices"]) == 2


def test_the_server_gives_the_panel_as_a_picture(paneled: Settings) -> None:
    pytest.importorskip("fastapi", reason="the page needs the extra [web]")
    from tests.search.web.conftest import opened

    with opened(paneled) as client:
        answer = client.post("/v1/query", content=second_panel().data).json()
        hit = answer["titles"][0]["pictures"][0]
        assert hit["panel"]["url"] == PAGE
        shown = client.get(f"/v1/pictures/{hit['picture_id']}", params={"size": "small"})
        assert shown.status_code == 200
        with Image.open(io.BytesIO(shown.content)) as image:
            _, _, w, h = BOXES[1]
            assert max(image.size) == 200 and abs(image.width / image.height - w / h) < 0.03
        saved = client.get(f"/v1/results/{answer['id']}", params={"format": "html"}).text
        assert "episode 1, panel 2" in saved
        assert client.get("/v1/titles/" + answer["titles"][0]["title_id"]).status_code == 200
