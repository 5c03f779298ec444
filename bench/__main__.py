"""`python -m bench`: every figure, one table, and JSON in bench/results/."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from bench import query
from bench.figures import Figure, machine, write_json


def main() -> int:
    """Measure, print and write; the exit code is 4 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parts = ("query", "encoding", "web", "colors", "views", "crawl", "nightly")
    parser.add_argument("--only", choices=parts, help="one part alone")
    parser.add_argument("--runs", type=int, default=9, help="runs of each process (default 9)")
    parser.add_argument("--pictures", type=int, default=query.PICTURES, help="size of the index")
    parser.add_argument("--data", type=Path, help="for web: a data root that is there already")
    parser.add_argument("--web-queries", type=int, default=2000, help="for its memory")
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="folder for JSON")
    options = parser.parse_args()
    with_torch = importlib.util.find_spec("torch") is not None
    if not with_torch:
        print("bench: torch is not installed (make train-env): ratios left out", file=sys.stderr)
    figures: list[Figure] = []
    if options.only in (None, "query"):
        found = query.measure(runs=options.runs, pictures=options.pictures, with_torch=with_torch)
        write_json(options.out / "query.json", found)
        figures += found
    if options.only in (None, "encoding") and with_torch:
        from bench import encoding

        found = encoding.measure()
        write_json(options.out / "encoding.json", found)
        figures += found
    if options.only in (None, "web"):
        from bench import web

        found = web.measure(
            pictures=options.pictures, data=options.data, queries=options.web_queries
        )
        write_json(options.out / "web.json", found)
        figures += found
    if options.only in (None, "colors"):
        from bench import colors

        found = colors.measure()
        write_json(options.out / "colors.json", found)
        figures += found
    if options.only in (None, "views"):
        from bench import views

        found = views.measure()
        write_json(options.out / "views.json", found)
        figures += found
    if options.only in (None, "crawl"):
        from bench import crawl

        found = crawl.measure()
        write_json(options.out / "crawl.json", found)
        figures += found
    if options.only in (None, "nightly"):
        from bench import nightly

        found = nightly.measure(options.pictures)
        write_json(options.out / "nightly.json", found)
        figures += found
    print(" ".join(f"{key}: {value}" for key, value in machine().items()))
    for figure in figures:
        print(figure.line())
    return 0 if all(figure.reached for figure in figures) else 4


if __name__ == "__main__":
    sys.exit(main())
