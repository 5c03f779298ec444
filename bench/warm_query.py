"""Warm queries in a process of their own, which keeps BLAS on one thread as `toonsearch query`
and `toonsearch serve` do: its second thread would wait for work where the network runs.

`python -m bench.warm_query ROOT PICTURE ...` prints the median of each in milliseconds.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from schemas.settings import Settings
from schemas.storage.layout import Layout
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture

RUNS, FIRST = 60, 10
"""Of RUNS queries the FIRST warm the caches and do not count."""


def main(root: str, *pictures: str) -> None:
    """Print the median time of a query for each picture, decoding included; asked in turn."""
    read = {name: Path(name).read_bytes() for name in pictures}
    times: dict[str, list[float]] = {name: [] for name in pictures}
    with Engine.open(Layout(Path(root)), Settings()) as engine:
        for _ in range(RUNS):
            for name, data in read.items():
                started = time.perf_counter()
                engine.query([QueryPicture("query.jpg", data)], QueryOptions())
                times[name].append(1e3 * (time.perf_counter() - started))
    print(" ".join(f"{statistics.median(taken[FIRST:]):.3f}" for taken in times.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
