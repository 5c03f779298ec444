"""`python -m bench`: measures, prints one table, and writes JSON into bench/results/."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from bench.figures import machine, write_json

PARTS = ("size", "query", "encoding", "web", "colors", "views", "crawl", "nightly", "scale")
"""Modules of this package, each with `measure(pictures=...) -> list[Figure]`."""


def main() -> int:
    """The exit code is 4 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="these parts")
    parser.add_argument("--pictures", type=int, help="size of the index, crawl or batch")
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="folder for JSON")
    options = parser.parse_args()
    size = {} if options.pictures is None else {"pictures": options.pictures}
    print(" ".join(f"{key}: {value}" for key, value in machine().items()))
    reached = True
    for part in options.only:
        figures = importlib.import_module(f"bench.{part}").measure(**size)
        write_json(options.out / f"{part}.json", figures)
        for figure in figures:
            print(figure.line(), flush=True)
        reached &= all(figure.reached for figure in figures)
    return 0 if reached else 4


if __name__ == "__main__":
    sys.exit(main())
