"""What every request passes before anything of it is parsed.

The host it names must be ours (a page elsewhere could point its own name at this machine),
whatever changes something must come from our own page, a client has a rate, and a body has
a size and a pace. What goes out carries a content policy that runs no script but ours.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import re
import socket
import time
from collections import Counter as Tally
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.settings import WebSettings
from search.web.engine_pool import EnginePool
from search.web.errors import ApiError, error_response
from search.web.image_pool import DecoderPool

LOG = logging.getLogger("toonsearch.web")

# --- How often one client may ask: a bucket of tokens for each address, within fixed memory.

MAX_CLIENTS = 20_000
SIGN_INS_PER_MINUTE = 10
SIGNING_IN = ("/v1/session", "/v1/accounts")
COSTS = (
    ("POST", "/v1/query", 1.0),
    ("GET", "/v1/fetched", 2.0),
    ("POST", "/v1/why", 5.0),
    ("GET", "/v1/why", 5.0),
    ("GET", "/v1/results", 0.5),
    ("POST", "/v1/sql", 2.0),
    ("POST", "/v1/galleries/file", 10.0),
    ("GET", "/v1/map/pictures", 0.1),
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

    def take_more(self, scope: Scope, price: float) -> None:
        """Take what a request turned out to cost beside that.

        Errors:  ApiError (429)
        """
        if price > self.per_minute > 0:
            message = "those are more pictures than may be asked about in a minute"
            hint = f"Send at most {self.per_minute} at a time."
            raise ApiError(429, "rate", message, hint)
        if self.per_minute:
            self._take(_client(scope), price, self.per_minute)

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


# --- What proxies do to an address.


class Entrance:
    """ASGI middleware that gives routes the paths that they expect, whatever a proxy made of them.

    The sub-path is taken off where the proxy left it, slashes that it doubled at the start become
    one, and HEAD is answered like GET; the server leaves out the body.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            path = f"/{scope['path'].lstrip('/')}"
            if f"{path}/".startswith(f"{self.root_path}/"):
                path = path[len(self.root_path) :] or "/"
            scope = {**scope, "method": method, "path": path}
        await self.app(scope, receive, send)


# --- Hosts, origins, rates, and the size and pace of bodies.

STALL_S = 30.0
"""A body may stand still for so long, and less while it has been slower than PACE_BYTES_S."""
PACE_BYTES_S = 8_000
"""A steady upload of this pace is waited for: a slow phone sends ten times as much."""
BODY_S = 600.0
"""A whole body must have come by then: 24 MiB at 0.34 Mbit/s."""
UPLOADS_PER_CLIENT = 16
"""Bodies that one client may be sending at once."""
IN_FLIGHT_BODIES = 4
"""Bodies of full size that are in memory at once, over all clients; half of it for one client."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PLACE = re.compile(r"(\[[^\[\]]+\]|[^\[\]:@/]+)(?::([0-9]{0,5}))?")
PORTS = {"http": 80, "https": 443}
MAX_REFUSED_HOSTS = 20
"""Names that the log is told of."""
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
        own = socket.gethostname().lower()
        self._hosts = {"localhost", own, f"{own}.local", *named} - {""}
        self._refused_hosts: set[str] = set()
        self._uploads: Tally[str] = Tally()
        self._held_bytes: Tally[str] = Tally()

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
            scope["charge"] = partial(self.rates.take_more, scope)
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > self.settings.max_bytes:
                raise self.too_large()
        except ApiError as error:
            await error_response(error)(scope, receive, send)
            return
        body = _Body(self, _client(scope), receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            body.let_go()

    def _check_host(self, headers: Headers) -> None:
        values = headers.getlist("host")
        if not values:
            return  # HTTP/1.0 may leave it out; no browser does, so nobody was led here by a name
        place = _place(values[0]) if len(values) == 1 else None
        if place is not None:
            if place[0] in self._hosts:
                return
            try:
                ipaddress.ip_address(place[0])
                return  # an address cannot be a name that somebody pointed at us
            except ValueError:
                pass
        if values[0] not in self._refused_hosts and len(self._refused_hosts) < MAX_REFUSED_HOSTS:
            self._refused_hosts.add(values[0])
            LOG.warning("the name %.200r is not answered; if it is ours: web.hosts", values[0])
        hint = "Whoever runs it can add this name; its log says how."
        raise ApiError(421, "host", "this server does not go by that name", hint)

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Another site may not make a visitor's browser change anything here.

        Sec-Fetch-Site is the browser's own word, which no script can change, so it also holds
        behind a proxy that rewrites Host. Browsers send it over https and to this machine; where
        it is missing, Origin must be Host.
        """
        site = headers.get("sec-fetch-site", "none")
        if scope["method"] in SAFE or site == "same-origin":
            return
        origin = headers.get("origin")
        if site == "none" and (origin is None or _is_at(origin, headers.get("host", ""))):
            return
        hint = "If this is the page's own address, its proxy must pass Host on; see docs/web.md."
        raise ApiError(403, "origin", "requests from other sites are not accepted", hint)

    def too_large(self) -> ApiError:
        message = f"the upload is larger than {self.settings.max_bytes / 1e6:.0f} MB"
        hint = "Send a smaller copy, or fewer pictures at a time."
        return ApiError(413, "too_many_bytes", message, hint, CLOSE)

    def count(self, client: str, uploads: int, received_bytes: int) -> None:
        """Take note of a body that begins, grows or ends.

        Errors:  ApiError (503) when there are too many of them
        """
        self._uploads[client] += uploads
        self._held_bytes[client] += received_bytes
        for tally in (self._uploads, self._held_bytes):
            if tally[client] <= 0:
                del tally[client]
        most_bytes = self.settings.max_bytes * IN_FLIGHT_BODIES
        if (
            self._uploads[client] > UPLOADS_PER_CLIENT
            or self._held_bytes[client] > most_bytes / 2
            or self._held_bytes.total() > most_bytes
        ) and (uploads > 0 or received_bytes > 0):
            hint, headers = "Try again in a few seconds.", {"Retry-After": "3", **CLOSE}
            raise ApiError(503, "busy", "too many uploads at once", hint, headers)


class _Body:
    """A request's body as it comes in, while it is neither late nor too large."""

    def __init__(self, guard: Guard, client: str, receive: Receive) -> None:
        self._guard, self._client, self._receive = guard, client, receive
        self._received_bytes = 0
        self._is_open = self._is_whole = False
        self._end_s = self._deadline_s = 0.0

    async def receive(self) -> Message:
        """The next part.

        Errors:  ApiError (408, 413, 503)
        """
        if self._is_whole:
            return await self._receive()
        if not self._is_open:
            self._is_open = True
            self._end_s = time.monotonic() + BODY_S
            self._deadline_s = time.monotonic() + STALL_S
            self._guard.count(self._client, 1, 0)
        try:
            async with asyncio.timeout(self._deadline_s - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            hint = "Send a smaller picture, or try again over a faster connection."
            raise ApiError(408, "slow", "the upload came too slowly", hint, CLOSE) from None
        count = len(message.get("body", b""))
        self._received_bytes += count
        if self._received_bytes > self._guard.settings.max_bytes:
            self._received_bytes -= count
            raise self._guard.too_large()
        self._guard.count(self._client, 0, count)
        # What has come buys time, but never more than a stall: a fast start is no credit.
        bought_s = self._deadline_s + count / PACE_BYTES_S
        self._deadline_s = min(bought_s, time.monotonic() + STALL_S, self._end_s)
        if not message.get("more_body", False):
            self._is_whole = True
            self._close()
        return message

    def let_go(self) -> None:
        """The request is answered: its bytes are no longer held."""
        self._close()
        self._guard.count(self._client, 0, -self._received_bytes)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._guard.count(self._client, -1, 0)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
        await send(message)

    return sending


def _place(value: str, port: int = 0) -> tuple[str, int] | None:
    """The name and port of a Host header; `port` where it names none."""
    found = PLACE.fullmatch(value.strip().lower())
    return found and (found[1].strip("[]"), int(found[2] or port))


def _is_at(origin: str, host: str) -> bool:
    """Whether an Origin is the place that a Host header names."""
    scheme, _, place = origin.partition("://")
    port = PORTS.get(scheme.lower())
    return port is not None and _place(place, port) == _place(host, port) is not None
