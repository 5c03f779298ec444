"""Between Scrapy and the frontier: which job is next, and what came of it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.exceptions import IgnoreRequest, StopDownload
from scrapy.http import Request, Response

from crawler.scheduler import Job
from crawler.settings import PAGE_MAX_BYTES, Refused, Run, RunPart
from schemas.errors import PartlyDoneError

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from twisted.python.failure import Failure


@dataclass(frozen=True)
class Fetched:
    """What came of a job: a response, or the reason why there is none."""

    job: Job
    status: int
    body: bytes = b""
    reason: str | None = None
    etag: str | None = None
    modified: str | None = None
    robots: tuple[str, ...] = ()


class Scheduler(RunPart):
    """Scrapy's scheduler, drawing from the frontier; host by host, the idlest first."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self.run.finished = self.finished
        self._again: deque[Request] = deque()
        self._ready: dict[str, deque[Job]] = {}
        self._out: Counter[str] = Counter()
        self._depth = 2 * self.run.settings.concurrency
        self._alarm: asyncio.TimerHandle | None = None

    def open(self, spider: Spider) -> None:
        self.spider = spider
        if self.run.max_seconds is not None:
            over = PartlyDoneError("the time for this crawl is over", "Run it again to go on.")
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(self.run.max_seconds, self.run.stop, over)

    def close(self, reason: str) -> None:
        self._again.clear()
        if self._alarm is not None:
            self._alarm.cancel()

    def has_pending_requests(self) -> bool:
        return bool(self._again) or self.run.frontier.pending > sum(self._out.values())

    def enqueue_request(self, request: Request) -> bool:
        """A request that a middleware made of an earlier one: a redirect or a retry."""
        self._again.append(request)
        return True

    def next_request(self) -> Request | None:
        if self._again:
            return self._again.popleft()
        hosts = self.run.frontier.hosts
        for host in sorted(hosts, key=self._out.__getitem__):
            out = self._out[host]
            if out >= self._depth:
                continue
            ready = self._ready.setdefault(host, deque())
            if not ready and hosts[host] > out:
                ready.extend(self.run.frontier.claim(host, 2 * self._depth))
            while ready:
                job = ready.popleft()
                if self.run.frontier.exists(job):
                    try:
                        request = self.spider.request(job)
                    except Exception as error:  # no address: it would come back for ever
                        self.run.give_up(job, error)
                        continue
                    self._out[host] = out + 1
                    return request
                self.run.frontier.release(job)  # its title has ended meanwhile
        return None

    def finished(self, job: Job) -> None:
        """A job has left the frontier, or at least this run."""
        self._out[job.host] -= 1


class Spider(scrapy.Spider):
    """One site; the facts about it are in `crawler/sites`."""

    name = "toonsearch"

    def __init__(self, run: Run, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_ = run

    async def start(self) -> AsyncIterator[Any]:
        """Nothing: the frontier holds the first requests as well."""
        nothing: tuple[Any, ...] = ()
        for request in nothing:
            yield request

    def request(self, job: Job) -> Request:
        run = self.run_
        headers = dict(run.headers)
        if job.about.get("probe"):
            headers |= run.tracker.conditional_headers(str(job.title_id))
        max_bytes = run.limits.max_bytes if job.kind == "picture" else PAGE_MAX_BYTES
        return Request(
            job.url,
            callback=self.parse,
            errback=self.failed,
            headers=headers,
            meta={"job": job, "download_maxsize": max_bytes},
            dont_filter=True,
        )

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Fetched]:
        assert response.request is not None
        headers = response.headers
        yield Fetched(
            response.request.meta["job"],
            response.status,
            response.body,
            None,
            _text(headers.get("ETag")),
            _text(headers.get("Last-Modified")),
            tuple(tag.decode("latin-1") for tag in headers.getlist("X-Robots-Tag")),
        )

    def failed(self, failure: Failure) -> Iterator[Fetched]:
        request: Request = failure.request  # type: ignore[attr-defined]
        yield Fetched(request.meta["job"], 0, reason=reason_of(failure.value, request))


def reason_of(error: BaseException | None, request: Request) -> str:
    """Why there is no response, in a word and a detail."""
    if isinstance(error, Refused):
        return error.reason
    if isinstance(error, StopDownload):  # only the budget stops what is arriving
        return "budget"
    text = str(error).splitlines()[0] if str(error) else ""
    kind = type(error).__name__
    if isinstance(error, IgnoreRequest):
        return "size" if "MAXSIZE" in text else "redirects" if "redirections" in text else text
    if kind == "DownloadCancelledError":
        return "size"
    return f"network: {text or kind}"[:200]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


class ReplicaHandler(HTTP11DownloadHandler):
    """Sends every request to the replica of tests, under the site's own host name.

    Everything above it sees the real addresses, so that all rules hold as they would.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self.base = str(crawler.settings["TOONSEARCH_REPLICA"]).rstrip("/")

    async def download_request(self, request: Request) -> Response:
        host, _, path = request.url.partition("://")[2].partition("/")
        local = request.replace(url=f"{self.base}/{path}")
        local.headers["Host"] = host
        response = await super().download_request(local)
        request.meta["download_latency"] = local.meta.get("download_latency", 0.0)
        return response.replace(url=request.url)
