"""The crawler against a bare Scrapy spider: speed and memory.

Both fetch the same pictures from one local replica, in turn. The bare spider is Scrapy with its
defaults and a pipeline that passes items through. Ours also reads pages, checks and stores every
picture, records every answer and commits to the catalog. A whole crawl is timed, with its start
and its last commit. Memory is the peak of the crawling process, for two sizes of crawl.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.http import Request, Response

from bench.figures import Figure
from tests.replica import Replica, ReplicaSite

ROOT = Path(__file__).resolve().parent.parent
EPISODES = 200
CONCURRENCY = 8
PICTURES = 10_000
LONG = 10
ROUNDS = 3
"""Rounds of both crawlers with PICTURES; then one crawl of ours that is LONG times as long."""


class Pass:
    """The pipeline that does nothing."""

    def process_item(self, item: Any) -> Any:
        return item


class Bare(scrapy.Spider):
    """Asks for every picture that the replica has, and makes an item of each."""

    name = "bare"
    base = ""
    pictures = 0

    async def start(self) -> Any:
        for number in range(self.pictures):
            yield Request(f"{self.base}/webtoon/1/{number}/thumbnail_{number}.jpg")

    def parse(self, response: Response, **kwargs: Any) -> Any:
        yield {"url": response.url, "size": len(response.body)}


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    ours, theirs, peaks = [], [], []
    with _Server(pictures // EPISODES) as base:
        for _ in range(ROUNDS):
            theirs.append(_rate(_child(["bare", base, str(pictures), "-"])))
            with tempfile.TemporaryDirectory(prefix="toonsearch-bench-") as folder:
                found = _child(["ours", base, "0", folder])
            ours.append(_rate(found))
            peaks.append(found["peak_mb"])
    long = LONG * pictures
    with (
        _Server(long // EPISODES) as base,
        tempfile.TemporaryDirectory(prefix="toonsearch-bench-") as folder,
    ):
        found = _child(["ours", base, "0", folder])
    ratio = statistics.median(o / t for o, t in zip(ours, theirs, strict=True))
    bare, peak, long_peak = statistics.median(theirs), max(peaks), found["peak_mb"]
    what = f"crawl of {pictures:,} pictures from a local site"
    return [
        Figure("crawl_rate", f"{what}: requests", statistics.median(ours), "1/s"),
        Figure(
            "crawl_over_bare_scrapy",
            "the same against a bare Scrapy spider that stores nothing",
            ratio,
            "x",
            0.7,
            "more",
            f"bare Scrapy {bare:.0f}/s",
        ),
        Figure("crawl_peak_memory", "its peak memory", peak, "MB", 400),
        Figure("long_crawl_peak_memory", f"the same for {long:,} pictures", long_peak, "MB", 400),
        Figure("long_over_short", "the second against the first", long_peak / peak, "x", 1.25),
    ]


def _rate(found: dict[str, float]) -> float:
    return found["requests"] / found["seconds"]


def _child(arguments: list[str]) -> dict[str, float]:
    """One crawl in a process of its own: its requests, seconds and peak memory."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.crawl", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"bench.crawl: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _bare(base: str, pictures: int) -> int:
    process = AsyncCrawlerProcess(
        {
            "LOG_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
            "CONCURRENT_REQUESTS": 2 * CONCURRENCY,
            "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
            "ITEM_PIPELINES": {"bench.crawl.Pass": 100},
        }
    )
    process.crawl(Bare, base=base, pictures=pictures)
    process.start()
    return pictures


def _ours(base: str, folder: str) -> int:
    from crawler.crawl import crawl
    from crawler.sites.base import Plan
    from schemas.settings import load_settings

    flags = {
        "store.root": folder, "crawl.replica": base, "crawl.delay_s": 0.0,
        "crawl.concurrency": CONCURRENCY, "crawl.max_requests": 10**8,
    }  # fmt: skip
    settings = load_settings(flags, environ={}, cwd=Path(folder))
    report = crawl(settings.layout, settings, Plan("naver"))
    if report.error is not None:
        raise report.error
    return report.requests


def _serve(titles: int) -> None:
    """The replica, alone in its process; it says its address and serves until it is killed."""
    site = ReplicaSite(titles=titles, episodes=EPISODES)
    for title in site.titles.values():
        title.episodes = EPISODES
    with Replica(site) as replica:
        replica.keep_log = False
        print(replica.url, flush=True)
        sys.stdin.read()


class _Server:
    def __init__(self, titles: int) -> None:
        self.titles = titles

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.crawl", "serve", str(self.titles)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def _main(what: str, *rest: str) -> None:
    if what == "serve":
        _serve(int(rest[0]))
        return
    began = time.perf_counter()
    requests = _bare(rest[0], int(rest[1])) if what == "bare" else _ours(rest[0], rest[2])
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "requests": requests, "peak_mb": peak}))
    sys.stdout.flush()
    os._exit(0)  # without the teardown of libraries, which nobody waits for


if __name__ == "__main__":
    _main(*sys.argv[1:])
