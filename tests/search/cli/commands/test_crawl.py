"""What `crawl` understands: titles by number, id or address, and days in usual spellings."""

from __future__ import annotations

from datetime import date

import pytest

from crawler.sites.webtoons import LANGUAGES, start
from schemas.errors import UsageError
from search.cli.commands.crawl import _day, _scope

VIEWER = "https://www.webtoons.com/fr/fantasy/x/ep-1/viewer?title_no=95&episode_no=1"
CANVAS = "https://www.webtoons.com/fr/canvas/y/list?title_no=7"


def test_titles_by_number_id_or_address() -> None:
    given = ["5", "naver:6", " 7 ", "https://comic.naver.com/webtoon/list?titleId=8&weekday=wed"]
    assert _scope("naver", False, False, given, False).titles == ("5", "6", "7", "8")
    scope = _scope("webtoons", False, False, [VIEWER, CANVAS], False, languages=LANGUAGES)
    assert (scope.titles, scope.canvas, scope.language) == (("95", "7"), ("7",), "fr")
    assert [request.url for request in start(scope)] == [
        "https://www.webtoons.com/fr/webtoon/title/list?title_no=95",
        "https://www.webtoons.com/fr/canvas/title/list?title_no=7",
    ]
    assert _scope("webtoons", False, False, ["95"], False, languages=LANGUAGES).language == "en"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["../x"], "not a title's number"),
        (["신의 탑"], "not a title's number"),
        (["https://example.org/webtoon/list?titleId=8"], "not the address of a title"),
        (["naver:6"], "a title of naver"),
        (["https://comic.naver.com/webtoon/list?titleId=8"], "a title of naver"),
        ([VIEWER, VIEWER.replace("/fr/", "/es/")], "several languages"),
    ],
)
def test_other_texts_are_refused(given: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        _scope("webtoons", False, False, given, False, languages=LANGUAGES)
    with pytest.raises(UsageError, match="several languages"):
        _scope("webtoons", False, False, [VIEWER], False, (), "de", LANGUAGES)
    with pytest.raises(UsageError, match="--max-episodes belongs to --strips"):
        _scope("naver", False, False, None, False, max_episodes=2)


def test_days_in_usual_spellings() -> None:
    for text in ("2024-12-01", "2024.12.01", "2024.12.1.", "2024/12/01", "20241201", "2024. 12. 1",
                 "2024년 12월 1일", "2024年12月1日", "1 Dec 2024", "Dec 1, 2024", "1. Dezember 2024"):  # fmt: skip
        assert _day(text) == date(2024, 12, 1), text
    for text in ("2026-13-01", "yesterday", "2024", "01/02/2024", "", "2024-02-30"):
        with pytest.raises(UsageError, match="not a date"):
            _day(text)
    with pytest.raises(UsageError, match="future"):
        _day("2099.12.01")
