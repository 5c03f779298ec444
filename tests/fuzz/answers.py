"""Answers of sites changed by structure, through the parsers and into the frontier.

What must hold: records or a `PageError` and nothing else, in bounded time; all records can be
taken in, written into the tables, and asked for.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

from crawler.incremental import TitleTracker
from crawler.scheduler import Frontier, Job
from crawler.sites import base
from crawler.sites.base import SITES, Page, PageError, PageRequest, Plan, Scope, site_of
from schemas.blocklist import BlockList
from schemas.storage.tables import TABLES, arrow_schema
from tests.fuzz.samples import Rng
from tests.replica import ReplicaSite

SAMPLES = Path(__file__).parents[1] / "crawler/sites/samples"
RECORDED = {"naver_curation.json": "list", "naver_info_partial.json": "title",
            "melon_row.html": "chart"}  # fmt: skip
MAX_SECONDS = 10.0
PLANS = {
    "naver": Plan("naver", Scope(strips=True)),
    "webtoons": Plan("webtoons", Scope(strips=True)),
    "melon": Plan("melon", Scope(from_year=2000, to_year=2001, details=True)),
}
NUMBERS = (0, -1, 1, 7, 1.5, -0.0, 1e308, 2**31 - 1, 2**31, 2**63, 10**30, True, False, None)
TEXTS = (
    "", " ", "x", "0", "-1", "1e999", "9" * 5000, "9999-99-99", "99.12.31", "24.13.41", "10000.1.1",
    "\0", "a\0b", "\ud800", "\udfff\ud800", "\u202e", "\x1b[31m", "e\u0301", "신의 탑", "²", "١٢٣", "&#0;",
    "&#xD800;", "&#1114112;", "&lt;", "'; drop table titles --", "https://[::1/x.jpg", "//", "https://",
    "https://a:99999999/x.jpg", "https://\ud800/x.jpg", "http://user:pass@host/x", "javascript:1",
    "data:image/png;base64,", "//image-comic.pstatic.net/a\nb.jpg", "../" * 50, "%", "%zz", "?title_no=",
)  # fmt: skip
"""A long text is made where it is used: it would fill a saved case."""


def make(rng: Rng, folder: Path) -> None:
    """Write a site's answer and what was asked."""
    site, request, body = _sound(rng)
    if body.lstrip()[:1] in (b"{", b"["):
        body = _odd_json(rng, json.loads(body))
    else:
        body = _odd_html(rng, body)
    if not rng.integers(10):
        found = bytearray(body)
        for place in rng.integers(0, max(1, len(found)), 5) if found else ():
            found[place] = int(rng.integers(256))
        body = bytes(found[: int(rng.integers(len(found) + 1))] if rng.integers(2) else found)
    (folder / "answer").write_bytes(body)
    asked = {"site": site, **dataclasses.asdict(request)}
    (folder / "case.json").write_text(json.dumps(asked), "utf-8")


def check(folder: Path) -> None:
    """Parse an answer and take in what it says."""
    asked = json.loads((folder / "case.json").read_text("utf-8"))
    site, body = site_of(asked.pop("site")), (folder / "answer").read_bytes()
    began = time.monotonic()
    request = PageRequest(**asked)
    try:
        page = site.parsers[request.kind](request, Page(request.url, body, site.name))
    except PageError as error:
        assert site.name in error.message and len(error.message) < 1000, error.message
        page = None
    assert time.monotonic() - began < MAX_SECONDS, f"{time.monotonic() - began:.1f} s"
    if page is None:
        return
    frontier = Frontier(Path(":memory:"))
    try:
        blocked = BlockList()
        tracker = TitleTracker(frontier, site, PLANS[site.name], adult=True, blocked=blocked)
        job = Job(request.url, request.kind, request.title_id, request.about, 1, "host")
        with frontier.transaction():
            if request.title_id is not None:
                tracker.open(request.title_id, whole=True)
            tracker.take(job, page, None, None)
        _check_rows(frontier)
        _check_requests(frontier)
    finally:
        frontier.close()


def _check_rows(frontier: Frontier) -> None:
    """Every row can be written."""
    import pyarrow as pa

    from crawler.state import _typed

    for name in TABLES:
        rows = [
            _typed(name, json.loads(text))
            for (text,) in frontier.db.execute("select row from outbox where name = ?", (name,))
        ]
        if rows:
            made = pa.Table.from_pylist(rows, schema=arrow_schema(name))
            made.validate(full=True)


def _check_requests(frontier: Frontier) -> None:
    """Every request can be made, or is refused in a word by what checks addresses."""
    import contextlib

    from scrapy.http import Request

    from crawler.middlewares import check_url
    from crawler.settings import Refused

    for (url,) in frontier.db.execute("select url from jobs"):
        assert Request(url).url
        with contextlib.suppress(Refused):
            check_url(url, site_of("naver"))


# --- Sound answers: the recorded ones, and those of the replica.


def _sound(rng: Rng) -> tuple[str, PageRequest, bytes]:
    if not rng.integers(6):
        name = str(rng.choice(list(RECORDED)))
        site, kind = name.split("_")[0], RECORDED[name]
        about = {"year": 2018, "period": "year", "genre": "KPOP"} if site == "melon" else {}
        title = None if kind in ("list", "chart") else f"{site}:747269"
        return (
            site,
            PageRequest("https://x?page=1", kind, title, about),
            (SAMPLES / name).read_bytes(),
        )
    name = str(rng.choice(SITES))
    site_, plan = site_of(name), PLANS[name]
    requests = [*site_.start(plan.scope)]
    title_id = f"{name}:{200000 if name == 'melon' else 1000 + int(rng.integers(4))}"
    requests.append(site_.title(title_id, {}))
    if site_.probe is not None:
        requests.append(site_.probe(title_id, {}))
    if site_.strip is not None and name == "naver":
        requests.append(site_.strip(title_id, 1, {}))
    request = requests[int(rng.integers(len(requests)))]
    host, _, target = request.url.partition("://")[2].partition("/")
    return name, request, _replica().answer(host, "/" + target).body


@cache
def _replica() -> ReplicaSite:
    return ReplicaSite(titles=4, episodes=5)


# --- Changes.


def _odd_value(rng: Rng) -> Any:
    what = int(rng.integers(6))
    if what == 0:
        return NUMBERS[int(rng.integers(len(NUMBERS)))]
    if what <= 3:
        return TEXTS[int(rng.integers(len(TEXTS)))]
    if what == 4:
        return [[], {}, [None], [[]], {"": ""}, [{}], ["a", 1, {}]][int(rng.integers(7))]
    value: Any = "deep"
    for _ in range(int(rng.choice([5, 60]))):
        value = [value] if rng.integers(2) else {"a": value}
    return value


FIELDS = sorted(
    {
        name
        for site in SITES
        for name in re.findall(
            r"\"([a-z]+[A-Z][A-Za-z]+|no|age|type|charge|finished|author)\"",
            (Path(base.__file__).parent / f"{site}.py").read_text("utf-8"),
        )
    }
)
"""Names in the answers, as the parsers spell them."""


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below."""
    found = []
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()  # fmt: skip
    for key in list(keys):
        found.append((value, key))
        found += _places(value[key])
    return found


def _odd_json(rng: Rng, body: Any) -> bytes:
    for _ in range(int(rng.integers(1, 9))):
        places = _places(body)
        if not places:
            break
        holder, key = places[int(rng.integers(len(places)))]
        what = int(rng.integers(9))
        if what <= 2:
            holder[key] = _odd_value(rng)
        elif what <= 5:  # a field that the parsers read
            holders = [one for one, _ in places if isinstance(one, dict)] or [{}]
            one = holders[int(rng.integers(len(holders)))]
            known = [name for name in one if name in FIELDS]
            name = str(rng.choice(known)) if known and rng.integers(2) else str(rng.choice(FIELDS))
            one[name] = _odd_value(rng)
        elif what == 6:
            del holder[key]
        elif what == 7:
            theirs, other = places[int(rng.integers(len(places)))]
            holder[key] = json.loads(json.dumps(theirs[other]))
        elif isinstance(holder, list):
            holder.insert(int(rng.integers(len(holder) + 1)), holder[key])
        else:
            holder[str(rng.choice(list(holder)))] = holder[key]
    text = json.dumps(body, ensure_ascii=bool(rng.integers(2)))
    what = int(rng.integers(12))
    if what == 0:
        text = re.sub(r"\d+", lambda found: "1" * 5000, text, count=1)
    elif what == 1:
        text = re.sub(r"(?<=: )\d+(\.\d+)?", "1e999", text, count=3)
    elif what == 2:
        text = re.sub(r'(?<=: )"[^"]*"', f'"{"x" * 2_000_000}"', text, count=1)
    elif what == 3:
        text = text.replace("}", ', "titleId": 5, "titleId": null}', 3)
    elif what == 4:
        text = "[" * 100_000 + text
    elif what == 5:
        text = "\ufeff" + text
    encoding = "utf-16" if not rng.integers(20) else "utf-8"
    return text.encode(encoding, "surrogatepass")


TOKENS = re.compile(rb"<[^<>]*>|[^<>]+")


def _odd_html(rng: Rng, body: bytes) -> bytes:
    tokens = TOKENS.findall(body)
    for _ in range(int(rng.integers(1, 8))):
        if not tokens:
            break
        at = int(rng.integers(len(tokens)))
        odd = TEXTS[int(rng.integers(len(TEXTS)))].encode("utf-8", "surrogatepass")
        what = int(rng.integers(8))
        if what == 0:
            tokens.pop(at)
        elif what == 1:
            tokens.insert(at, tokens[int(rng.integers(len(tokens)))])
        elif what == 2:
            tokens[at] = re.sub(rb'"[^"]*"', b'"' + odd.replace(b"\\", b"") + b'"', tokens[at])
        elif what == 3:
            tokens[at] = odd
        elif what == 4:
            tokens[at] = re.sub(rb"\d+", b"9" * int(rng.choice([1, 12, 5000])), tokens[at])
        elif what == 5:
            tokens.insert(at, b"<div>" * int(rng.choice([3, 500, 20_000])))
        elif what == 6:
            tokens[at] = tokens[at][: int(rng.integers(len(tokens[at]) + 1))]
        elif not rng.integers(4):
            tokens.insert(at, b"x" * 2_000_000)
    return b"".join(tokens)
