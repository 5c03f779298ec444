"""Crawls of the replica: what ends in the catalog, what a second one asks for, odd answers."""

from __future__ import annotations

import json
import os
import struct
from collections import Counter
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crawler import images, state
from crawler.incremental import TitleTracker
from crawler.sites.base import Plan, Scope
from schemas.errors import InputError, NetworkError, PartlyDoneError, UsageError
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.crawls import contents, crawled, settings_for, table
from tests.fuzz.samples import chunk
from tests.replica import Answer, Replica, ReplicaSite, bomb, png

pytestmark = pytest.mark.slow  # each crawl is a process


def site_of(titles: int = 6, episodes: int = 6, **more: Any) -> ReplicaSite:
    return ReplicaSite(titles=titles, episodes=episodes, **more)


def asked(replica: Replica, part: str) -> list[str]:
    return [a.path for a in replica.log if part in f"{a.host}{a.path}"]


def test_naver_end_to_end(tmp_path: Path) -> None:
    site = site_of(titles=7, episodes=25)
    site.titles[1001].rating = "RATE_18"
    site.titles[1002].gone = True
    site.titles[1004].login = True
    with Replica(site) as replica:
        settings = settings_for(tmp_path / "d", replica)
        report = crawled(settings)
        assert report.error is None
        layout = settings.layout
        good = [t for t in site.titles.values() if t.number not in (1001, 1002, 1004)]
        rows = table(layout, "titles", "title_id")
        assert {row["name"] for row in rows.values()} == {
            "신의 탑 0", "חתול ושוקולד 3 مرحبا", "漫畫/만화 5", "신의 탑 6",
        }  # fmt: skip
        one = rows["naver:1003"]
        assert one["authors"] == [
            {"name": "작가 1", "role": "painter"},
            {"name": "작가 1", "role": "writer"},
            {"name": "원작 & 소설", "role": "origin"},
        ]
        assert (one["genres"], one["tags"]) == (["fantasy"], ["판타지", "헌터물"])
        assert one["synopsis"] == "첫째 줄\n둘째 <줄> 1003"
        assert (one["age_rating"], one["star_score"], one["finished"]) == ("RATE_12", 9.5, True)
        assert one["first_date"] == site.published(1)
        assert one["last_date"] == site.published(site.titles[1003].episodes)
        episodes = Catalog(layout).read("episodes").to_pylist()
        assert len(episodes) == sum(t.episodes for t in good)
        pictures = Catalog(layout).read("pictures").to_pylist()
        kinds = Counter(p["kind"] for p in pictures)
        assert kinds == {"thumbnail": len(episodes), "cover": len(good)}
        assert {p["status"] for p in pictures} == {"stored"}
        states = table(layout, "crawl_state", "title_id")
        why = {key: (row["status"], row["reason"]) for key, row in states.items()}
        assert why["naver:1001"] == why["naver:1004"] == ("skipped", "adult")
        assert why["naver:1002"] == ("skipped", "gone")
        assert not any("1001/" in path or "1004/" in path for path in asked(replica, "pstatic"))
        for one_asked in replica.log:
            assert "toonsearch/" in one_asked.headers["user-agent"]
            assert one_asked.headers["referer"] == "https://comic.naver.com/"
        included = settings_for(tmp_path / "d", replica, adult="include")
        crawled(included, Plan("naver", Scope(titles=("1001",))))
        assert table(layout, "titles", "title_id")["naver:1001"]["age_rating"] == "RATE_18"


@pytest.mark.parametrize("site_name", ["naver", "webtoons", "melon"])
def test_a_second_crawl_asks_little_and_a_third_finds_what_is_new(
    tmp_path: Path, site_name: str
) -> None:
    site = site_of(titles=12, episodes=34)
    site.albums_per_year = 80
    with Replica(site) as replica:
        settings = settings_for(tmp_path / "d", replica, concurrency=8)
        first = crawled(settings, site_name)
        before = contents(settings.layout)
        replica.log.clear()
        second = crawled(settings, site_name)
        assert second.error is None
        assert list(replica.pictures()) == []
        assert len(replica.log) == second.requests <= 0.05 * first.requests
        assert contents(settings.layout) == before
        if site_name == "melon":
            return
        assert second.counts["requests_saved"] == len(before["pictures"])
        grown = [t for t in site.titles.values() if not t.finished][:7]
        for title in grown:
            title.episodes += 1
        replica.log.clear()
        third = crawled(settings, site_name)
        assert third.counts["episodes"] == third.counts["changed"] == len(grown)
        assert len(list(replica.pictures())) == len(grown)
        after = contents(settings.layout)
        new = [e for e in after["episodes"] if e not in before["episodes"]]
        assert {(e["title_id"], e["episode_no"]) for e in new} == {
            (f"{site_name}:{t.number}", t.episodes) for t in grown
        }
        gone = [row for row in before["pictures"] if row not in after["pictures"]]
        assert gone == []


def test_webtoons_and_melon_rows(tmp_path: Path) -> None:
    with Replica(site_of()) as replica:
        settings = settings_for(tmp_path / "d", replica)
        assert crawled(settings, "webtoons").error is None
        plan = Plan("melon", Scope(from_year=2000, to_year=2001, details=True))
        assert crawled(settings, plan).error is None
        rows = table(settings.layout, "titles", "title_id")
        one = rows["webtoons:1000"]
        assert (one["name"], one["genres"], one["year"]) == ("신의 탑 0", ["fantasy"], 2020)
        assert "Somebody else" not in [author["name"] for author in one["authors"]]
        both = rows["melon:200000"]  # in the charts of 2000 and 2001
        assert both["tags"] == ["KPOP chart 2000", "KPOP chart 2001"]
        assert (both["year"], both["first_date"]) == (2000, date(2018, 1, 18))
        assert both["genres"] == ["댄스", "발라드"]
        assert both["name"] == "앨범 & 200000"
        replica.log.clear()
        again = crawled(settings, plan)
        assert asked(replica, "album/detail") == []
        assert again.requests == 3  # robots.txt and two charts


def test_strips_since_and_limits(tmp_path: Path) -> None:
    site = site_of(titles=4, episodes=30)
    with Replica(site) as replica:
        some = settings_for(tmp_path / "some", replica)
        day = site.published(20)
        report = crawled(some, Plan("naver", since=day))
        assert report.error is None
        rows = Catalog(some.layout).read("episodes").to_pylist()
        assert rows
        assert all(row["published"] >= day for row in rows)
        titles = table(some.layout, "titles", "title_id")
        assert {row["first_date"] for row in titles.values()} == {None}, "not the first episodes"
        replica.log.clear()
        assert crawled(some, Plan("naver", since=day)).counts.get("episodes", 0) == 0
        assert list(replica.pictures()) == []
        assert crawled(some).error is None
        whole = Catalog(some.layout).read("episodes").num_rows
        assert whole == sum(t.episodes for t in site.titles.values())

        few = settings_for(tmp_path / "few", replica)
        report = crawled(few, Plan("naver", max_titles=2, max_pictures=5))
        assert report.counts["pictures_stored"] == 5
        assert len(table(few.layout, "titles", "title_id")) == 2

        strips = settings_for(tmp_path / "strips", replica)
        plan = Plan("naver", Scope(titles=("1000",), strips=True))
        crawled(strips, plan)
        pictures = Catalog(strips.layout).read("pictures").to_pylist()
        kinds = Counter(p["kind"] for p in pictures)
        assert kinds["strip"] == 3 * kinds["thumbnail"]
        assert not [p for p in pictures if "agerate" in p["source_path"]]

        two = settings_for(tmp_path / "two", replica)
        for count in (1, 2, 2):  # a higher limit fetches the next ones, the same limit nothing
            scope = Scope(titles=("1000",), strips=True, max_episodes=count)
            crawled(two, Plan("naver", scope))
            rows = Catalog(two.layout).read("pictures").to_pylist()
            numbers = Counter(p["episode_no"] for p in rows if p["kind"] == "strip")
            newest = sorted({p["episode_no"] for p in pictures if p["kind"] == "strip"})[-count:]
            assert numbers == dict.fromkeys(newest, 3)


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    with Replica(site_of()) as replica:
        settings = settings_for(tmp_path / "d", replica)
        report = crawled(settings, Plan("naver", dry_run=True))
        assert (report.error, report.counts["new"]) == (None, 6)
        assert not any(settings.layout.root.rglob("*")), "nothing was to be written"
        assert len(asked(replica, "titlelist")) == len(replica.log) - 1


PICTURE = "/webtoon/1000/1/"
VAST = (
    png(40, 40)[:8]
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    + png(40, 40)[33:]
)
SMALL: dict[str, Any] = {"timeout_s": 3.0, "retries": 0, "decode.max_bytes": 300_000}
ODD = [
    (Answer(status=404), "failed", "missing"),
    (Answer(status=403), "failed", "refused"),
    (Answer(status=500), "failed", "refused"),
    (Answer(b"x" * 100, slow_s=8.0), "failed", "unreachable"),
    (Answer(endless=True, type="image/jpeg"), "skipped", "too_many_bytes"),
    (Answer(b"<html>log in</html>", type="image/jpeg"), "failed", "format"),
    (Answer(b"", type="image/jpeg"), "failed", "empty"),
    (Answer(VAST, type="image/png"), "skipped", "too_many_pixels"),
    (Answer(png(40, 40)[:60], type="image/png"), "failed", "truncated"),
    (bomb(), "skipped", "too_many_bytes"),
    (Answer(status=302, headers={"Location": "http://127.0.0.1:22/x.jpg"}), "skipped", "address"),
    (Answer(status=302, headers={"Location": "http://169.254.169.254/"}), "skipped", "address"),
    (Answer(status=302, headers={"Location": "file:///etc/passwd"}), "failed", "refused"),
    (Answer(status=302, headers={"Location": "?again"}), "failed", "unreachable"),
    (Answer(png(40, 40), headers={"X-Robots-Tag": "noai"}), "skipped", "opt_out"),
]


def test_odd_picture_answers(tmp_path: Path) -> None:
    """Pictures go wrong in every way; their rows say how, and all the others are there."""
    site = site_of(titles=2, episodes=3)
    site.titles[1000].episodes = len(ODD) + 5
    with Replica(site) as replica:
        for number, (answer, *_) in enumerate(ODD, 1):
            replica.faults[f"/webtoon/1000/{number}/"] = lambda n, answer=answer: answer
        settings = settings_for(tmp_path / "d", replica, **SMALL)
        report = crawled(settings)
        assert isinstance(report.error, PartlyDoneError)
        rows = Catalog(settings.layout).read("pictures").to_pylist()
        assert len(rows) == sum(t.episodes + 1 for t in site.titles.values())
        odd = {
            int(row["source_path"].split("/")[5]): (row["status"], row["reason"])
            for row in rows
            if row["status"] != "stored"
        }
        assert odd == {number: tuple(said) for number, (_, *said) in enumerate(ODD, 1)}
        replica.faults.clear()
        replica.log.clear()
        assert crawled(settings, Plan("naver", retry_failed=True)).error is None
        failed = [number for number, (status, _) in odd.items() if status == "failed"]
        assert len(list(replica.pictures())) == len(failed)
        rows = Catalog(settings.layout).read("pictures").to_pylist()
        assert sum(row["status"] == "stored" for row in rows) == len(rows) - len(odd) + len(failed)


def test_a_lying_content_type_is_no_matter(tmp_path: Path) -> None:
    site = site_of(titles=2, episodes=3)
    with Replica(site) as replica:
        replica.faults[PICTURE] = lambda n: Answer(site.picture("x"), type="text/html")
        replica.faults["article/list/info"] = lambda n: None
        settings = settings_for(tmp_path / "d", replica)
        assert crawled(settings).error is None


def test_equal_bytes_in_one_title_and_in_two(tmp_path: Path) -> None:
    site = site_of(titles=2, episodes=4)
    with Replica(site) as replica:
        replica.faults[".jpg"] = lambda n: Answer(site.picture("same"), type="image/jpeg")
        settings = settings_for(tmp_path / "d", replica)
        crawled(settings)
        rows = Catalog(settings.layout).read("pictures").to_pylist()
        stored = [row for row in rows if row["status"] == "stored"]
        assert sorted((row["title_id"], row["kind"]) for row in stored) == [
            ("naver:1000", "cover"), ("naver:1001", "cover"),
        ]  # fmt: skip
        assert {row["reason"] for row in rows if row not in stored} == {"duplicate"}
        assert len(rows) == sum(t.episodes + 1 for t in site.titles.values())


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The catalog of a crawl on a good day."""
    with Replica(site_of(titles=11, episodes=2)) as replica:
        settings = settings_for(tmp_path_factory.mktemp("truth") / "d", replica)
        assert crawled(settings).error is None
        return contents(settings.layout)


LOGIN = Answer(b"<html><form action=login></form></html>", type="text/html")
AWAY = Answer(status=302, headers={"Location": "https://nid.naver.com/nidlogin.login?x"})


@pytest.mark.parametrize(
    ("part", "answer", "kind", "says"),
    [
        ("titlelist", LOGIN, InputError, "titleList"),
        ("titlelist", AWAY, NetworkError, "login"),
        ("titlelist", Answer(b'{"titles": []}'), InputError, "titleList"),
        ("titlelist", Answer(status=500), NetworkError, "no list"),
        ("titlelist", Answer(status=403), NetworkError, "refuses"),
        ("article/list?", Answer(b'{"items": []}'), InputError, "articleList"),
        ("list/info", Answer(b'{"titleId": 1, "name": "x"}'), InputError, "titleName"),
        ("list/info", LOGIN, InputError, "title's facts"),
        ("pstatic.net/webtoon", Answer(status=403), NetworkError, "refuses"),
        ("pstatic.net/webtoon", Answer(status=503), NetworkError, "does not answer"),
        ("robots.txt", Answer(status=503), NetworkError, "robots.txt"),
        ("robots.txt", Answer(b"User-agent: *\nDisallow: /"), NetworkError, "forbids"),
        ("titlelist", Answer(b"{}", headers={"X-Robots-Tag": "noindex"}), NetworkError, "noindex"),
    ],
)
def test_a_site_that_changed_or_refuses(
    tmp_path: Path, truth: Any, part: str, answer: Answer, kind: type[Exception], says: str
) -> None:
    """One error that says what is wrong; afterwards the crawl goes on where it was."""
    site = site_of(titles=11, episodes=2)
    with Replica(site) as replica:
        replica.faults[part] = lambda n: answer
        settings = settings_for(tmp_path / "d", replica, retries=1)
        report = crawled(settings)
        assert isinstance(report.error, kind), report
        assert says in str(report.error)
        assert "naver" in str(report.error)
        replica.faults.clear()
        crawled(settings)
        crawled(settings, Plan("naver", retry_failed="pstatic" in part))
        got = contents(settings.layout)
        for name in ("titles", "episodes", "pictures", "files"):
            assert got[name] == truth[name], name


def test_far_fewer_titles_than_last_time(tmp_path: Path) -> None:
    site = site_of(titles=40, episodes=1)
    with Replica(site) as replica:
        settings = settings_for(tmp_path / "d", replica)
        assert crawled(settings).error is None
        before = contents(settings.layout)
        site.titles = dict(list(site.titles.items())[:9])
        for _ in range(2):  # the bad crawl is not what the next one is compared with
            report = crawled(settings)
            assert report.is_suspect
            assert "last time 4" in str(report.error)
        assert contents(settings.layout)["pictures"] == before["pictures"]
        assert crawled(settings, accept_fewer=True).error is None
        assert crawled(settings).error is None


def odd_list(site: ReplicaSite) -> Answer:
    """A list with sound entries and others that are odd in many ways."""
    good = [site._row(title) for title in site.titles.values()]
    odd = [
        None, 7, [], {}, {"titleId": -5, "titleName": "a"}, {"titleId": 10**30, "titleName": "a"},
        {"titleId": "9" * 5000, "titleName": "a"}, {"titleId": 8, "titleName": None},
        {"titleId": 9, "titleName": "x" * 10_000_000}, {"titleId": True, "titleName": "a"},
    ]  # fmt: skip
    return Answer(json.dumps({"titleList": [*good, *odd, *good]}).encode())


def odd_titles(site: ReplicaSite) -> dict[str, Answer]:
    """Answers for single titles: those of even numbers are odd but usable."""
    sound = site._info(site.titles[1000])
    articles = json.loads(site._articles(site.titles[1000], 1).body)["articleList"]

    def info(**more: Any) -> Answer:
        return Answer(json.dumps({**sound, **more}).encode())

    def episodes(*rows: Any, **more: Any) -> Answer:
        return Answer(json.dumps({"articleList": [*articles, *rows], **more}).encode())

    return {
        "info?titleId=1000": info(titleId=1000, titleName="a\ud800b\u0000c", synopsis="\udfff"),
        "info?titleId=1001": Answer(b"[" * 200_000),
        "info?titleId=1002": info(titleId=1002, curationTagList=7, gfpAdCustomParam=[3],
                                  age={"type": [1]}, webtoonLevelCode={}, finished="?"),
        "info?titleId=1003": info(titleId=1003, titleName="x" * 10_000_000),
        "list?titleId=1004": episodes(
            None, {"no": -1}, {"no": 1e400}, {"no": 10**30}, {"no": "\ud800"},
            {"no": 3, "serviceDateDescription": "99.99.99", "starScore": 1e300,
             "thumbnailUrl": "https://[::1/x.jpg"},
            totalCount=10**40, pageInfo={"totalPages": -3}),
        "list?titleId=1005": Answer(b'{"articleList": "\\ud800"}'),
    }  # fmt: skip


def test_odd_answers_are_rows_and_notes_and_cost_no_other(tmp_path: Path) -> None:
    site = site_of(titles=8, episodes=3)
    site.titles[1000].episodes = 8
    with Replica(site) as replica:
        replica.faults["week=mon"] = lambda n: odd_list(site)
        replica.faults["week=dailyPlus"] = lambda n: Answer(b'{"titleList": []}')
        for part, answer in odd_titles(site).items():
            replica.faults[part] = lambda n, answer=answer: answer
        settings = settings_for(tmp_path / "d", replica)
        report = crawled(settings)
        assert isinstance(report.error, PartlyDoneError)
        assert report.counts["odd_entries"] >= 7 + 4
        assert report.counts["lists_failed"] == 1
        assert any("entry" in problem for problem in report.problems)
        states = table(settings.layout, "crawl_state", "title_id")
        failed = {key: row["reason"] for key, row in states.items() if row["status"] == "failed"}
        assert failed == {"naver:1003": "layout: titleName", "naver:1005": "layout: articleList"}
        names = {row["name"] for row in table(settings.layout, "titles", "title_id").values()}
        assert "a?bc" in names
        good = [site.titles[number] for number in (1006, 1007)]
        assert {title.name for title in good} <= names
        replica.faults.clear()
        assert crawled(settings, Plan("naver", retry_failed=True)).error is None
        assert crawled(settings).error is None
        states = table(settings.layout, "crawl_state", "title_id")
        assert {states[f"naver:{number}"]["status"] for number in site.titles} == {"done"}


def test_an_unforeseen_error_is_a_row_and_the_next_crawl_goes_on(tmp_path: Path) -> None:
    site = site_of(titles=3, episodes=4)
    with Replica(site) as replica:
        settings = settings_for(tmp_path / "d", replica)
        report = crawled(settings, "naver", _break_now_and_then)
        assert isinstance(report.error, PartlyDoneError), report
        rows = Catalog(settings.layout).read("pictures").to_pylist()
        reasons = Counter(row["reason"] for row in rows if row["status"] == "failed")
        assert set(reasons) == {"unexpected"} and len(rows) > 2 * reasons["unexpected"] > 0
        assert any("KeyError: 'MPO'" in problem for problem in report.problems)
        states = table(settings.layout, "crawl_state", "title_id")
        assert "unexpected: RecursionError" in {row["reason"] for row in states.values()}
        assert crawled(settings).error is None, "nothing sticks"
        assert crawled(settings, Plan("naver", retry_failed=True)).error is None
        fresh = settings_for(tmp_path / "fresh", replica)
        crawled(fresh)
        assert contents(settings.layout)["pictures"] == contents(fresh.layout)["pictures"]


def _break_now_and_then() -> None:
    """Every third picture, and one title, make a part of the program raise what nobody foresaw."""
    real, calls = images.is_blank, []

    def is_blank(image: Any) -> bool:
        calls.append(image)
        if len(calls) % 3 == 0:
            raise KeyError("MPO")
        return real(image)

    take, takes = TitleTracker.take, []

    def take_most(self: TitleTracker, job: Any, *args: Any) -> None:
        if job.kind == "title":
            takes.append(job)
            if len(takes) == 2:
                raise RecursionError("maximum recursion depth exceeded")
        take(self, job, *args)

    images.is_blank, TitleTracker.take = is_blank, take_most  # type: ignore[method-assign]


WRITES = {"pictures": (images, "_store", 8), "tables": (state, "sync_files", 0)}


@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_keeps_what_was_fetched(tmp_path: Path, what: str) -> None:
    with Replica(site_of(titles=4, episodes=6)) as replica:
        settings = settings_for(tmp_path / "d", replica, commit_rows=20)
        report = crawled(settings, "naver", partial(_fill_the_disk, what))
        assert isinstance(report.error, InputError)
        assert "disk is full" in str(report.error)
        assert crawled(settings).error is None
        fresh = settings_for(tmp_path / "fresh", replica)
        crawled(fresh)
        assert contents(settings.layout) == contents(fresh.layout)


def _fill_the_disk(what: str) -> None:
    """After a few calls of a function that writes, no byte can be written."""
    module, name, room = WRITES[what]
    real, calls = getattr(module, name), []

    def full(*args: Any) -> None:
        calls.append(args)
        if len(calls) > room:
            raise OSError(28, os.strerror(28))
        real(*args)

    setattr(module, name, full)


def test_no_network(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "d", "http://127.0.0.1:1", retries=1)
    report = crawled(settings)
    assert isinstance(report.error, NetworkError)
    assert "cannot be reached" in str(report.error)


def test_a_damaged_frontier_costs_requests_only(tmp_path: Path) -> None:
    with Replica(site_of()) as replica:
        settings = settings_for(tmp_path / "d", replica, max_requests=20)
        assert isinstance(crawled(settings).error, PartlyDoneError)
        settings.layout.frontier("naver").write_bytes(b"not a database" * 999)
        fresh, whole = (
            settings_for(tmp_path / "fresh", replica),
            settings_for(tmp_path / "d", replica),
        )
        assert crawled(whole).error is None
        crawled(fresh)
        assert contents(whole.layout) == contents(fresh.layout)


def test_unusable_settings(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "d", "http://127.0.0.1:1", block_list="/nowhere/list")
    with pytest.raises(UsageError, match="block list"):
        crawled(settings)
    with pytest.raises(UsageError, match="unknown site"):
        crawled(settings, Plan("nave"))


def test_the_time_budget(tmp_path: Path) -> None:
    with Replica(site_of(titles=30, episodes=30), latency_s=0.05) as replica:
        settings = settings_for(tmp_path / "d", replica)
        report = crawled(settings, "naver", max_seconds=2.5)
        assert isinstance(report.error, PartlyDoneError)
        assert "time" in str(report.error)
        assert report.seconds < 40
        stored = Catalog(Layout(tmp_path / "d")).read("pictures").num_rows
        assert stored == report.counts["pictures_stored"] > 0, "what was fetched is committed"
