"""The API answers as the command line does."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import time
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from schemas.errors import InputError
from schemas.records import AskedPanel, AskedPart
from schemas.settings import Settings
from search.cli.app import main
from search.engine import StyleQuery
from search.panels import PanelVectors
from search.web.db import EncodedQuery, Store
from search.web.dependencies import MAX_RECENT_PANELS, RecentQueries
from search.web.errors import ApiError
from tests import strips
from tests.search.artists import HANDS, PICTURES_PER_TITLE, draw
from tests.search.web.conftest import opened


def png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


NEW = png(draw(0, 99))  # black on white


def from_command_line(
    capsys: pytest.CaptureFixture[str], settings: Settings, *arguments: str
) -> dict[str, Any]:
    assert main(["query", *arguments, "--json", "--data", str(settings.store.root)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    for hit in found.get("titles", []):
        for one in hit["pictures"]:
            del one["path"], one["source_path"]
    for one in found.get("pictures", []):
        del one["path"], one["source_path"]
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal but for the id, the time and the name of the picture."""
    for body in (one, other):
        for name in ("id", "weights", "others"):
            body.pop(name, None)
        del body["query"]["elapsed_ms"], body["query"]["pictures"]
    assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"k": 3}, ["-k", "3"]),
    ({"by": "picture", "k": 7}, ["--by", "picture", "-k", "7"]),
    ({"crop": "10%,0,60%,80%"}, ["--crop", "10%,0,60%,80%"]),
    ({"crop": "5,7,90,100"}, ["--crop", "5,7,90,100"]),
    ({"exclude_author": [HANDS[1]]}, ["--exclude-author", HANDS[1]]),
    ({"exclude_same_author": "true"}, ["--exclude-same-author"]),
    ({"exclude_title": "Book 00"}, ["--exclude-title", "Book 00"]),
    ({"min_percentile": "80"}, ["--min-percentile", "80"]),
    ({"subject": "0.6"}, ["--subject", "0.6"]),
]


@pytest.mark.parametrize(("params", "flags"), CASES)
def test_the_ranking_is_that_of_the_command_line(
    client: TestClient,
    settings: Settings,
    new_picture: Path,
    capsys: pytest.CaptureFixture[str],
    params: dict[str, Any],
    flags: list[str],
) -> None:
    data = new_picture.read_bytes()
    answer = client.post("/v1/query", params=params, content=data)
    assert answer.status_code == 200, answer.text
    same(answer.json(), from_command_line(capsys, settings, str(new_picture), *flags))


def test_several_pictures_are_one_query(
    client: TestClient, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for hand in (0, 1):
        paths.append(tmp_path / f"{hand}.png")
        paths[-1].write_bytes(png(draw(hand, 90)))
    files = [("picture", (path.name, path.read_bytes())) for path in paths]
    answer = client.post("/v1/query", files=files).json()
    assert answer["query"]["pictures"] == ["0.png", "1.png"]
    same(answer, from_command_line(capsys, settings, *map(str, paths)))


def test_a_form_crops_each_picture_by_itself(client: TestClient) -> None:
    whole, part = png(draw(0, 90)), png(draw(1, 90))
    files = [("picture", ("a.png", whole)), ("picture", ("b.png", part))]
    asked = client.post("/v1/query", files=files, data={"crop": ["", "0,0,50%,50%"]}).json()
    image = draw(1, 90)
    cut = png(image.crop((0, 0, image.width // 2, image.height // 2)))
    files[1] = ("picture", ("b.png", cut))
    same(asked, client.post("/v1/query", files=files).json())


PART = (b"\r\nContent-Type: image/png\r\n\r\n", b"\r\n\r\n")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (['name="picture"'], 200),
        (["name=picture"], 200),
        (['name="picture"; filename=""'], 200),
        (["name=\"picture\"; filename*=UTF-8''a%20b.png"], 200),
        (['name="file"; filename="a.png"'], 200),
        (['name="images[]"; filename="a.png"'], 200),
        (['name="file"'], 200),
        (['name="file"; filename="a.png"', 'name="file"; filename="b.png"'], 422),
        (['name="picture"; filename="a.png"', 'name="file"; filename="b.png"'], 422),
        (['name="picture"', 'name="picture"'], 200),
        ([], 422),
    ],
)
def test_a_part_is_taken_or_its_name_is_told(
    client: TestClient, parts: list[str], status: int
) -> None:
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; " + part.encode() + PART[0] + NEW + b"\r\n"
        for part in parts
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/query", content=body + b"--b--\r\n", headers=headers)
    assert answer.status_code == status, answer.text
    assert status == 200 or "Name the part picture, with a filename" in answer.json()["hint"]


def test_texts_beside_a_picture_are_no_pictures(client: TestClient) -> None:
    files = [("upload", ("a.png", NEW)), ("note", ("n.txt", b"words")), ("empty", ("", b""))]
    answer = client.post("/v1/query", files=files, data={"lang": "en"})
    assert answer.status_code == 200 and answer.json()["query"]["pictures"] == ["a.png"]
    without_type = b'--b\r\nContent-Disposition: form-data; name="file"' + PART[1] + NEW
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/query", content=without_type + b"\r\n--b--", headers=headers)
    assert answer.status_code == 400 and "without a filename" in answer.json()["error"]
    assert "Name the part picture" in answer.json()["hint"]


def test_a_raw_picture_is_taken_whatever_its_type_is_called(client: TestClient) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "image/x-png", ""):
        assert client.post("/v1/query", content=NEW, headers={"content-type": kind}).is_success
    answer = client.post("/v1/query", json={"picture": "base64"})
    assert answer.status_code == 415


@pytest.mark.parametrize("bad", [b"", b"no picture", NEW[:300], b"\x89PNG nothing"])
def test_a_bad_picture_does_not_lose_the_good_ones(client: TestClient, bad: bytes) -> None:
    good = png(draw(1, 90))
    files = [("picture", (name, data)) for name, data in
             (("a.png", NEW), ("bad.png", bad), ("c.png", good))]  # fmt: skip
    answer = client.post("/v1/query", files=files, data={"crop": ["", "", "0,0,50%,50%"]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    (refused,) = found.pop("refused")
    assert (refused["picture"], refused["name"]) == (2, "bad.png") and refused["code"]
    assert found["query"]["notes"].pop() == f"not used: bad.png: {refused['error']}"
    assert found["query"]["pictures"] == ["a.png", "c.png"]
    crops = {"crop": ["", "0,0,50%,50%"]}
    same(found, client.post("/v1/query", files=[files[0], files[2]], data=crops).json())
    assert client.get(f"/v1/results/{answer.json()['id']}").json()["titles"] == found["titles"]


def test_a_batch_answers_each_picture_as_a_query_of_its_own(client: TestClient) -> None:
    pictures = [NEW, b"no picture", *(png(draw(n % 3, 70 + n)) for n in range(8))]
    files = [("picture", (f"{n}.png", data)) for n, data in enumerate(pictures)]
    crops = [*[""] * 9, "0,0,50%,50%"]
    answer = client.post("/v1/query:batch", params={"k": 3}, files=files, data={"crop": crops})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["name"] for one in found] == [name for _, (name, _) in files]
    assert [n for n, one in enumerate(found) if one["problem"]] == [1]
    assert found[1]["problem"]["code"] == "format" and set(found[1]) == {"name", "problem"}
    for n in (0, 9):
        one = found[n]
        again = client.get(f"/v1/results/{one['id']}", params={"k": 3}).json()
        del one["name"], one["problem"]
        crop = {"crop": crops[n]} if crops[n] else {}
        alone = client.post("/v1/query", params={"k": 3, **crop}, content=pictures[n]).json()
        assert again["titles"] == one["titles"]
        same(one, alone)
    refused = client.post("/v1/query:batch", params={"where": "nothing = 1"}, files=files)
    assert refused.status_code == 422


def test_each_picture_of_a_batch_counts(settings: Settings) -> None:
    files = [("picture", (f"{n}.png", NEW)) for n in range(11)]
    with opened(settings, rate=10) as client:
        assert client.post("/v1/query", files=files[:9]).status_code == 200  # as two queries
        assert client.post("/v1/query:batch", files=files[:9]).status_code == 429
        many = client.post("/v1/query:batch", files=[*files, files[0]])
        assert many.status_code == 429 and "at most 10" in many.json()["hint"]
        assert client.post("/v1/query:batch", files=files[:3]).status_code == 200


def test_bad_pictures_alone_are_an_error(client: TestClient) -> None:
    files = [("picture", (name, b"no picture")) for name in ("a.png", "b.png")]
    answer = client.post("/v1/query", files=files)
    assert answer.status_code == 415 and "a.png" in answer.json()["error"]


def test_facets_filter_before_the_search(client: TestClient, engine: Any) -> None:
    total = engine.generation.pictures_count
    for params, left in (
        ({"platform": "folder"}, total),
        ({"platform": "elsewhere"}, 0),
        ({"genre": "x"}, 0),
        ({"where": "title = 'Book 00'"}, PICTURES_PER_TITLE),
        ({"exclude_title": "Book 00"}, total - PICTURES_PER_TITLE),
    ):
        answer = client.post("/v1/query", params=params, content=NEW).json()
        assert answer["query"]["candidates_count"] == left, params
        assert bool(answer["titles"]) is (left > 0)


def test_years_filter_at_both_ends(dated: Settings) -> None:
    with opened(dated) as client:
        params = {"year_from": 2007, "year_to": 2010}
        answer = client.post("/v1/query", params=params, content=NEW).json()
    assert answer["query"]["candidates_count"] == 2 * PICTURES_PER_TITLE
    assert {title["year"] for title in answer["titles"]} == {2007, 2010}


def test_an_expression_filters_as_on_the_command_line(client: TestClient) -> None:
    where = {"where": "title like 'Book 0%'"}
    answer = client.post("/v1/query", params=where, content=NEW).json()
    assert {title["title"] for title in answer["titles"]} == {"Book 00", "Book 01"}
    for params, said in (
        ({"where": "title in (select 1)"}, "without sub-queries"),
        ({"where": "titel = 1"}, "no column 'titel'"),
        ({"year_from": 2010, "year_to": 2000}, "no year is from 2010 to 2000"),
    ):
        refused = client.post("/v1/query", params=params, content=NEW)
        assert refused.status_code == 422
        assert said.lower() in refused.json()["error"].lower()


def test_a_result_can_be_asked_again_with_other_filters(client: TestClient) -> None:
    first = client.post("/v1/query", content=NEW).json()
    again = client.get(f"/v1/results/{first['id']}").json()
    same(dict(again), client.post("/v1/query", content=NEW).json())
    fewer = client.get(f"/v1/results/{first['id']}", params={"k": 2}).json()
    assert [t["title_id"] for t in fewer["titles"]] == [t["title_id"] for t in first["titles"][:2]]


def test_the_note_about_ones_own_picture_survives(client: TestClient, drawings: Path) -> None:
    data = next(drawings.rglob("*.png")).read_bytes()
    first = client.post("/v1/query", content=data).json()
    assert "itself is in the index" in first["query"]["notes"][0]
    again = client.get(f"/v1/results/{first['id']}").json()
    assert again["query"]["notes"] == first["query"]["notes"]


def test_more_like_this_starts_from_the_stored_vector(client: TestClient, engine: Any) -> None:
    picture_id, title_id = engine.generation.meta.execute(
        "select picture_id, title_id from pictures join titles using (title_no)"
    ).fetchone()
    answer = client.get(f"/v1/pictures/{picture_id}/similar").json()
    assert answer["titles"][0]["pictures"][0]["picture_id"] == picture_id
    others = client.get(
        f"/v1/pictures/{picture_id}/similar", params={"exclude_title": title_id}
    ).json()
    assert title_id not in [title["title_id"] for title in others["titles"]]
    assert client.get(f"/v1/pictures/{'0' * 64}/similar").status_code == 404


@pytest.mark.slow
def test_a_shared_link_outlives_the_server_and_keeps_no_picture(
    settings: Settings,
) -> None:
    with opened(settings) as client:
        first = client.post("/v1/query", content=NEW).json()
        made = client.post(f"/v1/results/{first['id']}/share")
        assert made.status_code == 200, made.text
    with opened(settings) as client:  # another process, as far as memory goes
        assert client.get(f"/v1/results/{first['id']}").status_code == 404
        same(client.get(f"/v1/results/{made.json()['id']}").json(), first)
    kept = settings.layout.web.read_bytes()
    assert NEW[:200] not in kept and len(kept) < 200_000


@pytest.mark.slow
def test_a_shared_link_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(settings, share_days=1) as client:
        first = client.post("/v1/query", content=NEW).json()
        made = client.post(f"/v1/results/{first['id']}/share").json()
        monkeypatch.setattr(time, "time", lambda real=time.time: real() + 2 * 86_400)
        assert client.get(f"/v1/results/{made['id']}").status_code == 404
    with opened(settings, share_days=0) as client:
        first = client.post("/v1/query", content=NEW).json()
        assert client.post(f"/v1/results/{first['id']}/share").status_code == 403


def test_a_full_disk_is_said_and_nothing_else_fails(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.post("/v1/query", content=NEW).json()
    with monkeypatch.context() as patched:

        def full(self: Store) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        patched.setattr(Store, "_opened", full)
        refused = client.post(f"/v1/results/{first['id']}/share")
    assert refused.status_code == 507 and refused.json()["code"] == "disk_full"
    assert client.post(f"/v1/results/{first['id']}/share").status_code == 200


@pytest.mark.parametrize("by", ["title", "picture"])
def test_a_result_can_be_saved_as_a_file(client: TestClient, by: str) -> None:
    first = client.post("/v1/query", params={"by": by}, content=NEW).json()
    got = {
        form: client.get(f"/v1/results/{first['id']}", params={"format": form, "by": by})
        for form in ("json", "csv", "html")
    }
    for form, answer in got.items():
        assert f"toonsearch.{form}" in answer.headers["content-disposition"]
    same(got["json"].json(), dict(first))
    rows = list(csv.DictReader(io.StringIO(got["csv"].text)))
    assert [row["title_id"] for row in rows] == [hit["title_id"] for hit in first[f"{by}s"]]
    assert got["html"].text.count("data:image/webp") >= len(rows)
    assert str(Path.home()) not in got["html"].text + got["csv"].text + got["json"].text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "empty"),
        (b"no picture", 415, "format"),
        (NEW[:300], 422, "truncated"),
        (png(Image.new("RGB", (4, 4))), 422, "too_small"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "format"),
    ],
)
def test_a_bad_picture_is_one_sentence(
    client: TestClient, body: bytes, status: int, code: str
) -> None:
    answer = client.post("/v1/query", content=body)
    said = answer.json()
    assert (answer.status_code, said["code"]) == (status, code)
    assert said["error"][0].isupper() and said["error"].endswith(".")


@pytest.mark.parametrize(
    "params",
    [
        {"k": "0"}, {"k": "x"}, {"by": "author"}, {"crop": "1,2,3"}, {"crop": "900,900,5,5"},
        {"exclude_author": "Nobody"}, {"exclude_title": "nothing"}, {"year_from": "x" * 9},
        {"min_percentile": "101"}, {"exclude_same_author": "maybe"},
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_one_sentence(client: TestClient, params: dict[str, str]) -> None:
    answer = client.post("/v1/query", params=params, content=NEW)
    assert answer.status_code == 422 and answer.json()["error"]


def test_stored_vectors_are_those_of_the_index(client: TestClient, engine: Any) -> None:
    rows = np.asarray(engine.generation.meta.execute("select row_id from pictures").fetchall())
    wanted = np.random.default_rng(1).permutation(rows[:, 0])[:9]
    vectors = engine.generation.vectors(wanted)
    for vector, row_id in zip(vectors, wanted, strict=True):
        similarity, found = engine.neighbours(vector, 1)
        assert found[0].row_id == row_id and similarity[0] == pytest.approx(1.0, abs=1e-3)
    for strange in ([rows.max() + 1], [-1], [*wanted, rows.max() + 7]):
        with pytest.raises(InputError, match="does not hold"):
            engine.generation.vectors(strange)
    assert engine.generation.vectors([]).shape == (0, engine.generation.dimension)


def test_without_an_index_the_page_says_how_to_build_one(
    tmp_path: Path, settings: Settings
) -> None:
    empty = replace(settings, store=replace(settings.store, root=tmp_path))
    with opened(empty) as client:
        assert client.get("/").status_code == 200
        answer = client.post("/v1/query", content=NEW)
        assert answer.status_code == 503 and "index build" in answer.json()["hint"]
        assert client.get("/healthz").status_code == 503
        assert client.get("/metrics").status_code == 200


def test_a_result_is_asked_again_with_another_share_of_the_subject(client: TestClient) -> None:
    first = client.post("/v1/query", content=NEW, params={"by": "picture", "subject": 1}).json()
    again = client.get(f"/v1/results/{first['id']}", params={"by": "picture", "subject": 1}).json()
    same(first, again)
    found = again["pictures"][0]["picture_id"]
    like = client.get(f"/v1/pictures/{found}/similar", params={"by": "picture", "subject": 0.5})
    assert (
        like.json()["pictures"][0]["picture_id"] == found and like.json()["query"]["subject"] == 0.5
    )
    marked = {"by": "picture", "subject": 1, "liked": like.json()["pictures"][5]["picture_id"]}
    moved = client.get(f"/v1/results/{like.json()['id']}", params=marked).json()
    assert moved["labels"] == client.get(f"/v1/results/{like.json()['id']}").json()["labels"]
    assert client.post("/v1/query", content=NEW, params={"subject": 1.5}).status_code == 422
    assert client.get("/v1/facets").json()["subjects"] is True


def test_words_alone_are_asked(client: TestClient, settings: Settings, capsys: Any) -> None:
    answer = client.get("/v1/text", params={"text": "jeong", "by": "picture", "k": 3})
    same(
        answer.json(),
        from_command_line(capsys, settings, "--text", "jeong", "--by", "picture", "-k", "3"),
    )
    assert [one["authors"] for one in answer.json()["pictures"]] == [[HANDS[2]]] * 3
    for params in ({}, {"text": ""}, {"text": "?!"}):
        assert client.get("/v1/text", params=params).status_code == 422, params


@pytest.mark.parametrize("ood", [1.37, nan])
def test_a_share_keeps_all_of_a_query(tmp_path: Path, ood: float) -> None:
    vector, subject = np.eye(2, 8, dtype=np.float32)
    style = StyleQuery(vector, ood, subject=subject)
    query = EncodedQuery(style, "model", "pixels", ("own",))
    store = Store(tmp_path / "web.sqlite")
    key, _ = store.add_share(query, 3)
    found = store.share(key)
    assert found is not None and found.style.ood == pytest.approx(ood, nan_ok=True)
    assert np.array_equal(found.style.vector, vector)
    assert np.array_equal(found.style.subject, subject)
    assert replace(found, style=style) == query
    assert store.share("s-" + "0" * 22) is None and store.share("' or 1=1") is None
    store.close()


def test_a_file_of_another_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "web.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("pragma user_version = 99")
    store = Store(path)
    with pytest.raises(ApiError, match="another release"):
        store.account_of("secret")
    store.close()


def test_accounts_of_an_older_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "web.sqlite"
    store = Store(path)
    store.create_account("Anna", "correct horse battery")
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("create table shares (id text primary key) without rowid")
        file.execute("drop table shared_links")
    again = Store(path)
    assert again.account_of(again.sign_in("anna", "correct horse battery")) is not None
    again.close()
    with contextlib.closing(sqlite3.connect(path)) as file:
        tables = {row[0] for row in file.execute("select name from sqlite_schema")}
    assert "shared_links" in tables and "shares" not in tables


def test_marks_refine_a_query_and_leave_its_labels(client: TestClient, new_picture: Path) -> None:
    first = client.post("/v1/query?by=picture&k=20", content=new_picture.read_bytes()).json()
    at, base = f"/v1/results/{first['id']}", {"by": "picture", "k": 20}
    other = next(one for one in first["pictures"] if one["authors"] == [HANDS[2]])
    liked = client.get(at, params={**base, "liked": other["picture_id"]}).json()
    moved = {one["picture_id"]: one["similarity"] for one in liked["pictures"]}
    assert moved[other["picture_id"]] > other["similarity"] + 0.1
    assert liked["labels"] == first["labels"]
    nearest = first["pictures"][0]
    less = client.get(at, params={**base, "disliked": nearest["picture_id"]}).json()
    there = {one["picture_id"]: one["similarity"] for one in less["pictures"]}
    assert there.get(nearest["picture_id"], -1.0) < nearest["similarity"]
    gone = client.get(at, params={**base, "liked": ["0" * 64, "x"]}).json()
    assert gone["pictures"] == first["pictures"], "what the index lacks marks nothing"
    assert client.get(at, params={**base, "liked": ["0"] * 41}).status_code == 422


def test_more_like_this_says_whose_and_can_be_asked_again(client: TestClient) -> None:
    hit = client.get("/v1/titles").json()["titles"][0]
    like = client.get(f"/v1/pictures/{hit['picture_id']}/similar?k=3").json()
    assert like["picture"]["title_id"] == hit["title_id"]
    assert like["picture"]["authors"] == hit["authors"]
    again = client.get(f"/v1/results/{like['id']}?k=3").json()
    assert again["titles"] == like["titles"] and "picture" not in again
    assert client.post(f"/v1/results/{like['id']}/share").status_code == 200


# --- Strips and pages

BOXES = [(20, 20, 370, 250), (410, 20, 370, 250), (20, 300, 760, 400), (20, 730, 370, 250)]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.png"
    strips.page((800, 1000), BOXES).save(path)
    return path


def test_a_page_is_cut_as_on_the_command_line(
    client: TestClient, settings: Settings, page_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [("picture", ("page.png", page_file.read_bytes()))]
    for params, flags in (({}, []), ({"panels": "2"}, ["--panels", "2"])):
        answer = client.post("/v1/query", files=files, params=params).json()
        told = from_command_line(capsys, settings, str(page_file), *flags)
        for body in (answer, told):  # the command line names the file by its path
            body["query"]["notes"] = [n for n in body["query"]["notes"] if "cut into" not in n]
        same(answer, told)
        assert len(answer["panels"]) == (2 if params else len(BOXES))
    whole = client.post("/v1/query", files=files, params={"panels": "off"}).json()
    assert whole["panels"] == []
    assert all("asked_by" not in hit for title in whole["titles"] for hit in title["pictures"])
    for wrong in ("many", "49"):
        refused = client.post("/v1/query", files=files, params={"panels": wrong})
        assert refused.status_code == 422 and refused.json()["code"] == "parameter"


def test_some_panels_ask_again_without_the_picture(client: TestClient, page_file: Path) -> None:
    files = [("picture", ("page.png", page_file.read_bytes()))]
    first = client.post("/v1/query", files=files).json()
    assert [one["panel"] for one in first["panels"]] == [1, 2, 3, 4]
    strips.assert_boxes([one["parts"][0]["box"] for one in first["panels"]], BOXES)
    address = f"/v1/results/{first['id']}"
    some = client.get(address, params={"panel": [2, 3]}).json()
    assert [one["asks"] for one in some["panels"]] == [False, True, True, False]
    assert some["titles"] != first["titles"]
    direct = client.post("/v1/query", files=files, params={"panel": [2, 3]}).json()
    same(some, direct)
    assert client.get(address).json()["titles"] == first["titles"]  # all of them again
    shared = client.post(f"{address}/share", params={"panel": [2, 3]}).json()
    opened_again = client.get(f"/v1/results/{shared['id']}").json()
    assert opened_again["titles"][0]["similarity"] == some["titles"][0]["similarity"]
    assert opened_again["panels"] == []
    for params, code in (({"panel": "9"}, "input"), ({"panel": "0"}, "parameter")):
        answer = client.get(address, params=params)
        assert answer.status_code == 422 and answer.json()["code"] == code, answer.text
    saved = client.get(address, params={"format": "csv", "panel": [2]}).text
    rows = list(csv.DictReader(io.StringIO(saved)))
    assert {row["asked_by"] for row in rows} == {"2"}


def test_slices_dropped_together_are_one_strip(client: TestClient) -> None:
    strip = strips.page(
        (400, 1600), [(20, 20, 360, 500), (20, 580, 360, 480), (20, 1120, 360, 460)]
    )
    files = []
    for number, (top, bottom) in enumerate(((0, 800), (800, 1600)), 1):
        files.append(("picture", (f"{number}.png", png(strip.crop((0, top, 400, bottom))))))
    answer = client.post("/v1/query", files=files).json()
    parts = [[part["picture"] for part in one["parts"]] for one in answer["panels"]]
    assert parts == [[1], [1, 2], [2]]
    broken = ("picture", ("3.png", b"\x89PNG\r\n\x1a\n broken"))
    answer = client.post("/v1/query", files=[broken, *files]).json()
    assert [one["picture"] for one in answer["refused"]] == [1]
    assert [[part["picture"] for part in one["parts"]] for one in answer["panels"]] == [
        [2], [2, 3], [3],
    ]  # fmt: skip


def test_results_with_panels_take_bounded_memory() -> None:
    one = AskedPanel(1, (AskedPart(1, (0, 0, 9, 9)),), 1.0, asks=True)
    vector = np.ones(4, np.float32)
    panels = PanelVectors((one,) * 200, np.ones((200, 4), np.float32), np.ones(200))
    recent = RecentQueries()
    ids = [
        recent.add(
            EncodedQuery(StyleQuery(vector, 1.0, panels=panels if n % 2 else None), "m", "p", ())
        )
        for n in range(300)
    ]
    held = [recent.get(key) for key in ids]
    assert held[-1] is not None and held[0] is None
    assert sum(200 for query in held if query and query.style.panels) <= MAX_RECENT_PANELS
