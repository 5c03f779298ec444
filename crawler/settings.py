"""What the parts of one run share, and the Scrapy that it runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scrapy.exceptions import IgnoreRequest

from crawler.incremental import TitleTracker
from crawler.scheduler import Frontier, Job
from crawler.sites.base import PageError, Plan, Site, site_of
from schemas.blocklist import BlockList
from schemas.images import PictureLimits
from schemas.progress import Progress
from schemas.settings import CrawlSettings, Settings
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import storage_error, write_file
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from scrapy.crawler import AsyncCrawlerProcess, Crawler

AGENT = "toonsearch"
"""The name that robots.txt is read for."""
MAX_PROBLEMS = 20
PAGE_MAX_BYTES = 16 * 1024 * 1024


class Refused(IgnoreRequest):
    """A request that must not be made; `reason` is one word, or one and a detail."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def user_agent(version: str, contact: str) -> str:
    """Who asks, and whom to write to."""
    about = f"+{contact}" if contact else "no contact given"
    return f"{AGENT}/{version} ({about}; style search; obeys robots.txt)"


class Run:
    """What the parts of one run share."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        plan: Plan,
        frontier: Frontier,
        *,
        blocked: BlockList,
        version: str,
        max_seconds: float | None,
        samples: Path | None,
        progress: Progress | None,
    ) -> None:
        self.layout, self.plan, self.frontier, self.blocked = layout, plan, frontier, blocked
        self.max_seconds, self.samples, self.progress = max_seconds, samples, progress
        self.settings: CrawlSettings = settings.crawl
        self.limits: PictureLimits = settings.decode.limits
        self.site: Site = site_of(plan.site)
        self.catalog = Catalog(layout)
        adult = self.settings.adult == "include"
        self.tracker = TitleTracker(frontier, self.site, plan, adult=adult, blocked=blocked)
        self.headers = {
            **self.site.headers,
            **(self.site.adult_headers if adult else {}),
            "User-Agent": user_agent(version, self.settings.contact),
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
        }
        self.finished: Callable[[Job], None] = lambda job: None
        self.give_up: Callable[[Job, Exception], None] = lambda job, error: None
        self.odd_list: PageError | None = None
        self.requests = self.bytes = 0
        self.problems: list[str] = []
        self.error: Exception | None = None
        self.interrupted = False
        self.process: AsyncCrawlerProcess | None = None
        self._progress_at = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> Run:
        """Itself: Scrapy copies its settings, through which its parts find the run."""
        return self

    @property
    def stopping(self) -> bool:
        return self.error is not None or self.interrupted

    def stop(self, error: Exception) -> None:
        """End the run in order: what is in flight arrives, what waits is committed."""
        if self.error is None:
            self.error = error
            self.release_queued()
            if self.process is not None:
                for crawler in list(self.process.crawlers):
                    self._stopping = asyncio.ensure_future(
                        crawler.engine.close_spider_async(reason="stopped")
                    )

    def release_queued(self) -> None:
        """Let go of requests that only wait for their turn; they stay in the frontier."""
        for crawler in list(self.process.crawlers) if self.process is not None else ():
            for slot in list(crawler.engine.downloader.slots.values()):
                while slot.queue:
                    slot.queue.popleft()[1].errback(Refused("stopping"))

    def save_sample(self, kind: str, body: bytes) -> None:
        """Save the first answer of each kind, as a sample for tests.

        Errors:  InputError when the folder cannot be written
        """
        if self.samples is None:
            return
        ending = "html" if body.lstrip()[:1] == b"<" else "json"
        path = self.samples / f"{self.site.name}_{kind}.{ending}"
        try:
            self.samples.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_file(path, body)
        except OSError as error:
            raise storage_error(error, str(path)) from error

    def problem(self, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def show_progress(self) -> None:
        if self.progress is not None and time.monotonic() - self._progress_at > 0.2:
            self._progress_at = time.monotonic()
            self.progress(self.requests, self.requests + self.frontier.pending)


def run_of(crawler: Crawler) -> Run:
    """The run that Scrapy's crawler belongs to."""
    run: Run = crawler.settings["TOONSEARCH_RUN"]
    return run


class RunPart:
    """A part of Scrapy's that belongs to a run."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler, self.run = crawler, run_of(crawler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)


def scrapy_settings(run: Run) -> dict[str, Any]:
    """Scrapy as this crawl needs it: few parts, each with a purpose."""
    mine = run.settings
    download = "scrapy.downloadermiddlewares."
    values: dict[str, Any] = {
        "TOONSEARCH_RUN": run,
        "LOG_ENABLED": False,
        "LOG_INSTALL_ROOT_HANDLER": False,
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "SCHEDULER": "crawler.spider.Scheduler",
        "TWISTED_DNS_RESOLVER": "crawler.middlewares.PinnedResolver",
        "ITEM_PIPELINES": {"crawler.pipelines.CatalogPipeline": 100},
        "DOWNLOADER_MIDDLEWARES": {
            "crawler.middlewares.SiteHosts": 10,
            "crawler.middlewares.RobotsTxt": 100,
            "crawler.middlewares.Retries": 550,
            "crawler.middlewares.Redirects": 600,
            "crawler.middlewares.Budget": 950,
        },
        # Only the parts that are used: the others cost time with every request, and some
        # (telnet, remote control, feeds) open doors that a crawl does not need.
        "DOWNLOADER_MIDDLEWARES_BASE": {
            download + "downloadtimeout.DownloadTimeoutMiddleware": 350,
            download + "httpcompression.HttpCompressionMiddleware": 590,
        },
        "SPIDER_MIDDLEWARES_BASE": {},
        "EXTENSIONS_BASE": {"scrapy.extensions.throttle.AutoThrottle": 0},
        # Every response makes one item, and Scrapy starts so many workers for each response.
        "CONCURRENT_ITEMS": 1,
        "CONCURRENT_REQUESTS": 4 * mine.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": mine.concurrency,
        "DOWNLOAD_DELAY": mine.delay_s,
        "DOWNLOAD_DELAY_JITTER": 0.0,  # never less than the delay that was promised
        "AUTOTHROTTLE_ENABLED": mine.delay_s > 0,
        "AUTOTHROTTLE_START_DELAY": mine.delay_s,
        "DOWNLOAD_TIMEOUT": mine.timeout_s,
        "DOWNLOAD_MAXSIZE": max(PAGE_MAX_BYTES, run.limits.max_bytes),
        "RETRY_TIMES": mine.retries,
        "REDIRECT_MAX_TIMES": 5,
    }
    if mine.replica:
        handler = "crawler.spider.ReplicaHandler"
        values["TOONSEARCH_REPLICA"] = mine.replica
        values["DOWNLOAD_HANDLERS"] = {"http": handler, "https": handler}
    return values
