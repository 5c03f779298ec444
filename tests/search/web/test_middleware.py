"""What is refused before anything is parsed, and what every answer carries."""

from __future__ import annotations

import asyncio
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from schemas.settings import Settings
from search.web import middleware
from search.web.errors import ApiError
from search.web.middleware import MAX_CLIENTS, Rates
from tests.search.artists import draw
from tests.search.web.conftest import opened, served

PAGES = ("/", "/title", "/map", "/static/app.js", "/v1/facets", "/v1/nothing", "/healthz")


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_the_policy(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy and "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_refusals_carry_it_too(client: TestClient) -> None:
    for answer in (
        client.get("/", headers={"host": "elsewhere.example"}),
        client.post("/v1/query", content=b"x", headers={"origin": "https://elsewhere.example"}),
    ):
        assert answer.status_code in (403, 421)
        assert "content-security-policy" in answer.headers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("localhost", True), ("localhost:8765", True), ("127.0.0.1:1", True), ("[::1]:80", True),
        ("toons.example.org", True), ("TOONS.example.org:443", True), ("evil.example", False),
        ("localhost.evil.example", False), ("", False), ("127.0.0.1.nip.io", False),
        ("localhost:80@evil.example", False), (f"{socket.gethostname()}.local:8765", True),
        ("localhost:", True), ("[::1", False), ("localhost:x", False), ("evil.local", False),
    ],
)  # fmt: skip
def test_only_our_own_names_are_answered(settings: Settings, host: str, fine: bool) -> None:
    with opened(settings, hosts="toons.example.org, other.example") as client:
        assert (client.get("/", headers={"host": host}).status_code == 200) is fine


@pytest.mark.parametrize(
    ("headers", "fine"),
    [
        ({}, True), ({"origin": "http://localhost"}, True),
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://evil.example"}, False), ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False), ({"sec-fetch-site": "same-site"}, False),
        # Proxies add the default port to Host, or take it off.
        ({"host": "localhost:443", "origin": "https://localhost"}, True),
        ({"host": "localhost:80", "origin": "http://localhost"}, True),
        ({"host": "localhost", "origin": "https://LOCALHOST:443"}, True),
        ({"host": "[::1]:443", "origin": "https://[::1]"}, True),
        ({"host": "localhost:8443", "origin": "https://localhost"}, False),
        ({"host": "localhost:443", "origin": "http://localhost"}, False),
        ({"host": "localhost", "origin": "https://localhost:8443"}, False),
        ({"host": "localhost", "origin": "ftp://localhost"}, False),
        ({"host": "localhost", "origin": "https://localhost@evil.example"}, False),
        ({"host": "localhost", "origin": "https://localhost.evil.example"}, False),
        # Or they put their own name there: the browser's word holds.
        ({"host": "127.0.0.1:8765", "origin": "https://toon.example.org",
          "sec-fetch-site": "same-origin"}, True),
        ({"host": "127.0.0.1:8765", "origin": "https://toon.example.org"}, False),
        ({"host": "127.0.0.1:8765", "origin": "https://evil.example",
          "sec-fetch-site": "cross-site"}, False),
        ({"host": "127.0.0.1:8765", "origin": "http://localhost:3000",
          "sec-fetch-site": "same-site"}, False),
        ({"origin": "http://localhost", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "null", "sec-fetch-site": "none"}, False),
        ({"origin": "", "sec-fetch-site": "nonsense"}, False),
    ],
)  # fmt: skip
def test_other_sites_change_nothing(
    client: TestClient, headers: dict[str, str], fine: bool
) -> None:
    answer = client.post("/v1/query", content=b"x", headers=headers)
    assert (answer.status_code == 403) is not fine
    assert fine or "Host" in answer.json()["hint"]


def test_a_name_pointed_here_is_refused_whatever_the_browser_says(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A page that rebinds its own name to this machine is of one origin with us, it seems."""
    headers = {"host": "rebound.example", "origin": "http://rebound.example",
               "sec-fetch-site": "same-origin"}  # fmt: skip
    for _ in range(3):
        answer = client.post("/v1/query", content=b"x", headers=headers)
        assert answer.status_code == 421 and "web." not in answer.text
    assert caplog.text.count("rebound.example") == 1 and "web.hosts" in caplog.text


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/facets", "/static/app.js", "/metrics"])
def test_head_is_get_without_the_body(client: TestClient, path: str) -> None:
    answer = client.head(path)
    assert answer.status_code == 200 and not answer.content
    assert client.head("/v1/query").status_code == 405
    assert client.options("/v1/query").status_code == 405


def test_a_large_body_is_refused_by_its_length_and_by_its_bytes(settings: Settings) -> None:
    with opened(settings, max_bytes=10_000) as client:
        assert client.post("/v1/query", content=b"x" * 10_001).status_code == 413

        def drip() -> Iterator[bytes]:
            for _ in range(40):
                yield b"x" * 1000

        answer = client.post("/v1/query", content=drip())
        assert answer.status_code == 413 and answer.json()["code"] == "too_many_bytes"
        many = {"content-type": "multipart/form-data; boundary=b"}
        part = b'--b\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\nx\r\n'
        assert client.post("/v1/query", content=part * 500, headers=many).status_code == 413
        assert client.post("/v1/query", content=part * 80, headers=many).status_code == 400


def test_rates(settings: Settings) -> None:
    held = io.BytesIO()
    draw(0, 1).save(held, "PNG")
    with opened(settings, rate=3) as client:
        found = [client.post("/v1/query", content=held.getvalue()) for _ in range(5)]
        assert [one.status_code for one in found] == [200, 200, 200, 429, 429]
        assert int(found[-1].headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200


def test_a_bucket_refills_and_memory_is_bounded() -> None:
    now = 0.0
    rates = Rates(60, clock=lambda: now)

    def ask(host: str) -> bool:
        scope = {"method": "POST", "path": "/v1/query", "client": (host, 1)}
        try:
            rates.take(scope)
        except ApiError as error:
            assert error.status == 429
            return False
        return True

    assert sum(ask("10.0.0.1") for _ in range(100)) == 60
    now = 10.0
    assert sum(ask("10.0.0.1") for _ in range(100)) == 10
    assert ask("10.0.0.2")
    assert sum(ask(f"2001:db8:0:1::{n:x}") for n in range(100)) == 60  # one household
    for n in range(MAX_CLIENTS + 100):
        ask(f"{n >> 16}.{n >> 8 & 255}.{n & 255}.9")
    assert len(rates._buckets) <= MAX_CLIENTS


def test_answers_hold_no_traces(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from search.engine import Engine

    with opened(settings) as client:

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("secret /root/path")

        monkeypatch.setattr(Engine, "answer", broken)
        held = io.BytesIO()
        draw(0, 1).save(held, "PNG")
        answer = client.post("/v1/query", content=held.getvalue())
    assert answer.status_code == 500 and answer.json()["code"] == "bug"
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert "secret" in caplog.text  # whoever runs the server is told


# --- spellings of paths ------------------------------------------------------------------


def traversals() -> list[str]:
    """Some 500 ways to write a path that leaves its folder."""
    ups = ["..", "%2e%2e", "%2e.", "%252e%252e", "..%00", "%c0%ae%c0%ae", "..;", "....//", ".%2e",
           "%u002e%u002e", "..%5c", "..\\"]  # fmt: skip
    targets = ["etc/passwd", "pyproject.toml", "index/CURRENT", "web.sqlite", "__init__.py"]
    found = []
    for prefix in ("/static/", "/v1/pictures/", "/v1/titles/", "/"):
        for up in ups:
            for depth in (1, 6):
                for target in targets:
                    for slash in ("/", "%2f"):
                        found.append(prefix + slash.join([up] * depth + [target]))
    for prefix in ("/static/", "/v1/pictures/"):
        found += [prefix + "/etc/passwd", prefix + "%2fetc%2fpasswd", prefix + "file:///etc/passwd",
                  prefix + "app.js%00.png", prefix + "C:\\windows\\win.ini"]  # fmt: skip
    return found


@pytest.mark.slow
def test_no_spelling_of_a_path_leaves_its_folder(address: str, settings: Settings) -> None:
    host, port = urlsplit(address).hostname, urlsplit(address).port
    secrets = [Path("/etc/passwd").read_bytes()[:40], settings.layout.current.read_bytes()[:20],
               b"build-backend", b"SQLite format 3"]  # fmt: skip
    paths = traversals()
    assert len(paths) >= 500
    statuses: dict[int, int] = {}
    with socket.create_connection((host, port), 20) as link:
        for path in paths:
            # By hand: a client library would tidy the path before it is sent.
            link.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            status, body = read_answer(link)
            statuses[status] = statuses.get(status, 0) + 1
            assert not any(secret in body for secret in secrets), path
            if status in (0, 400):
                link.close()
                link = socket.create_connection((host, port), 20)
    assert set(statuses) <= {200, 400, 404, 422}, statuses


def read_answer(link: socket.socket) -> tuple[int, bytes]:
    """Status and body of one HTTP answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = link.recv(65536)
        if not part:
            return (int(data.split()[1]) if data else 0), data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
         if line.startswith(b"content-length")), 0,
    )  # fmt: skip
    while len(body) < length:
        body += link.recv(65536)
    return int(head.split()[1]), body


# --- proxies of HTTP/1.0 and slow lines ---------------------------------------------------


@pytest.mark.slow
def test_an_old_proxy_is_answered(address: str) -> None:
    host, port = urlsplit(address).hostname, urlsplit(address).port
    for method, size in (("GET", True), ("HEAD", False)):
        with socket.create_connection((host, port), 20) as link:
            link.sendall(f"{method} /healthz HTTP/1.0\r\n\r\n".encode())
            data = b"".join(iter(lambda: link.recv(65536), b""))
        assert data.split()[1] == b"200"
        assert bool(data.partition(b"\r\n\r\n")[2]) is size


async def pump(app: object, parts: list[tuple[float, bytes]], client: str = "10.0.0.1") -> int:
    """Send a body's parts, each after a wait; gives the status of the answer."""
    left = list(parts)
    status = 0

    async def receive() -> dict[str, object]:
        if not left:
            return {"type": "http.disconnect"}
        wait, data = left.pop(0)
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": data, "more_body": bool(left)}

    async def send(message: dict[str, object]) -> None:
        nonlocal status
        status = int(str(message.get("status", status)))

    scope = {
        "type": "http", "method": "POST", "path": "/v1/query", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"text/plain")], "client": (client, 1), "http_version": "1.1",
        "scheme": "http", "server": ("localhost", 80), "root_path": "",
    }  # fmt: skip
    async with asyncio.timeout(20):
        await app(scope, receive, send)  # type: ignore[operator]
    return status


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks of bodies, thirty times faster: a stall is a second, the pace 240 kB/s."""
    for name in ("STALL_S", "BODY_S"):
        monkeypatch.setattr(middleware, name, getattr(middleware, name) / 30)
    monkeypatch.setattr(middleware, "PACE_BYTES_S", middleware.PACE_BYTES_S * 30)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([(0.2, b"x" * 100_000)] * 8, 415),  # longer than a stall may be, and steady
        ([(0.2, b"x" * 5_000)] * 10, 408),  # slower than the least pace
        ([(0.0, b"x" * 5_000_000), (1.4, b"x")], 408),  # a fast start buys no stall
        ([(1.4, b"x")], 408),
    ],
)  # fmt: skip
def test_a_body_is_waited_for_while_it_comes(
    client: TestClient, quick: None, parts: list[tuple[float, bytes]], status: int
) -> None:
    assert asyncio.run(pump(client.app, parts)) == status


def test_a_body_has_an_end(
    client: TestClient, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BODY_S", 0.5)
    assert asyncio.run(pump(client.app, [(0.2, b"x" * 100_000)] * 5)) == 408


def test_one_client_cannot_hold_all_uploads(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "UPLOADS_PER_CLIENT", 3)

    async def many() -> list[int]:
        slow = [(0.2, b"x"), (0.2, b"x")]
        tasks = [pump(client.app, slow, "10.0.0.1") for _ in range(5)]
        return list(await asyncio.gather(*tasks, pump(client.app, slow, "10.0.0.2")))

    found = asyncio.run(many())
    assert sorted(found[:5]) == [415, 415, 415, 503, 503] and found[5] == 415
    assert asyncio.run(many())[5] == 415  # nothing is counted for ever


# --- slow and endless ---------------------------------------------------------------------


@pytest.mark.slow
def test_dripping_heads_and_idle_connections_are_closed(address: str) -> None:
    host, port = urlsplit(address).hostname, urlsplit(address).port
    with (
        socket.create_connection((host, port), 40) as silent,
        socket.create_connection((host, port), 40) as dripping,
    ):
        dripping.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        closed, end = False, time.monotonic() + 40
        while not closed and time.monotonic() < end:
            try:
                dripping.sendall(b"X-A: b\r\n")
            except OSError:
                closed = True
            time.sleep(0.5)
        assert closed
        assert silent.recv(10) == b""


@pytest.mark.slow
def test_an_endless_upload_costs_no_memory(settings: Settings) -> None:
    psutil = pytest.importorskip("psutil")
    with served(settings.store.root, max_bytes="2000000") as address:
        host, port = urlsplit(address).hostname, urlsplit(address).port
        process = next(
            p for p in psutil.process_iter()
            if any(c.laddr.port == port and c.status == "LISTEN" for c in connections(p))
        )  # fmt: skip
        before = process.memory_info().rss
        links = []
        for _ in range(20):
            link = socket.create_connection((host, port), 20)
            link.sendall(b"POST /v1/query HTTP/1.1\r\nHost: localhost\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
            links.append(link)
        sent = refused = 0
        for link in links:
            try:
                for _ in range(200):
                    link.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                    sent += 65536
            except OSError:
                refused += 1
        assert process.memory_info().rss - before < 64e6
        assert refused == 20 and sent < 20 * 200 * 65536
        for link in links:
            link.close()
        with socket.create_connection((host, port), 20) as link:
            link.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_answer(link)[0] == 200


def connections(process: object) -> list[object]:
    try:
        return list(process.net_connections())  # type: ignore[attr-defined]
    except Exception:
        return []
