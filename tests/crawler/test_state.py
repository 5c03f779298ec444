"""What a kill, and a power cut after it, leave behind."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from crawler.sites.base import Plan
from tests.crawls import contents, crawled, settings_for, start
from tests.replica import Replica, ReplicaSite

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("anew", [False, True])
def test_files_that_a_power_cut_took_are_fetched_again(tmp_path: Path, anew: bool) -> None:
    """Rows wait in the frontier while their files are not on the disk yet."""
    site = ReplicaSite(titles=5, episodes=6)
    with Replica(site) as replica:
        settings = settings_for(tmp_path / "d", replica, commit_rows=10_000)
        process, _ = start(settings, Plan("naver"))
        replica.on_request = lambda total: process.kill() if total == 45 else None
        process.join(60)
        assert process.exitcode == -9
        replica.on_request = None
        files = sorted(settings.layout.pictures.rglob("*.jpg"))
        frontier = sqlite3.connect(settings.layout.frontier("naver"))
        waiting = frontier.execute("select count(*) from outbox where name = 'pictures'")
        assert waiting.fetchone()[0] >= len(files) - 8 > 5
        if anew:  # a crawl too old to be continued: its rows are committed, then it starts over
            with frontier:
                frontier.execute("update meta set value = '1' where key = 'began'")
        frontier.close()
        files[0].unlink()
        files[3].write_bytes(b"")
        files[5].write_bytes(files[5].read_bytes()[:-1])
        assert crawled(settings).resumed is not anew
        if anew:
            assert crawled(settings).error is None
        fresh = settings_for(tmp_path / "fresh", replica)
        crawled(fresh)
        assert contents(settings.layout) == contents(fresh.layout)
        for name in settings.layout.pictures.rglob("*.jpg"):
            other = fresh.layout.pictures / name.relative_to(settings.layout.pictures)
            assert name.read_bytes() == other.read_bytes()
