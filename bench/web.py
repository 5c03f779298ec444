"""The page under load: eight clients that never pause, memory, and the first visit."""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.catalog import PICTURES, drawing, synthetic_index
from bench.figures import Figure

CLIENTS = 8
DRAWINGS = 64
SECONDS = 20.0
WARM_UP, MORE = 200, 2000
PAUSE_S = 1.0


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    with served(synthetic_index(pictures).root) as (port, process_id):
        bodies = [jpeg(seed) for seed in range(DRAWINGS)]
        load(port, bodies, count=WARM_UP)
        alone = load(port, bodies, clients=1, seconds=5.0)
        paced = load(port, bodies, seconds=SECONDS / 2, pause_s=PAUSE_S)
        busy = load(port, bodies, seconds=SECONDS)
        before = memory_mb(process_id)
        load(port, bodies, count=MORE)
        grown = memory_mb(process_id) - before
        visit = first_visit(port)
    return [
        Figure("web_alone", "page: one query after the other, 512 px JPEG", median_ms(alone), "ms"),
        Figure(
            "web_paced",
            f"page: {CLIENTS} clients that pause {PAUSE_S:g} s, median",
            median_ms(paced),
            "ms",
            60,
        ),
        Figure("web_paced_p99", "page: the same, p99", p99_ms(paced), "ms", 250),
        Figure(
            "web_busy",
            f"page: {CLIENTS} clients without a pause, median",
            median_ms(busy),
            "ms",
            60,
        ),
        Figure("web_busy_p99", "page: the same, p99", p99_ms(busy), "ms", 250),
        Figure("web_busy_rate", "page: the same, answers", len(busy) / SECONDS, "1/s"),
        Figure("web_memory", "page: memory of server and decoders under load", before, "MB"),
        Figure(
            "web_memory_growth", f"page: its growth over {MORE:,} more queries", grown, "MB", 10
        ),
        *visit,
    ]


def jpeg(seed: int) -> bytes:
    """One of the pictures that are asked about."""
    held = io.BytesIO()
    drawing(seed).save(held, "JPEG", quality=90)
    return held.getvalue()


@contextlib.contextmanager
def served(root: Path) -> Iterator[tuple[int, int]]:
    """A server over a data root: its port and its process."""
    program = str(Path(sys.executable).with_name("toonsearch"))
    process = subprocess.Popen(
        [program, "serve", "--data", str(root), "--port", "0"],
        env={"PATH": "/usr/bin:/bin", "TOONSEARCH_WEB__RATE": "0", "HOME": str(root)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        found = re.search(r":(\d+)/", process.stderr.readline())
        if found is None:
            raise RuntimeError("the server did not start")
        yield int(found[1]), process.pid
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def load(
    port: int,
    bodies: list[bytes],
    *,
    clients: int = CLIENTS,
    seconds: float = 1e9,
    count: int = sys.maxsize,
    pause_s: float = 0.0,
) -> list[float]:
    """Ask for some time, or so many times; returns the seconds of each answer."""
    turns = itertools.count()
    times: list[float] = []
    failures: list[str] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        time.sleep(pause_s * number / clients)
        while time.perf_counter() < end and (turn := next(turns)) < count:
            started = time.perf_counter()
            link.request("POST", "/v1/query", bodies[turn % len(bodies)])
            answer = link.getresponse()
            body = answer.read()
            times.append(time.perf_counter() - started)
            if answer.status != 200:
                failures.append(f"{answer.status} {body[:200]!r}")
            time.sleep(pause_s)
        link.close()

    def watched(number: int) -> None:
        try:
            client(number)
        except (OSError, http.client.HTTPException) as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=watched, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"{len(failures)} requests failed: {failures[0]}")
    return times


def median_ms(times: list[float]) -> float:
    return 1e3 * statistics.median(times)


def p99_ms(times: list[float]) -> float:
    return 1e3 * sorted(times)[int(0.99 * (len(times) - 1))]


def memory_mb(process_id: int) -> float:
    """Resident memory of a process and its children."""
    import psutil

    whole = psutil.Process(process_id)
    return float(sum(p.memory_info().rss for p in [whole, *whole.children(True)]) / 1e6)


def first_visit(port: int) -> list[Figure]:
    """Weight of the first page, and how long until it can be used, in a real browser."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("bench: no chromium or no playwright: the first visit is left out", file=sys.stderr)
        return []
    ready, weight = [], 0.0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for _ in range(6):
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
            page.wait_for_selector(".drop .button")
            ready.append(time.perf_counter() - started)
            weight = page.evaluate(
                "performance.getEntries().filter((e) => e.entryType === 'navigation'"
                " || e.name.includes('/static/')).reduce((sum, e) => sum + e.decodedBodySize, 0)"
            )
            page.close()
        browser.close()
    usable = statistics.median(ready[1:])
    return [
        Figure("web_page_weight", "page: first visit, not compressed", weight / 1e3, "kB", 120),
        Figure("web_page_ready", "page: empty cache until it can be used", usable, "s", 1.0),
    ]
