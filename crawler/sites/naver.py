"""Naver Webtoon (comic.naver.com): its unofficial JSON interface, as public clients use it.

Source:  notes on the interface with recorded responses of 2024-2026; what they could not
         confirm is read defensively
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

from crawler.sites.base import (
    ListedTitle,
    Page,
    PageRequest,
    ParsedPage,
    ParsedTitle,
    PictureLink,
    Scope,
    Site,
    clean,
    https,
    key_of,
    mapping,
    number,
    prose,
    rows,
    slices,
    texts,
    whole,
)
from schemas.records import Author, Episode, Title, distinct_authors

ROOT = "https://comic.naver.com"
WEEKS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "dailyPlus")
PAGE_ROWS = 20
"""Episodes on one page of `article/list`."""

GENRES = {
    "PURE": ("romance", "순정/로맨스"),
    "FANTASY": ("fantasy", "판타지"),
    "ACTION": ("action", "액션"),
    "DAILY": ("slice of life", "일상"),
    "THRILL": ("thriller", "스릴러"),
    "COMIC": ("comedy", "개그"),
    "HISTORICAL": ("historical", "무협/사극"),
    "DRAMA": ("drama", "드라마"),
    "SENSIBILITY": ("sensibility", "감성"),
    "SPORTS": ("sports", "스포츠"),
}
"""Code -> the catalog's genre, one word for all sites, and Naver's own name. EPISODE,
OMNIBUS and STORY are formats and stay among the tags."""
_BY_NAME = {korean: genre for genre, korean in GENRES.values()}

ROLES = {
    "ARTIST_PAINTER": "painter",
    "ARTIST_WRITER": "writer",
    "ARTIST_NOVEL_ORIGIN": "origin",
}
"""In the order of the catalog: whoever draws comes first, because the style is theirs."""
_OLD_ROLES = {"painters": "painter", "writers": "writer", "originAuthors": "origin"}
_LEVELS = {"BEST_CHALLENGE": "bestChallenge", "CHALLENGE": "challenge"}


def start(scope: Scope) -> list[PageRequest]:
    """Lists by weekday, of finished titles, or single titles."""
    if scope.titles:
        return [title(f"naver:{number}", {}) for number in scope.titles]
    requests = []
    lists = scope.lists or ("weekday", "finished")
    if "weekday" in lists:
        address = f"{ROOT}/api/webtoon/titlelist/weekday?week="
        requests += [PageRequest(f"{address}{week}&order=user", "list") for week in WEEKS]
    if "finished" in lists:
        address = f"{ROOT}/api/webtoon/titlelist/finished?page=1&order=UPDATE"
        requests.append(PageRequest(address, "list", None, {"finished": True}))
    return requests


def title(title_id: str, about: Mapping[str, Any]) -> PageRequest:
    return PageRequest(
        f"{ROOT}/api/article/list/info?titleId={key_of(title_id)}", "title", title_id, about
    )


def episodes(title_id: str, about: Mapping[str, Any], page: int = 1) -> PageRequest:
    # Newest first: what is published while we read moves rows to later pages, where they are
    # read twice; in the other order a row that is taken away would hide another.
    address = f"{ROOT}/api/article/list?titleId={key_of(title_id)}&page={page}&sort=DESC"
    return PageRequest(address, "episodes", title_id, {**about, "page": page})


def strip(title_id: str, episode_no: int, about: Mapping[str, Any]) -> PageRequest:
    address = f"{ROOT}/webtoon/detail?titleId={key_of(title_id)}&no={episode_no}"
    return PageRequest(address, "strip", title_id, {**about, "episode_no": episode_no})


def parse_list(request: PageRequest, page: Page) -> ParsedPage:
    """`titleList[]`, the map of weekdays, or the richer `curationViewList[]`."""
    body = page.json()
    found = mapping(body)
    if "titleListMap" in found:
        entries = [row for day in mapping(found["titleListMap"]).values() for row in rows(day)]
    else:
        entries = rows(found.get("titleList", found.get("curationViewList")))
    if not entries:
        raise page.lacks("titleList", 'JSON as {"titleList": [{"titleId": 1}]}')
    listed, odd = page.each(entries, lambda row: _listed(row, request, page))
    more = _next_list(request, mapping(found.get("pageInfo")))
    return ParsedPage(listed=tuple(listed), requests=more, odd=odd)


def _listed(row: dict[str, Any], request: PageRequest, page: Page) -> ListedTitle:
    example = '"titleId": 183559, "titleName": "신의 탑"'
    key = page.need(whole(row.get("titleId")), "titleList[].titleId", example)
    name = page.need(clean(row.get("titleName")), "titleList[].titleName", example)
    people = [
        clean(person.get("name"))
        for role in ("painters", "writers", "novelOriginAuthors")
        for person in rows(row.get(role))
    ]
    if not any(people):
        shown = clean(row.get("author") or row.get("displayAuthor")) or ""
        people = [clean(part) for part in shown.split(" / ")]
    finished = request.about.get("finished") or row.get("finish", row.get("finished"))
    return ListedTitle(
        f"naver:{key}",
        name,
        tuple(dict.fromkeys(p for p in people if p)),
        adult=bool(row.get("adult")),
        finished=None if finished is None else bool(finished),
        star_score=number(row.get("starScore", row.get("averageStarScore"))),
        episodes_count=whole(row.get("articleTotalCount")),
        last_date=short_date(row.get("lastArticleServiceDate")),
    )


def _next_list(request: PageRequest, info: dict[str, Any]) -> tuple[PageRequest, ...]:
    """All further pages at once: lists are short, and their number is known."""
    asked = parse_qs(urlsplit(request.url).query).get("page", ["1"])[0]
    total = whole(info.get("totalPages")) or 1
    if asked != "1" or total < 2:
        return ()
    return tuple(
        PageRequest(re.sub(r"\bpage=1\b", f"page={n}", request.url), "list", None, request.about)
        for n in range(2, min(total, 10_000) + 1)
    )


def parse_title(request: PageRequest, page: Page) -> ParsedPage:
    """A title's own facts, and the request for its episodes."""
    body = page.json()
    if not isinstance(body, dict) or "titleId" not in body:
        return ParsedPage(skip_reason="gone")  # how the interface answers an unknown number
    key = page.need(whole(body["titleId"]), "titleId", '"titleId": 183559')
    name = page.need(clean(body.get("titleName")), "titleName", '"titleName": "신의 탑"')
    age = mapping(body.get("age"))
    genres, tags = _labels(body)
    path = _LEVELS.get(str(body.get("webtoonLevelCode")), "webtoon")
    title_id = request.title_id or f"naver:{key}"
    covers = (https(body.get(f"{which}humbnailUrl")) for which in ("t", "posterT", "sharedT"))
    cover = next((url for url in covers if url), None)
    parsed = ParsedTitle(
        Title(
            title_id=title_id,
            platform="naver",
            name=name,
            authors=_authors(body, page),
            genres=genres,
            tags=tags,
            synopsis=prose(body.get("synopsis")),
            age_rating=clean(age.get("type")),
            finished=bool(body["finished"]) if "finished" in body else None,
            url=f"{ROOT}/{path}/list?titleId={key}",
        ),
        () if cover is None else (PictureLink(cover, "cover"),),
        adult=age.get("type") == "RATE_18",
    )
    return ParsedPage(titles=(parsed,), requests=(episodes(title_id, request.about),))


def _authors(body: dict[str, Any], page: Page) -> tuple[Author, ...]:
    people = body.get("communityArtists")
    if people is not None:
        credits = [
            (clean(person.get("name")), kind)
            for person in rows(people)
            for kind in texts(person.get("artistTypeList")) or ["ARTIST_WRITER"]
        ]
        order = {kind: place for place, kind in enumerate(ROLES)}
        credits.sort(key=lambda credit: order.get(credit[1], len(order)))
        found = [(name, ROLES.get(kind, "author")) for name, kind in credits]
    elif "author" in body:
        older = mapping(body["author"])
        found = [
            (clean(person.get("name")), role)
            for kind, role in _OLD_ROLES.items()
            for person in rows(older.get(kind))
        ]
    else:
        raise page.lacks(
            "communityArtists",
            '"communityArtists": [{"name": "UMI", "artistTypeList": ["ARTIST_WRITER"]}]',
        )
    return distinct_authors(Author(name, role) for name, role in found if name)


def _labels(body: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Genres in our words, and every tag in the site's."""
    genres: list[str] = []
    tags: list[str] = []
    for tag in rows(body.get("curationTagList") or body.get("tagList")):
        name = (clean(tag.get("tagName")) or "").lstrip("#")
        code = str(tag.get("curationType") or "").removeprefix("GENRE_")
        if code in GENRES or name in _BY_NAME:
            genres.append(GENRES[code][0] if code in GENRES else _BY_NAME[name])
        if name:
            tags.append(name)
    for code in texts(mapping(body.get("gfpAdCustomParam")).get("genreTypes")):
        if code in GENRES:
            genres.append(GENRES[code][0])
    return tuple(dict.fromkeys(genres)), tuple(dict.fromkeys(tags))


def parse_episodes(request: PageRequest, page: Page) -> ParsedPage:
    """One page of episodes. Paid previews are in another list, which is not read."""
    body = mapping(page.json())
    if not isinstance(body.get("articleList"), list):
        raise page.lacks("articleList", '"articleList": [{"no": 1, "subtitle": "1화"}]')
    title_id = str(request.title_id)
    pictures: list[PictureLink] = []
    free: list[int] = []
    shown = rows(body["articleList"])

    def episode(row: dict[str, Any]) -> Episode:
        no = page.need(whole(row.get("no")), "articleList[].no", '"no": 1')
        published = short_date(row.get("serviceDateDescription"))
        url = f"{ROOT}/webtoon/detail?titleId={key_of(title_id)}&no={no}"
        if not row.get("charge"):
            free.append(no)
        thumbnail = https(row.get("thumbnailUrl"))
        if thumbnail and not row.get("thumbnailLock"):
            pictures.append(PictureLink(thumbnail, "thumbnail", no, published))
        score = number(row.get("starScore"))
        return Episode(title_id, no, clean(row.get("subtitle")), published, score, url)

    found, odd = page.each(shown, episode)
    if found and not pictures and not any(row.get("thumbnailLock") for row in shown):
        raise page.lacks(
            "articleList[].thumbnailUrl", '"thumbnailUrl": "https://image-comic.pstatic.net/..."'
        )
    info = mapping(body.get("pageInfo"))
    total = whole(body.get("totalCount"))
    number_ = whole(request.about.get("page")) or 1
    pages = whole(info.get("totalPages")) or -(-(total or 0) // PAGE_ROWS)
    more = episodes(title_id, request.about, number_ + 1) if found and number_ < pages else None
    return ParsedPage(
        episodes=tuple(found),
        episodes_count=total,
        pictures=tuple(pictures),
        more=more,
        free=tuple(free),
        odd=odd,
    )


def parse_strip(request: PageRequest, page: Page) -> ParsedPage:
    """The slices of a free episode; age notices and guides are no drawings."""
    images = page.tree().css("#sectionContWide > img, #comic_view_area > div > img")
    links = (image.attrib.get("src", "") for image in images)
    drawn = (link for link in links if "agerate" not in link and "ctguide" not in link)
    return ParsedPage(pictures=slices(request, drawn))


def short_date(value: Any) -> date | None:
    """`24.12.01` -> 2024-12-01; relative texts ("7일 후 무료") are no dates.

    The site began in 2004, so two digits always mean 20xx.
    """
    found = re.fullmatch(r"(\d{2})\.(\d{2})\.(\d{2})\.?", clean(value) or "", re.ASCII)
    try:
        return date(2000 + int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


SITE = Site(
    name="naver",
    hosts=("comic.naver.com", "*.pstatic.net", "thumb.comic.naver.net"),
    headers={"Referer": f"{ROOT}/"},  # the picture hosts answer 403 without it
    start=start,
    parsers={
        "list": parse_list,
        "title": parse_title,
        "episodes": parse_episodes,
        "strip": parse_strip,
    },
    title=title,
    address=("comic.naver.com", "titleId"),
    probe=episodes,
    strip=strip,
    redirect_reasons={"nid.naver.com": "adult", "nidlogin": "adult"},
)
