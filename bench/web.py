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
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.catalog import drawing
from bench.figures import Figure, run_process
from schemas.storage.layout import Layout

CLIENTS = 8
PICTURES = 100_000
DRAWINGS = 64
SECONDS = 20.0
WARM_UP = 200
PAUSE_S = 1.0
"""Of a client that looks at its answer for a moment: still far from patient."""


def measure(
    *, pictures: int = PICTURES, data: Path | None = None, queries: int = 2000
) -> list[Figure]:
    """Serve an index and ask it.

    Units:   milliseconds, megabytes of 10**6 bytes, seconds, kilobytes
    """
    with tempfile.TemporaryDirectory(prefix="toonsearch-bench-") as folder:
        root = data or Path(folder) / "data"
        if data is None:
            print(f"bench: building an index of {pictures:,} vectors ...", file=sys.stderr)
            layout = Layout(root)
            run_process([sys.executable, "-m", "bench.catalog", str(layout.root), str(pictures)])
        with served(root) as (port, process_id):
            bodies = [jpeg(seed) for seed in range(DRAWINGS)]
            load(port, bodies, count=WARM_UP)
            alone = load(port, bodies, clients=1, seconds=5.0)
            paced = load(port, bodies, seconds=SECONDS / 2, pause_s=PAUSE_S)
            busy = load(port, bodies, seconds=SECONDS)
            before = memory_mb(process_id)
            load(port, bodies, count=queries)
            grown = memory_mb(process_id) - before
            visit = first_visit(port)
    how = f"512 px JPEG, {pictures:,} pictures"
    return [
        Figure("web_query_alone", median_ms(alone), "ms", 0, "more", f"one client, {how}"),
        Figure("web_query_paced", median_ms(paced), "ms", 60, "less",
               f"{CLIENTS} clients that pause {PAUSE_S:g} s, {how}"),
        Figure("web_query_paced_p99", p99_ms(paced), "ms", 250, "less", "the same"),
        Figure("web_query_median", median_ms(busy), "ms", 60, "less",
               f"{CLIENTS} clients without a pause, {how}"),
        Figure("web_query_p99", p99_ms(busy), "ms", 250, "less", "the same"),
        Figure("web_queries_per_second", len(busy) / SECONDS, "1/s", 0, "more", "the same"),
        Figure("web_memory", before, "MB", 0, "more", "server and decoders together, under load"),
        Figure("web_memory_growth", grown, "MB", 10, "less", f"over {queries:,} more queries"),
        *visit,
    ]  # fmt: skip


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
    return [
        Figure("web_page_weight", weight / 1e3, "kB", 150, "less", "first page, not compressed"),
        Figure("web_page_ready", statistics.median(ready[1:]), "s", 1.0, "less",
               "empty cache, until it can be used, headless Chromium"),
    ]  # fmt: skip
