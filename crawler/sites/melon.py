"""Melon charts (www.melon.com): one page a year, each row an album with its cover.

Source:  notes on public scripts of 2021-2026 and saved pages
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crawler.sites.base import (
    Page,
    PageRequest,
    ParsedPage,
    ParsedTitle,
    PictureLink,
    Scope,
    Site,
    clean,
    html_tree,
    https,
    key_of,
)
from schemas.dates import parse_date
from schemas.errors import UsageError
from schemas.records import Author, Title, distinct_authors

if TYPE_CHECKING:
    from parsel import Selector

ROOT = "https://www.melon.com"
FIRST_YEAR = 1980
"""The first year that clients read with full charts."""
CHARTS = {"year": "YE", "decade": "AG"}
ADDRESS = (
    ROOT + "/chart/age/list.htm?idx=1&chartType={chart}&chartGenre={genre}&chartDate={year}&moved=Y"
)


def start(scope: Scope) -> list[PageRequest]:
    """One request for each year (or decade) and each genre.

    Errors:  UsageError for years that are the wrong way round
    """
    now = datetime.now(UTC).year
    first = scope.from_year or FIRST_YEAR
    last = scope.to_year or max(first, now - 1)  # the chart of this year is not finished
    if not 1900 <= first <= last <= now:
        raise UsageError(
            f"the years {first} to {last} are not valid", f"Use --from and --to, up to {now}."
        )
    years = range(first, last + 1)
    if scope.period == "decade":
        years = range(first - first % 10, last + 1, 10)
    return [
        PageRequest(
            ADDRESS.format(chart=CHARTS[scope.period], genre=genre, year=year),
            "chart",
            None,
            {"year": year, "period": scope.period, "genre": genre, "details": scope.details},
        )
        for genre in (scope.genres or ("KPOP",))
        for year in years
    ]


def parse_chart(request: PageRequest, page: Page) -> ParsedPage:
    """The rows of a chart: album, artists, cover; the chart's year is the era."""
    text = page.text()
    # Rows alone, as the list request may answer them, are lost by an HTML parser.
    tree = html_tree(text if re.search(r"<table\b", text, re.I) else f"<table>{text}</table>")
    chart_rows = tree.css("tr.lst50, tr.lst100")
    if not chart_rows:
        raise page.lacks("tr.lst50", '<tr class="lst50" data-song-no="30838076">')
    titles, odd = page.each(chart_rows, lambda row: _album(row, request.about, page))
    if not any(parsed.pictures for parsed in titles):
        raise page.lacks(
            "a.image_typeAll img",
            '<a class="image_typeAll"><img src="http://cdnimg.melon.co.kr/...">',
        )
    requests = {parsed.title.title_id: title(parsed.title.title_id, {}) for parsed in titles}
    details = tuple(requests.values()) if request.about.get("details") else ()
    return ParsedPage(titles=tuple(titles), requests=details, odd=odd)


def year_of(tags: Sequence[str]) -> int | None:
    """The year of an album's earliest yearly chart; else its decade's first year."""
    years = [int(y) for tag in tags for y in re.findall(r" chart (\d{4})$", tag)]
    decades = [int(y) for tag in tags for y in re.findall(r" chart (\d{4})s$", tag)]
    return min(years or decades, default=None)


def title(title_id: str, about: Mapping[str, Any]) -> PageRequest:
    address = f"{ROOT}/album/detail.htm?albumId={key_of(title_id)}"
    return PageRequest(address, "album", title_id, about)


def _album(row: Selector, about: Mapping[str, Any], page: Page) -> ParsedTitle:
    album = row.css(".rank03 a")[:1]
    link = album.attrib.get("href", "") or row.css("a.image_typeAll::attr(href)").get("")
    found = re.search(r"goAlbumDetail\(\D*(\d+)", link)
    key = page.need(found, "div.rank03 a", "melon.link.goAlbumDetail('10128855')")[1]
    name = clean("".join(album.css("::text").getall()))
    shown = row.css("a.image_typeAll::attr(title)").get("").removesuffix(" - 페이지 이동")
    name = page.need(name or clean(shown), "div.rank03 a", "the album's name")
    # The hidden span repeats the artists, so only direct children count.
    artists = [clean("".join(a.css("::text").getall())) for a in row.css(".rank02 > a")]
    year = int(about["year"])
    cover = https(row.css("a.image_typeAll img::attr(src)").get())
    tag = f"{about.get('genre', 'KPOP')} chart {year}{'s' * (about.get('period') == 'decade')}"
    record = Title(
        title_id=f"melon:{key}",
        platform="melon",
        name=name,
        authors=distinct_authors(Author(a, "artist") for a in artists if a),
        tags=(tag,),
        year=year,
        url=f"{ROOT}/album/detail.htm?albumId={key}",
    )
    pictures: tuple[PictureLink, ...] = ()
    if cover is not None:
        original = re.sub(r"(\.jpe?g)/.*$", r"\1", cover, flags=re.I)  # without the resizing part
        pictures = (PictureLink(original, "cover"),)
    adult = bool(row.css(".bullet_icons.age_19, .icon_age19, .age_19"))
    return ParsedTitle(record, pictures, adult, merged=True)


def parse_album(request: PageRequest, page: Page) -> ParsedPage:
    """Release date and genre of an album, which add to the chart's row."""
    tree = page.tree()
    facts: dict[str, str] = {}
    for term in tree.css("dl.list dt"):
        value = "".join(term.xpath("following-sibling::dd[1]//text()").getall())
        facts[clean("".join(term.css("::text").getall())) or ""] = clean(value) or ""
    if not facts:
        raise page.lacks("dl.list", "<dt>발매일</dt><dd>2018.01.18</dd>")
    genres = tuple(g.strip() for g in facts.get("장르", "").split(",") if g.strip())
    record = Title(
        title_id=str(request.title_id),
        platform="melon",
        name="",  # it is in the chart
        genres=genres,
        first_date=parse_date(facts.get("발매일", "")),
    )
    return ParsedPage(titles=(ParsedTitle(record, merged=True),))


SITE = Site(
    name="melon",
    hosts=("www.melon.com", "cdnimg.melon.co.kr"),
    headers={"Referer": f"{ROOT}/"},
    start=start,
    parsers={"chart": parse_chart, "album": parse_album},
    title=title,
    address=("melon.com", "albumId"),
    year_of=year_of,
    redirect_reasons={"member.melon.com": "adult", "/login": "adult"},
)
