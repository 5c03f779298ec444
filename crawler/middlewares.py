"""How a site is asked: only its own hosts, at public addresses, as robots.txt allows, no
faster and no more than it wants. Scrapy downloader middlewares and the name resolver.

Throttling itself is Scrapy's AutoThrottle, whose delay never falls below the setting or
below what robots.txt asks for.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from protego import Protego
from scrapy import signals
from scrapy.downloadermiddlewares.redirect import RedirectMiddleware
from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.exceptions import StopDownload
from scrapy.http import Request, Response
from scrapy.http.request import NO_CALLBACK
from scrapy.resolver import HostResolution
from twisted.internet.address import IPv4Address, IPv6Address

from crawler.settings import AGENT, Refused, RunPart, run_of
from crawler.sites.base import Site
from schemas.net import is_public

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

ROBOTS_MAX_AGE_S = 24 * 3600.0
"""How long an answer may be used again; RFC 9309, section 2.4."""
ROBOTS_MAX_BYTES = 512 * 1024
MAX_CRAWL_DELAY_S = 120.0
FIRST_GUESS_BYTES = 16 * 1024
"""What an answer is taken for until one of its kind has come."""
_OPT_OUT = re.compile(r"^(noai|noimageai|noindex|none)$", re.IGNORECASE)
_META = re.compile(rb"<meta\s[^>]*name=[\"']?(?:robots|toonsearch)\b[^>]*>", re.IGNORECASE)


def opts_out(headers: Iterable[str], body: bytes = b"") -> bool:
    """Whether a response asks not to be used: `X-Robots-Tag`, or a robots meta element.

    A directive may be addressed (`otherbot: noindex`); those for others do not concern us.
    """
    for header in headers:
        addressee = ""
        for part in header.split(","):
            name, colon, rest = part.partition(":")
            if colon and not name.strip().casefold().startswith(("max-", "unavailable_")):
                addressee, part = name.strip().casefold(), rest
            if addressee in ("", "*", AGENT) and _OPT_OUT.match(part.strip()):
                return True
    for element in _META.findall(body[:65536]):
        content = re.search(rb"content=[\"']?([^\"'>]*)", element, re.IGNORECASE)
        words = content[1].decode("latin-1").split(",") if content else []
        if any(_OPT_OUT.match(word.strip()) for word in words):
            return True
    return False


def retry_after(value: bytes | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait, in either of its forms."""
    text = (value or b"").decode("latin-1").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):  # a hostile or broken date
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


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
    """Twisted's name resolver for one run: public addresses only, asked for once a name.

    Every connection goes through it, those to literal addresses too, so a name that changes
    its mind or an odd spelling of 127.0.0.1 ends here. `allowed` is the one address that may
    be private, the replica's in tests.
    """

    def __init__(
        self,
        reactor: Any,
        allowed: str | None = None,
        resolve: Callable[[str], Awaitable[list[str]]] = system_addresses,
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

        async def resolve() -> None:
            for text in await self.addresses(hostName):
                kind = IPv6Address if ":" in text else IPv4Address
                resolutionReceiver.addressResolved(kind("TCP", text, portNumber))
            resolutionReceiver.resolutionComplete()

        self._task = asyncio.ensure_future(resolve())
        return resolution


class SiteHosts(RunPart):
    """Every request, redirected ones too, goes to the site only."""

    def process_request(self, request: Request) -> None:
        check_url(request.url, self.run.site)


class RobotsTxt(RunPart):
    """robots.txt of every host, before anything else of it; no answer means no."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._rules: dict[str, asyncio.Future[Protego]] = {}

    async def process_request(self, request: Request) -> None:
        if request.meta.get("robots"):
            return
        parts = urlsplit(request.url)
        place = f"{parts.scheme}://{parts.netloc}"
        if place not in self._rules:
            self._rules[place] = asyncio.ensure_future(self._fetch(place))
        rules = await asyncio.shield(self._rules[place])
        if not rules.can_fetch(request.url, AGENT):
            self.run.frontier.put(f"robots {place}", "")  # ask again next time
            raise Refused(f"robots: {request.url}")
        delay = rules.crawl_delay(AGENT)
        if delay:
            request.meta["autothrottle_dont_adjust_delay"] = True
            slot = self.crawler.engine.downloader._get_slot(request)[1]
            slot.delay = max(slot.delay, min(float(delay), MAX_CRAWL_DELAY_S))

    async def _fetch(self, place: str) -> Protego:
        frontier, url = self.run.frontier, f"{place}/robots.txt"
        asked_at, _, text = (frontier.get(f"robots {place}") or "0").partition("\n")
        if time.time() - float(asked_at) < ROBOTS_MAX_AGE_S:
            return Protego.parse(text)
        request = Request(
            url,
            callback=NO_CALLBACK,
            priority=1000,
            headers=self.run.headers,
            meta={"robots": True, "max_retry_times": 1, "download_maxsize": ROBOTS_MAX_BYTES},
        )
        try:
            response = await self.crawler.engine.download_async(request)
        except Refused as error:
            if error.reason in ("budget", "stopping"):
                raise
            raise Refused(f"unreachable: {url} ({error.reason})") from error
        except Exception as error:  # all that a download may raise
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Refused(f"unreachable: {url} ({why})") from error
        if response.status >= 500 or response.status == 429:
            raise Refused(f"unreachable: {url} (status {response.status})")
        # RFC 9309, section 2.3.1.3: other errors mean that there are no rules.
        text = response.body.decode("utf-8", "replace") if response.status < 300 else ""
        frontier.put(f"robots {place}", f"{time.time()}\n{text}")
        return Protego.parse(text)


class Retries(RetryMiddleware):
    """Retries, with the wait that the host asks for, or one that doubles."""

    def process_response(
        self, request: Request, response: Response, spider: Any = None
    ) -> Request | Response:
        if response.status in self.retry_http_codes:
            asked = retry_after(response.headers.get("Retry-After"))
            if asked is not None and asked > run_of(self.crawler).settings.max_wait_s:
                raise Refused(f"wait: {asked:.0f} s")
            self._hold(request, asked)
        return super().process_response(request, response)

    def process_exception(
        self, request: Request, exception: Exception, spider: Any = None
    ) -> Request | Response | None:
        again = super().process_exception(request, exception)
        if again is not None:
            self._hold(request, None)
        return again

    def _hold(self, request: Request, asked: float | None) -> None:
        """Let nothing more go to this host for a while.

        The downloader sends when `lastseen + delay` has passed, so a moment in the future
        holds the whole host, requests that are queued already included.
        """
        tries = int(request.meta.get("retry_times", 0))
        settings = run_of(self.crawler).settings
        wait = min(settings.backoff_s * 2**tries, settings.max_wait_s)
        slot = self.crawler.engine.downloader._get_slot(request)[1]
        slot.delay = max(slot.delay, 0.001)  # without a delay `lastseen` is not compared
        until = time.monotonic() + (wait if asked is None else asked)
        slot.lastseen = max(slot.lastseen, until - slot.delay)


class Redirects(RedirectMiddleware):
    """Redirects, with the site's own Referer; those to a login are an answer of their own."""

    def handle_referer(self, request: Request, response: Response) -> None:
        pass

    def process_response(
        self, request: Request, response: Response, spider: Any = None
    ) -> Request | Response:
        if 300 <= response.status < 400:
            target = (response.headers.get("Location") or b"").decode("latin-1")
            for part, reason in run_of(self.crawler).site.redirect_reasons.items():
                if part in target:
                    raise Refused(f"redirect: {reason}")
        return super().process_response(request, response)


class Budget(RunPart):
    """At most so many requests and bytes in one run; what is left waits for the next.

    Near the end of the bytes a request waits for those on their way, each of which counts with
    the longest answer of its kind so far: together they could overdraw.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self.arriving: set[Request] = set()
        self.longest: dict[str, int] = {}
        self.freed = asyncio.Event()
        crawler.signals.connect(self.received, signal=signals.bytes_received)
        crawler.signals.connect(self.left, signal=signals.request_left_downloader)

    async def process_request(self, request: Request) -> None:
        run, settings = self.run, self.run.settings
        while self.arriving and self._overdraws(request) and not run.stopping:
            await self.freed.wait()
        if run.stopping:
            raise Refused("stopping")
        full = run.bytes >= settings.max_bytes
        if _kind(request) in self.longest:  # else it is tried, and stopped on its way
            full = self._overdraws(request)
        if full or run.requests >= settings.max_requests:
            raise Refused("budget")
        run.requests += 1
        request.meta["arrived"] = [0]  # bytes; shared by the copies that handlers make
        self.arriving.add(request)

    def _overdraws(self, request: Request) -> bool:
        expected = self.run.bytes
        for each in (*self.arriving, request):
            longest = self.longest.get(_kind(each), FIRST_GUESS_BYTES)
            expected += max(0, longest - _arrived(each)[0])
        return expected > self.run.settings.max_bytes

    def received(self, data: bytes, request: Request) -> None:
        self.run.bytes += len(data)
        _arrived(request)[0] += len(data)
        if self.run.bytes > self.run.settings.max_bytes:
            raise StopDownload(fail=True)

    def left(self, request: Request) -> None:
        self.arriving.discard(request)
        kind = _kind(request)
        self.longest[kind] = max(_arrived(request)[0], self.longest.get(kind, 0))
        self.freed.set()  # wakes those that wait now, and not those to come
        self.freed = asyncio.Event()


def _arrived(request: Request) -> list[int]:
    arrived: list[int] = request.meta.get("arrived", [0])
    return arrived


def _kind(request: Request) -> str:
    job = request.meta.get("job")
    return job.kind if job is not None else ""
