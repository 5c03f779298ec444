"""Pictures by address: only when it is turned on, only from the public internet."""

from __future__ import annotations

import asyncio
import http.server
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.errors import InputError, NetworkError, ToonsearchError
from schemas.net import is_public
from schemas.settings import Settings
from search.web import fetch
from search.web.fetch import PinnedBackend, fetch_picture
from tests.search.hands import draw
from tests.search.web.conftest import opened

held = io.BytesIO()
draw(0, 42).save(held, "PNG")
PICTURE = held.getvalue()

INSIDE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::7f00:1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:db8::1", "2001::1", "fec0::1",
    "100::1",
]  # fmt: skip


def spellings() -> list[str]:
    """Ways to write an address that must not be asked."""
    found = []
    for address in INSIDE:
        host = f"[{address}]" if ":" in address else address
        found += [f"{scheme}://{host}/a.png" for scheme in ("http", "https")]
        found += [f"http://{host}:80/", f"http://{host}/..;/", f"HTTP://{host}/"]
    for host in ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0x0", "localhost",
                 "LOCALHOST", "localhost.", "127.0.0.1.", "①②⑦.0.0.1", "ⓛocalhost",
                 "%31%32%37.0.0.1",
                 "[::1%25lo]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[::]"):  # fmt: skip
        found += [f"http://{host}/", f"https://{host}/x", f"http://{host}:443/"]
    for scheme in ("file", "ftp", "gopher", "data", "jar", "unix", "javascript", "dict", "ldap",
                   "sftp", "tftp", "netdoc", "http+unix", "ws", "view-source", ""):  # fmt: skip
        found += [f"{scheme}:///etc/passwd", f"{scheme}://1.1.1.1/", f"{scheme}:1.1.1.1"]
    for rest in ("user:pass@1.1.1.1/", "1.1.1.1@127.0.0.1/", "127.0.0.1\\@1.1.1.1/",
                 "1.1.1.1:22/", "1.1.1.1:8080/", "1.1.1.1:99999/", "1.1.1.1 /", "1.1.1.1\r\nX: y/",
                 "[1.1.1.1/", "1.1.1.1:port/", "", "/", "?", "#", "a" * 2100):  # fmt: skip
        found += [f"http://{rest}", f"https://{rest}"]
    return found


def test_no_spelling_reaches_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        connected.append(address)
        raise OSError("not in a test")

    async def nobody(self: Any, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing may be connected to")

    monkeypatch.setattr(socket.socket, "connect", connect)
    urls = spellings()
    assert len(urls) > 250

    async def run() -> None:
        backend = PinnedBackend()
        backend._real = type("Nobody", (), {"connect_tcp": nobody})()  # type: ignore[assignment]
        for url in urls:
            with pytest.raises((InputError, NetworkError)):
                await fetch_picture(url, 1000, backend)

    asyncio.run(run())
    assert not connected


class Site(http.server.BaseHTTPRequestHandler):
    """A host that sends pictures, and other things."""

    def do_GET(self) -> None:
        if self.path == "/a.png":
            self._send(200, PICTURE)
        elif self.path == "/large":
            self._send(200, b"x" * 200_000)
        elif self.path == "/inside":
            self._send(302, b"", "http://169.254.169.254/latest/meta-data")
        elif self.path == "/other-scheme":
            self._send(302, b"", "file:///etc/passwd")
        elif self.path == "/round":
            self._send(302, b"", "/round")
        elif self.path == "/moved":
            self._send(301, b"", "/a.png")
        else:
            self._send(404, b"")

    def _send(self, status: int, body: bytes, place: str = "") -> None:
        self.send_response(status)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/a.png", None), ("/moved", None), ("/large", "more than"), ("/inside", "public internet"),
        ("/other-scheme", "not the address"), ("/round", "one address to the next"),
        ("/nothing", "answered 404"),
    ],
)  # fmt: skip
def test_fetching(site: int, path: str, what: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PORTS", {"http": site})
    backend = PinnedBackend(allowed=lambda text: text == "127.0.0.1" or is_public(text))
    url = f"http://127.0.0.1:{site}{path}"

    async def run() -> bytes:
        return await fetch_picture(url, 100_000, backend)

    if what is None:
        assert asyncio.run(run()) == PICTURE
    else:
        with pytest.raises(ToonsearchError) as caught:
            asyncio.run(run())
        assert what in caught.value.message


def test_a_name_is_resolved_once(monkeypatch: pytest.MonkeyPatch, site: int) -> None:
    """A name that points outside first and inside afterwards is asked only once."""
    answers = iter(["1.1.1.1", "127.0.0.1", "127.0.0.1"])
    connected: list[str] = []

    async def resolve(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 80))]

    async def connect(host: str, *_: Any, **__: Any) -> Any:
        connected.append(host)
        raise NetworkError("far enough")

    async def run() -> None:
        backend = PinnedBackend()
        backend._real = type("Real", (), {"connect_tcp": staticmethod(connect)})()  # type: ignore[assignment]
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        with pytest.raises(NetworkError):
            await fetch_picture("http://rebinding.example/", 1000, backend)
        with pytest.raises(InputError):
            await fetch_picture("http://rebinding.example/", 1000, backend)

    asyncio.run(run())
    assert connected == ["1.1.1.1"]


def test_it_is_off_unless_turned_on(settings: Settings, client: Any) -> None:
    assert client.get("/v1/fetched", params={"url": "http://1.1.1.1/"}).status_code == 403
    with opened(settings, url_queries="on") as turned_on:
        answer = turned_on.get("/v1/fetched", params={"url": "http://127.0.0.1/"})
        assert answer.status_code == 422 and "public internet" in answer.json()["error"]
