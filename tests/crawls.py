"""Crawls of the replica for tests: each in a process of its own, forked from a warm one."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from crawler.crawl import CrawlReport
from crawler.sites.base import Plan, Scope
from schemas.errors import ToonsearchError
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.replica import Replica
from tests.small_model import ENVIRON

_WARM = multiprocessing.get_context("forkserver")
_WARM.set_forkserver_preload(
    ["crawler.crawl", "crawler.sites.naver", "crawler.sites.webtoons", "crawler.sites.melon",
     "crawler.pipelines", "crawler.spider", "tests.crawls", "schemas.storage.catalog", "deltalake", "duckdb", "pyarrow.parquet", "parsel",
     "PIL.JpegImagePlugin", "PIL.ImageOps"]
)  # fmt: skip


def settings_for(root: Path, replica: Replica | str, **more: Any) -> Settings:
    """Settings of a quick crawl of the replica; `more` are keys of `crawl`, or dotted ones."""
    address = replica if isinstance(replica, str) else replica.url
    values = {"replica": address, "delay_s": 0.0, "backoff_s": 0.02, "timeout_s": 10.0, **more}
    flags = {name if "." in name else f"crawl.{name}": v for name, v in values.items()}
    return load_settings({"store.root": str(root), **flags}, environ=ENVIRON, cwd=root.parent)


def _run(
    pipe: Connection,
    before: Callable[[], None] | None,
    settings: Settings,
    plan: Plan,
    options: dict[str, Any],
) -> None:
    if before is not None:
        before()
    from crawler.crawl import crawl

    try:
        report = crawl(settings.layout, settings, plan, **options)
        error, report.error = report.error, None
    except ToonsearchError as raised:
        report, error = None, raised
    pipe.send((report, error and (_kind(error), error.message, error.hint)))


def _kind(error: ToonsearchError) -> type[ToonsearchError]:
    """The nearest class that is made of a message and a hint."""
    return next(kind for kind in type(error).__mro__ if kind.__module__ == "schemas.errors")


def start(
    settings: Settings, plan: Plan, before: Callable[[], None] | None = None, **options: Any
) -> tuple[BaseProcess, Connection]:
    """Start a crawl; `before` is called in its process first."""
    mine, theirs = _WARM.Pipe()
    process = _WARM.Process(target=_run, args=(theirs, before, settings, plan, options))
    process.start()
    theirs.close()
    return process, mine


def crawled(
    settings: Settings,
    plan: Plan | str = "naver",
    before: Callable[[], None] | None = None,
    **options: Any,
) -> CrawlReport:
    """Crawl to the end.

    Errors:  what the crawl raised
    """
    plan = Plan(plan, Scope(from_year=2000, to_year=2003)) if plan == "melon" else plan
    plan = Plan(plan) if isinstance(plan, str) else plan
    process, pipe = start(settings, plan, before, **options)
    with pipe:
        answer = pipe.recv() if pipe.poll(900) else None
    process.join(30)
    if answer is None:
        process.kill()
        raise AssertionError("the crawl did not end")
    report: CrawlReport | None = answer[0]
    error = None
    if answer[1] is not None:
        kind, message, hint = answer[1]
        error = kind(message, hint)
    if report is None:
        raise error or AssertionError
    report.error = error
    return report


TIMES = {"titles": "crawled_at", "pictures": "fetched_at", "crawl_state": "checked_at"}


def contents(layout: Layout) -> dict[str, Any]:
    """What a catalog holds, but for times: rows by table, and the picture files."""
    found: dict[str, Any] = {}
    for table in ("titles", "episodes", "pictures", "crawl_state"):
        rows = Catalog(layout).read(table).to_pylist()
        for row in rows:
            row.pop(TIMES.get(table, ""), None)
        found[table] = sorted(rows, key=repr)
    found["files"] = sorted(p.name for p in layout.pictures.rglob("*") if p.is_file())
    return found


def table(layout: Layout, name: str, key: str) -> dict[Any, dict[str, Any]]:
    """The rows of a table by one column."""
    return {row[key]: row for row in Catalog(layout).read(name).to_pylist()}
