"""WEBTOON (www.webtoons.com): HTML lists and title pages, and the mobile JSON of episodes.

Source:  notes on public clients of 2025-2026; older page classes are read as well
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

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
    whole,
)
from schemas.records import Author, Episode, Title, distinct_authors

if TYPE_CHECKING:
    from parsel import Selector

ROOT = "https://www.webtoons.com"
MOBILE = "https://m.webtoons.com"
PICTURES = "https://swebtoon-phinf.pstatic.net"
"""Thumbnails are paths relative to this host."""
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LOCAL_DAYS = {
    "es": ("lunes", "martes", "miercoles", "jueves", "viernes", "sabado", "domingo"),
}
"""Languages whose lists are named by their own days."""
LANGUAGES = ("en", "zh-hant", "th", "id", "es", "fr", "de")
REFUSAL_BYTES = 1024
"""A refusal by region is a page with status 200 that is smaller than any real one."""
CARDS = ", ".join(
    (
        "ul.webtoon_list > li a.link",
        *("a._originals_title_a", "a._genre_title_a", "a._ranking_title_a", "a._card_item"),
        *("ul.card_lst li a", "ul.daily_card li a", "a.daily_card_item"),  # older pages
    )
)
FINISHED = re.compile(r"complet|finished|完結|terminad|termin[ée]|abgeschlossen|tamat|จบ", re.I)


def start(scope: Scope) -> list[PageRequest]:
    """Lists by day and of finished titles, one page each; or by genre; or single titles."""
    about = {"language": scope.language}
    home = f"{ROOT}/{scope.language}"
    if scope.titles:
        canvas = {**about, "canvas": True}
        return [
            title(f"webtoons:{number}", canvas if number in scope.canvas else about)
            for number in scope.titles
        ]
    lists = scope.lists or ("weekday", "finished")
    pages = [f"genres/{quote(genre, safe='')}" for genre in scope.genres]
    if not pages and "weekday" in lists:
        pages = [f"originals/{day}" for day in LOCAL_DAYS.get(scope.language, DAYS)]
    if not scope.genres and "finished" in lists:
        pages.append("originals/complete")
    return [
        PageRequest(
            f"{home}/{page}?sortOrder=UPDATE",
            "list",
            None,
            {**about, "finished": True} if page == "originals/complete" else about,
        )
        for page in pages
    ]


def title(title_id: str, about: Mapping[str, Any]) -> PageRequest:
    # Only the number matters: the site normalises the genre and the name before it.
    section = "canvas" if about.get("canvas") else "webtoon"
    home = f"{ROOT}/{about.get('language', 'en')}/{section}/title/list"
    return PageRequest(f"{home}?title_no={key_of(title_id)}", "title", title_id, about)


def episodes(title_id: str, about: Mapping[str, Any]) -> PageRequest:
    section = "canvas" if about.get("canvas") else "webtoon"
    address = f"{MOBILE}/api/v1/{section}/{key_of(title_id)}/episodes?pageSize=99999&cursor=0"
    return PageRequest(address, "episodes", title_id, about)


def strip(title_id: str, episode_no: int, about: Mapping[str, Any]) -> PageRequest:
    home = f"{ROOT}/{about.get('language', 'en')}/webtoon/title/episode/viewer"
    address = f"{home}?title_no={key_of(title_id)}&episode_no={episode_no}"
    return PageRequest(address, "strip", title_id, {**about, "episode_no": episode_no})


def parse_list(request: PageRequest, page: Page) -> ParsedPage:
    """The cards of a list."""

    def card_title(card: Selector) -> ListedTitle | None:
        link = card.attrib.get("href", "")
        key = card.attrib.get("data-title-no")
        key = key or parse_qs(urlsplit(link).query).get("title_no", [None])[0]
        if whole(key) is None:
            return None
        name = _words(card, ".info_text .title, .subj, .info .subj")
        name = name or clean(card.css(".image_wrap img::attr(alt), img::attr(alt)").get())
        name = page.need(name, ".info_text .title", "the title's name")
        author = _words(card, ".info_text .author, .author")
        about = {**request.about, **({"canvas": True} if "/canvas/" in link else {})}
        title_id = f"webtoons:{int(str(key))}"
        finished = True if request.about.get("finished") else None
        authors = tuple(_split(author))
        return ListedTitle(title_id, name, authors, finished=finished, about=about)

    found, odd = page.each(page.tree().css(CARDS), card_title)
    listed = {title.title_id: title for title in found if title is not None}
    if not listed:
        if len(page.body) < REFUSAL_BYTES:
            raise page.lacks("ul.webtoon_list", "a list; it may not be shown in your country")
        raise page.lacks("ul.webtoon_list", '<a class="link" data-title-no="95">')
    return ParsedPage(listed=tuple(listed.values()), odd=odd)


def parse_title(request: PageRequest, page: Page) -> ParsedPage:
    """A title's page, and the request for its episodes."""
    tree = page.tree()
    name = _words(tree, "h1.subj, p.subj, strong.subject")
    if name is None:
        if len(page.body) < REFUSAL_BYTES:
            return ParsedPage(skip_reason="region")
        raise page.lacks("h1.subj", '<h1 class="subj">Tower of God</h1>')
    title_id = str(request.title_id)
    day = _words(tree, "p.day_info, .day_info") or ""
    genres = [
        text.casefold().replace("_", " ")
        for node in tree.css(".detail_header .genre, h2.genre, p.genre")
        if (text := clean("".join(node.css("::text").getall())))
    ]
    cover = https(tree.css('meta[property="og:image"]::attr(content)').get())
    cover = cover or https(tree.css("span.thmb img::attr(src)").get())
    finished = bool(request.about.get("finished")) or bool(FINISHED.search(day))
    url = https(tree.css("link[rel=canonical]::attr(href)").get()) or request.url
    score = clean(tree.css("em#_starScoreAverage::text").get()) or ""
    parsed = ParsedTitle(
        Title(
            title_id=title_id,
            platform="webtoons",
            name=name,
            authors=distinct_authors(Author(person) for person in _authors(tree)),
            genres=tuple(dict.fromkeys(genres)),
            synopsis=prose("".join(tree.css("p.summary ::text").getall())),
            star_score=number(float(score)) if re.fullmatch(r"\d+(\.\d+)?", score) else None,
            finished=finished,
            url=url,
        ),
        () if cover is None else (PictureLink(cover, "cover"),),
    )
    about = {**request.about, **({"canvas": True} if "/canvas/" in url else {})}
    return ParsedPage(titles=(parsed,), requests=(episodes(title_id, about),))


def _authors(tree: Selector) -> list[str]:
    """The page's own credit; an `.author` elsewhere belongs to recommendations."""
    said = clean(tree.css('meta[property="com-linewebtoon:webtoon:author"]::attr(content)').get())
    if said and said.casefold() != "null":
        return _split(said)
    area = tree.css(".detail_header .author_area, div.author_area")[:1]
    # Names are text or links, with a button ("author info") among them.
    parts = [
        f", {node.xpath('string()').get()}, " if node.root.__class__ is not str else node.get()
        for node in area.xpath("./text() | .//a")
    ]
    return _split(clean("".join(parts)))


def _split(text: str | None) -> list[str]:
    parts = re.split(r"\s*[,/]\s+|\s+/\s*|,", text or "")
    return list(dict.fromkeys(p for p in (part.strip(" ,/") for part in parts) if p))


def parse_episodes(request: PageRequest, page: Page) -> ParsedPage:
    """All episodes in one answer."""
    body = mapping(mapping(page.json()).get("result"))
    if not isinstance(body.get("episodeList"), list):
        raise page.lacks("result.episodeList", '{"result": {"episodeList": [{"episodeNo": 1}]}}')
    title_id = str(request.title_id)
    pictures: list[PictureLink] = []

    def episode(row: dict[str, Any]) -> Episode:
        no = page.need(whole(row.get("episodeNo")), "episodeList[].episodeNo", '"episodeNo": 1')
        published = _day(row.get("exposureDateMillis"))
        link = clean(row.get("viewerLink"))
        url = _joined(ROOT, link)
        thumbnail = clean(row.get("thumbnail"))
        if thumbnail:
            address = https(thumbnail) or _joined(PICTURES, thumbnail)
            if address:
                pictures.append(PictureLink(address, "thumbnail", no, published))
        return Episode(title_id, no, clean(row.get("episodeTitle")), published, None, url)

    found, odd = page.each(rows(body["episodeList"]), episode)
    if found and not pictures:
        raise page.lacks("episodeList[].thumbnail", '"thumbnail": "/20200101_1/thumb.jpg"')
    numbers = tuple(dict.fromkeys(episode.episode_no for episode in found))
    return ParsedPage(
        episodes=tuple(found),
        episodes_count=len(numbers),
        pictures=tuple(pictures),
        free=numbers,
        odd=odd,
    )


def _joined(root: str, link: str | None) -> str | None:
    """An address on the site, None when there is none."""
    try:
        return https(urljoin(root, link)) if link else None
    except ValueError:
        return None


def _day(millis: Any) -> Any:
    try:
        return datetime.fromtimestamp(float(millis) / 1000, UTC).date() if millis else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def parse_strip(request: PageRequest, page: Page) -> ParsedPage:
    """The slices of an episode."""
    images = page.tree().css("#_imageList img._images::attr(data-url)").getall()
    return ParsedPage(pictures=slices(request, images))


def _words(node: Selector, query: str) -> str | None:
    """The text of the first element that has some."""
    texts = (clean(" ".join(found.css("::text").getall())) for found in node.css(query))
    return next((text for text in texts if text), None)


SITE = Site(
    name="webtoons",
    hosts=("www.webtoons.com", "m.webtoons.com", "*.pstatic.net"),
    headers={
        "Referer": f"{ROOT}/",  # the picture hosts answer 403 without it
        # No consent of any kind was given, and none is asked for.
        "Cookie": "needGDPR=false; needCCPA=false; needCOPPA=false",
    },
    adult_headers={
        "Cookie": "needGDPR=false; needCCPA=false; needCOPPA=false; ageGatePass=true",
    },
    start=start,
    parsers={
        "list": parse_list,
        "title": parse_title,
        "episodes": parse_episodes,
        "strip": parse_strip,
    },
    title=title,
    address=("webtoons.com", "title_no"),
    probe=episodes,
    strip=strip,
    redirect_reasons={"/ageGate": "adult", "/login": "adult"},
)
