"""Accounts and galleries: what writes needs a password, what is private stays so."""

from __future__ import annotations

import csv
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from search.cli.app import main
from search.web import db, middleware
from search.web.dependencies import COOKIE
from tests.search.pages import elements
from tests.search.web.conftest import opened
from tests.small_model import ENVIRON

pytestmark = pytest.mark.slow
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def own(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same index with a store of its own."""
    root = tmp_path_factory.mktemp("accounts")
    for name in ("index", "pictures", "tables"):
        (root / name).symlink_to(settings.store.root / name)
    return replace(settings, store=replace(settings.store, root=root))


@pytest.fixture(scope="module")
def server(own: Settings) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(middleware, "SIGN_INS_PER_MINUTE", 1000)
        with opened(own, accounts="open") as client:
            yield client


@pytest.fixture
def anna(server: TestClient) -> Iterator[TestClient]:
    yield from signed_in(server, "Anna")


def signed_in(server: TestClient, name: str) -> Iterator[TestClient]:
    server.cookies.clear()
    made = server.post("/v1/accounts", json={"name": name, "password": PASSWORD})
    if made.status_code == 409:
        made = server.post("/v1/session", json={"name": name, "password": PASSWORD})
    assert made.status_code == 200, made.text
    yield server
    server.cookies.clear()


def picture_of(engine: Any) -> str:
    return str(engine.generation.meta.execute("select picture_id from pictures").fetchone()[0])


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(server: TestClient) -> None:
    server.cookies.clear()
    server.post("/v1/accounts", json={"name": "Cookie", "password": PASSWORD})
    answer = server.post("/v1/session", json={"name": "cookie", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert server.get("/v1/session").json()["account"] == "Cookie"
    secret = server.cookies[COOKIE]
    server.delete("/v1/session")
    server.cookies.set(COOKIE, secret)  # kept by somebody: it opens nothing any more
    assert server.get("/v1/session").json()["account"] is None
    server.cookies.clear()


def test_passwords_are_hashed_and_the_file_is_private(anna: TestClient, own: Settings) -> None:
    with sqlite3.connect(own.layout.web) as connection:
        hashes = [row[0] for row in connection.execute("select password_hash from accounts")]
        digests = [row[0] for row in connection.execute("select digest from sessions")]
    assert all(text.startswith("$argon2id$") for text in hashes)
    assert anna.cookies[COOKIE].encode() not in digests
    assert own.layout.web.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/session", {"name": "Anna", "password": "wrong password"}, 401, "password"),
        ("/v1/session", {"name": "nobody", "password": PASSWORD}, 401, "password"),
        ("/v1/accounts", {"name": "anna", "password": PASSWORD}, 409, "taken"),
        ("/v1/accounts", {"name": "Anná", "password": PASSWORD}, 409, "taken"),
        ("/v1/accounts", {"name": " \n", "password": PASSWORD}, 422, "name"),
        ("/v1/accounts", {"name": "x", "password": "short"}, 422, "short"),
        ("/v1/accounts", {"name": "y" * 41, "password": PASSWORD}, 422,
         "name"),
        ("/v1/accounts", {"name": "z"}, 422, "parameter"),
    ],
)  # fmt: skip
def test_wrong_credentials(
    anna: TestClient, path: str, body: dict[str, str], status: int, code: str
) -> None:
    answer = anna.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_guessing_is_slow(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "SIGN_INS_PER_MINUTE", 10)
    with opened(own, accounts="open", rate=0) as client:
        body = {"name": "Anna", "password": "guess number one"}
        found = [client.post("/v1/session", json=body).status_code for _ in range(15)]
    assert found.count(429) == 5


def test_galleries_from_making_to_deleting(anna: TestClient, engine: Any) -> None:
    made = anna.post("/v1/galleries", json={"name": "  Nice\x00 inks "}).json()
    assert made["name"] == "Nice inks" and made["mine"] and not made["public"]
    path = f"/v1/galleries/{made['id']}"
    picture_id = picture_of(engine)
    for _ in range(2):
        put = anna.post(f"{path}/pictures", json={"picture_id": picture_id})
        assert put.status_code == 204
    shown = anna.get(path).json()
    assert [one["picture_id"] for one in shown["pictures"]] == [picture_id]
    assert shown["pictures"][0]["title"].startswith("Book")
    assert anna.post(f"{path}/pictures", json={"picture_id": "0" * 64}).status_code == 404
    assert anna.patch(path, json={"name": "Better", "public": True}).json()["public"]
    assert anna.get("/v1/galleries").json()["mine"][0]["pictures_count"] == 1
    assert anna.delete(f"{path}/pictures/{picture_id}").status_code == 204
    assert anna.get(path).json()["pictures"] == []
    assert anna.delete(path).status_code == 204
    assert anna.get(path).status_code == 404


def test_private_is_private_and_public_is_read_only(server: TestClient, engine: Any) -> None:
    for _ in signed_in(server, "Anna"):
        secret = server.post("/v1/galleries", json={"name": "secret"}).json()["id"]
        known = server.post("/v1/galleries", json={"name": "known", "public": True}).json()["id"]
    for who in (None, "Bert"):
        for _ in signed_in(server, who) if who else [server]:
            assert server.get(f"/v1/galleries/{secret}").status_code == 404
            assert server.get(f"/v1/galleries/{known}").status_code == 200
            assert [g["id"] for g in server.get("/v1/galleries").json()["public"]] == [known]
            status = 404 if who else 401
            body = {"picture_id": picture_of(engine)}
            for key in (secret, known):
                path = f"/v1/galleries/{key}"
                assert server.post(f"{path}/pictures", json=body).status_code == status
                assert server.patch(path, json={"name": "mine"}).status_code == status
                assert server.delete(path).status_code == status
    assert server.post("/v1/galleries", json={"name": "x"}).status_code == 401


def test_there_is_an_end_to_everything(
    anna: TestClient, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "MAX_GALLERIES", len(anna.get("/v1/galleries").json()["mine"]))
    assert anna.post("/v1/galleries", json={"name": "one more"}).status_code == 409
    monkeypatch.undo()
    key = anna.post("/v1/galleries", json={"name": "small"}).json()["id"]
    monkeypatch.setattr(db, "MAX_GALLERY_PICTURES", 0)
    body = {"picture_id": picture_of(engine)}
    assert anna.post(f"/v1/galleries/{key}/pictures", json=body).status_code == 409


def test_a_full_disk_loses_nothing(anna: TestClient, own: Settings) -> None:
    before = anna.get("/v1/galleries").json()["mine"]
    store = anna.app.state.service.store  # type: ignore[attr-defined]

    def limit(pages: int | None) -> None:
        connection = store._opened()
        (count,) = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count = {pages or count}")

    anna.portal.call(store.run, lambda: limit(None))  # type: ignore[union-attr]
    statuses = [anna.post("/v1/galleries", json={"name": "x" * 100}).status_code for _ in range(60)]
    assert 507 in statuses and set(statuses) <= {200, 507}
    anna.portal.call(store.run, lambda: limit(100_000))  # type: ignore[union-attr]
    after = anna.get("/v1/galleries").json()["mine"]
    assert len(after) == len(before) + statuses.count(200)
    assert anna.post("/v1/galleries", json={"name": "again"}).status_code == 200


def test_a_damaged_store_stops_only_what_needs_it(own: Settings, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "index").symlink_to(own.layout.index)
    (root / "web.sqlite").write_bytes(b"not a database, by any means" * 100)
    broken = replace(own, store=replace(own.store, root=root))
    with opened(broken, accounts="open") as client:
        assert client.get("/v1/facets").status_code == 200
        answer = client.get("/v1/galleries")
        assert answer.status_code == 503 and answer.json()["code"] == "store"
    assert (root / "web.sqlite").read_bytes().startswith(b"not a database")


@pytest.mark.parametrize(("how", "status"), [("off", 403), ("invited", 403), ("open", 200)])
def test_who_may_register(own: Settings, how: str, status: int) -> None:
    with opened(own, accounts=how) as client:
        body = {"name": f"new {how}", "password": PASSWORD}
        assert client.post("/v1/accounts", json=body).status_code == status
        assert client.get("/v1/galleries").status_code == (403 if how == "off" else 200)


def test_accounts_from_the_command_line(
    own: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(own.store.root)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert main(["serve", "--add-account", "Clara", "--data", root]) == 0
    with opened(own) as client:
        body = {"name": "clara", "password": PASSWORD}
        assert client.post("/v1/session", json=body).json()["account"] == "Clara"
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
        assert main(["serve", "--add-account", "Clara", "--data", root]) == 3
        assert "is taken" in capsys.readouterr().err
        assert main(["serve", "--remove-account", "Clara", "--data", root]) == 0
        assert client.get("/v1/session").json()["account"] is None
    assert main(["serve", "--remove-account", "Clara", "--data", root]) == 3


# --- galleries as files, also those that only a browser keeps ---------------------------------


def some_pictures(engine: Any, count: int) -> list[str]:
    rows = engine.generation.meta.execute(
        "select distinct picture_id from pictures order by picture_id desc limit ?", (count,)
    )
    return [str(row[0]) for row in rows]


def test_a_gallery_as_a_folder_that_can_be_imported(
    client: TestClient, engine: Any, tmp_path: Path
) -> None:
    ids = some_pictures(engine, 3)
    body = {"name": "Mine", "pictures": [*ids, "0" * 64, ids[0]], "format": "zip"}
    answer = client.post("/v1/galleries/file", json=body)
    assert answer.status_code == 200 and answer.headers["left-out"] == "1"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "folder")
        *names, listed = archive.namelist()
    assert listed == "pictures.csv" and [name[:4] for name in names] == ["001 ", "002 ", "003 "]
    text = (tmp_path / "folder" / listed).read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["picture_id"] for row in rows] == ids  # in the order of the gallery
    root = str(tmp_path / "root")
    list_file = str(tmp_path / "folder" / listed)
    assert main(["import", "manifest", list_file, "--data", root]) == 0
    found = Catalog(load_settings({"store.root": root}, environ=ENVIRON).layout).read("titles")
    assert set(found["name"].to_pylist()) == {row["title"] for row in rows}


def test_a_gallery_as_one_page(client: TestClient, engine: Any) -> None:
    ids = some_pictures(engine, 2)
    body = {"name": "<b>Mine</b>", "pictures": ids, "format": "html"}
    answer = client.post("/v1/galleries/file", json=body)
    assert answer.status_code == 200 and answer.headers["left-out"] == "0"
    found = elements(answer.text)
    assert [attrs["src"][:22] for tag, attrs in found if tag == "img" and attrs["src"]] == [
        "data:image/webp;base64"
    ] * 2
    assert "b" not in {tag for tag, _ in found} and "script" not in {tag for tag, _ in found}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"pictures": ["0" * 64]}, 404),
        ({"pictures": []}, 422),
        ({"pictures": ["../../etc/passwd"]}, 404),
        ({"pictures": ["0" * 65]}, 422),
        ({"pictures": ["0"] * 1001}, 422),
        ({"name": ""}, 422),
        ({"format": "exe"}, 422),
    ],
)
def test_files_that_cannot_be(
    client: TestClient, engine: Any, changed: dict[str, Any], status: int
) -> None:
    body = {"name": "x", "pictures": some_pictures(engine, 1), "format": "zip", **changed}
    assert client.post("/v1/galleries/file", json=body).status_code == status
