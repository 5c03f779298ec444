"""Which parts of two pictures make them alike, and several pictures that are asked about together."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import search.why
from search.engine import Engine
from search.why import ALL_OF_IT, EVEN, Map, Why, heat, in_words, whole_spec, why
from tests.search.artists import draw

SENT = {"Content-Type": "image/png"}


def png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


NEW, OTHER = png(draw(0, 99)), png(draw(1, 99))


@pytest.fixture
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.why, "CELLS", 2)


def test_only_what_is_drawn_carries_a_likeness(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.why, "CELLS", 3)
    picture = Image.new("RGB", (480, 480), "white")
    picture.paste(draw(1, 5).resize((150, 150)), (0, 0))
    picture.paste("black", (440, 440, 480, 480))  # the margin is not all of the rest
    found = why(engine.encoder, np.asarray(picture), np.asarray(draw(1, 6)))
    assert found.query.falls.shape == (3, 3)
    assert found.query.box[:2] == pytest.approx((0, 0), abs=0.05)
    assert found.query.falls[0, 0] == found.query.falls.max() > EVEN
    assert abs(found.query.falls[2, 0]) < 1e-5 > abs(found.query.falls[0, 2])  # nothing is there
    assert not found.query.is_even


def test_pictures_are_decoded_as_large_as_the_network_needs(engine: Engine) -> None:
    spec = engine.encoder.pixel_spec
    assert whole_spec(spec).size_for(4 * spec.decode_px, spec.decode_px)[0] == spec.decode_px
    assert whole_spec(spec).size_for(100, 50) == (100, 50)  # and not enlarged twice


@pytest.mark.usefixtures("few_cells")
def test_a_picture_is_compared_with_a_hit(client: TestClient) -> None:
    first, second = (one["picture_id"] for one in client.get("/v1/titles").json()["titles"][:2])
    sent = client.post(f"/v1/why?picture={first}", content=NEW, headers=SENT).json()
    stored = client.get("/v1/why", params={"picture": first, "asked": second}).json()
    for answer in (sent, stored):
        for part in ("query", "hit"):
            assert np.shape(answer[part]["falls"]) == (2, 2)
            assert 0 <= min(answer[part]["box"]) <= max(answer[part]["box"]) <= 1
    itself = client.get("/v1/why", params={"picture": first, "asked": first}).json()
    assert itself["similarity"] == pytest.approx(1.0, abs=1e-5) and not itself["hit"]["even"]
    assert min(min(row) for row in itself["hit"]["falls"]) >= 0  # nothing makes it more alike


def test_what_cannot_be_compared_is_one_sentence(client: TestClient) -> None:
    known = client.get("/v1/titles").json()["titles"][0]["picture_id"]
    for status, answer in (
        (404, client.post(f"/v1/why?picture={'0' * 64}", content=NEW, headers=SENT)),
        (404, client.get("/v1/why", params={"picture": known, "asked": "../../x"})),
        (415, client.post(f"/v1/why?picture={known}", content=b"\x89PNG no", headers=SENT)),
        (422, client.post(f"/v1/why?picture={known}", content=b"", headers=SENT)),
        (422, client.post(f"/v1/why?picture={known}", files=[("picture", NEW), ("picture", NEW)])),
    ):
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]


# --- Several pictures by weight


def ask(client: TestClient, *pictures: bytes, **params: Any) -> Any:
    files = [("picture", (f"{n}.png", one, "image/png")) for n, one in enumerate(pictures)]
    return client.post("/v1/query", files=files, params={"k": 6, **params})


def similarities(answer: Any) -> dict[str, float]:
    return {one["title_id"]: one["similarity"] for one in answer.json()["titles"]}


def test_each_picture_counts_by_its_weight(client: TestClient) -> None:
    alone = similarities(ask(client, NEW))
    both = ask(client, NEW, OTHER)
    assert both.json()["weights"] == [1.0, 1.0] and both.json()["panels"] == []
    assert similarities(ask(client, NEW, OTHER, weights="5,5")) == similarities(both)
    assert similarities(ask(client, NEW, OTHER, weights="3,0")) == pytest.approx(alone, abs=1e-5)
    again = client.get(f"/v1/results/{both.json()['id']}", params={"k": 6, "weights": "0%,40%"})
    assert similarities(again) == pytest.approx(similarities(ask(client, OTHER)), abs=1e-5)
    assert again.json()["weights"] == [0.0, 40.0]


def test_a_picture_that_cannot_be_used_keeps_its_weight_to_itself(client: TestClient) -> None:
    bad = ask(client, b"\x89PNG no", NEW, OTHER, weights="9,1,0")
    assert similarities(bad) == pytest.approx(similarities(ask(client, NEW)), abs=1e-5)


@pytest.mark.parametrize("weights", ["1", "1,2,3", "1,-1", "a,b", "1,nan", "", "0,0"])
def test_wrong_weights_are_one_sentence(client: TestClient, weights: str) -> None:
    answer = ask(client, NEW, OTHER, weights=weights)
    assert answer.status_code == 422 and not answer.json()["error"].startswith("--")


def test_a_result_is_asked_with_as_well(client: TestClient) -> None:
    first = ask(client, NEW).json()
    hit = first["titles"][-1]
    other = hit["pictures"][0]["picture_id"]
    mixed = client.get(f"/v1/results/{first['id']}", params={"k": 6, "with": other}).json()
    assert [one["title_id"] for one in mixed["others"]] == [hit["title_id"]]
    assert mixed["weights"] == [1.0, 1.0]
    assert hit["title_id"] not in [one["title_id"] for one in mixed["titles"]]
    alone = client.get(f"/v1/results/{first['id']}?k=6&with={other}&weights=0,1")
    like = client.get(f"/v1/pictures/{other}/similar?k=6&exclude_title={hit['title_id']}")
    assert similarities(alone) == pytest.approx(similarities(like), abs=1e-5)
    link = client.post(f"/v1/results/{first['id']}/share?with={other}").json()["id"]
    shared = client.get(f"/v1/results/{link}?k=6&exclude_title={hit['title_id']}").json()
    assert shared["titles"] == mixed["titles"]
    assert client.get(f"/v1/results/{first['id']}?with={'0' * 64}").status_code == 404


def test_a_wrong_palette_is_one_sentence(client: TestClient) -> None:
    wrong = ask(client, NEW, palette="navy, bluish")
    assert wrong.status_code == 422 and "bluish" in wrong.json()["error"]
    right = ask(client, NEW, palette="navy")
    if client.get("/v1/facets").json()["colors"]:  # another test may have found them
        assert right.status_code == 200
    else:
        assert right.status_code == 422 and "colours" in right.json()["error"]


def test_where_the_likeness_lies_is_said_in_words() -> None:
    falls = np.zeros((4, 4))
    falls[0, 3] = 0.1
    corner, even = Map((0.0, 0.0, 1.0, 1.0), falls), Map((0.0, 0.0, 1.0, 1.0), falls / 100)
    small = Map((0.4, 0.4, 0.2, 0.2), falls)  # a drawing in the middle of its page
    assert in_words(Why(0.9, corner, small)) == (
        "above all the upper right of your picture and the middle of the one found"
    )
    assert in_words(Why(0.9, even, corner)) == "above all the upper right of the one found"
    assert in_words(Why(0.9, even, even)) == ALL_OF_IT


def test_heat_colours_strokes_and_leaves_paper() -> None:
    picture = np.full((80, 80, 3), 255, np.uint8)
    picture[:, 10:20] = picture[:, 60:70] = 0  # (H, W, 3)
    falls = np.array([[0.1, -0.1]])
    hot = heat(picture, Map((0.0, 0.0, 1.0, 1.0), falls))
    assert (hot[:, 40:] == picture[:, 40:]).mean() > 0.8  # resized softly
    assert (hot[40, 12] > (180, -1, 90)).all() and hot[40, 12, 1] < 20
    assert (hot[40, 2] == 255).all()
    assert heat(picture, Map((0.0, 0.0, 1.0, 1.0), falls / 100)) is picture
