"""`toonsearch crawl` as a user types it, against a replica of the sites."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler.sites.base import clean
from indexer.crawling import crawl_site
from schemas.errors import NetworkError, PartlyDoneError, UsageError
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from schemas.storage.locking import writing
from tests.crawls import contents
from tests.e2e.test_command_line import ROOT, Shell
from tests.replica import Answer, Replica, ReplicaSite

pytestmark = pytest.mark.slow


class CrawlShell(Shell):
    """A shell whose crawls go to a replica."""

    def __init__(self, home: Path, address: str, **more: Any) -> None:
        super().__init__(home)
        values = {"replica": address, "delay_s": 0, "backoff_s": 0.05, "retries": 1, **more}
        self.environ |= {f"TOONSEARCH_CRAWL__{k.upper()}": str(v) for k, v in values.items()}


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(ReplicaSite(titles=6, episodes=4)) as replica:
        yield replica


def test_crawl_build_and_query_find_a_crawled_title(tmp_path: Path, replica: Replica) -> None:
    """Names in every script come out as the site has them."""
    shell = CrawlShell(tmp_path, replica.url)
    dry = shell.ok("crawl", "naver", "--dry-run")
    assert "would crawl naver: " in dry
    assert "6 new" in dry
    code, out, err = shell.run("crawl", "naver", "--contact", "me@example.org")
    assert code == 0, err
    assert "crawled naver" in out
    assert "requests," in err
    assert "index build`" in err
    assert "me@example.org" in replica.log[-1].headers["user-agent"]
    code, _, err = shell.run("crawl", "naver")
    assert "requests saved, because nothing had changed" in err
    assert "no contact is set" in err

    status = shell.ok("crawl", "status")
    assert "6 titles" in status
    assert "title: adult" in status
    told = json.loads(shell.ok("crawl", "status", "--json"))["naver"]
    assert (told["titles"], told["last"]["counts"]["unchanged"]) == (6, 6)

    shell.ok("index", "build")
    names = {clean(title.name) for title in replica.site.titles.values()}
    assert {"Tom & Jerry '2' <b>", "👾 로봇🤖 4 é", "חתול ושוקולד 3 مرحبا"} <= names
    catalog = Catalog(Layout(shell.data))
    cover = next(
        row for row in catalog.read("pictures").to_pylist()
        if row["kind"] == "cover" and row["title_id"] == "naver:1004"
    )  # fmt: skip
    path = str(Layout(shell.data).picture(cover["file"]))
    found = json.loads(shell.ok("query", path, "-k", "50", "--json"))["titles"]
    assert {title["title"] for title in found} == names
    assert found[0]["pictures"][0]["similarity"] > 0.99
    robot = next(title for title in found if title["title_id"] == "naver:1004")
    assert robot["authors"][:1] == ["작가 1"]
    table = shell.ok("query", path, "-k", "50")
    assert "👾 로봇🤖 4 é" in table
    shell.ok("query", path, "-k", "50", "--html", "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "חתול ושוקולד 3 مرحبا" in page
    assert "Tom &amp; Jerry" in page
    assert "<b>" not in page.split("<body")[1].replace("</b>", "").split("Jerry")[1][:20]
    where = shell.ok("query", path, "--where", "genre = 'fantasy' and era = '2020s'", "--json")
    assert len(json.loads(where)["titles"]) == 6


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (2, ("crawl", "nave"), "nave"),
        (2, ("crawl", "naver", "--since", "2026-13-01"), "not a date"),
        (2, ("crawl", "naver", "--since", "yesterday"), "2026-01-31"),
        (2, ("crawl", "naver", "--since", "2099-01-01"), "future"),
        (2, ("crawl", "naver", "--title", "../x"), "not a title's number"),
        (2, ("crawl", "naver", "--title", "https://example.org/?titleId=5"), "not the address"),
        (2, ("crawl", "naver", "--title", "5", "--weekday"), "stands alone"),
        (2, ("crawl", "naver", "--max-titles", "0"), "max-titles"),
        (2, ("crawl", "naver", "--delay", "-1"), "delay"),
        (2, ("crawl", "webtoons", "--language", "eng"), "'en'"),
        (2, ("crawl", "melon", "--from", "2005", "--to", "2000"), "2005 to 2000"),
        (2, ("crawl", "melon", "--period", "week"), "period"),
        (6, ("crawl", "naver"), "cannot be reached"),
    ],
)
def test_mistakes_and_no_network(
    tmp_path: Path, code: int, arguments: tuple[str, ...], says: str
) -> None:
    shell = CrawlShell(tmp_path, "http://127.0.0.1:1", contact="x@example.org")
    found, out, err = shell.run(*arguments)
    lines = [line for line in err.splitlines() if "error:" in line]
    assert (found, len(lines)) == (code, 1), (out, err)
    assert says in lines[0]
    assert "Traceback" not in err


def test_a_dry_run_that_fails_saved_nothing_and_says_nothing_of_it(tmp_path: Path) -> None:
    shell = CrawlShell(tmp_path, "http://127.0.0.1:1", contact="x@example.org")
    assert "saved" in shell.run("crawl", "naver")[2]
    assert "saved" not in shell.run("crawl", "naver", "-n")[2]


def test_the_address_of_a_page_is_asked_for_its_title(tmp_path: Path, replica: Replica) -> None:
    shell = CrawlShell(tmp_path, replica.url, contact="x@example.org")
    address = "m.comic.naver.com/webtoon/detail?no=2&titleId=1004"
    assert "1 new" in shell.ok("crawl", "naver", "--title", address, "--since", "2001.1.1")
    assert any("titleId=1004" in request.path for request in replica.log)


def test_a_login_page_a_budget_and_a_lock(tmp_path: Path, replica: Replica) -> None:
    shell = CrawlShell(tmp_path, replica.url)
    replica.faults["article/list"] = lambda n: Answer(b"<html>Log in</html>", type="text/html")
    code, out, err = shell.run("crawl", "naver", "--json")
    assert code == 3, (out, err)
    assert "articleList" in err or "title's facts" in err
    assert json.loads(out)["outcome"] == "partly"
    with writing(Layout(shell.data), "test"):
        code, _, err = shell.run("crawl", "naver")
        assert (code, "another run" in err) == (75, True)
        assert shell.run("crawl", "status")[0] == 0
    replica.faults.clear()
    assert "no such title" in shell.run("crawl", "naver", "--title", "77")[2]
    assert shell.run("crawl", "naver", "--title", "77", "--title", "1001")[0] == 4
    shell.run("crawl", "naver")
    shell.ok("crawl", "naver")
    shell.data, shell.environ["TOONSEARCH_CRAWL__MAX_REQUESTS"] = tmp_path / "other", "20"
    code, _, err = shell.run("crawl", "naver")
    assert code == 4
    assert "budget" in err
    shell.environ["TOONSEARCH_CRAWL__MAX_REQUESTS"] = "1000"
    shell.ok("crawl", "naver")
    shell.ok("crawl", "naver", "--save-samples", "samples")
    assert (tmp_path / "samples/naver_list.json").is_file()
    stored = Catalog(Layout(shell.data)).read("pictures").num_rows
    assert stored == sum(t.episodes + 1 for t in replica.site.titles.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_crawl_keeps_what_it_has(tmp_path: Path, number: int) -> None:
    with Replica(ReplicaSite(titles=8, episodes=24), latency_s=0.02) as replica:
        shell = CrawlShell(tmp_path, replica.url, delay_s=0.02)
        with shell.start("crawl", "naver") as process:
            deadline = time.monotonic() + 60
            while replica.total < 60 and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(number)
            asked = time.monotonic()
            out, err = process.communicate(timeout=60)
            waited = time.monotonic() - asked
        assert process.returncode == 130, (out, err)
        assert b"interrupted" in err
        assert b"Traceback" not in err
        assert waited < 20
        stored = Catalog(Layout(shell.data)).read("pictures").num_rows
        assert stored > 10
        assert "requests are left" in shell.ok("crawl", "status")
        before = replica.total
        shell.environ["TOONSEARCH_CRAWL__DELAY_S"] = "0"
        shell.ok("crawl", "naver")
        whole = sum(t.episodes + 1 for t in replica.site.titles.values())
        assert Catalog(Layout(shell.data)).read("pictures").num_rows == whole
        assert len(list(replica.pictures())) <= whole + 8
        assert replica.total - before < whole


def test_a_crawl_in_a_process_of_its_own(
    tmp_path: Path, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = CrawlShell(tmp_path, replica.url)
    for name, value in shell.environ.items():
        monkeypatch.setenv(name, value)
    layout = Layout(shell.data)
    found = crawl_site(layout, "naver --title 1000 --title 1001", seconds=None)
    assert (found.error, found.counts["new"]) == (None, 2)
    monkeypatch.setenv("TOONSEARCH_CRAWL__MAX_REQUESTS", "12")
    assert isinstance(crawl_site(layout, "naver", seconds=None).error, PartlyDoneError)
    assert isinstance(crawl_site(layout, "nave", seconds=None).error, UsageError)
    with pytest.raises(UsageError, match="cannot be read"):
        crawl_site(layout, "naver 'x", seconds=None)
    monkeypatch.setenv("TOONSEARCH_CRAWL__REPLICA", "http://127.0.0.1:1")
    assert isinstance(crawl_site(layout, "webtoons", seconds=None).error, NetworkError)


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with Replica(ReplicaSite(titles=12, episodes=40), latency_s=0.02) as replica:
        shell = CrawlShell(tmp_path, replica.url, delay_s=0.02)
        code = (
            "from pathlib import Path; from indexer.crawling import crawl_site;"
            "from schemas.storage.layout import Layout;"
            f"crawl_site(Layout(Path({str(shell.data)!r})), 'naver', seconds=None)"
        )
        with subprocess.Popen([sys.executable, "-c", code], env=shell.environ, cwd=ROOT) as process:
            deadline = time.monotonic() + 60
            while replica.total < 120 and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
        deadline = time.monotonic() + 90
        quiet = -1
        while quiet != replica.total or not contents(Layout(shell.data))["pictures"]:
            assert time.monotonic() < deadline, "it goes on, or committed nothing"
            quiet = replica.total
            time.sleep(1)
        assert quiet < 12 * 40, "it went on to the end"
