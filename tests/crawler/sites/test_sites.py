"""Recorded responses become exactly these records; changed ones name what is missing."""

from __future__ import annotations

import contextlib
import json
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.sites.base import (
    SITES,
    ListedTitle,
    Page,
    PageError,
    PageRequest,
    ParsedPage,
    PictureLink,
    Scope,
    clean,
    https,
    number,
    prose,
    site_of,
    slices,
    title_of_address,
    whole,
)
from crawler.sites.base import ParsedTitle as SiteWork
from crawler.sites.melon import parse_album, parse_chart, year_of
from crawler.sites.naver import parse_episodes, parse_list, parse_strip, parse_title, short_date
from crawler.sites.webtoons import parse_episodes as webtoons_episodes
from crawler.sites.webtoons import parse_list as webtoons_list
from crawler.sites.webtoons import parse_strip as webtoons_strip
from crawler.sites.webtoons import parse_title as webtoons_title
from schemas.errors import UsageError
from schemas.records import Author, Episode, Title

SAMPLES = Path(__file__).parent / "samples"
NAVER = "https://comic.naver.com"


def sample(name: str) -> Page:
    return Page(f"https://example.org/{name}", (SAMPLES / name).read_bytes(), name.split("_")[0])


def page(body: Any, site: str = "") -> Page:
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return Page("https://example.org/page", text.encode(), site)


def test_naver_curation_sample() -> None:
    found = parse_list(
        PageRequest(f"{NAVER}/api/curation/list?page=1", "list"), sample("naver_curation.json")
    )
    assert found == ParsedPage(
        listed=(
            ListedTitle(
                title_id="naver:183559",
                name="신의 탑",
                authors=("SIU",),
                adult=False,
                finished=False,
                star_score=9.84056,
                episodes_count=652,
                last_date=date(2024, 12, 1),
            ),
        )
    )


def test_naver_info_sample() -> None:
    request = PageRequest(f"{NAVER}/api/article/list/info?titleId=747269", "title", "naver:747269")
    assert parse_title(request, sample("naver_info_partial.json")) == ParsedPage(
        titles=(
            SiteWork(
                Title(
                    title_id="naver:747269",
                    platform="naver",
                    name="전지적 독자 시점",
                    authors=(
                        Author("슬리피-C", "painter"),  # whoever draws comes first
                        Author("UMI", "writer"),
                        Author("싱숑", "origin"),
                    ),
                    genres=("fantasy",),
                    tags=("판타지", "게임", "헌터물"),
                    synopsis="'이건 내가 아는 그 전개다'\n세계가 멸망했다.",
                    age_rating="RATE_15",
                    url=f"{NAVER}/webtoon/list?titleId=747269",
                ),
                (
                    PictureLink(
                        "https://shared-comic.pstatic.net/thumb/webtoon/747269/t.jpg", "cover"
                    ),
                ),
            ),
        ),
        requests=(
            PageRequest(
                f"{NAVER}/api/article/list?titleId=747269&page=1&sort=DESC",
                "episodes",
                "naver:747269",
                {"page": 1},
            ),
        ),
    )


def test_melon_row_sample() -> None:
    request = PageRequest(
        "https://www.melon.com/", "chart", None, {"year": 2018, "period": "year", "genre": "KPOP"}
    )
    cover = "https://cdnimg.melon.co.kr/cm/album/images/101/28/855/10128855_500.jpg"
    assert parse_chart(request, sample("melon_row.html")) == ParsedPage(
        titles=(
            SiteWork(
                Title(
                    title_id="melon:10128855",
                    platform="melon",
                    name="주인공",
                    authors=(Author("선미", "artist"),),  # named twice in the row
                    tags=("KPOP chart 2018",),
                    year=2018,
                    url="https://www.melon.com/album/detail.htm?albumId=10128855",
                ),
                (PictureLink(cover, "cover"),),
                merged=True,
            ),
        )
    )


ARTICLES: dict[str, Any] = {
    "totalCount": 41,
    "titleId": 183559,
    "articleList": [
        {
            "no": 652, "subtitle": "[시즌3] 234화 &quot;탑&quot; 🗼", "starScore": 9.97, "charge": False,
            "thumbnailUrl": "https://image-comic.pstatic.net/webtoon/183559/652/thumbnail_202x120_a.jpg",
            "serviceDateDescription": "24.12.01",
        },
        {
            "no": 651, "subtitle": "233화", "starScore": 0, "charge": True,
            "thumbnailUrl": "https://image-comic.pstatic.net/webtoon/183559/651/thumbnail_202x120_b.jpg",
            "serviceDateDescription": "7일 후 무료",
        },
    ],
    "chargeFolderArticleList": [{"no": 653, "subtitle": "234화", "thumbnailUrl": "https://x/y.jpg"}],
    "pageInfo": {"totalRows": 41, "pageSize": 20, "page": 1, "totalPages": 3},
}  # fmt: skip


def test_naver_episodes() -> None:
    request = PageRequest(
        f"{NAVER}/api/article/list?titleId=183559&page=1&sort=DESC", "episodes", "naver:183559"
    )
    images = "https://image-comic.pstatic.net/webtoon/183559"
    address = f"{NAVER}/webtoon/detail?titleId=183559&no="
    assert parse_episodes(request, page(ARTICLES)) == ParsedPage(
        episodes=(
            Episode(
                "naver:183559",
                652,
                '[시즌3] 234화 "탑" 🗼',
                date(2024, 12, 1),
                9.97,
                f"{address}652",
            ),
            Episode("naver:183559", 651, "233화", None, None, f"{address}651"),
        ),
        episodes_count=41,
        pictures=(
            PictureLink(
                f"{images}/652/thumbnail_202x120_a.jpg", "thumbnail", 652, date(2024, 12, 1)
            ),
            PictureLink(f"{images}/651/thumbnail_202x120_b.jpg", "thumbnail", 651),
        ),
        more=PageRequest(
            f"{NAVER}/api/article/list?titleId=183559&page=2&sort=DESC",
            "episodes",
            "naver:183559",
            {"page": 2},
        ),
        free=(652,),
    )


def test_naver_lists() -> None:
    row = {"titleId": 1, "titleName": "a", "author": "글 / 그림", "adult": True, "finish": True}
    week = {"titleListMap": {"MONDAY": [row], "TUESDAY": [{**row, "titleId": 2, "adult": False}]}}
    listed = parse_list(PageRequest("https://x?order=user", "list"), page(week)).listed
    assert [(t.title_id, t.authors, t.adult, t.finished) for t in listed] == [
        ("naver:1", ("글", "그림"), True, True),
        ("naver:2", ("글", "그림"), False, True),
    ]
    body = {"titleList": [row], "pageInfo": {"totalPages": 3}}
    request = PageRequest(
        f"{NAVER}/api/webtoon/titlelist/finished?page=1&order=UPDATE",
        "list",
        None,
        {"finished": True},
    )
    assert [next_.url for next_ in parse_list(request, page(body)).requests] == [
        f"{NAVER}/api/webtoon/titlelist/finished?page={n}&order=UPDATE" for n in (2, 3)
    ]


def test_naver_older_credits_levels_and_unknown_numbers() -> None:
    body = {
        "titleId": 5, "titleName": "b", "webtoonLevelCode": "BEST_CHALLENGE", "finished": True,
        "author": {"writers": [{"name": "W"}], "painters": [{"name": "P"}], "originAuthors": []},
        "age": {"type": "RATE_18"}, "gfpAdCustomParam": {"genreTypes": ["HISTORICAL", "STORY"]},
        "thumbnailUrl": "//image-comic.pstatic.net/t.jpg",
    }  # fmt: skip
    parsed = parse_title(PageRequest("u", "title", "naver:5"), page(body)).titles[0]
    assert parsed.title.authors == (Author("P", "painter"), Author("W", "writer"))
    assert parsed.title.genres == ("historical",)
    assert parsed.title.url == f"{NAVER}/bestChallenge/list?titleId=5"
    assert parsed.title.finished is True
    assert parsed.adult
    for unknown in ("<html>no</html>", {"code": "NOT_FOUND"}, "", "[]"):
        assert (
            parse_title(PageRequest("u", "title", "naver:5"), page(unknown)).skip_reason == "gone"
        )


def test_naver_strip() -> None:
    body = (
        '<div id="sectionContWide"><img src="https://image-comic.pstatic.net/1.jpg">'
        '<img src="https://image-comic.pstatic.net/agerate_15.png"><div><img src="https://x/n.jpg">'
        '</div><img src="//image-comic.pstatic.net/2.jpg"></div><img src="https://x/other.jpg">'
    )
    found = parse_strip(PageRequest("u", "strip", "naver:5", {"episode_no": 7}), page(body))
    assert found.pictures == (
        PictureLink("https://image-comic.pstatic.net/1.jpg", "strip", 7),
        PictureLink("https://image-comic.pstatic.net/2.jpg", "strip", 7),
    )


def test_slices_whose_addresses_do_not_sort_have_their_place_behind_them() -> None:
    request = PageRequest("u", "strip", "webtoons:5", {"episode_no": 7})
    names = ("c.jpg?a=1", "a.jpg", "b.jpg")
    found = slices(request, [f"https://x/{name}" for name in names])
    assert [link.url for link in found] == [f"https://x/{n}#{k}" for k, n in enumerate(names, 1)]
    assert [link.url for link in slices(request, ["https://x/2", "https://x/10"])] == [
        "https://x/2",
        "https://x/10",
    ]


@pytest.mark.parametrize(
    ("text", "day"),
    [("24.12.01", date(2024, 12, 1)), (" 04.01.09. ", date(2004, 1, 9)), ("24.13.01", None),
     ("7일 후 무료", None), ("", None), (None, None), (5, None), ("2024.12.01", None)],
)  # fmt: skip
def test_naver_dates(text: Any, day: date | None) -> None:
    assert short_date(text) == day


CARD = (
    '<li><a class="link _genre_title_a" data-title-no="95" href="/en/fantasy/tower-of-god/list?title_no=95">'
    '<div class="image_wrap"><img data-src="t.jpg" alt="Tower of God"></div><div class="info_text">'
    '<strong class="title">Tower of God &amp; more</strong><div class="author">SIU, Other</div></div></a></li>'
)


def test_webtoons_list() -> None:
    request = PageRequest(
        "https://www.webtoons.com/en/genres/fantasy", "list", None, {"language": "en"}
    )
    old = '<ul class="card_lst"><li><a href="/en/canvas/x/list?title_no=7"><p class="subj">Old</p></a></li></ul>'
    found = webtoons_list(request, page(f'<ul class="webtoon_list">{CARD}{CARD}</ul>{old}'))
    assert found.listed == (
        ListedTitle(
            "webtoons:95", "Tower of God & more", ("SIU", "Other"), about={"language": "en"}
        ),
        ListedTitle("webtoons:7", "Old", about={"language": "en", "canvas": True}),
    )
    with pytest.raises(PageError, match="country"):
        webtoons_list(request, page("<html>We cannot display this page</html>"))
    with pytest.raises(PageError, match=r"ul\.webtoon_list"):
        webtoons_list(request, page("<html>" + "x" * 3000))


def test_webtoons_title_and_episodes() -> None:
    body = (
        '<meta property="og:image" content="https://swebtoon-phinf.pstatic.net/c.jpg">'
        '<link rel="canonical" href="https://www.webtoons.com/en/fantasy/tower-of-god/list?title_no=95">'
        '<div class="detail_header"><h2 class="genre">Fantasy</h2><h1 class="subj">Tower<br>of God</h1>'
        '<div class="author_area">SIU, <a href="#">Kim</a><button>author info</button></div></div>'
        '<p class="summary">What do you\n desire?</p><p class="day_info"><span>UP</span> EVERY MONDAY</p>'
        '<em id="_starScoreAverage">9.83</em><div class="author">Somebody else</div>'
    )
    request = PageRequest("https://www.webtoons.com/x", "title", "webtoons:95", {"language": "en"})
    found = webtoons_title(request, page(body))
    assert found.titles[0] == SiteWork(
        Title(
            title_id="webtoons:95",
            platform="webtoons",
            name="Tower of God",
            authors=(Author("SIU"), Author("Kim")),
            genres=("fantasy",),
            synopsis="What do you\ndesire?",
            star_score=9.83,
            finished=False,
            url="https://www.webtoons.com/en/fantasy/tower-of-god/list?title_no=95",
        ),
        (PictureLink("https://swebtoon-phinf.pstatic.net/c.jpg", "cover"),),
    )
    (next_,) = found.requests
    assert next_.url == "https://m.webtoons.com/api/v1/webtoon/95/episodes?pageSize=99999&cursor=0"
    assert webtoons_title(request, page("<html>no</html>")).skip_reason == "region"
    rows = [
        {"episodeNo": 1, "episodeTitle": "Ep. 1 &#39;A&#39;", "thumbnail": "/2010/1.jpg?type=q90",
         "viewerLink": "/en/fantasy/tower-of-god/ep-1/viewer?title_no=95&episode_no=1",
         "exposureDateMillis": 1404090000000}
    ]  # fmt: skip
    found = webtoons_episodes(next_, page({"result": {"episodeList": rows}}))
    assert found == ParsedPage(
        episodes=(
            Episode(
                "webtoons:95", 1, "Ep. 1 'A'", date(2014, 6, 30), None,
                "https://www.webtoons.com/en/fantasy/tower-of-god/ep-1/viewer?title_no=95&episode_no=1",
            ),
        ),
        episodes_count=1,
        pictures=(
            PictureLink(
                "https://swebtoon-phinf.pstatic.net/2010/1.jpg?type=q90", "thumbnail", 1, date(2014, 6, 30)
            ),
        ),
        free=(1,),
    )  # fmt: skip
    strip = webtoons_strip(
        PageRequest("u", "strip", "webtoons:95", {"episode_no": 3}),
        page(
            '<div id="_imageList"><img class="_images" data-url="https://a.pstatic.net/1.jpg"></div>'
        ),
    )
    assert strip.pictures == (PictureLink("https://a.pstatic.net/1.jpg", "strip", 3),)


def test_melon_albums_and_years() -> None:
    body = (
        '<dl class="list"><dt>발매일</dt><dd>2018.01.18</dd><dt>장르</dt><dd>댄스, 발라드</dd></dl>'
    )
    parsed = parse_album(PageRequest("u", "album", "melon:1"), page(body)).titles[0]
    assert (parsed.title.first_date, parsed.title.genres) == (date(2018, 1, 18), ("댄스", "발라드"))
    assert year_of(("KPOP chart 1990s", "POP chart 1996", "KPOP chart 1995")) == 1995
    assert year_of(("KPOP chart 1990s",)) == 1990
    assert year_of(()) is None


@pytest.mark.parametrize(
    ("site", "kind", "body", "field"),
    [
        ("naver", "list", {"titles": []}, "titleList"),
        ("naver", "list", "<html>login</html>", "titleList"),
        ("naver", "list", {"titleList": [{"titleName": "a"}]}, "titleList[].titleId"),
        ("naver", "list", {"titleList": [{"titleId": 1}]}, "titleList[].titleName"),
        ("naver", "title", {"titleId": 1}, "titleName"),
        ("naver", "title", {"titleId": 1, "titleName": "a"}, "communityArtists"),
        ("naver", "episodes", {"articles": []}, "articleList"),
        ("naver", "episodes", {"articleList": [{"subtitle": "1"}]}, "articleList[].no"),
        ("naver", "episodes", {"articleList": [{"no": 1}]}, "articleList[].thumbnailUrl"),
        ("webtoons", "list", "<html>" + "y" * 2000, "ul.webtoon_list"),
        ("webtoons", "title", "<html>" + "y" * 2000, "h1.subj"),
        ("webtoons", "episodes", {"result": {}}, "result.episodeList"),
        ("webtoons", "episodes", {"result": {"episodeList": [{}]}}, "episodeList[].episodeNo"),
        (
            "webtoons",
            "episodes",
            {"result": {"episodeList": [{"episodeNo": 1}]}},
            "episodeList[].thumbnail",
        ),
        ("melon", "chart", "<table></table>", "tr.lst50"),
        ("melon", "chart", '<tr class="lst50"><td></td></tr>', "div.rank03 a"),
        ("melon", "album", "<html></html>", "dl.list"),
    ],
)
def test_a_changed_layout_names_site_field_and_sample(
    site: str, kind: str, body: Any, field: str
) -> None:
    request = PageRequest("u", kind, f"{site}:1", {"year": 2000})
    with pytest.raises(PageError) as caught:
        site_of(site).parsers[kind](request, page(body, site))
    assert (caught.value.site, caught.value.field) == (site, field)
    assert site in caught.value.message
    assert "expected is" in caught.value.message


def test_first_requests() -> None:
    def urls(site: str, scope: Scope) -> list[str]:
        return [request.url for request in site_of(site).start(scope)]

    assert len(urls("naver", Scope())) == 9
    assert len(urls("naver", Scope(lists=("weekday",)))) == 8
    assert urls("naver", Scope(titles=("5",))) == [f"{NAVER}/api/article/list/info?titleId=5"]
    assert "https://www.webtoons.com/es/originals/lunes?sortOrder=UPDATE" in urls(
        "webtoons", Scope(language="es")
    )
    assert urls("webtoons", Scope(genres=("super hero/../x",))) == [
        "https://www.webtoons.com/en/genres/super%20hero%2F..%2Fx?sortOrder=UPDATE"
    ]
    decades = urls("melon", Scope(from_year=1995, to_year=2003, period="decade"))
    assert [url.split("chartDate=")[1][:4] for url in decades] == ["1990", "2000"]
    assert all("chartType=AG" in url for url in decades)
    assert len(urls("melon", Scope(from_year=2000, to_year=2002, genres=("KPOP", "POP")))) == 6
    for years in ((2003, 2000), (1700, 1710), (2020, 3000)):
        with pytest.raises(UsageError, match="years"):
            urls("melon", Scope(from_year=years[0], to_year=years[1]))
    with pytest.raises(UsageError, match="naver"):
        site_of("navre")


NUMBERS = {
    "naver:747269": (
        "https://comic.naver.com/webtoon/list?titleId=747269&weekday=wed",
        "https://comic.naver.com/webtoon/list?weekday=wed&titleId=747269",
        "http://comic.naver.com/webtoon/list.nhn?titleId=747269",
        "comic.naver.com/webtoon/list?titleId=747269",
        "//comic.naver.com/webtoon/list?titleId=747269",
        "HTTPS://M.COMIC.NAVER.COM/webtoon/list?titleId=747269&sortOrder=DESC#top",
        "https://m.comic.naver.com/webtoon/detail?titleId=747269&no=551",
        "https://comic.naver.com/webtoon/list/?titleId=747269",
        "https://comic.naver.com/bestChallenge/detail?no=1&titleId=747269&",
        " <https://comic.naver.com/webtoon/list?titleId=747269&amp;page=2>\n",
        "https://comic.naver.com:443/webtoon/list?tab=wed&titleid=747269%20",
    ),
    "webtoons:95": (
        "https://www.webtoons.com/en/fantasy/tower-of-god/list?title_no=95&page=2",
        "https://www.webtoons.com/en/fantasy/tower-of-god/ep-1/viewer?title_no=95&episode_no=1",
        "webtoons.com/en/fantasy/tower-of-god/list?title_no=95",
        "https://m.webtoons.com/en/fantasy/tower-of-god/list?titleNo=0095",
    ),
    "melon:10128855": (
        "https://www.melon.com/album/detail.htm?albumId=10128855",
        "https://m2.melon.com/album/music.htm?ref=x&albumId=10128855",
    ),
}


def test_the_address_of_a_page_names_its_title() -> None:
    for title_id, addresses in NUMBERS.items():
        for address in addresses:
            found = title_of_address(address)
            assert found is not None and found[0] == title_id, address
    assert title_of_address(NUMBERS["webtoons:95"][0]) == (
        "webtoons:95",
        ("en", "fantasy", "tower-of-god", "list"),
    )
    for text in ("747269", "naver:747269", "folder:a/comic.naver.com/b", "", "신의 탑", "a/b?c=d"):
        assert title_of_address(text) is None
    for address in (
        "https://example.org/webtoon/list?titleId=747269",
        "https://comic.naver.com.example.org/webtoon/list?titleId=747269",
        "https://example.org/?u=https://comic.naver.com/webtoon/list?titleId=747269",
        "https://comic.naver.com/webtoon/list",
        "https://comic.naver.com/webtoon?tab=wed",
        "https://comic.naver.com/webtoon/list?titleId=",
        "https://comic.naver.com/webtoon/list?titleId=12a",
        f"https://comic.naver.com/webtoon/list?titleId={'9' * 5000}",
        "https://comic.naver.com/webtoon/list?title_no=95",
        "https://[",
        "ftp://x",
        "//",
    ):
        with pytest.raises(UsageError, match="not the address of a title"):
            title_of_address(address)


def test_values_as_sites_send_them() -> None:
    assert clean(" Tom &amp; Jerry\n &#39;x&#39; ") == "Tom & Jerry 'x'"
    assert clean("e\u0301") == "é"
    assert clean("חתול مرحبا 👾") == "חתול مرحبا 👾"
    assert [clean(v) for v in (None, True, [], {}, "  ", 5)] == [None] * 5 + ["5"]
    assert prose("a  b\r\n\n c&lt;") == "a b\n\nc<"
    assert [https(v) for v in ("//a/b", "http://a/b", "https://a/b", "ftp://a", "a/b", None, 5)] == [
        "https://a/b", "https://a/b", "https://a/b", None, None, None, None,
    ]  # fmt: skip
    assert [whole(v) for v in ("12", 0, -1, 2**31, True, "x", None, 1.5)] == [12, 0] + [None] * 6
    assert [number(v) for v in (9.5, 0, True, "9", float("nan"), 1e9)] == [9.5] + [None] * 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["titleList", "titleListMap", "titleId", "titleName", "articleList", "no", "pageInfo", "result",
             "episodeList", "episodeNo", "thumbnail", "thumbnailUrl", "communityArtists", "author", "age",
             "artistTypeList", "curationTagList", "gfpAdCustomParam", "genreTypes", "totalPages", "x"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_odd_json_never_crashes_a_room(body: Any) -> None:
    for site in ("naver", "webtoons"):
        for kind, parse in site_of(site).parsers.items():
            with contextlib.suppress(PageError):
                parse(PageRequest("https://x?page=1", kind, f"{site}:1", {}), page(body))


@given(st.binary(max_size=300))
def test_odd_bytes_never_crash_a_room(body: bytes) -> None:
    for site in SITES:
        for kind, parse in site_of(site).parsers.items():
            request = PageRequest("https://x?page=1", kind, f"{site}:1", {"year": 2000})
            with contextlib.suppress(PageError):
                parse(request, Page("https://x", body))


def test_the_documented_example_of_a_new_site_works() -> None:
    text = (Path(__file__).parents[3] / "docs/sites.md").read_text("utf-8")
    (code,) = (block for block in text.split("```python")[1:] if "SITE = Site" in block)
    names: dict[str, Any] = {}
    for module in ("crawler.sites.base", "crawler.sites.base", "schemas.records"):
        names.update(vars(import_module(module)))
    exec(code.split("```")[0], names)
    site = names["SITE"]
    listing = page({"titles": [{"id": 7, "name": "A &amp; B"}]})
    (listed,) = site.parsers["list"](site.start(Scope())[0], listing).listed
    assert (listed.title_id, listed.name) == ("example:7", "A & B")
    request = site.title(listed.title_id, {})
    (parsed,) = site.parsers["title"](
        request, page({"name": "A", "cover": "//www.example.org/a.jpg"})
    ).titles
    assert parsed.pictures == (PictureLink("https://www.example.org/a.jpg", "cover"),)
    with pytest.raises(PageError, match="titles"):
        site.parsers["list"](request, page({}))
