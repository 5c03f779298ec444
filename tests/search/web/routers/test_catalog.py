"""Titles, authors, names and colours: what the index holds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from indexer.palette import color_pending
from schemas.settings import Settings
from search.web.engine_pool import OpenEngine
from search.web.routers.catalog import drift
from tests.search.hands import HANDS, PICTURES_PER_TITLE, TITLES_PER_HAND
from tests.search.web.conftest import opened

TITLES = len(HANDS) * TITLES_PER_HAND


def test_titles_are_found_by_any_part_of_their_name(client: TestClient) -> None:
    everything = client.get("/v1/titles").json()
    assert everything["count"] == TITLES == len(everything["titles"])
    assert client.get("/v1/titles", params={"offset": TITLES}).json()["titles"] == []
    one = client.get("/v1/titles", params={"q": "OOK 10"}).json()
    assert {title["title"] for title in one["titles"]} == {"Book 10"}
    near = client.get("/v1/titles", params={"q": "bokk 10"}).json()
    assert near["titles"][0]["title"] == "Book 10"


@pytest.mark.parametrize("text", ["anna", "LINEA", "línea anna", "정", "chung"])
def test_authors_are_found_without_accents_and_case(client: TestClient, text: str) -> None:
    found = client.get("/v1/authors", params={"q": text}).json()
    assert [one["author"] for one in found["authors"]] in ([HANDS[0]], [HANDS[2]])


def test_a_title_shows_its_pictures_and_neighbours(client: TestClient) -> None:
    title = client.get("/v1/titles").json()["titles"][0]
    page = client.get(f"/v1/titles/{title['title_id']}").json()
    assert len(page["pictures"]) == PICTURES_PER_TITLE == page["pictures_count"]
    assert title["title_id"] not in [one["title_id"] for one in page["similar"]]
    assert page["similar"][0]["authors"] == title["authors"]  # the same artist's other book
    assert client.get("/v1/titles/no:such").status_code == 404


@pytest.mark.parametrize("name", HANDS)
def test_an_author_shows_works_and_neighbours(client: TestClient, name: str) -> None:
    page = client.get(f"/v1/authors/{name}").json()
    assert page["titles_count"] == TITLES_PER_HAND == len(page["titles"])
    assert {one["author"] for one in page["similar"]} == set(HANDS) - {name}
    assert client.get("/v1/authors/Nobody").status_code == 404


def test_drift_compares_each_year_with_the_first(engine: Any) -> None:
    opened = OpenEngine(engine)
    pictures = opened.records("select row_id, picture_id, row_id % 4 + 2000 as year from pictures")
    found = drift(opened, pictures)
    assert [one["year"] for one in found] == [2000, 2001, 2002, 2003]
    assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-3)
    a, b = (
        engine.generation.vectors([p["row_id"] for p in pictures if p["year"] == year]).mean(axis=0)
        for year in (2000, 2001)
    )
    expected = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found[1]["similarity"] == pytest.approx(expected, abs=1e-3)
    assert drift(opened, [one for one in pictures if one["year"] < 2002]) == []


def test_what_can_be_filtered_by(client: TestClient, engine: Any) -> None:
    facets = client.get("/v1/facets").json()
    assert facets["titles_count"] == TITLES and facets["generation"] == engine.generation.id
    assert sum(one["pictures_count"] for one in facets["platforms"]) == facets["pictures_count"]


@pytest.fixture(scope="module")
def coloured(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("coloured")
    shutil.copytree(settings.store.root, root, dirs_exist_ok=True)
    made = replace(settings, store=replace(settings.store, root=root))
    color_pending(made.layout, made)
    return made


@pytest.mark.slow
def test_colours_come_from_the_catalog(coloured: Settings, tmp_path: Path, engine: Any) -> None:
    plain = replace(coloured, store=replace(coloured.store, root=tmp_path / "plain"))
    shutil.copytree(coloured.store.root, plain.store.root)
    shutil.rmtree(plain.layout.table("colors"))
    rows = dict(engine.generation.meta.execute(
        "select t.author, min(p.picture_id) from pictures p join titles t using (title_no)"
        " group by 1").fetchall())  # fmt: skip
    with opened(coloured) as server:
        ids = list(rows.values())
        found = server.get("/v1/colors", params={"picture": [*ids, "0" * 64, "x"]}).json()["colors"]
        assert set(found) == set(ids)
        dots = [one["colour"] for one in found[rows[HANDS[2]]]]  # navy on white
        assert any(int(c[5:], 16) > int(c[1:3], 16) + 40 for c in dots)
        for colours in found.values():
            assert sum(one["share"] for one in colours) == pytest.approx(1.0, abs=0.01)
        assert server.get(f"/v1/authors/{HANDS[1]}").json()["palette"]
    with opened(plain) as server:
        assert server.get("/v1/colors", params={"picture": ids}).json() == {"colors": {}}
