"""From responses to the catalog: checked, acknowledged, committed in batches.

A picture's bytes are stored before the row that names them. Every outcome is one transaction
of the frontier; Delta commits follow in batches, in a thread, while the crawl goes on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from crawler.images import CheckedPicture, check_and_store, refused
from crawler.incremental import TitleTracker
from crawler.middlewares import opts_out
from crawler.scheduler import Frontier, Job
from crawler.settings import RunPart
from crawler.sites.base import Page, PageError
from crawler.spider import Fetched
from crawler.state import commit, drain
from schemas.attempt import attempt, concerns_all, unexpected
from schemas.blocklist import BlockList
from schemas.errors import NetworkError, PartlyDoneError, ToonsearchError
from schemas.images import SKIPPED, PictureError, PictureLimits, Reason, picture_id_of
from schemas.storage.fsio import storage_error
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

COMMIT_S = 300.0
"""The longest that a row waits for its commit; until then it is safe in the frontier, and
fewer commits mean fewer small files."""
MAX_REFUSALS = 3
"""Answers 403 in a row after which a host has made itself clear."""
MAX_FAILURES = 10
"""Failures in a row of one host after which it is taken for down."""
MAX_ODD_PAGES = 5
"""Unexpected pages in a row, after which the layout has changed."""
REASONS = {
    "404": Reason.MISSING,
    "410": Reason.MISSING,
    "size": Reason.TOO_MANY_BYTES,
    "address": Reason.ADDRESS,
    str(Reason.OPT_OUT): Reason.OPT_OUT,
}
_LATER = "What was fetched is saved; run it again later to go on."


def _ends_the_run(error: Exception) -> bool:
    """Whether an exception is not about one answer: the layout has changed, or nothing can be
    written any more."""
    damaged = type(error) in (sqlite3.DatabaseError, sqlite3.OperationalError)
    return damaged or isinstance(error, PageError) or concerns_all(error)


def missing(reason: str) -> CheckedPicture:
    """A picture that could not be fetched, as a row's worth of facts without an id."""
    refused = reason.isdecimal() or reason.startswith("redirect: ")
    why = REASONS.get(reason, Reason.REFUSED if refused else Reason.UNREACHABLE)
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


class PictureRows:
    """Rows of pictures. Call `write` inside a frontier's transaction.

    The catalog's key is the picture's digest and its title. When a title names equal bytes
    twice, the first episode holds the key and the others are rows of their own, skipped as
    duplicates, whichever of them arrived first.
    """

    def __init__(self, frontier: Frontier, tracker: TitleTracker, site: str) -> None:
        self.frontier, self.tracker, self.site, self.db = frontier, tracker, site, frontier.db

    def write(self, job: Job, facts: CheckedPicture, stamp: str) -> None:
        """Write a picture's row; it takes the key from a later episode with equal bytes."""
        title_id, url, about = str(job.title_id), job.url, job.about
        if facts.status != "stored":
            # Equal bytes in two places mean nothing when they are no drawing: each failure
            # has a name of its own, which goes when the picture comes.
            facts = dataclasses.replace(facts, picture_id=f"missing-{_mark(title_id, url)}")
        self.frontier.count(f"pictures_{facts.status}")
        self.frontier.count("picture_bytes", facts.bytes_count or 0)
        before = self.db.execute(
            "select * from pictures where title_id = ? and url = ?", (title_id, url)
        ).fetchone()
        me: dict[str, Any] = {
            "title_id": title_id,
            "url": url,
            "picture_id": facts.picture_id,
            **{name: about.get(name) for name in ("kind", "episode_no", "published", "year")},
            "stamp": stamp,
            "status": facts.status,
            "bytes_count": facts.bytes_count,
        }
        if before is not None and before["picture_id"] != facts.picture_id:
            self.frontier.send("pictures", f"{before['picture_id']} {title_id}", None, fresh=False)
        holder = self.db.execute(
            "select * from pictures where title_id = ? and picture_id = ? and url <> ?",
            (title_id, facts.picture_id, url),
        ).fetchone()
        fresh = holder is None and before is None
        if holder is not None and _place(holder) < _place(me):
            self._write_copy(me)
        else:
            if holder is not None:
                self._write_copy(dict(holder))
            self._send(me, facts.columns(), fresh=fresh)
        self.tracker.settle(title_id)

    def _write_copy(self, picture: dict[str, Any]) -> None:
        name = f"copy-{_mark(picture['title_id'], picture['url'])}"
        copy = {**picture, "picture_id": name, "status": "skipped"}
        self._send(copy, {"reason": str(Reason.DUPLICATE)}, fresh=False)

    def _send(self, picture: dict[str, Any], more: dict[str, Any], *, fresh: bool) -> None:
        self.db.execute(
            "insert or replace into pictures values (:title_id, :url, :picture_id, :kind,"
            " :episode_no, :published, :year, :stamp, :status, :bytes_count)",
            picture,
        )
        row = {**picture, "source": self.site, **more}
        row["source_path"], row["source_stamp"] = row.pop("url"), row.pop("stamp")
        key = f"{picture['picture_id']} {picture['title_id']}"
        self.frontier.send("pictures", key, row, fresh=fresh)


def _mark(title_id: str, url: str) -> str:
    return hashlib.sha256(f"{title_id}\n{url}".encode()).hexdigest()


def _place(picture: Any) -> tuple[int, str]:
    """The order in which pictures of a title take a key: its own first, then by episode."""
    number = picture["episode_no"]
    return (-1 if number is None else number, picture["url"])


class CatalogPipeline(RunPart):
    """Scrapy's item pipeline."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self.rows = PictureRows(self.run.frontier, self.run.tracker, self.run.site.name)
        self.pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pictures")
        self._flush: asyncio.Task[None] | None = None
        self._flushed_at = time.monotonic()
        self._refusals: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._odd = 0
        self.run.give_up = self._give_up

    async def process_item(self, item: Fetched) -> Fetched:
        """Take in one outcome. What goes wrong with it is its own failure; what concerns all
        others as well ends the run with a clear message."""
        try:
            try:
                await (self._picture(item) if item.job.kind == "picture" else self._page(item))
            except Exception as error:
                if _ends_the_run(error):
                    raise
                self._give_up(item.job, error)
            self._commit_when_due()
        except Exception as error:  # Scrapy would log it and go on with a job that hangs
            self._stop(error)
        finally:
            self.run.finished(item.job)
        self.run.show_progress()
        return item

    async def close_spider(self) -> None:
        """Commit what waits; also when the run was stopped from outside."""
        try:
            if self._flush is not None:
                await self._flush
            if not self.run.plan.dry_run:
                drain(self.run.frontier, self.run.catalog)
        except (ToonsearchError, OSError) as error:
            self._stop(error)
        self.pool.shutdown()

    def _stop(self, error: Exception) -> None:
        if isinstance(error, OSError):
            error = storage_error(error, f"the catalog in {self.run.layout.root}")
        self.run.stop(error)

    async def _picture(self, item: Fetched) -> None:
        run, frontier = self.run, self.run.frontier
        reason = self._refusal(item)
        if reason is None and opts_out(item.robots):
            reason = str(Reason.OPT_OUT)
        if reason is None:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(
                self.pool, attempt, checked, run.layout, run.limits, run.blocked, item.body
            )
            if isinstance(found, PictureError):
                run.problem(f"{item.job.url}: {found.message}")
                found = refused(picture_id_of(item.body), found, len(item.body))
            facts = found
        elif run.stopping:
            return  # the job waits for another run
        else:
            facts = missing(reason)
        with frontier.transaction():
            if not frontier.exists(item.job):
                return
            frontier.done(item.job)
            self.rows.write(item.job, facts, item.etag or item.modified or str(len(item.body)))
        frontier.release(item.job)

    async def _page(self, item: Fetched) -> None:
        frontier, tracker, job = self.run.frontier, self.run.tracker, item.job
        with frontier.transaction():
            if not frontier.exists(job):
                return
            frontier.done(job)
            if item.status == 304 and job.title_id is not None:
                tracker.unchanged(job.title_id)
            elif (reason := self._refusal(item)) is not None:
                if self.run.stopping:
                    frontier.add([job])  # the next run asks for it again
                elif reason.startswith("redirect: ") and job.title_id is not None:
                    tracker.end(job.title_id, "skipped", reason.removeprefix("redirect: "))
                elif reason in ("404", "410") and job.title_id is not None:
                    tracker.gone(job)
                else:
                    tracker.fail(job, reason)
                    self.run.problem(f"{job.url}: {reason}")
            elif not opts_out(item.robots, item.body):
                self._parse(item)
            elif job.title_id is not None:
                tracker.end(job.title_id, "skipped", str(Reason.OPT_OUT))
            else:
                raise NetworkError(
                    f"{job.url} asks not to be used (noai or noindex)", "The importers remain."
                )
        frontier.release(job)

    def _give_up(self, job: Job, error: Exception) -> None:
        """Record a job whose outcome nobody foresaw as failed, so that it does not come back."""
        frontier, found = self.run.frontier, unexpected(error)
        with frontier.transaction():
            frontier.done(job)
            if job.kind == "picture":
                self.rows.write(job, refused("", found, None), "")
            else:
                self.run.tracker.fail(job, f"{found.reason}: {type(error).__name__}")
        frontier.release(job)
        self.run.problem(f"{job.url}: {found.message}")

    def _parse(self, item: Fetched) -> None:
        run, job = self.run, item.job
        run.save_sample(job.kind, item.body)
        try:
            page = run.site.parsers[job.kind](job, Page(job.url, item.body, run.site.name))
        except Exception as error:
            if not isinstance(error, PageError) and _ends_the_run(error):
                raise
            odd = PageError.of(run.site.name, job.url, error)
            self._odd += 1
            if self._odd >= MAX_ODD_PAGES:
                raise odd from error
            if job.title_id is None:
                run.odd_list = odd
            run.tracker.fail(job, f"layout: {odd.field}")
            run.problem(odd.message)
            return
        for message in page.odd:
            run.problem(message)
        if page.odd:
            run.frontier.count("odd_entries", len(page.odd))
        if page.skip_reason is None:
            self._odd = 0
        elif page.skip_reason == "gone" and job.title_id and not run.plan.scope.titles:
            # Lists name it: one may have gone since, many in a row are another answer.
            self._odd += 1
            if self._odd >= MAX_ODD_PAGES:
                raise PageError(run.site.name, job.kind, "a title's facts", job.url)
        run.tracker.take(job, page, item.etag, item.modified)

    def _refusal(self, item: Fetched) -> str | None:
        """Why a response is of no use; a host that refuses for good ends the run."""
        host, reason = item.job.host, item.reason
        site = self.run.site.name
        if reason is None and item.status in (200, 304):
            self._refusals[host] = self._failures[host] = 0
            return None
        reason = reason or str(item.status)
        word, _, detail = reason.partition(": ")
        error: ToonsearchError | None = None
        if word == "redirect" and item.job.title_id is None:
            error = NetworkError(f"{site} wants a login for {item.job.url}", self._later)
        elif word == "budget":
            error = PartlyDoneError(
                "the budget of requests or bytes is used up",
                "Run it again to go on; see crawl.max_requests and crawl.max_bytes.",
            )
        elif word == "robots":
            hint = "Nothing more was asked; `toonsearch import` remains."
            error = NetworkError(f"robots.txt of {site} forbids {detail}", hint)
        elif word == "unreachable":
            error = NetworkError(f"{detail}: {site} cannot be reached", self._later)
        elif word == "wait" or reason == "429":
            waits = f" to wait {detail}" if detail else " to wait"
            error = NetworkError(f"{site}: {host} asks{waits}", self._later)
        elif reason == "403":
            self._refusals[host] += 1
            if self._refusals[host] >= MAX_REFUSALS:
                error = NetworkError(f"{site}: {host} refuses us (403)", self._later)
        elif word == "network" or reason.startswith("5"):
            self._failures[host] += 1
            if self._failures[host] >= MAX_FAILURES:
                error = NetworkError(f"{site}: {host} does not answer ({reason})", self._later)
        if error is not None:
            self.run.stop(error)
        return reason

    @property
    def _later(self) -> str:
        return "Try again later." if self.run.plan.dry_run else _LATER

    def _commit_when_due(self) -> None:
        if self._flush is not None and self._flush.done():
            self._flush.result()
            self._flush = None
        if self.run.plan.dry_run or self._flush is not None:
            return
        is_full = self.run.frontier.waiting_count >= self.run.settings.commit_rows
        if is_full or time.monotonic() - self._flushed_at > COMMIT_S:
            self._flushed_at = time.monotonic()
            self._flush = asyncio.ensure_future(self._commit())

    async def _commit(self) -> None:
        frontier = self.run.frontier
        rows = frontier.begin_flush(self.run.settings.commit_rows)
        if rows:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, commit, self.run.catalog, rows)
            frontier.end_flush(rows)
