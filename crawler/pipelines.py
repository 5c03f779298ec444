"""From responses to the catalog: checked, acknowledged, committed in batches.

A picture's bytes are stored before the row that names them. Every outcome is one transaction
of the frontier; Delta commits follow in batches, in a thread, while the crawl goes on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from crawler.images import CheckedPicture, check_and_store
from crawler.incremental import Works
from crawler.middlewares import opts_out
from crawler.scheduler import Frontier, Job
from crawler.sites.base import Found, Page, PageError
from crawler.spider import Arrival
from crawler.state import commit, drain
from schemas.blocklist import BlockList
from schemas.errors import NetworkError, PartlyDoneError, ToonsearchError
from schemas.images import SKIPPED, PictureLimits, Reason, picture_id_of
from schemas.storage.fsio import storage_error
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

    from crawler.settings import Run


# --- A picture that arrived, or did not: its row in the catalog.
#
# The catalog's key is the picture's digest and its title. When a title names equal bytes
# twice, the first episode holds the key and the others are rows of their own, skipped as
# duplicates, whichever of them arrived first.

WHY = {
    "404": Reason.MISSING,
    "410": Reason.MISSING,
    "size": Reason.TOO_MANY_BYTES,
    "address": Reason.ADDRESS,
    str(Reason.OPT_OUT): Reason.OPT_OUT,
}


def missing(reason: str) -> CheckedPicture:
    """A picture that could not be fetched, as a row's worth of facts; `arrived` names it."""
    refused = reason.isdecimal() or reason.startswith("wall: ")
    why = WHY.get(reason, Reason.REFUSED if refused else Reason.UNREACHABLE)
    return CheckedPicture("", "skipped" if why in SKIPPED else "failed", why, detail=reason)


def checked(
    layout: Layout, limits: PictureLimits, blocked: BlockList, data: bytes
) -> CheckedPicture:
    """Check and store; a page in a picture's place is a failure, whatever its type says, and
    a picture that was forgotten stays out."""
    if blocked.blocks("picture", picture_id_of(data)):
        return missing(str(Reason.OPT_OUT))
    facts = check_and_store(layout, limits, data, sync=False)
    if facts.reason is Reason.FORMAT and data.lstrip()[:1] in (b"<", b"{", b"["):
        return dataclasses.replace(facts, status="failed")
    return facts


class Arrivals:
    """Rows of pictures. Call every method inside a frontier's transaction."""

    def __init__(self, frontier: Frontier, works: Works, site: str) -> None:
        self.frontier, self.works, self.site, self.db = frontier, works, site, frontier.db

    def arrived(self, job: Job, facts: CheckedPicture, stamp: str) -> None:
        """Write a picture's row; it takes the key from a later episode with equal bytes."""
        title_id, url, about = str(job.title_id), job.url, job.about
        if facts.status != "stored":
            # Equal bytes in two places mean nothing when they are no drawing: each failure
            # has a name of its own, which goes when the picture comes.
            mark = hashlib.sha256(f"{title_id}\n{url}".encode()).hexdigest()
            facts = dataclasses.replace(facts, picture_id=f"missing-{mark}")
        self.frontier.count(f"pictures_{facts.status}")
        self.frontier.count("picture_bytes", facts.bytes_count or 0)
        before = self.db.execute(
            "select * from pictures where title_id = ? and url = ?", (title_id, url)
        ).fetchone()
        me: dict[str, Any] = {
            "title_id": title_id, "url": url, "picture_id": facts.picture_id,
            "kind": about.get("kind"), "episode_no": about.get("episode_no"),
            "published": about.get("published"), "year": about.get("year"), "stamp": stamp,
            "status": facts.status, "bytes_count": facts.bytes_count,
        }  # fmt: skip
        if before is not None and before["picture_id"] != facts.picture_id:
            self.frontier.send("pictures", f"{before['picture_id']} {title_id}", None, fresh=False)
        holder = self.db.execute(
            "select * from pictures where title_id = ? and picture_id = ? and url <> ?",
            (title_id, facts.picture_id, url),
        ).fetchone()
        fresh = holder is None and before is None
        if holder is not None and _place(holder) < _place(me):
            self._copy(me)
        else:
            if holder is not None:
                self._copy(dict(holder))
            self._keep(me)
            row = {**_row(me, self.site), **dataclasses.asdict(facts)}
            row["reason"] = None if facts.reason is None else str(facts.reason)
            del row["detail"]
            self.frontier.send("pictures", f"{facts.picture_id} {title_id}", row, fresh=fresh)
        self.works.settle(title_id)

    def _copy(self, picture: dict[str, Any]) -> None:
        mark = hashlib.sha256(f"{picture['title_id']}\n{picture['url']}".encode()).hexdigest()
        picture |= {"picture_id": f"copy-{mark}", "status": "skipped"}
        self._keep(picture)
        row = {**_row(picture, self.site), "reason": str(Reason.DUPLICATE)}
        key = f"{picture['picture_id']} {picture['title_id']}"
        self.frontier.send("pictures", key, row, fresh=False)

    def _keep(self, picture: dict[str, Any]) -> None:
        self.db.execute(
            "insert or replace into pictures values (:title_id, :url, :picture_id, :kind,"
            " :episode_no, :published, :year, :stamp, :status, :bytes_count)",
            picture,
        )


def _place(picture: Any) -> tuple[int, str]:
    """The order in which pictures of a title take a key: its own first, then by episode."""
    number = picture["episode_no"]
    return (-1 if number is None else number, picture["url"])


def _row(picture: dict[str, Any], site: str) -> dict[str, Any]:
    return {
        "picture_id": picture["picture_id"],
        "title_id": picture["title_id"],
        "kind": picture["kind"],
        "episode_no": picture["episode_no"],
        "source": site,
        "source_path": picture["url"],
        "source_stamp": picture["stamp"],
        "bytes_count": picture["bytes_count"],
        "published": picture["published"],
        "year": picture["year"],
        "status": picture["status"],
    }


COMMIT_S = 300.0
"""The longest that a row waits for its commit; until then it is safe in the frontier, and
fewer commits mean fewer small files."""
MAX_REFUSALS = 3
"""Answers 403 in a row after which a host has made itself clear."""
MAX_FAILURES = 10
"""Failures in a row of one host after which it is taken for down."""
MAX_ODD_PAGES = 5
"""Pages in a row that do not look as expected, after which the layout has changed."""


class Pipeline:
    """Scrapy's item pipeline."""

    def __init__(self, crawler: Crawler) -> None:
        self.crawler = crawler
        self.run: Run = crawler.settings["TOONSEARCH_RUN"]
        self.arrivals = Arrivals(self.run.frontier, self.run.ledger.works, self.run.site.name)
        self.pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pictures")
        self._flush: asyncio.Task[None] | None = None
        self._flushed_at = time.monotonic()
        self._waiting = self.run.frontier.waiting_count
        self._refusals: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._odd = 0

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Pipeline:
        return cls(crawler)

    async def process_item(self, item: Arrival) -> Arrival:
        """Take in one outcome; what goes wrong here ends the run with a clear word."""
        try:
            if item.job.kind == "picture":
                await self._picture(item)
            else:
                self._page(item)
            self._commit_when_due()
        except ToonsearchError as error:
            self.run.stop(error)
        except OSError as error:
            self.run.stop(storage_error(error, f"the catalog in {self.run.layout.root}"))
        except Exception as error:  # Scrapy would log it and go on with a job that hangs
            self.run.stop(error)
        finally:
            self.run.finished(item.job)
        self.run.tell_progress()
        return item

    async def close_spider(self) -> None:
        """Commit what waits; also when the run was stopped from outside."""
        try:
            if self._flush is not None:
                await self._flush
            if not self.run.plan.dry_run:
                drain(self.run.frontier, self.run.catalog, self.run.settings.commit_rows)
        except ToonsearchError as error:
            self.run.stop(error)
        except OSError as error:
            self.run.stop(storage_error(error, f"the catalog in {self.run.layout.root}"))
        self.pool.shutdown()

    # Pictures

    async def _picture(self, item: Arrival) -> None:
        facts = await self._checked(item)
        if facts is None:
            return
        stamp = item.etag or item.modified or str(len(item.body))
        frontier = self.run.frontier
        with frontier.transaction():
            if not frontier.exists(item.job):
                return
            frontier.done(item.job)
            self.arrivals.arrived(item.job, facts, stamp)
        frontier.released(item.job)

    async def _checked(self, item: Arrival) -> CheckedPicture | None:
        """The picture's facts; None when the job has to wait for another run."""
        reason = self._refusal(item)
        if reason is None and opts_out(list(item.robots)):
            reason = str(Reason.OPT_OUT)
        if reason is not None:
            return None if self.run.stopping else missing(reason)
        loop = asyncio.get_running_loop()
        run = self.run
        return await loop.run_in_executor(
            self.pool, checked, run.layout, run.limits, run.blocked, item.body
        )

    # Pages

    def _page(self, item: Arrival) -> None:
        frontier, ledger = self.run.frontier, self.run.ledger
        job = item.job
        with frontier.transaction():
            if not frontier.exists(job):
                return
            frontier.done(job)
            if item.status == 304 and job.title_id is not None:
                ledger.unchanged(job.title_id)
            elif (reason := self._refusal(item)) is not None:
                if self.run.stopping:
                    frontier.add([job.ask])  # the next run asks for it again
                elif reason.startswith("wall: ") and job.title_id is not None:
                    ledger.works.end(job.title_id, "skipped", reason.removeprefix("wall: "))
                elif reason in ("404", "410") and job.title_id is not None:
                    ledger.gone(job)
                else:
                    ledger.fails(job, reason)
                    self.run.problem(f"{job.url}: {reason}")
            elif opts_out(list(item.robots), item.body):
                self._opted_out(job)
            else:
                self._parsed(item)
        frontier.released(job)

    def _opted_out(self, job: Job) -> None:
        if job.title_id is None:
            raise NetworkError(
                f"{job.url} asks not to be used (noai or noindex)", "The importers remain."
            )
        self.run.ledger.works.end(job.title_id, "skipped", str(Reason.OPT_OUT))

    def _parsed(self, item: Arrival) -> None:
        job, ledger = item.job, self.run.ledger
        self.run.keep_sample(job.kind, item.body)
        try:
            found: Found = self.run.site.parsers[job.kind](job.ask, Page(job.url, item.body))
        except PageError as error:
            self._odd += 1
            if job.title_id is None or self._odd >= MAX_ODD_PAGES:
                raise
            ledger.fails(job, f"layout: {error.field}")
            self.run.problem(error.message)
            return
        if found.verdict == "gone" and job.title_id is not None and not self.run.plan.scope.titles:
            # Lists name it: one may have gone since, many in a row are another answer.
            self._odd += 1
            if self._odd >= MAX_ODD_PAGES:
                raise PageError(self.run.site.name, job.kind, "a title's facts", job.url)
        elif found.verdict is None:
            self._odd = 0
        ledger.answer(job, found, item.etag, item.modified)

    def _refusal(self, item: Arrival) -> str | None:
        """Why a response is of no use; a host that refuses for good ends the run."""
        host, reason = item.job.host, item.reason
        site = self.run.site.name
        if reason is None and item.status in (200, 304):
            self._refusals[host] = self._failures[host] = 0
            return None
        reason = reason or str(item.status)
        word, _, detail = reason.partition(": ")
        if word == "wall" and item.job.title_id is None:
            self.run.stop(NetworkError(f"{site} wants a login for {item.job.url}", _LATER))
        elif word == "budget":
            self.run.stop(
                PartlyDoneError(
                    "the budget of requests or bytes is used up",
                    "Run it again to go on; see crawl.max_requests and crawl.max_bytes.",
                )
            )
        elif word == "robots":
            hint = "Nothing more was asked; `toonsearch import` remains."
            self.run.stop(NetworkError(f"robots.txt of {site} forbids {detail}", hint))
        elif word == "unreachable":
            self.run.stop(NetworkError(f"{detail}: {site} cannot be reached", _LATER))
        elif word == "wait" or reason == "429":
            waits = f" to wait {detail}" if detail else " to wait"
            self.run.stop(NetworkError(f"{site}: {host} asks{waits}", _LATER))
        elif reason == "403":
            self._refusals[host] = self._refusals.get(host, 0) + 1
            if self._refusals[host] >= MAX_REFUSALS:
                self.run.stop(NetworkError(f"{site}: {host} refuses us (403)", _LATER))
        elif word == "network" or reason.startswith("5"):
            self._failures[host] = self._failures.get(host, 0) + 1
            if self._failures[host] >= MAX_FAILURES:
                self.run.stop(NetworkError(f"{site}: {host} does not answer ({reason})", _LATER))
        return reason

    # Commits

    def _commit_when_due(self) -> None:
        if self._flush is not None and self._flush.done():
            self._flush.result()
            self._flush = None
        elapsed = time.monotonic() - self._flushed_at
        if self.run.plan.dry_run:
            return
        if self._flush is None and (elapsed > COMMIT_S or self._is_full()):
            self._flushed_at = time.monotonic()
            self._flush = asyncio.ensure_future(self._commit())

    def _is_full(self) -> bool:
        self._waiting += 1  # counting rows costs more than knowing that there cannot be enough
        if self._waiting < self.run.settings.commit_rows:
            return False
        self._waiting = self.run.frontier.waiting_count
        return bool(self._waiting >= self.run.settings.commit_rows)

    async def _commit(self) -> None:
        frontier = self.run.frontier
        rows = frontier.begin_flush(self.run.settings.commit_rows)
        if rows:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, commit, self.run.catalog, rows)
            frontier.end_flush(rows)
        self._waiting = frontier.waiting_count


_LATER = "What was fetched is kept; run it again later to go on."
