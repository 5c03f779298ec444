"""What every request passes before anything of it is parsed.

The host it names must be ours (a page elsewhere could point its own name at this machine),
whatever changes something must come from our own page, a client has a rate, and a body has
a size and a time. What goes out carries a content policy that runs no script but ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.settings import WebSettings
from search.web.errors import Refused, response_of
from search.web.rates import Rates

BODY_S = 30.0
"""A whole body must have come by then: 24 MiB at 6.7 Mbit/s."""
IN_FLIGHT_BODIES = 4
"""Bodies of full size that are held at once, over all clients."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self.app, self.settings = app, settings
        self.rates = Rates(settings.rate)
        self._hosts = {"localhost", socket.gethostname().lower(), *_listed(settings.hosts)}
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            self.rates.take(scope)
            length = _length(headers)
            if length is not None and length > self.settings.max_bytes:
                raise self._too_large()
        except Refused as error:
            await response_of(error)(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._held_bytes -= body.received_bytes

    def _check_host(self, headers: Headers) -> None:
        values = headers.getlist("host")
        if len(values) == 1 and (host := _host_name(values[0])) is not None:
            if host in self._hosts:
                return
            try:
                ipaddress.ip_address(host)
                return  # an address cannot be a name that somebody pointed at us
            except ValueError:
                pass
        raise Refused(
            421, "host", "this server does not go by that name",
            "Name it in the setting web.hosts.",
        )  # fmt: skip

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Another site may not make a visitor's browser change anything here."""
        if scope["method"] in SAFE:
            return
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        own = origin is None or origin.partition("://")[2].lower() == headers["host"].lower()
        if not own or site not in ("same-origin", "none"):
            raise Refused(403, "origin", "requests from other sites are not accepted")

    def hold(self, count: int) -> None:
        """Count bytes of bodies in memory.

        Errors:  Refused when there are too many at once
        """
        self._held_bytes += count
        if self._held_bytes > self.settings.max_bytes * IN_FLIGHT_BODIES:
            raise Refused(
                503, "busy", "too many uploads at once", "Try again in a few seconds.",
                {"Retry-After": "3"},
            )  # fmt: skip

    def too_large(self) -> Refused:
        """The answer to a body over the cap."""
        return self._too_large()

    def _too_large(self) -> Refused:
        cap = self.settings.max_bytes
        return Refused(
            413, "too_many_bytes", f"the upload is larger than {cap / 1e6:.0f} MB",
            "Send a smaller copy.", {"Connection": "close"},
        )  # fmt: skip


class _Body:
    """Counts what comes in, and when."""

    def __init__(self, guard: Guard, receive: Receive) -> None:
        self.guard, self._receive = guard, receive
        self.received_bytes = 0
        self._done = False
        self._deadline = time.monotonic() + BODY_S

    async def receive(self) -> Message:
        if self._done:
            return await self._receive()
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise Refused(
                408, "slow", "the upload took too long", "Try again.", {"Connection": "close"}
            ) from None
        count = len(message.get("body", b""))
        self.received_bytes += count
        self.guard.hold(count)
        if self.received_bytes > self.guard.settings.max_bytes:
            raise self.guard.too_large()
        self._done = not message.get("more_body", False)
        return message


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def _length(headers: Headers) -> int | None:
    text = headers.get("content-length")
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _host_name(value: str) -> str | None:
    """The name in a Host header, without its port."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    name, _, port = value.partition(":")
    return name if not port or port.isdigit() else None


def _listed(text: str) -> Iterable[str]:
    return (name.strip().lower() for name in text.split(",") if name.strip())
