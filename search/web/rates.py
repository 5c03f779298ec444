"""How often one client may ask: a bucket of tokens for each address, within fixed memory."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import Scope

from search.web.errors import Refused

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

        Errors:  Refused (429) with the seconds to wait
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
        level, then = self._buckets.pop(key, (float(per_minute), now))
        level = min(float(per_minute), level + (now - then) * per_minute / 60.0)
        allowed = level >= price
        self._buckets[key] = (level - price if allowed else level, now)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = max(1, math.ceil((price - level) * 60.0 / per_minute))
            raise Refused(
                429, "rate", "that was too many requests in a short time",
                f"Try again in {wait} seconds.", {"Retry-After": str(wait)},
            )  # fmt: skip


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
