"""Which hosts a crawl may connect to: the site's own, at public addresses only.

Two walls. A request to any host that is not the site's is refused before it is queued for
download, redirects included. And the resolver, through which every connection goes, those
to literal addresses too, resolves a name once for the whole run and gives back public
addresses only: a name that changes its mind, or an odd spelling of 127.0.0.1, ends there.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scrapy.exceptions import IgnoreRequest
from scrapy.resolver import HostResolution
from twisted.internet.address import IPv4Address, IPv6Address

from schemas.net import is_public

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from scrapy.http import Request

    from crawler.sites.base import Site

Resolve = Callable[[str], Awaitable[list[str]]]


class Refused(IgnoreRequest):
    """A request that must not be made; `reason` is one word, or one and a detail."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_url(url: str, site: Site) -> None:
    """Refuse an address that is not the site's.

    Errors:  Refused
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("address") from None
    host = parts.hostname or ""
    if (
        parts.scheme not in ("http", "https")
        or parts.username is not None
        or parts.password is not None
        or port not in (None, 80, 443)
        or not site.allows(host.rstrip("."))
    ):
        raise Refused("address")


async def system_addresses(host: str) -> list[str]:
    """What the system's resolver says."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class PinnedResolver:
    """Twisted's name resolver for one run: public addresses, asked for once a name.

    `allowed` is the one address that may be private, the replica's in tests.
    """

    def __init__(
        self, reactor: Any, allowed: str | None = None, resolve: Resolve = system_addresses
    ) -> None:
        self.reactor, self.allowed, self.resolve = reactor, allowed, resolve
        self._pins: dict[str, list[str]] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler, reactor: Any) -> PinnedResolver:
        replica = crawler.settings.get("TOONSEARCH_REPLICA")
        return cls(reactor, urlsplit(replica).hostname if replica else None)

    def install_on_reactor(self) -> None:
        self.reactor.installNameResolver(self)

    async def addresses(self, host: str) -> list[str]:
        """The public addresses of a host; none when it has others only."""
        if host not in self._pins:
            try:
                found = await self.resolve(host)
            except (OSError, UnicodeError):
                return []
            good = [a for a in dict.fromkeys(found) if a == self.allowed or is_public(a)]
            self._pins.setdefault(host, good)
        return self._pins[host]

    def resolveHostName(  # Twisted's name for it
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        resolution = HostResolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)

        async def tell() -> None:
            for text in await self.addresses(hostName):
                kind = IPv6Address if ":" in text else IPv4Address
                resolutionReceiver.addressResolved(kind("TCP", text, portNumber))
            resolutionReceiver.resolutionComplete()

        self._task = asyncio.ensure_future(tell())
        return resolution


class Gate:
    """Scrapy downloader middleware: every request, redirected ones too, to the site only."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Gate:
        return cls(crawler.settings["TOONSEARCH_RUN"].site)

    def process_request(self, request: Request) -> None:
        check_url(request.url, self.site)
