"""No spelling of a private address gets through, neither as a link nor from a name server."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from crawler.middlewares import PinnedResolver, check_url
from crawler.settings import Refused
from crawler.sites.base import SITES, site_of

LITERALS = [
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "10.0.0.1", "10.255.0.9"),
    *("172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.1.254", "169.254.169.254"),
    *("169.254.0.1", "100.64.0.1", "100.127.255.255", "198.18.0.1", "192.0.0.1", "192.0.2.1"),
    *("198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1", "168.63.129.16"),
    *("255.255.255.255", "192.88.99.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1"),
    *("fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1"),
    *("2002:7f00:1::", "2002:a00:1::", "2002:c0a8:1::1", "2001:0:7f00:1::", "2001:db8::1", "100::1"),
    *("2001::1", "3fff::1", "fec0::1", "0:0:0:0:0:0:0:1", "0000::0001", "::ffff:7f00:1"),
]  # fmt: skip
NUMBERS = [
    *("2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "0177.1", "017700000001"),
    *("3232235521", "0xc0a80001", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "1.0.0.127"),
    *("127.0.0.1.", "127。0。0。1", "１２７.０.０.１", "①②⑦.0.0.1", "127.0.0.0x1", "00000127.0.0.1"),
]  # fmt: skip
NAMES = [
    *("localhost", "localhost.", "LOCALHOST", "localhost.localdomain", "ip6-localhost", "loopback"),
    *("metadata.google.internal", "instance-data", "127.0.0.1.nip.io", "a.127-0-0-1.sslip.io"),
    *("comic.naver.com.evil.example", "evilcomic.naver.com", "xcomic.naver.com", "naver.com"),
    *("comic.naver.com@127.0.0.1", "comic.naver.com:80@127.0.0.1", "pstatic.net", "xpstatic.net"),
    *("image-comic.pstatic.net.evil.example", "pstatic.net.localhost", "www.melon.com.local", ""),
]  # fmt: skip
SHAPES = (
    "http://{}/a.jpg",
    "https://{}/a.jpg",
    "http://{}:8080/a.jpg",
    "https://user:pass@{}/a.jpg",
)
ODD = [
    *("file:///etc/passwd", "ftp://comic.naver.com/a.jpg", "gopher://comic.naver.com/", "data:image/png,x"),
    *("javascript:alert(1)", "//comic.naver.com/a.jpg", "/a.jpg", "", "http://", "https:///a.jpg"),
    *("http://comic.naver.com:22/a.jpg", "http://comic.naver.com:6379/", "http://comic.naver.com:99999/"),
    *("http://[::1", "http://]/", "unix:/var/run/x.sock", "http://[comic.naver.com]/"),
    *("http://comic.naver.com\\@127.0.0.1/a.jpg", "http://127.0.0.1#@comic.naver.com/"),
    *("http://127.0.0.1?@comic.naver.com/", "http://127.0.0.1\\.pstatic.net@x/", "jar:http://comic.naver.com/!"),
]  # fmt: skip
LINKS = [
    shape.format(f"[{host}]" if ":" in host and "@" not in host else host)
    for host in [*LITERALS, *NUMBERS, *NAMES]
    for shape in SHAPES
] + ODD


def test_links_to_other_places_are_refused() -> None:
    assert len(set(LINKS)) >= 200
    let_through = []
    for name in SITES:
        for link in (*LINKS, *(quote(link, safe=":/@[]#?\\%") for link in LINKS)):
            try:
                check_url(link, site_of(name))
            except Refused:
                continue
            let_through.append((name, link))
    assert let_through == []


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("naver", "https://image-comic.pstatic.net/webtoon/1/2/t.jpg"),
        ("naver", "http://comic.naver.com:80/api?x=127.0.0.1"),
        ("webtoons", "https://m.webtoons.com:443/api/v1/webtoon/95/episodes"),
        ("melon", "https://cdnimg.melon.co.kr/a.jpg"),
        ("naver", "https://IMAGE-COMIC.pstatic.net./a.jpg"),
    ],
)
def test_the_sites_own_links_pass(name: str, link: str) -> None:
    check_url(link, site_of(name))


def resolved(answers: list[list[str]], allowed: str | None = None) -> list[list[str]]:
    """What a resolver gives for one name asked several times, when the server answers so."""
    served = iter(answers)

    async def resolve(host: str) -> list[str]:
        return next(served)

    async def ask() -> list[list[str]]:
        resolver = PinnedResolver(None, allowed, resolve)
        return [await resolver.addresses("image-comic.pstatic.net") for _ in answers]

    return asyncio.run(ask())


def test_names_that_lead_inside() -> None:
    for address in LITERALS:
        assert resolved([[address]]) == [[]]
    assert resolved([["10.0.0.1", "8.8.8.8", "::1"]]) == [["8.8.8.8"]]


def test_a_name_that_changes_its_mind() -> None:
    assert resolved([["8.8.8.8"], ["127.0.0.1"]]) == [["8.8.8.8"], ["8.8.8.8"]]
    assert resolved([["127.0.0.1"], ["127.0.0.1"]], "127.0.0.1") == [["127.0.0.1"]] * 2


def test_a_name_that_nobody_knows() -> None:
    async def unknown(host: str) -> list[str]:
        raise OSError("no such name")

    resolver: Any = PinnedResolver(None, None, unknown)
    assert asyncio.run(resolver.addresses("x")) == []
