"""A replica of the sites: a local server with generated titles in the recorded formats.

Everything is a function of its seed, so two servers of one size are the same site. `faults`
turn single answers into what servers do on bad days; `log` keeps what was asked.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image, ImageDraw

THUMBNAIL_PX = (202, 120)
NAVER_PICTURES = "https://image-comic.pstatic.net"
EPISODES_PER_PAGE = 20


@dataclass
class Answer:
    """A response; `slow_s` waits before the body, `endless` never stops sending."""

    body: bytes = b""
    status: int = 200
    type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    slow_s: float = 0.0
    endless: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    host: str
    path: str
    at: float
    headers: dict[str, str]
    status: int
    body_bytes: int

    @property
    def is_picture(self) -> bool:
        return self.path.split("?")[0].endswith((".jpg", ".png"))


@dataclass
class ReplicaTitle:
    """One generated title."""

    number: int
    name: str
    author: str
    episodes: int
    day: int
    finished: bool = False
    adult: bool = False
    gone: bool = False
    login: bool = False
    rating: str = "RATE_12"


NAMES = (
    "신의 탑 {n}",
    "전지적 독자 시점 & 이야기 {n}",
    "Tom &amp; Jerry &#39;{n}&#39; <b>",
    "חתול ושוקולד {n} مرحبا",
    "👾 로봇🤖 {n} e\u0301",
    "漫畫/만화 {n}",
)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "dailyPlus")


def jpegs(count: int = 12) -> list[bytes]:
    """A few small drawings; every picture of the site is one of them with a mark of its own."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        image = Image.new("RGB", THUMBNAIL_PX, (250, 247, 240))
        draw = ImageDraw.Draw(image)
        for _ in range(25):
            points = [tuple(p) for p in rng.integers(0, 200, (3, 2)).tolist()]
            draw.line(points, fill=tuple(rng.integers(0, 160, 3).tolist()), width=3)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        found.append(buffer.getvalue())
    return found


class ReplicaSite:
    """The content of all three sites; `answer` is a pure function of the request."""

    def __init__(
        self, titles: int = 12, episodes: int = 30, seed: int = 1, etags: bool = True
    ) -> None:
        rng = np.random.default_rng(seed)
        self.etags = etags
        self.bases = jpegs()
        self.titles: dict[int, ReplicaTitle] = {}
        for n in range(titles):
            number = 1000 + n
            count = max(1, int(rng.integers(episodes // 2, episodes + episodes // 2 + 1)))
            self.titles[number] = ReplicaTitle(
                number, NAMES[n % len(NAMES)].format(n=n), f"작가 {n // 3}", count,
                int(rng.integers(0, len(DAYS))), finished=n % 4 == 3,
            )  # fmt: skip
        self.robots = "User-agent: *\nDisallow: /private\n"
        self.albums_per_year = 20

    @staticmethod
    def published(no: int) -> date:
        return date(2020, 1, 6) + timedelta(weeks=no)

    def picture(self, mark: str) -> bytes:
        """A drawing whose bytes no other mark has."""
        base = self.bases[sum(mark.encode()) % len(self.bases)]
        note = mark.encode()
        return base[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + base[2:]

    def answer(self, host: str, target: str) -> Answer:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/robots.txt":
            return Answer(self.robots.encode(), type="text/plain")
        if parts.path.endswith((".jpg", ".png")):
            return Answer(self.picture(parts.path), type="image/jpeg")
        if host.startswith("comic.naver"):
            return self._naver(parts.path, query)
        if host.endswith("webtoons.com"):
            return self._webtoons(host, parts.path, query)
        if host.endswith("melon.com"):
            return self._melon(parts.path, query)
        return Answer(status=404)

    # Naver

    def _naver(self, path: str, query: dict[str, str]) -> Answer:
        if path == "/api/webtoon/titlelist/weekday":
            day = DAYS.index(query["week"])
            rows = [self._row(t) for t in self.titles.values() if t.day == day and not t.finished]
            return _json({"titleList": rows or [self._row(self._filler(day))]})
        if path == "/api/webtoon/titlelist/finished":
            rows = [self._row(t) for t in self.titles.values() if t.finished]
            page, size = int(query["page"]), 30
            pages = max(1, -(-len(rows) // size))
            part = rows[(page - 1) * size : page * size]
            return _json(
                {"titleList": part or [self._row(self._filler(0))],
                 "pageInfo": {"totalPages": pages, "page": page}}
            )  # fmt: skip
        title = self.titles.get(int(query.get("titleId", "0") or 0))
        if title is None or title.gone:
            return Answer(b"<html>not found</html>", type="text/html")
        if title.login:
            return Answer(status=302, headers={"Location": "https://nid.naver.com/nidlogin.login"})
        if path == "/api/article/list/info":
            return _json(self._info(title))
        if path == "/api/article/list":
            return self._articles(title, int(query["page"]))
        if path == "/webtoon/detail":
            no = query["no"]
            images = "".join(
                f'<img src="{NAVER_PICTURES}/webtoon/{title.number}/{no}/strip_{n}.jpg">'
                for n in range(3)
            )
            page = f'<div id="sectionContWide">{images}<img src="{NAVER_PICTURES}/agerate.jpg">'
            return Answer(f"<html>{page}</div></html>".encode(), type="text/html")
        return Answer(status=404)

    def _filler(self, day: int) -> ReplicaTitle:
        """A title that exists only so that no list is empty: one of the adult section."""
        return ReplicaTitle(10 + day, f"성인 {day}", "작가", 1, day, adult=True)

    def _row(self, title: ReplicaTitle) -> dict[str, object]:
        return {
            "titleId": title.number, "titleName": title.name, "author": title.author,
            "thumbnailUrl": f"{NAVER_PICTURES}/webtoon/{title.number}/thumbnail/t.jpg",
            "starScore": 9.5, "adult": title.adult, "finish": title.finished, "up": False,
        }  # fmt: skip

    def _info(self, title: ReplicaTitle) -> dict[str, object]:
        return {
            "titleId": title.number, "titleName": title.name, "webtoonLevelCode": "WEBTOON",
            "communityArtists": [
                {"artistId": 1, "name": title.author,
                 "artistTypeList": ["ARTIST_WRITER", "ARTIST_PAINTER"]},
                {"artistId": 2, "name": "원작 &amp; 소설",
                 "artistTypeList": ["ARTIST_NOVEL_ORIGIN"]},
            ],
            "synopsis": f"첫째 줄\n둘째 &lt;줄&gt; {title.number}",
            "age": {"type": title.rating, "description": ""},
            "curationTagList": [
                {"id": 1, "tagName": "판타지", "curationType": "GENRE_FANTASY"},
                {"id": 2, "tagName": "#헌터물", "curationType": "CUSTOM_TAG"},
            ],
            "finished": title.finished,
            "thumbnailUrl": f"{NAVER_PICTURES}/webtoon/{title.number}/thumbnail/t.jpg",
        }  # fmt: skip

    def _articles(self, title: ReplicaTitle, page: int) -> Answer:
        pages = -(-title.episodes // EPISODES_PER_PAGE)
        numbers = range(title.episodes, 0, -1)
        part = numbers[(page - 1) * EPISODES_PER_PAGE : page * EPISODES_PER_PAGE]
        rows = [
            {
                "no": no, "subtitle": f"{no}화 &quot;{title.name}&quot;",
                "thumbnailUrl": f"{NAVER_PICTURES}/webtoon/{title.number}/{no}/thumbnail_{no}.jpg",
                "starScore": 9.0 + (no % 10) / 10, "charge": False,
                "serviceDateDescription": f"{self.published(no):%y.%m.%d}",
            }
            for no in part
        ]  # fmt: skip
        answer = _json(
            {
                "totalCount": title.episodes, "titleId": title.number, "articleList": rows,
                "pageInfo": {"totalRows": title.episodes, "page": page, "totalPages": pages},
            }
        )  # fmt: skip
        if self.etags:
            answer.headers["ETag"] = f'"{title.number}-{page}-{title.episodes}"'
        return answer

    # WEBTOON

    def _webtoons(self, host: str, path: str, query: dict[str, str]) -> Answer:
        if "/originals/" in path or "/genres/" in path:
            day = path.rsplit("/", 1)[1]
            days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
            chosen = [
                t for t in self.titles.values()
                if (t.finished if day == "complete" else "/genres/" in path)
                or (day in days and not t.finished and days[t.day % 7] == day)
            ] or list(self.titles.values())[:1]  # fmt: skip
            return _html(
                "<ul class='webtoon_list'>" + "".join(self._card(t) for t in chosen) + "</ul>"
            )
        if host.startswith("m."):
            title = self.titles.get(int(path.split("/")[4]))
            if title is None:
                return Answer(status=404)
            rows = [
                {"episodeNo": no, "episodeTitle": f"Ep. {no} &amp; more",
                 "thumbnail": f"/202/{title.number}/{no}/thumb_{no}.jpg",
                 "viewerLink": f"/en/fantasy/x/ep-{no}/viewer?title_no={title.number}",
                 "exposureDateMillis": 1_578_268_800_000 + no * 604_800_000}
                for no in range(1, title.episodes + 1)
            ]  # fmt: skip
            answer = _json({"result": {"episodeList": rows}, "success": True})
            answer.headers["ETag"] = f'"{title.number}-{title.episodes}"'
            return answer
        title = self.titles.get(int(query.get("title_no", "0")))
        if title is None:
            return Answer(status=404)
        if title.login:
            return Answer(status=302, headers={"Location": "/en/ageGate?returnUrl=x"})
        day_text = "COMPLETED" if title.finished else "EVERY MONDAY"
        cover = f"https://swebtoon-phinf.pstatic.net/cover/{title.number}.jpg"
        return _html(
            f'<meta property="og:image" content="{cover}">'
            f'<link rel="canonical" href="https://www.webtoons.com/en/fantasy/x/list?title_no='
            f'{title.number}"><div class="detail_header"><h2 class="genre">Fantasy</h2>'
            f'<h1 class="subj">{_escaped(title.name)}</h1><div class="author_area">'
            f"{_escaped(title.author)}<button>author info</button></div></div>"
            f'<p class="summary">Once</p><p class="day_info">{day_text}</p>'
            '<div class="author">Somebody else</div>'
        )

    def _card(self, title: ReplicaTitle) -> str:
        return (
            f'<li><a class="link _originals_title_a" data-title-no="{title.number}"'
            f' href="https://www.webtoons.com/en/fantasy/x/list?title_no={title.number}">'
            f'<div class="image_wrap"><img src="t.jpg" alt="{_escaped(title.name)}"></div>'
            f'<div class="info_text"><strong class="title">{_escaped(title.name)}</strong>'
            f'<div class="author">{_escaped(title.author)}</div></div></a></li>'
        )

    # Melon

    def _melon(self, path: str, query: dict[str, str]) -> Answer:
        if path == "/album/detail.htm":
            return _html(
                '<dl class="list"><dt>발매일</dt><dd>2018.01.18</dd>'
                "<dt>장르</dt><dd>댄스, 발라드</dd></dl>"
            )
        year = int(query["chartDate"])
        rows = []
        for rank in range(self.albums_per_year):
            # One album in four is in the chart of the odd year after its own too.
            album = (year - (year % 2 if rank % 4 == 0 else 0)) * 100 + rank
            link = f"javascript:melon.link.goAlbumDetail('{album}');"
            cover = f"http://cdnimg.melon.co.kr/cm/{album}_500.jpg/melon/resize/120/optimize"
            artist = f'<a href="#">가수 {album % 7}</a>'
            rows.append(
                f'<tr class="lst50" data-song-no="{album}"><td><span class="rank">{rank}</span>'
                f'</td><td><a href="{link}" class="image_typeAll"><img src="{cover}"></a></td><td>'
                f'<div class="ellipsis rank01"><a href="#">노래 {rank}</a></div>'
                f'<div class="ellipsis rank02">{artist}<span class="checkEllipsis">{artist}</span>'
                f'</div></td><td><div class="ellipsis rank03"><a href="{link}">앨범 &amp; {album}'
                "</a></div></td></tr>"
            )
        return _html("".join(rows))


def _json(body: object) -> Answer:
    return Answer(json.dumps(body, ensure_ascii=False).encode())


def _html(body: str) -> Answer:
    return Answer(f"<html><body>{body}</body></html>".encode(), type="text/html; charset=utf-8")


def _escaped(text: str) -> str:
    return text if "&amp;" in text else text.replace("&", "&amp;").replace("<", "&lt;")


def png(width: int, height: int) -> bytes:
    """A PNG of one colour with a mark on it."""
    image = Image.new("1", (width, height), 1)
    ImageDraw.Draw(image).line([(0, 0), (width, height)], fill=0, width=max(2, width // 20))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def bomb(size: int = 200 * 1024 * 1024) -> Answer:
    """A small body that unpacks to a large one."""
    return Answer(gzip.compress(bytes(size), 9), headers={"Content-Encoding": "gzip"})


Fault = Callable[[int], Answer | None]
"""The n-th request for a target (from 0) -> an answer instead of the site's, or None."""


class Replica:
    """The server, in a thread of its own."""

    def __init__(self, site: ReplicaSite, *, latency_s: float = 0.0) -> None:
        self.site, self.latency_s = site, latency_s
        self.log: list[Asked] = []
        self.faults: dict[str, Fault] = {}
        self.on_request: Callable[[int], None] | None = None
        self.total = 0
        self.keep_log = True
        self.open: set[asyncio.Transport] = set()
        self._seen: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Replica:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pictures(self) -> Iterator[Asked]:
        return (asked for asked in self.log if asked.is_picture and asked.status == 200)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Protocol(self), "127.0.0.1", 0)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        for transport in list(self.open):
            transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))

    def respond(self, host: str, target: str, headers: dict[str, str]) -> Answer:
        self.total += 1
        if self.on_request is not None:
            self.on_request(self.total)
        answer = None
        if self.faults:
            for part, fault in self.faults.items():
                if part in f"{host}{target}":
                    answer = fault(self._seen[f"{part} {target}"])
                    self._seen[f"{part} {target}"] += 1
                    break
        answer = answer or self.site.answer(host, target)
        etag = answer.headers.get("ETag")
        if etag and headers.get("if-none-match") == etag:
            answer = Answer(status=304, headers={"ETag": etag})
        if self.keep_log:
            size = len(answer.body)
            now = time.monotonic()
            self.log.append(Asked(host, target, now, headers, answer.status, size))
        return answer


class _Protocol(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, only as much of it as a crawler needs."""

    def __init__(self, replica: Replica) -> None:
        self.replica, self.buffer = replica, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.replica.open.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.replica.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            target = lines[0].split(" ")[1]
            pairs = (line.partition(":") for line in lines[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            host = headers.get("host", "")
            answer = self.replica.respond(host, target, headers)
            delay = self.replica.latency_s + answer.slow_s
            if delay or answer.endless:
                loop = asyncio.get_running_loop()
                self.task = loop.create_task(self._later(answer, delay))
            else:
                self.transport.write(self._head(answer) + answer.body)

    @staticmethod
    def _head(answer: Answer) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} X", f"Content-Type: {answer.type}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if not answer.endless:
            lines.append(f"Content-Length: {len(answer.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")

    async def _later(self, answer: Answer, delay: float) -> None:
        await asyncio.sleep(delay)
        self.transport.write(self._head(answer) + answer.body)
        while answer.endless and not self.transport.is_closing():
            self.transport.write(b"x" * 65536)
            await asyncio.sleep(0.005)
