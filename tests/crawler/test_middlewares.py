"""Manners: robots.txt, waiting, Retry-After, budgets, opt-outs and the block list."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from crawler.middlewares import opts_out, retry_after
from crawler.settings import user_agent
from crawler.sites.base import Plan, Scope
from schemas.blocklist import BlockList
from schemas.errors import NetworkError, PartlyDoneError, UsageError
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.crawls import crawled, settings_for, table
from tests.replica import Answer, Asked, Replica, ReplicaSite

slow = pytest.mark.slow


def gaps(log: list[Asked]) -> dict[str, list[float]]:
    """Seconds between one request and the next, by host."""
    times = defaultdict(list)
    for asked in log:
        times[asked.host].append(asked.at)
    return {host: [b - a for a, b in pairwise(ts)] for host, ts in times.items()}


@pytest.mark.parametrize(
    ("headers", "body", "says_no"),
    [
        (["noai"], b"", True),
        (["noindex, nofollow"], b"", True),
        (["NoImageAI"], b"", True),
        (["none"], b"", True),
        (["toonsearch: noindex"], b"", True),
        (["*: noai"], b"", True),
        (["index, follow"], b"", False),
        (["otherbot: noindex"], b"", False),
        (["otherbot: noindex, noai"], b"", False),
        (["otherbot: noindex", "noai"], b"", True),
        (["nofollow, max-snippet: 50, noai"], b"", True),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], b"", False),
        (["max-image-preview: none"], b"", False),
        ([], b"<meta name='robots' content='noai'>", True),
        ([], b'<META content="index, NOINDEX" name=robots>', True),
        ([], b'<meta name="toonsearch" content="noindex">', True),
        ([], b'<meta name="otherbot" content="noindex">', False),
        ([], b'<meta name="robots" content="all">', False),
        ([], b'<meta property="robots" content="noindexing">', False),
    ],
)
def test_opt_outs(headers: list[str], body: bytes, says_no: bool) -> None:
    assert opts_out(headers, body) is says_no


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b" 0 ", 0.0),
        (b"Sat, 21 Nov 2026 08:01:00 GMT", 60.0),
        (b"Sat, 21 Nov 2026 07:00:00 GMT", 0.0),
        (b"Saturday, 21-Nov-26 08:01:00 GMT", 60.0),
        (b"soon", None),
        (b"-5", None),
        (b"", None),
        (None, None),
        (b"99999999999999", None),
    ],
)
def test_retry_after(value: bytes | None, seconds: float | None) -> None:
    now = datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert retry_after(value, now) == seconds


def test_user_agent() -> None:
    assert user_agent("1.0", "me@example.org") == (
        "toonsearch/1.0 (+me@example.org; style search; obeys robots.txt)"
    )
    assert "no contact given" in user_agent("1.0", "")


def test_block_list(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("# asked on 2026-11-01\nnaver:1001  # a title\n SIU \n\n김 작가\n", "utf-8")
    found = BlockList.with_file(Layout(tmp_path / "root"), str(file))
    assert found.blocks_title("naver:1001", [])
    assert found.blocks_title("naver:1", ["somebody", "siu"])
    assert found.blocks_title("webtoons:5", ["김작가"]) == found.blocks_title(
        "webtoons:5", ["김 작가"]
    )
    assert not found.blocks_title("naver:10011", ["SIUU"])
    assert not BlockList.read(Layout(tmp_path / "root")).blocks_title("naver:1", ["SIU"])
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="block list"):
        BlockList.with_file(Layout(tmp_path / "root"), str(file))


@slow
def test_robots_are_asked_first_and_obeyed(tmp_path: Path) -> None:
    site = ReplicaSite(titles=3, episodes=3)
    site.robots = "User-agent: otherbot\nDisallow: /\n\nUser-agent: *\nDisallow: /webtoon/1001\n"
    with Replica(site) as replica:
        report = crawled(settings_for(tmp_path / "d", replica))
        assert isinstance(report.error, NetworkError)
        assert "robots.txt of naver forbids https://image-comic.pstatic.net/webtoon/1001" in str(
            report.error
        )
        hosts = {asked.host for asked in replica.log}
        for host in hosts:
            assert next(a for a in replica.log if a.host == host).path == "/robots.txt"
            assert sum(a.path == "/robots.txt" for a in replica.log if a.host == host) == 1
        assert not [a for a in replica.log if "/webtoon/1001" in a.path]
        replica.log.clear()
        site.robots = "User-agent: toonsearch\nDisallow: /api\n\nUser-agent: *\nAllow: /\n"
        other = crawled(settings_for(tmp_path / "other", replica))
        assert "forbids" in str(other.error)
        assert [asked.path for asked in replica.log] == ["/robots.txt"]
        replica.log.clear()
        replica.faults["robots.txt"] = lambda n: Answer(status=404)  # no rules: RFC 9309
        assert crawled(settings_for(tmp_path / "none", replica)).error is None


@slow
@pytest.mark.parametrize(
    ("robots", "least"), [("", 0.25), ("User-agent: *\nCrawl-delay: 0.6\n", 0.6)]
)
def test_the_delay_is_never_undercut(tmp_path: Path, robots: str, least: float) -> None:
    site = ReplicaSite(titles=2, episodes=2)
    site.robots = robots
    with Replica(site) as replica:
        settings = settings_for(tmp_path / "d", replica, delay_s=0.25, concurrency=8)
        assert crawled(settings, Plan("naver", Scope(titles=("1000", "1001")))).error is None
        found = gaps(replica.log)
        assert len(found) == 2
        for host, seconds in found.items():
            after = seconds[1:] if robots else seconds  # the first answer brings the rule
            # The server's clock: a request may arrive late, which makes the next gap shorter, but
            # none may come before its turn, counted from the first; a busy machine delays a few.
            turns = np.cumsum(after) - least * np.arange(1, len(after) + 1)
            assert turns.min() >= -0.15, (host, after)
            assert np.mean(np.array(after) < 0.6 * least) < 1 / 3, (host, after)


@slow
def test_a_slow_host_gets_more_time(tmp_path: Path) -> None:
    site = ReplicaSite(titles=1, episodes=4)
    with Replica(site, latency_s=0.4) as replica:
        settings = settings_for(tmp_path / "d", replica, delay_s=0.05)
        crawled(settings, Plan("naver", Scope(titles=("1000",))))
        later = gaps(replica.log)["image-comic.pstatic.net"][2:]
        assert min(later) > 0.3, "AutoThrottle waits about as long as the host needs"


@slow
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(tmp_path: Path, form: str) -> None:
    from email.utils import formatdate

    site = ReplicaSite(titles=4, episodes=6)

    def busy(n: int) -> Answer | None:
        import time

        value = "2" if form == "seconds" else formatdate(time.time() + 3, usegmt=True)
        return Answer(status=429, headers={"Retry-After": value}) if n == 0 else None

    with Replica(site) as replica:
        replica.faults["/webtoon/1000/2/"] = busy
        report = crawled(settings_for(tmp_path / "d", replica))
        assert report.error is None
        host = [a for a in replica.log if a.host == "image-comic.pstatic.net"]
        refused = next(i for i, a in enumerate(host) if a.status == 429)
        # What was under way may still arrive; then nothing, until the host has had its rest.
        later = [a.at - host[refused].at for a in host[refused + 1 :]]
        assert [s for s in later if 0.3 < s < 1.9] == []
        assert sum(s <= 0.3 for s in later) <= 8
        assert max(later) >= 1.9


@slow
def test_a_wait_that_is_too_long_ends_the_crawl(tmp_path: Path) -> None:
    site = ReplicaSite(titles=4, episodes=6)
    with Replica(site) as replica:
        replica.faults["/webtoon/1000/2/"] = lambda n: Answer(
            status=503, headers={"Retry-After": "7200"}
        )
        report = crawled(settings_for(tmp_path / "d", replica))
        assert isinstance(report.error, NetworkError)
        assert "asks to wait 7200 s" in str(report.error)
        refused = next(i for i, a in enumerate(replica.log) if a.status == 503)
        assert len(replica.log) - refused <= 9, "no more than what was under way"
        replica.faults.clear()
        assert crawled(settings_for(tmp_path / "d", replica)).error is None


@slow
def test_failures_are_tried_again_with_growing_waits(tmp_path: Path) -> None:
    site = ReplicaSite(titles=1, episodes=2)
    with Replica(site) as replica:
        replica.faults["article/list?"] = lambda n: Answer(status=502) if n < 3 else None
        settings = settings_for(tmp_path / "d", replica, retries=3, backoff_s=0.2)
        assert crawled(settings, Plan("naver", Scope(titles=("1000",)))).error is None
        times = [a.at for a in replica.log if "article/list?" in a.path]
        waits = [b - a for a, b in pairwise(times)]
        assert len(waits) == 3
        assert waits[0] >= 0.19
        assert waits[1] >= 0.39
        assert waits[2] >= 0.79


@slow
def test_a_budget_that_ends_before_robots_txt_is_a_budget(tmp_path: Path) -> None:
    plan = Plan("naver", Scope(titles=("1000",)))
    with Replica(ReplicaSite(titles=1, episodes=1)) as replica:
        for most in range(1, 5):  # the third would be robots.txt of the pictures' host
            few = settings_for(tmp_path / str(most), replica, max_requests=most)
            report = crawled(few, plan)
            assert isinstance(report.error, PartlyDoneError), (most, report.error)
            assert report.requests == most


@slow
def test_budgets_end_a_run_and_the_next_goes_on(tmp_path: Path) -> None:
    site = ReplicaSite(titles=4, episodes=8)
    with Replica(site) as replica:
        few = settings_for(tmp_path / "d", replica, max_requests=15)
        runs = 0
        while True:
            replica.log.clear()
            report = crawled(few)
            runs += 1
            assert len(replica.log) <= report.requests <= 15
            if report.error is None:
                break
            assert isinstance(report.error, PartlyDoneError)
            assert "budget" in str(report.error)
            assert runs < 10
        assert runs > 2
        whole = settings_for(tmp_path / "whole", replica)
        crawled(whole)
        assert (
            Catalog(few.layout).read("pictures").num_rows
            == Catalog(whole.layout).read("pictures").num_rows
        )

        for number, most in enumerate((60_000, 150_000)):
            small = settings_for(tmp_path / f"small {number}", replica, max_bytes=most)
            report = crawled(small)
            assert "budget" in str(report.error)
            assert most / 2 < report.bytes_count <= most


@slow
def test_opt_outs_and_blocked_authors_are_left_alone(tmp_path: Path) -> None:
    site = ReplicaSite(titles=9, episodes=3)
    blocked = tmp_path / "blocked"
    blocked.write_text("naver:1004\n작가 0\n", "utf-8")  # 작가 0 drew 1000 to 1002
    with Replica(site) as replica:
        replica.faults["/webtoon/1003/thumbnail"] = lambda n: Answer(
            site.picture("x"), type="image/jpeg", headers={"X-Robots-Tag": "noai"}
        )
        replica.faults["list/info?titleId=1005"] = lambda n: Answer(
            b"{}", headers={"X-Robots-Tag": "noindex"}
        )
        settings = settings_for(tmp_path / "d", replica, block_list=str(blocked))
        report = crawled(settings)
        assert report.error is None
        assert report.counts["skipped_blocked"] == 4
        titles = table(settings.layout, "titles", "title_id")
        assert sorted(titles) == ["naver:1003", "naver:1006", "naver:1007", "naver:1008"]
        for number in (1000, 1001, 1002, 1004):
            assert not [a for a in replica.log if str(number) in a.path]
        states = table(settings.layout, "crawl_state", "title_id")
        assert states["naver:1005"]["reason"] == "opt_out"
        odd = [
            p for p in Catalog(settings.layout).read("pictures").to_pylist()
            if p["status"] != "stored"
        ]  # fmt: skip
        assert [(p["title_id"], p["kind"], p["reason"]) for p in odd] == [
            ("naver:1003", "cover", "opt_out")
        ]
