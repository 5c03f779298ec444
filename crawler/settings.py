"""What the parts of one run share, and the Scrapy that it runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawler.incremental import Ledger
from crawler.middlewares import user_agent
from crawler.plan import Plan
from crawler.resolver import Refused
from crawler.scheduler import Frontier, Job
from crawler.sites.base import Site, site_of
from schemas.blocklist import BlockList
from schemas.images import PictureLimits
from schemas.progress import Progress
from schemas.settings import CrawlSettings, Settings
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import storage_error, write_file
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from scrapy.crawler import AsyncCrawlerProcess


MAX_PROBLEMS = 20
PAGE_MAX_BYTES = 16 * 1024 * 1024


class Run:
    """What the parts of one run share."""

    def __init__(
        self, layout: Layout, settings: Settings, plan: Plan, frontier: Frontier, version: str,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.layout, self.plan, self.frontier, self.progress = layout, plan, frontier, progress
        self.settings: CrawlSettings = settings.crawl
        self.limits: PictureLimits = settings.decode.limits
        self.site: Site = site_of(plan.site)
        self.catalog = Catalog(layout)
        self.blocked = BlockList.with_file(layout, self.settings.block_list)
        adult = self.settings.adult == "include"
        self.ledger = Ledger(frontier, self.site, plan, adult=adult, blocked=self.blocked)
        self.headers = {
            **self.site.headers,
            **(self.site.adult_headers if adult else {}),
            "User-Agent": user_agent(version, self.settings.contact),
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
        }
        self.finished: Callable[[Job], None] = lambda job: None
        self.requests = self.bytes = 0
        self.problems: list[str] = []
        self.error: Exception | None = None
        self.interrupted = False
        self.max_seconds: float | None = None
        self.samples: Path | None = None
        self.process: AsyncCrawlerProcess | None = None
        self._told_at = 0.0

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
            self.forget_queued()
            if self.process is not None:
                for crawler in list(self.process.crawlers):
                    self._stopping = asyncio.ensure_future(
                        crawler.engine.close_spider_async(reason="stopped")
                    )

    def forget_queued(self) -> None:
        """Let go of requests that only wait for their turn; the frontier keeps them."""
        for crawler in list(self.process.crawlers) if self.process is not None else ():
            for slot in list(crawler.engine.downloader.slots.values()):
                while slot.queue:
                    slot.queue.popleft()[1].errback(Refused("stopping"))

    def keep_sample(self, kind: str, body: bytes) -> None:
        """Keep the first answer of each kind, as a sample for tests.

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

    def max_bytes_of(self, job: Job) -> int:
        """The longest body that is read for a request."""
        return self.limits.max_bytes if job.kind == "picture" else PAGE_MAX_BYTES

    def conditions(self, job: Job) -> dict[str, str]:
        """Headers that let the server answer that nothing has changed."""
        row = self.frontier.db.execute(
            "select etag, modified from titles where title_id = ?", (job.title_id,)
        ).fetchone()
        found = {}
        if row is not None and row["etag"]:
            found["If-None-Match"] = row["etag"]
        if row is not None and row["modified"]:
            found["If-Modified-Since"] = row["modified"]
        return found

    def tell_progress(self) -> None:
        if self.progress is not None and time.monotonic() - self._told_at > 0.2:
            self._told_at = time.monotonic()
            self.progress(self.requests, self.requests + self.frontier.pending)


def scrapy_settings(run: Run) -> dict[str, Any]:
    """Scrapy as this crawl needs it: few parts, each with a purpose."""
    mine = run.settings
    download = "scrapy.downloadermiddlewares."
    values: dict[str, Any] = {
        "TOONSEARCH_RUN": run,
        "LOG_ENABLED": False,
        "LOG_INSTALL_ROOT_HANDLER": False,
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "SCHEDULER": "crawler.spider.Jobs",
        "TWISTED_DNS_RESOLVER": "crawler.resolver.PinnedResolver",
        "ITEM_PIPELINES": {"crawler.pipelines.Pipeline": 100},
        "DOWNLOADER_MIDDLEWARES": {
            "crawler.resolver.Gate": 10,
            "crawler.middlewares.Robots": 100,
            "crawler.middlewares.Patience": 550,
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
    }  # fmt: skip
    if mine.replica:
        handler = "crawler.spider.ReplicaHandler"
        values["TOONSEARCH_REPLICA"] = mine.replica
        values["DOWNLOAD_HANDLERS"] = {"http": handler, "https": handler}
    return values
