"""Runs the application in Uvicorn, on a socket that is bound before anything is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from schemas.errors import UsageError
from schemas.settings import Settings
from search.web.app import create_app

HEAD_S = 10.0
"""A connection that has not sent a whole request head by then is closed."""
MAX_CONNECTIONS = 500
BACKLOG = 256


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that does not wait for ever: a head that drips in keeps a connection only so
    long, also the first one, for which Uvicorn has no clock."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._requests = 0
        self._clock = self.loop.call_later(HEAD_S, self._late, 0)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._requests += 1

    def on_response_complete(self) -> None:
        requests = self._requests
        super().on_response_complete()  # may start the next request at once
        self._clock.cancel()
        self._clock = self.loop.call_later(HEAD_S, self._late, requests)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clock.cancel()
        super().connection_lost(exc)

    def _late(self, requests: int) -> None:
        if self._requests == requests and not self.transport.is_closing():
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Bind the address.

    Errors:  UsageError says why it cannot be had
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{host!r} is not an address of this machine") from error
    family, _, _, _, address = found[0]
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()  # `::` means IPv4 too
    try:
        listener = socket.create_server(
            address, family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = "Choose another with --port, or 0 for any free one."
            raise UsageError(f"port {port} is in use", hint) from error
        if error.errno == errno.EACCES:
            message = f"port {port} may not be used by this user"
            raise UsageError(message, "Choose one above 1023.") from error
        raise UsageError(
            f"{host}:{port} cannot be listened on ({os.strerror(error.errno or 0)})"
        ) from error
    # asyncio sets it for sockets that name TCP as their protocol only, and this one does not: an
    # answer in two packets would then wait 40 ms for the acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """The address to type into a browser."""
    host, port = listener.getsockname()[:2]
    bare = ipaddress.ip_address(host)
    if bare.is_unspecified:
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class _Server(uvicorn.Server):
    """Stops quietly on Ctrl-C and SIGTERM instead of raising them again afterwards."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def serve(
    settings: Settings,
    listener: socket.socket,
    *,
    note: Callable[[str], None],
    open_page: bool = False,
) -> None:
    """Serve until the process is told to stop."""
    logging.basicConfig(stream=sys.stderr, format="toonsearch: %(message)s", level=logging.WARNING)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        forwarded_allow_ips=settings.web.proxies,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=5,
    )
    address = address_of(listener) + f"{app.state.root_path}/".lstrip("/")

    def ready() -> None:
        note(f"the page is at {address} (Ctrl-C stops it)")
        if open_page:
            import webbrowser

            webbrowser.open(address)

    asyncio.run(_Server(config, ready).serve(sockets=[listener]))
    note("stopped")
