"""The map comes from the index; without one the server says how to get it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from indexer import style_map
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.settings import Settings
from search.engine import Engine
from search.web.engine_pool import OpenEngine
from search.web.routers import map as routes
from search.web.routers.map import OTHERS, POINT, read_map
from tests.search.artists import HANDS
from tests.search.web.conftest import opened

pytest.importorskip("openTSNE", reason="the map needs the extra [map]")


def test_the_map_shows_every_picture_near_those_drawn_alike(
    client: TestClient, engine: Engine
) -> None:
    state = client.get("/v1/map").json()
    assert state["state"] == "ready" and state["hint"] == ""
    assert sorted(state["labels"]["author"]) == sorted(HANDS)
    points = np.frombuffer(client.get("/v1/map/points").content, POINT)
    assert len(points) == state["points_count"] == engine.generation.pictures_count
    known = client.get("/v1/map/pictures", params={"n": [0, 5, 29_999]}).json()["pictures"]
    assert sorted(one["n"] for one in known) == [0, 5]
    for one in known:
        assert state["labels"]["author"][points[one["n"]]["author"]] == one["author"]
    places = np.stack([points["x"], points["y"]], 1).astype(float)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    same = points["author"][:, None] == points["author"][None]
    assert apart[same].mean() < apart[~same].mean()


def test_without_a_map_the_server_says_how_to_get_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(settings, store=replace(settings.store, root=tmp_path))
    for name in ("pictures", "tables"):
        (tmp_path / name).symlink_to(settings.store.root / name)
    monkeypatch.setattr(style_map.importlib.util, "find_spec", lambda name: None)
    made = build_generation(own.layout, own)
    assert made.generation_id is not None
    publish(own.layout, made.generation_id)
    with opened(own) as client:
        state = client.get("/v1/map").json()
        assert state["state"] == "none" and "toonsearch[map]" in state["hint"]
        assert state["points_count"] == 0 and state["labels"] == {}
        for path in ("/v1/map/points", "/v1/map/pictures?n=0"):
            answer = client.get(path)
            assert answer.status_code == 404 and "toonsearch[map]" in answer.json()["hint"]


def test_the_map_has_the_eras_of_its_index(dated: Settings) -> None:
    with Engine.open(dated.layout, dated) as engine:
        found = read_map(OpenEngine(engine))
        assert found is not None
        eras = found.labels["era"]
        assert eras == ["2000-2004", "2005-2009", "2010-2014", "2015-2019"]
        wanted = dict(engine.generation.meta.execute("select row_id, era from catalog").fetchall())
        assert [eras[n] for n in found.points["era"]] == [wanted[row] for row in found.row_ids]


def test_more_labels_than_the_legend_names_keep_the_largest_in_order(
    dated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_LABELS", 2)
    with Engine.open(dated.layout, dated) as engine:
        found = read_map(OpenEngine(engine))
        assert found is not None
        assert found.labels["era"] == ["2010-2014", "2015-2019"]  # two titles each
        assert set(found.points["era"]) == {0, 1, OTHERS}


def test_points_are_found_by_the_names_of_titles_and_authors(client: TestClient) -> None:
    labels = client.get("/v1/map").json()["labels"]["author"]
    points = np.frombuffer(client.get("/v1/map/points").content, POINT)
    for q, author in (("linea", HANDS[0]), ("chung", HANDS[2])):
        found = client.get("/v1/map/found", params={"q": q}).json()
        assert found["count"] == len(found["points"]) == 8
        assert {labels[points[n]["author"]] for n in found["points"]} == {author}
    book = client.get("/v1/map/found", params={"q": "Book 10"}).json()["points"]
    told = client.get("/v1/map/pictures", params={"n": book}).json()["pictures"]
    assert {one["title"] for one in told} == {"Book 10"}
    assert client.get("/v1/map/found", params={"q": "zzzzzz"}).json()["count"] == 0
    assert client.get("/v1/map/found", params={"q": ""}).status_code == 422


def test_a_query_lies_amid_the_pictures_that_it_is_like(
    client: TestClient, engine: Engine, new_picture: Path
) -> None:
    points = np.frombuffer(client.get("/v1/map/points").content, POINT)
    result = client.post("/v1/query", content=new_picture.read_bytes()).json()["id"]
    place = client.get("/v1/map/place", params={"result": result}).json()
    near = client.get("/v1/map/pictures", params={"n": place["near"][:5]}).json()["pictures"]
    assert {one["author"] for one in near} == {HANDS[0]}
    around = points[place["near"][:5]]
    for axis in ("x", "y"):
        assert around[axis].min() <= 65535 * place[axis] + 1
        assert around[axis].max() >= 65535 * place[axis] - 1
    [(own, x, y)] = engine.generation.meta.execute(
        "select picture_id, map_x, map_y from pictures order by row_id limit 1"
    ).fetchall()
    there = client.get("/v1/map/place", params={"picture": own}).json()
    assert (there["x"], there["y"]) == pytest.approx((x, y))
    assert 0 not in there["near"], "it is not near itself"
    for wrong, status in (({}, 422), ({"result": result, "picture": own}, 422),
                          ({"result": "s-none"}, 404), ({"picture": "0" * 64}, 404)):  # fmt: skip
        assert client.get("/v1/map/place", params=wrong).status_code == status


def test_a_large_map_shows_a_part_spread_evenly(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_map(OpenEngine(engine))
    monkeypatch.setattr(routes, "MAX_POINTS", 5)
    part = read_map(OpenEngine(engine))
    assert whole is not None and part is not None
    assert len(part.points) == 5 and part.row_ids == sorted(part.row_ids)
    assert (part.row_ids[0], part.row_ids[-1]) == (whole.row_ids[0], whole.row_ids[-1])
