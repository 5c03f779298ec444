"""A crawl that is killed again and again ends in the catalog of one that never was.

TOONSEARCH_KILLS sets the number of kills (10 here, up to 200 for a release). Two in three strike
when the replica has just received a request, so that it is in flight; the others at a random
time, which hits commits, the start and the end as well.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from crawler.sites.base import Plan
from tests.crawls import contents, crawled, settings_for, start
from tests.replica import Replica, ReplicaSite

KILLS = min(200, int(os.environ.get("TOONSEARCH_KILLS", "10")))
SEED = int(os.environ.get("TOONSEARCH_SEED", "20052"))


@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED)
    # Enough requests that a kill comes every fifty of them or so.
    site = ReplicaSite(titles=max(8, KILLS), episodes=44)
    quick = {"concurrency": 2, "commit_rows": 60}
    with Replica(site) as replica:
        whole = settings_for(tmp_path / "whole", replica, **quick)
        needed = crawled(whole).requests
        truth = contents(whole.layout)

        killed = settings_for(tmp_path / "killed", replica, **quick)
        replica.total = kills = 0
        while kills < KILLS:
            process, pipe = start(killed, Plan("naver"))
            # All together a third of the crawl, so that it cannot end before the last kill.
            count = int(rng.integers(1, max(3, 2 * needed // (3 * KILLS))))
            delay_s = float(rng.uniform(0.0, 0.05)) * (kills % 3 == 0)
            _kill_at_request(replica, threading.Timer(delay_s, process.kill).start, count)
            process.join(120)
            pipe.close()
            assert process.exitcode is not None
            kills += process.exitcode == -9
            if process.exitcode == 0:  # it was done before the kill: it starts over, on little
                break
        report = crawled(killed)
        assert report.error is None
        replica.on_request = None
        got = contents(killed.layout)
        for name, rows in truth.items():
            assert len(got[name]) == len(rows), (name, SEED, kills)
            assert got[name] == rows, (name, SEED, kills)
        named = {Path(row["file"]).name for row in got["pictures"] if row["file"]}
        assert set(got["files"]) == named
        repeated = replica.total / needed - 1
        print(
            f"crawl kills: seed {SEED}, {kills} kills, {needed} requests, {repeated:.1%} repeated"
        )
        assert kills >= KILLS
        assert repeated <= 0.10
        assert not list(killed.layout.staging.glob("picture-*"))


def _kill_at_request(replica: Replica, kill: object, count: int) -> None:
    """Kill when so many more requests have arrived."""
    goal = replica.total + count

    def arrived(total: int) -> None:
        if total == goal:
            kill()  # type: ignore[operator]

    replica.on_request = arrived
