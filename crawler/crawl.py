"""One crawl of one site, from the first list to the last commit."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from scrapy.crawler import AsyncCrawlerProcess

from crawler.scheduler import FORMAT, Frontier
from crawler.settings import Run, scrapy_settings
from crawler.sites.base import Plan, site_of
from crawler.spider import Spider
from crawler.state import drain, load, recheck
from schemas.blocklist import BlockList
from schemas.errors import (
    InputError,
    InterruptedRun,
    NetworkError,
    PartlyDoneError,
    ToonsearchError,
)
from schemas.progress import Progress
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

RESUMED_S = 24 * 3600.0
"""A crawl that was cut short is continued for a day; then its lists are too old."""
FAR_LESS = 0.5
ENOUGH = 20
"""A crawl that lists less than this share of what the last one listed fails its quality
check, when that one listed enough for the share to mean something."""


@dataclass
class CrawlReport:
    """What a crawl did. `counts` are of the whole crawl, also when it took several runs;
    `requests` and `bytes_count` are of this run alone."""

    site: str
    outcome: str = "done"
    counts: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    bytes_count: int = 0
    seconds: float = 0.0
    resumed: bool = False
    problems: list[str] = field(default_factory=list)
    error: ToonsearchError | None = None
    is_suspect: bool = False


def crawl(
    layout: Layout,
    settings: Settings,
    plan: Plan,
    *,
    version: str = "0",
    max_seconds: float | None = None,
    accept_fewer: bool = False,
    samples: Path | None = None,
    progress: Progress | None = None,
) -> CrawlReport:
    """Crawl one site into the catalog; once in a process, because its event loop is Twisted's.

    Everything that was fetched is saved, whatever the outcome; `report.error` says what ended
    the run early. The caller holds the lock of the data root. `accept_fewer` takes what the
    site lists now for the truth, however much less it is than last time; `samples` is a folder
    for the first answer of each kind.

    Errors:  UsageError; InputError when the catalog or the frontier cannot be used
    """
    site_of(plan.site)
    blocked = BlockList.with_file(layout, settings.crawl.block_list)
    with contextlib.ExitStack() as stack:
        path = layout.frontier(plan.site)
        if plan.dry_run:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="toonsearch-"))
            path = Path(folder, "frontier")
        else:
            for file in layout.staging.glob("picture-*"):  # half written by a run that was killed
                file.unlink(missing_ok=True)
        started, clock = datetime.now(UTC), time.monotonic()
        catalog = Catalog(layout)
        marks = sorted(set().union(*blocked.marks.values()))
        frontier, resumed = _open(path, catalog, plan, f"{plan.key} {settings.crawl.adult} {marks}")
        stack.callback(frontier.close)
        run = Run(
            layout,
            settings,
            plan,
            frontier,
            blocked=blocked,
            version=version,
            max_seconds=max_seconds,
            samples=samples,
            progress=progress,
        )
        if not resumed:
            with frontier.transaction():
                run.tracker.begin()
                frontier.put("began", str(time.time()))
        _fetch(run)
        report = CrawlReport(
            plan.site,
            counts=dict(frontier.counts),
            requests=run.requests,
            bytes_count=run.bytes,
            seconds=time.monotonic() - clock,
            resumed=resumed,
            problems=run.problems,
            error=run.error if isinstance(run.error, ToonsearchError) else None,
        )
        if run.interrupted and frontier.pending:
            hint = "" if plan.dry_run else "What was fetched is saved; run it again to go on."
            report.error = InterruptedRun("interrupted", hint)
        report.error = report.error or _quality_error(
            catalog, plan, report, accept_fewer, run.odd_list
        )
        if report.error is not None:
            report.outcome = "interrupted" if run.interrupted else "partly"
        if frontier.pending == 0:
            frontier.put("plan", "")  # finished: the next crawl starts over
            report.counts["complete"] = int(not report.is_suspect)
        if not plan.dry_run:
            _record(catalog, plan, settings, report, started)
    return report


def _open(path: Path, catalog: Catalog, plan: Plan, mark: str) -> tuple[Frontier, bool]:
    """The frontier to work on, and whether it continues a crawl that was cut short."""
    if path.exists():
        try:
            frontier = Frontier(path)
            recheck(frontier, catalog.layout)
            began = float(frontier.get("began") or 0)
            fits = (frontier.get("plan"), frontier.get("format")) == (mark, FORMAT)
            if fits and time.time() - began < RESUMED_S:
                return frontier, True
            drain(frontier, catalog)
            frontier.close()
        except (sqlite3.DatabaseError, ValueError, KeyError):
            pass  # damaged: the catalog knows what was committed, the rest is asked again
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    frontier = Frontier(path)
    load(frontier, catalog, plan.site)
    frontier.put("plan", mark)
    frontier.put("format", FORMAT)
    return frontier, False


class Process(AsyncCrawlerProcess):
    """Scrapy's process, which marks the run as interrupted when a signal ends it."""

    run: Run

    def _signal_shutdown(self, signum: int, frame: Any) -> None:
        from twisted.internet import reactor

        self.run.interrupted = True
        reactor.callFromThread(self.run.release_queued)
        super()._signal_shutdown(signum, frame)


def _fetch(run: Run) -> None:
    """Run Scrapy until nothing is left or something ends it.

    Errors:  whatever no part of the run foresaw
    """
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("scrapy", "twisted", "asyncio"):  # nobody reads it, and each request writes
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # The event loop waits for the interpreter after every small system call; the threads that
    # check pictures would hold it for 5 ms each time.
    sys.setswitchinterval(0.0005)
    process = Process(scrapy_settings(run))
    process.run, run.process = run, process
    task = process.crawl(Spider, run=run)
    process.start(stop_after_crawl=True)
    if task.done() and not task.cancelled() and task.exception() is not None:
        raise task.exception() or AssertionError
    if run.error is not None and not isinstance(run.error, ToonsearchError):
        raise run.error  # a bug of ours
    if run.frontier.pending and not run.stopping:
        raise AssertionError(f"{run.frontier.pending} requests were left")


def _quality_error(
    catalog: Catalog,
    plan: Plan,
    report: CrawlReport,
    accept_fewer: bool,
    odd_list: ToonsearchError | None,
) -> ToonsearchError | None:
    """The quality check of a crawl that came to its end; `odd_list` says what was wrong with a
    list."""
    counts = report.counts
    listed = counts.get("listed", 0)
    if counts.get("lists_failed") and not listed:
        unread = NetworkError(f"no list of {plan.site} could be read", "Try again later.")
        return odd_list or unread
    before = 0  # what the last good crawl of the same scope listed
    for row in sorted(catalog.read("runs").to_pylist(), key=lambda row: row["ended"]):
        past = json.loads(row["counts"])
        if row["command"] == _command(plan) and past.get("complete"):
            before = past.get("listed", 0)
    if before >= ENOUGH and listed < FAR_LESS * before and not accept_fewer:
        report.is_suspect = True
        return PartlyDoneError(
            f"{plan.site} listed {listed:,} titles, last time {before:,}",
            "Its pages may have changed; nothing was removed. If this is right, --accept-fewer.",
        )
    gone = counts.get("skipped_gone", 0)
    if plan.scope.titles and gone:
        kind = InputError if gone >= len(plan.scope.titles) else PartlyDoneError
        return kind(f"{plan.site} has no such title ({gone:,} of {len(plan.scope.titles):,})")
    if counts.get("lists_failed"):
        lists = f"{counts['lists_failed']:,} lists of {plan.site} could not be read"
        return PartlyDoneError(lists, "Run it again later.")
    failed = sum(counts.get(name, 0) for name in ("failed", "pictures_failed"))
    if failed:
        return PartlyDoneError(
            f"{failed:,} of {plan.site} could not be fetched",
            f"`toonsearch crawl status` says why; `toonsearch crawl {plan.site} --retry-failed`.",
        )
    return None


def _command(plan: Plan) -> str:
    return f"crawl {plan.site} {sha256(plan.key.encode()).hexdigest()[:12]}"


def _record(
    catalog: Catalog, plan: Plan, settings: Settings, report: CrawlReport, started: datetime
) -> None:
    counts = {**report.counts, "requests": report.requests, "bytes": report.bytes_count}
    row = {
        "run_id": f"{started:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}",
        "command": _command(plan),
        "started": started,
        "ended": datetime.now(UTC),
        "counts": json.dumps(counts, sort_keys=True),
        "settings": sha256(repr(settings.crawl).encode()).hexdigest()[:16],
        "outcome": report.outcome,
    }
    catalog.append("runs", [row])
