"""Writes the measured figures into README.md, between its two marks.

Source of each row: bench/results/*.json, written by `python -m bench`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path("bench/results")
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"

WORDS = {
    "cold_query": "cold `toonsearch query`, 100,000 pictures, process start to printed result",
    "query_peak_memory": "its peak memory",
    "help": "`toonsearch --help`",
    "cold_query_vs_torch": "cold query against the same query through a torch process",
    "warm_query": "warm query of a 512 px JPEG, decoding included, 100,000 pictures",
    "grey_query": "the same picture in grey, which asks in grey as well, against it",
    "finds_itself": "indexed pictures that find themselves first",
    "bulk_encoding": "bulk embedding, decoding included",
    "web_query_alone": "page: one query after the other, 512 px JPEG, 100,000 pictures",
    "web_query_paced": "page: 8 clients that pause a second, median",
    "web_query_paced_p99": "page: the same, p99",
    "web_query_median": "page: 8 clients that never pause, median",
    "web_query_p99": "page: the same, p99",
    "web_queries_per_second": "page: the same, answers a second",
    "web_memory": "page: memory of server and decoders under load",
    "web_memory_growth": "page: its growth over 2,000 more queries",
    "web_page_weight": "page: first page, not compressed",
    "web_page_ready": "page: empty cache until it can be used",
    "bulk_over_torch_eager": "bulk embedding against torch eager at batch 32, decoding included",
    "crawl_rate": "crawl of a local site: requests, pictures checked, stored and committed",
    "crawl_over_bare_scrapy": "against a bare Scrapy spider that keeps nothing",
    "crawl_peak_memory": "its peak memory, 10,000 pictures",
    "long_crawl_peak_memory": "its peak memory, 100,000 pictures",
    "long_crawl_over_short_memory": "the second against the first",
}


def table() -> str:
    """The speed table as Markdown.

    Errors:  FileNotFoundError when the benchmark has not been run
    """
    lines = ["| what | measured | target |", "| --- | --- | --- |"]
    machine: dict[str, Any] = {}
    more = [name for name in ("web", "crawl", "nightly") if (RESULTS / f"{name}.json").exists()]
    for name in ("query", "encoding", *more):
        body = json.loads((RESULTS / f"{name}.json").read_text())
        machine = body["machine"]
        for figure in body["figures"]:
            sign = "≤" if figure["better"] == "less" else "≥"
            digits = 0 if figure["value"] >= 100 else 1 if figure["value"] >= 10 else 2
            said = f"{figure['value']:.{digits}f} {figure['unit']}"
            said = said if figure["reached"] else f"**{said}** (missed)"
            target = f"{sign} {figure['target']:g} {figure['unit']}" if figure["target"] else ""
            what = WORDS.get(figure["name"], figure["name"].replace("_", " "))
            lines.append(f"| {what} | {said} | {target} |")
    lines.append("")
    lines.append(
        f"`make bench` (`python -m bench`), medians of one run on {machine['cores']} cores of"
        f" {machine['cpu']}, Python {machine['python']}."
    )
    return "\n".join(lines)


def main() -> int:
    """Replace the block in README.md."""
    readme = Path("README.md")
    text = readme.read_text("utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    readme.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
