"""The catalog on object storage, against moto's server: pushed, read there, pulled, killed, refused."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="needs obstore and moto: make storage-env")
pytest.importorskip("moto.server", reason="needs obstore and moto: make storage-env")

from indexer import object_storage
from indexer.object_storage import Place, pull, push
from schemas.blocklist import BlockList
from schemas.errors import InputError, NetworkError, UsageError
from schemas.storage.catalog import Catalog, maintain
from schemas.storage.commits import CHECKSUMS
from schemas.storage.layout import Layout
from schemas.storage.locking import writing
from schemas.storage.tables import TABLES
from search.cli.app import main

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
SECRET = "not-to-be-shown"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of a server with the bucket `webtoons`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{address}/webtoons", method="PUT")):
        pass
    yield address
    server.stop()


@pytest.fixture(autouse=True)
def credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(object_storage, "RETRIES", 2)


@pytest.fixture
def layout(small_root: Path, tmp_path: Path) -> Layout:
    """A catalog with pictures."""
    for folder in ("tables", "pictures"):
        shutil.copytree(small_root / "data" / folder, tmp_path / "root" / folder)
    return Layout(tmp_path / "root")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"s3://webtoons/{tmp_path.name}"


def pulled(url: str, root: Path) -> object_storage.SyncReport:
    with writing(Layout(root), "pull"):
        return pull(Layout(root), url)


def rows(layout: Layout) -> dict[str, Any]:
    catalog = Catalog(layout)
    return {
        name: sorted(map(str, catalog.read(name).to_pylist()))
        for name in TABLES
        if catalog.exists(name)
    }


def files(layout: Layout) -> set[str]:
    return {str(path.relative_to(layout.pictures)) for path in layout.pictures.glob("*/*/*")}


def change(layout: Layout) -> None:
    """A commit that leaves the same rows."""
    row = Catalog(layout).read("titles").to_pylist()[0]
    with writing(layout, "test"):
        Catalog(layout).upsert("titles", [row])


def test_pushed_read_there_and_pulled(
    layout: Layout, url: str, endpoint: str, tmp_path: Path
) -> None:
    from deltalake import DeltaTable

    report = push(layout, url)
    assert (set(report.tables), report.pictures, report.failed) == (
        set(rows(layout)),
        len(files(layout)),
        0,
    )
    access = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
    table = DeltaTable(f"{url}/tables/pictures", storage_options=access).to_pyarrow_table()
    assert table.num_rows == Catalog(layout).read("pictures").num_rows
    copy = Layout(tmp_path / "copy")
    report = pulled(url, copy.root)
    assert report.pictures == len(files(layout)) and not report.failed
    assert (rows(copy), files(copy)) == (rows(layout), files(layout))
    for name in rows(layout):
        assert (copy.table(name) / CHECKSUMS).read_bytes() == (
            layout.table(name) / CHECKSUMS
        ).read_bytes()
    again = push(layout, url)
    assert (again.tables, again.files, again.pictures, again.removed) == ([], 0, 0, 0)
    again = pulled(url, copy.root)
    assert (again.tables, again.files, again.pictures, again.removed) == ([], 0, 0, 0)


def test_only_what_is_new_is_copied_and_what_is_gone_is_removed(
    layout: Layout, url: str, tmp_path: Path
) -> None:
    copy = Layout(tmp_path / "copy")
    push(layout, url)
    pulled(url, copy.root)
    change(layout)
    report = push(layout, url)
    assert (report.tables, report.pictures) == (["titles"], 0) and report.files == 2
    assert pulled(url, copy.root).files == 2

    gone = Catalog(layout).read("pictures").to_pylist()[0]
    with writing(layout, "test"):
        Catalog(layout).delete("pictures", "picture_id", [gone["picture_id"]])
        maintain(layout, keep_history=False)
        BlockList.read(layout).adding("author", ["Kim"]).write(layout)
        layout.picture(gone["file"]).unlink()
    report = push(layout, url)
    keys = Place(url).keys("")
    assert f"pictures/{gone['file']}" not in keys
    for name in rows(layout):
        here = {path.name for path in layout.table(name).rglob("*") if path.is_file()}
        there = {Path(key).name for key in keys if key.startswith(f"tables/{name}/")}
        assert here == there
    report = pulled(url, copy.root)
    assert report.new_marks and report.removed == 1
    assert (rows(copy), files(copy)) == (rows(layout), files(layout))
    assert BlockList.read(copy).blocks("author", "Kim")


def test_there_is_one_history(layout: Layout, url: str, tmp_path: Path) -> None:
    copy = Layout(tmp_path / "copy")
    push(layout, url)
    pulled(url, copy.root)
    change(copy)
    with pytest.raises(InputError, match="changes to 'titles' that are not in s3://"):
        pulled(url, copy.root)
    push(copy, url)  # it has seen what lies there
    with pytest.raises(InputError, match="changes to 'titles' that are not in "):
        push(layout, url)
    pulled(url, layout.root)
    assert rows(layout) == rows(copy)
    stranger = Layout(tmp_path / "stranger")  # it never pushed nor pulled there
    shutil.copytree(layout.tables, stranger.tables)
    change(stranger)
    with pytest.raises(InputError, match="that are not in"):
        push(stranger, url)


def test_two_that_push_at_once(
    layout: Layout, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one finds that its condition does not hold, and changes nothing."""
    push(layout, url)
    copy = Layout(tmp_path / "copy")
    pulled(url, copy.root)
    change(copy)
    change(layout)
    real = Place.put_if

    def slow(self: Place, key: str, data: bytes, tag: str | None) -> bool:
        monkeypatch.setattr(Place, "put_if", real)
        push(copy, url)
        return real(self, key, data, tag)

    monkeypatch.setattr(Place, "put_if", slow)
    with pytest.raises(InputError, match=r"(of|by) another machine"):
        push(layout, url)
    pulled(url, tmp_path / "third")
    assert rows(Layout(tmp_path / "third")) == rows(copy)


class Killed(BaseException):
    """Nothing is done after it."""


@contextmanager
def killed_at(owner: Any, names: tuple[str, ...], at: int) -> Iterator[Callable[[], bool]]:
    """Calls of these methods fail from the given one on; says whether it was reached."""
    calls = 0
    lock = threading.Lock()
    patch = pytest.MonkeyPatch()

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            with lock:
                calls += 1
                reached = calls > at
            if reached:
                raise Killed
            return real(*arguments, **options)

        return call

    for name in names:
        patch.setattr(owner, name, counting(getattr(owner, name)))
    try:
        yield lambda: calls > at
    finally:
        patch.undo()


@pytest.mark.slow
def test_a_push_killed_at_any_request(layout: Layout, url: str, tmp_path: Path) -> None:
    push(layout, url)
    before = rows(layout)
    row = Catalog(layout).read("titles").to_pylist()[0]
    with writing(layout, "test"):
        Catalog(layout).upsert("titles", [{**row, "title": "Renamed"}])
        maintain(layout, keep_history=False)
    for at in range(100):
        with killed_at(Place, ("put", "put_if", "remove"), at) as reached:
            with suppress(Killed):
                push(layout, url)
            if not reached():
                break
        copy = Layout(tmp_path / f"copy{at}")
        pulled(url, copy.root)
        found = rows(copy)
        assert all(found[name] in (before[name], rows(layout)[name]) for name in before)
        shutil.rmtree(copy.root)
    assert at > 5
    pulled(url, tmp_path / "copy")
    assert rows(Layout(tmp_path / "copy")) == rows(layout)


@pytest.mark.slow
def test_a_pull_killed_at_any_rename(layout: Layout, url: str, tmp_path: Path) -> None:
    copy = Layout(tmp_path / "copy")
    push(layout, url)
    pulled(url, copy.root)
    for _ in range(2):
        change(layout)
    push(layout, url)
    before = shutil.copytree(copy.root, tmp_path / "before")
    for at in range(100):
        shutil.rmtree(copy.root)
        shutil.copytree(before, copy.root)
        with killed_at(Path, ("replace",), at) as reached:
            with suppress(Killed):
                pulled(url, copy.root)
            if not reached():
                break
        assert rows(copy) == rows(layout)  # the commits change nothing but versions
        pulled(url, copy.root)
        assert Catalog(copy).version("titles") == Catalog(layout).version("titles")
    assert at > 5


def test_damage_there_is_found(layout: Layout, url: str, tmp_path: Path) -> None:
    push(layout, url)
    place = Place(url)
    file = sorted(files(layout))[0]
    place.put(f"pictures/{file}", b"another")
    for odd in ("ab/notes.txt", f"ab/cd/{'e' * 64}.png", f"ab/x/{file}"):  # of somebody else
        place.put(f"pictures/{odd}", b"x")
    report = pulled(url, tmp_path / "one")
    assert files(Layout(tmp_path / "one")) == files(layout) - {file}
    assert (report.failed, report.problems) == (1, [f"{file}: it is damaged there"])
    data = next(key for key in place.keys("") if re.fullmatch("tables/titles/.*parquet", key))
    place.put(data, b"another")
    with pytest.raises(InputError, match=r"parquet is damaged"):
        pulled(url, tmp_path / "two")
    assert not Catalog(Layout(tmp_path / "two")).exists("titles")


@contextmanager
def failing(endpoint: str, refusals: int) -> Iterator[tuple[str, list[int]]]:
    """A server in front of another that answers so many requests with 503 (-1: all)."""
    seen: list[int] = []
    host = endpoint.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            refused = refusals < 0 or len(seen) < refusals
            if refused:
                seen.append(503)
                status, headers, data = 503, {}, b"<Error><Code>SlowDown</Code></Error>"
            else:
                inner = http.client.HTTPConnection(host)
                inner.request(self.command, self.path, body, dict(self.headers))
                answer = inner.getresponse()
                data, status = answer.read(), answer.status
                headers = {
                    name: value
                    for name, value in answer.getheaders()
                    if name.lower() not in ("connection", "transfer-encoding", "date", "server")
                }
                inner.close()
            self.send_response(status)
            if self.command != "HEAD":
                headers["Content-Length"] = str(len(data))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_that_is_busy_is_asked_again(
    layout: Layout, url: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(endpoint, 2) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert push(layout, url).pictures == len(files(layout))
        assert len(seen) == 2


def test_a_store_that_stays_away_is_one_line(
    layout: Layout,
    url: str,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    push(layout, url)
    change(layout)
    with failing(endpoint, -1) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert main(["--data", str(layout.root), "catalog", "push", url]) == 6
        assert len(seen) == 3  # and two more tries
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "503 Service Unavailable, SlowDown" in said
    assert SECRET not in said
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert push(layout, url).tables == ["titles"]
    with pytest.raises(NetworkError, match="404 Not Found, NoSuchBucket"):
        push(layout, "s3://no-such-bucket/x")


def test_places_that_cannot_be_used(
    layout: Layout, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for odd in ("webtoons", "s3://", "s3://UPPER/x", "s3://webtoons/a//b", "s3://webtoons/../x"):
        with pytest.raises(UsageError, match="is not the address of a bucket"):
            push(layout, odd)
    with pytest.raises(InputError, match="there is no catalog in"):
        push(Layout(tmp_path / "empty"), url)
    with pytest.raises(InputError, match="there is no catalog in s3://"):
        pulled(url, tmp_path / "empty")
    assert main(["--data", str(layout.root), "catalog", "push", url, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["url"] == url and shown["pictures"] == len(files(layout))


def test_pictures_that_are_gone_here_are_problems_of_their_own(
    layout: Layout, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, *_ = sorted(files(layout))
    layout.picture(gone).unlink()
    assert main(["--data", str(layout.root), "catalog", "push", url]) == 4
    out, err = capsys.readouterr()
    assert "1 failed" in out and gone in err
