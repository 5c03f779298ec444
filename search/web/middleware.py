"""What every request passes before anything of it is parsed.

The host it names must be ours (a page elsewhere could point its own name at this machine),
whatever changes something must come from our own page, a client has a rate, and a body has
a size and a time. What goes out carries a content policy that runs no script but ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.settings import WebSettings
from search.web.engine_pool import EnginePool
from search.web.errors import ApiError, error_response
from search.web.image_pool import DecoderPool

# --- How often one client may ask: a bucket of tokens for each address, within fixed memory.

MAX_CLIENTS = 20_000
SIGN_INS_PER_MINUTE = 10
SIGNING_IN = ("/v1/session", "/v1/accounts")
COSTS = (
    ("POST", "/v1/query", 1.0),
    ("GET", "/v1/fetched", 2.0),
    ("GET", "/v1/results", 0.5),
    ("POST", "/v1/sql", 2.0),
    ("GET", "/v1/map", 0.5),
    ("GET", "/v1/pictures", 0.02),
    ("GET", "/v1/", 0.2),
    ("GET", "/static/", 0.0),
    ("GET", "/healthz", 0.0),
    ("GET", "/metrics", 0.0),
)
"""Price of a request by method and start of its path, in queries; others cost 0.5."""


class Rates:
    """Token buckets: a minute's worth may be taken at once, then it refills evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, scope: Scope) -> None:
        """Take what a request costs.

        Errors:  ApiError (429) with the seconds to wait
        """
        method, path = scope["method"], scope["path"]
        client = _client(scope)
        if method == "POST" and path.startswith(SIGNING_IN):
            self._take(f"sign-in {client}", 1.0, SIGN_INS_PER_MINUTE)
        elif self.per_minute:
            price = next(
                (p for m, start, p in COSTS if m == method and path.startswith(start)), 0.5
            )
            self._take(client, price, self.per_minute)

    def _take(self, key: str, price: float, per_minute: int) -> None:
        now = self._clock()
        level, then = self._buckets.pop(key, (per_minute, now))
        level = min(per_minute, level + (now - then) * per_minute / 60.0)
        allowed = level >= price
        self._buckets[key] = (level - price if allowed else level, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = max(1, math.ceil((price - level) * 60.0 / per_minute))
            message = "that was too many requests in a short time"
            hint = f"Try again in {wait} seconds."
            raise ApiError(429, "rate", message, hint, {"Retry-After": str(wait)})


def _client(scope: Scope) -> str:
    """An IPv4 address, or the network of an IPv6 one: a household has one of each."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if address.version == 6:
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


# --- Counts and times of requests, for Prometheus.

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """One server's figures; labels are routes, never what a client sent."""

    def __init__(self, engines: EnginePool, decoders: DecoderPool) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        options: dict[str, Any] = {"namespace": "toonsearch", "registry": self.registry}
        self.requests = Counter(
            "requests", "Requests by route and status.", ("route", "status"), **options
        )
        self.seconds = Histogram(
            "request_seconds",
            "Time to the last byte by route.",
            ("route",),
            buckets=BUCKETS_S,
            **options,
        )
        pictures = Gauge("pictures", "Pictures in the index that answers.", **options)
        pictures.set_function(lambda: engines.pictures_count)
        opened = Gauge("index_opened_timestamp_seconds", "When that index was opened.", **options)
        opened.set_function(lambda: engines.opened_at_s)
        refused = Gauge("index_refused", "1 while a newer index is refused.", **options)
        refused.set_function(lambda: engines.refused is not None)
        restarts = Gauge("decoder_restarts", "Decoder processes that were replaced.", **options)
        restarts.set_function(lambda: decoders.restarts_count)


class Measure:
    """ASGI middleware that fills the counters."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            mounted = "/static" if scope["path"].startswith("/static/") else "none"
            route = getattr(scope.get("route"), "path", mounted)
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)


# --- Hosts, origins, rates and the size and time of bodies.

BODY_S = 30.0
"""A whole body must have come by then: 24 MiB at 6.7 Mbit/s."""
IN_FLIGHT_BODIES = 4
"""Bodies of full size that are in memory at once, over all clients."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CLOSE = {"Connection": "close"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
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
        named = (name.strip().lower() for name in settings.hosts.split(","))
        self._hosts = {"localhost", socket.gethostname().lower(), *named} - {""}
        self._bodies_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            self.rates.take(scope)
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > self.settings.max_bytes:
                raise self._too_large()
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        received_bytes, done, deadline = 0, False, time.monotonic() + BODY_S

        async def receiving() -> Message:
            """The body's next part, while it is neither late nor too large."""
            nonlocal received_bytes, done
            if done:
                return await receive()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                late = "the upload took too long"
                raise ApiError(408, "slow", late, "Try again.", CLOSE) from None
            count = len(message.get("body", b""))
            received_bytes += count
            self._bodies_bytes += count
            if received_bytes > self.settings.max_bytes:
                raise self._too_large()
            if self._bodies_bytes > self.settings.max_bytes * IN_FLIGHT_BODIES:
                hint = "Try again in a few seconds."
                raise ApiError(503, "busy", "too many uploads at once", hint, {"Retry-After": "3"})
            done = not message.get("more_body", False)
            return message

        try:
            await self.app(scope, receiving, send)
        finally:
            self._bodies_bytes -= received_bytes

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
        hint = "Name it in the setting web.hosts."
        raise ApiError(421, "host", "this server does not go by that name", hint)

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Another site may not make a visitor's browser change anything here."""
        if scope["method"] in SAFE:
            return
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        own = origin is None or origin.partition("://")[2].lower() == headers["host"].lower()
        if not own or site not in ("same-origin", "none"):
            raise ApiError(403, "origin", "requests from other sites are not accepted")

    def _too_large(self) -> ApiError:
        message = f"the upload is larger than {self.settings.max_bytes / 1e6:.0f} MB"
        return ApiError(413, "too_many_bytes", message, "Send a smaller copy.", CLOSE)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
        await send(message)

    return sending


def _host_name(value: str) -> str | None:
    """The name in a Host header, without its port."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    name, _, port = value.partition(":")
    return name if not port or port.isdigit() else None
