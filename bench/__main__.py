"""`python -m bench`: measures, prints one table, and writes JSON into bench/results/."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from bench.catalog import PICTURES
from bench.figures import machine, write_json

PARTS = ("size", "query", "encoding", "web", "colors", "views", "crawl", "nightly", "scale")
ASKED_FOR = ("peers",)
"""Parts that run only when they are named: they set up an environment of their own."""
RESUMABLE = ("scale", "peers")
"""Modules of this package, each with `measure(pictures=...) -> list[Figure]`."""


def main() -> int:
    """The exit code is 4 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", choices=(*PARTS, *ASKED_FOR), nargs="+", default=PARTS, help="these parts"
    )
    parser.add_argument("--pictures", type=int, help="size of the index, crawl or batch")
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="folder for JSON")
    parser.add_argument(
        "--work", type=Path, help=f"folder to keep and to resume from ({', '.join(RESUMABLE)})"
    )
    parser.add_argument(
        "--minutes", type=float, help="begin no further step of these parts after so long"
    )
    options = parser.parse_args()
    size = {} if options.pictures is None else {"pictures": options.pictures}
    print(" ".join(f"{key}: {value}" for key, value in machine().items()))
    reached = True
    for part in options.only:
        kept = {"work": options.work, "minutes": options.minutes} if part in RESUMABLE else {}
        figures = importlib.import_module(f"bench.{part}").measure(**size, **kept)
        sized = f"-{options.pictures or PICTURES}" if part in RESUMABLE else ""
        write_json(options.out / f"{part}{sized}.json", figures)
        for figure in figures:
            print(figure.line(), flush=True)
        reached &= all(figure.reached for figure in figures)
    return 0 if reached else 4


if __name__ == "__main__":
    sys.exit(main())
