"""Titles, authors, names, colours, the map, and SQL: what the page shows besides answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from indexer.palette import color_pending
from schemas.settings import Settings
from search.engine import Engine
from search.web.drift import drift
from search.web.engine_pool import OpenEngine
from search.web.map_worker import MAX_POINTS, mapped_rows
from search.web.routers.map import POINT, _colour
from tests.search.hands import HANDS, PICTURES_PER_TITLE, TITLES_PER_HAND
from tests.search.web.conftest import opened, wait_until

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
    assert page["similar"][0]["authors"] == title["authors"]  # the same hand's other book
    assert client.get("/v1/titles/no:such").status_code == 404


@pytest.mark.parametrize("name", HANDS)
def test_an_author_shows_works_and_neighbours(client: TestClient, name: str) -> None:
    page = client.get(f"/v1/authors/{name}").json()
    assert page["titles_count"] == TITLES_PER_HAND == len(page["titles"])
    assert {one["author"] for one in page["similar"]} == set(HANDS) - {name}
    assert client.get("/v1/authors/Nobody").status_code == 404


def test_drift_compares_each_year_with_the_first(engine: Any) -> None:
    rows = engine.generation.meta.execute("select row_id, picture_id from pictures").fetchall()
    years = [(row, 2000 + n % 4, picture) for n, (row, picture) in enumerate(rows)]
    found = drift(OpenEngine(engine), years)
    assert [one["year"] for one in found] == [2000, 2001, 2002, 2003]
    assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-3)
    vectors = engine.generation.vectors(np.asarray([row for row, year, _ in years if year == 2001]))
    first = engine.generation.vectors(np.asarray([row for row, year, _ in years if year == 2000]))
    a, b = first.mean(axis=0), vectors.mean(axis=0)
    expected = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found[1]["similarity"] == pytest.approx(expected, abs=1e-3)
    assert drift(OpenEngine(engine), [row for row in years if row[1] < 2002]) == []


def test_what_can_be_filtered_by(client: TestClient, engine: Any) -> None:
    facets = client.get("/v1/facets").json()
    assert facets["titles_count"] == TITLES and facets["generation"] == engine.generation.id
    assert sum(one["pictures_count"] for one in facets["platforms"]) == facets["pictures_count"]


@pytest.fixture(scope="module")
def coloured(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    import shutil

    root = tmp_path_factory.mktemp("coloured")
    shutil.copytree(settings.store.root, root, dirs_exist_ok=True)
    shutil.rmtree(root / "cache", ignore_errors=True)  # another test may have drawn a map
    made = replace(settings, store=replace(settings.store, root=root))
    color_pending(made.layout, made)
    return made


@pytest.mark.slow
def test_colours_come_from_the_catalog(coloured: Settings, tmp_path: Path, engine: Any) -> None:
    import shutil

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


@pytest.mark.slow
def test_the_map_is_drawn_once_and_kept(coloured: Settings, engine: Any) -> None:
    with opened(coloured) as server:
        assert server.get("/v1/map").json()["state"] == "drawing"
        assert server.get("/v1/map/points").status_code == 404
        wait_until(lambda: server.get("/v1/map").json()["state"] == "ready", 90)
        state = server.get("/v1/map").json()
        assert sorted(state["labels"]["author"]) == sorted(HANDS)
        points = np.frombuffer(
            server.get("/v1/map/points").content,
            np.dtype([("x", "<u2"), ("y", "<u2"), ("g", "u1"), ("e", "u1"), ("a", "u1")]),
        )
        assert len(points) == state["points_count"] == engine.generation.pictures_count
        known = server.get("/v1/map/pictures", params={"n": [0, 5, 29_999]}).json()["pictures"]
        assert [one["n"] for one in known] == [0, 5]
        for one in known:
            assert state["labels"]["author"][points[one["n"]]["a"]] == one["author"]
        # What is drawn alike lies together: the same hand is nearer than another.
        places = np.stack([points["x"], points["y"]], 1).astype(float)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        same = points["a"][:, None] == points["a"][None]
        assert apart[same].mean() < apart[~same].mean()
    files = list(coloured.layout.cache.glob("map-*.npy"))
    with opened(coloured) as server:
        assert server.get("/v1/map").json()["state"] == "ready"
    assert [file.stat().st_mtime_ns for file in files] == [
        file.stat().st_mtime_ns for file in coloured.layout.cache.glob("map-*.npy")
    ]


def test_the_map_has_the_eras_of_its_index(dated: Settings) -> None:
    with Engine.open(dated.layout, dated) as engine:
        rows = engine.generation.row_ids
        points = np.zeros(len(rows), POINT)
        labels = _colour(engine.generation, rows, points)
        assert labels["era"] == ["2000-2004", "2005-2009", "2010-2014", "2015-2019"]
        asked = engine.generation.meta.execute("select row_id, era from catalog").fetchall()
        assert [labels["era"][n] for n in points["era"]] == [dict(asked)[r] for r in rows.tolist()]


def test_more_eras_than_colours_keep_the_largest_in_order(
    dated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.web.routers.map.GROUPS", 2)
    with Engine.open(dated.layout, dated) as engine:
        rows = engine.generation.row_ids
        labels = _colour(engine.generation, rows, np.zeros(len(rows), POINT))
        assert labels["era"] == ["2010-2014", "2015-2019"]  # two titles each


def test_a_large_map_shows_a_part() -> None:
    rows = np.arange(10 * MAX_POINTS)[::-1]
    shown = mapped_rows(rows)
    assert len(shown) == MAX_POINTS and (np.diff(shown) > 0).all()
    assert np.array_equal(mapped_rows(np.asarray([3, 1, 2])), [1, 2, 3])


def test_a_map_that_cannot_be_drawn_is_said(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "index").symlink_to(settings.layout.index)
    (root / "cache").write_text("a file where the folder should be")
    with opened(replace(settings, store=replace(settings.store, root=root))) as server:
        assert server.get("/v1/map").json()["state"] == "drawing"
        wait_until(lambda: server.get("/v1/map").json()["state"] == "failed")


def test_sql_is_off_unless_turned_on(client: TestClient) -> None:
    answer = client.post("/v1/sql", json={"sql": "select 1"})
    assert answer.status_code == 403 and answer.json()["code"] == "off"


@pytest.mark.slow
def test_sql_in_its_sandbox(coloured: Settings) -> None:
    with opened(coloured, sql="on") as server:

        def ask(sql: str, **parameters: Any) -> Any:
            return server.post("/v1/sql", json={"sql": sql, "parameters": parameters})

        found = ask("select author, count(*) n from catalog group by 1 order by 1").json()
        assert found["columns"] == ["author", "n"]
        assert {row[0] for row in found["rows"]} == set(HANDS)
        named = ask("select count(*) from catalog where author = $who", who=HANDS[0]).json()
        assert named["rows"] == [[TITLES_PER_HAND * PICTURES_PER_TITLE]]
        for hostile in ("select * from read_text('/etc/passwd')", "copy titles to '/tmp/x'",
                        "install httpfs", "select", "", "set threads = 9",
                        "select count(*) from range(99999999) a, range(999999) b"):  # fmt: skip
            answer = ask(hostile)
            assert answer.status_code == 422, hostile
            assert "root:" not in answer.text
        assert ask("select 1").json()["rows"] == [[1]]
