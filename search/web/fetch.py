"""Pictures by address, for servers that allow it: only from the public internet.

A host is resolved once and the connection goes to that very address, so a name cannot point
elsewhere a moment later; each redirect starts over. Proxies, cookies and other schemes do
not exist here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urljoin, urlsplit

import httpcore

from schemas.errors import InputError, NetworkError
from schemas.net import is_public

TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
MAX_URL = 2000
PORTS = {"http": 80, "https": 443}
HEADERS = (
    ("User-Agent", "toonsearch"),
    ("Accept", "image/*"),
    ("Accept-Encoding", "identity"),
)


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were resolved and checked here, never to a name or a socket of
    this machine."""

    def __init__(self, allowed: Callable[[str], bool] = is_public) -> None:
        self._allowed = allowed
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve once, check, connect to what was checked.

        Errors:  InputError when the host is not on the public internet
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NetworkError(f"the host {host[:100]!r} is not known") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise InputError("only addresses on the public internet are fetched")
        return await self._real.connect_tcp(
            addresses[0], port, timeout, local_address, socket_options
        )


def checked_url(url: str) -> str:
    """The address itself when it may be fetched at all.

    Errors:  InputError
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError("that is not the address of a picture") from error
    printable = url.isascii() and url.isprintable() and " " not in url
    if len(url) > MAX_URL or not printable or parts.scheme not in PORTS or not parts.hostname:
        raise InputError("that is not the address of a picture", "Give an http or https address.")
    if parts.username is not None or parts.password is not None or "\\" in url:
        raise InputError("an address with a password in it is not fetched")
    if port not in (None, PORTS[parts.scheme]):
        raise InputError("only the usual ports of the web are fetched from")
    return url


async def fetch_picture(
    url: str, max_bytes: int, backend: httpcore.AsyncNetworkBackend | None = None
) -> bytes:
    """The bytes behind an address, within TIMEOUT_S and `max_bytes`.

    Errors:  InputError when it may not be fetched or is too large; NetworkError when it fails
    """
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpcore.AsyncConnectionPool(
                network_backend=backend or PinnedBackend(), retries=0, http2=False
            ) as pool,
        ):
            for _ in range(MAX_REDIRECTS + 1):
                async with pool.stream("GET", checked_url(url), headers=HEADERS) as answer:
                    if answer.status in (301, 302, 303, 307, 308):
                        places = [v for k, v in answer.headers if k.lower() == b"location"]
                        url = urljoin(url, b"".join(places[:1]).decode("latin-1"))
                        continue
                    if answer.status != 200:
                        raise NetworkError(f"the host answered {answer.status}")
                    return await _body(answer, max_bytes)
    except TimeoutError:
        raise NetworkError("the host took too long") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        raise NetworkError("the host could not be reached") from error
    raise NetworkError("the host sends from one address to the next")


async def _body(answer: httpcore.Response, max_bytes: int) -> bytes:
    data = bytearray()
    async for part in answer.aiter_stream():
        data += part
        if len(data) > max_bytes:
            raise InputError(f"the picture has more than {max_bytes:,} bytes")
    return bytes(data)
