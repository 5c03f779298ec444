"""What a site is: pure functions from a plan to requests, and from a response to records.

Every fact about a site lives in its own module here. Nothing opens a connection, knows
Scrapy or touches the catalog, so a site is tested with recorded responses alone.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from schemas.attempt import unexpected
from schemas.errors import InputError, UsageError, nearest
from schemas.names import clean_name, natural_key
from schemas.records import Episode, Title

if TYPE_CHECKING:
    from parsel import Selector


SITES = ("naver", "webtoons", "melon")
T = TypeVar("T")
Entry = TypeVar("Entry")


class PageError(InputError):
    """A response lacks what this site's responses have."""

    def __init__(self, site: str, field: str, expected: str, url: str) -> None:
        self._set(site, field, f"{site} answered {url} without {field!r}: expected is {expected}")

    @classmethod
    def of(cls, site: str, url: str, error: BaseException) -> PageError:
        """An exception that nobody foresaw, about a response or an entry of it."""
        if isinstance(error, cls):
            return error
        found = cls.__new__(cls)
        what = unexpected(error).message
        found._set(site, type(error).__name__, f"{site} answered {url} oddly: {what}")
        found.__cause__ = error
        return found

    def _set(self, site: str, field: str, message: str) -> None:
        hint = f"The site may have changed; compare crawler/sites/{site}.py with the answer."
        super().__init__(message, hint)
        self.site, self.field = site, field


@dataclass(frozen=True)
class PageRequest:
    """One request to make. `about` is JSON that the parser gets back with the response."""

    url: str
    kind: str
    title_id: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """One response with status 200."""

    url: str
    body: bytes
    site: str = ""

    def lacks(self, field: str, expected: str) -> PageError:
        """The error to raise where a field is missing that everything depends on."""
        return PageError(self.site, field, expected, self.url)

    def need(self, value: T | None, field: str, expected: str) -> T:
        """A value that everything depends on.

        Errors:  PageError when it is None
        """
        if value is None:
            raise self.lacks(field, expected)
        return value

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def tree(self) -> Selector:
        """The body as HTML, whatever it is."""
        return html_tree(self.text())

    def each(
        self, entries: Iterable[Entry], parse: Callable[[Entry], T]
    ) -> tuple[list[T], tuple[str, ...]]:
        """The entries of a list, parsed one by one, and what is wrong with those that are left
        out because they lack what everything depends on.

        Errors:  PageError when most of them do: then the layout has changed
        """
        found: list[T] = []
        odd: list[PageError] = []
        messages = []
        for number, entry in enumerate(entries, 1):
            try:
                found.append(parse(entry))
            except Exception as error:  # an odd entry must not cost the others
                odd.append(PageError.of(self.site, self.url, error))
                messages.append(f"{odd[-1].message} (entry {number})")
        if len(odd) > len(found):
            raise odd[0]
        return found, tuple(messages)

    def json(self) -> Any:
        """The body as JSON, None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def html_tree(text: str) -> Selector:
    from parsel import Selector

    return Selector(text, type="html")


@dataclass(frozen=True)
class PictureLink:
    """A picture that a page names."""

    url: str
    kind: str
    episode_no: int | None = None
    published: date | None = None
    year: int | None = None


@dataclass(frozen=True)
class ListedTitle:
    """A title as a list shows it; `about` is what is needed to ask for the title.

    `episodes_count` and `last_date` are None where the list does not show them: then only a
    request can say whether the title has moved.
    """

    title_id: str
    name: str
    authors: tuple[str, ...] = ()
    adult: bool = False
    finished: bool | None = None
    star_score: float | None = None
    episodes_count: int | None = None
    last_date: date | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ParsedTitle:
    """A title with its own pictures. `merged` says that several pages describe parts of it, so
    that labels are united instead of replaced and the earliest year counts."""

    title: Title
    pictures: tuple[PictureLink, ...] = ()
    adult: bool = False
    merged: bool = False


@dataclass(frozen=True)
class ParsedPage:
    """What one response says.

    `requests` are made in any case; `more` is the next page of the same list of episodes,
    newest first, which is left out when nothing new can be there. `free` are the episodes
    whose strips anybody may read. `skip_reason` ends a title: gone, adult or region. `odd`
    says what is wrong with entries that are left out.
    """

    listed: tuple[ListedTitle, ...] = ()
    titles: tuple[ParsedTitle, ...] = ()
    episodes: tuple[Episode, ...] = ()
    episodes_count: int | None = None
    pictures: tuple[PictureLink, ...] = ()
    requests: tuple[PageRequest, ...] = ()
    more: PageRequest | None = None
    free: tuple[int, ...] = ()
    skip_reason: str | None = None
    odd: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scope:
    """What the user asked for; each site reads what concerns it.

    `canvas` are those of the titles that stand in a section for anybody's own; `max_episodes` of
    each title have their strips fetched, the newest.
    """

    lists: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    canvas: tuple[str, ...] = ()
    language: str = "en"
    genres: tuple[str, ...] = ()
    from_year: int | None = None
    to_year: int | None = None
    period: str = "year"
    details: bool = False
    strips: bool = False
    max_episodes: int | None = None


@dataclass(frozen=True)
class Plan:
    """One crawl: what of a site, how much, and in which way."""

    site: str
    scope: Scope = field(default_factory=Scope)
    since: date | None = None
    max_titles: int | None = None
    max_pictures: int | None = None
    retry_failed: bool = False
    dry_run: bool = False

    @property
    def key(self) -> str:
        """Equal for two crawls that would do the same."""
        return json.dumps(asdict(self), sort_keys=True, default=str)


Parser = Callable[[PageRequest, Page], ParsedPage]


@dataclass(frozen=True)
class Site:
    """A site as the crawl sees it.

    hosts             the only ones that may be asked (`*.` allows sub-domains)
    title, probe      requests for a whole title, and for whether it has moved
    address           host name of its pages without `www.` and `m.`, and the parameter of their
                      addresses that is a title's number
    year_of           the year of a title that several pages describe, from its tags
    redirect_reasons  part of a redirect's target -> why the title is skipped then
    adult_headers     sent as well when the user wants titles for adults
    """

    name: str
    hosts: tuple[str, ...]
    headers: Mapping[str, str]
    start: Callable[[Scope], list[PageRequest]]
    parsers: Mapping[str, Parser]
    title: Callable[[str, Mapping[str, Any]], PageRequest]
    probe: Callable[[str, Mapping[str, Any]], PageRequest] | None = None
    strip: Callable[[str, int, Mapping[str, Any]], PageRequest] | None = None
    address: tuple[str, str] | None = None
    redirect_reasons: Mapping[str, str] = field(default_factory=dict)
    adult_headers: Mapping[str, str] = field(default_factory=dict)
    year_of: Callable[[Sequence[str]], int | None] | None = None

    def allows(self, host: str) -> bool:
        """Whether a host belongs to the site."""
        return any(
            host == own or (own.startswith("*.") and host.endswith(own[1:])) for own in self.hosts
        )


def site_of(name: str) -> Site:
    """The site with this name.

    Errors:  UsageError names the nearest one
    """
    if name not in SITES:
        raise UsageError(f"unknown site {name!r}", nearest(name, SITES))
    site: Site = import_module(f"crawler.sites.{name}").SITE
    return site


def title_of_address(text: str) -> tuple[str, tuple[str, ...]] | None:
    """The title id that the address of a page names (`naver:747269`), as people paste it, and the
    parts of its path; None for a text that is no address.

    Errors:  UsageError for an address that is no title's
    """
    pasted = html.unescape(text.strip(" \t\r\n<>\"'"))
    known = {name: of for name in SITES if (of := site_of(name).address)}
    hosts = "|".join(re.escape(host) for host, _ in known.values())
    if not re.match(rf"[a-z]*://|//|([\w-]+\.)*({hosts})(:\d+)?[/?]", pasted, re.I):
        return None
    try:
        parts = urlsplit("https://" + re.sub(r"^([a-z]*:)?//", "", pasted, flags=re.I))
        host = re.sub(r"^((www|m\d?|mobile)\.)+", "", parts.hostname or "")
        given = {_bare(name): value.strip() for name, value in parse_qsl(parts.query)}
    except ValueError:
        host, given = "", {}
    for name, (own, parameter) in known.items():
        number = given.get(_bare(parameter), "")
        if host == own and re.fullmatch(r"[0-9]{1,10}", number):
            path = tuple(part for part in parts.path.lower().split("/") if part)
            return f"{name}:{int(number)}", path
    raise UsageError(
        f"{text!r} is not the address of a title",
        f"Such as https://{known['naver'][0]}/webtoon/list?titleId=183559.",
    )


def _bare(name: str) -> str:
    """The name of a parameter as desktop and mobile pages share it."""
    return name.lower().replace("_", "")


# --- Values as sites send them, checked: a wrong type, and a text that is too long to be what it
# should be, is nothing and never a crash.

MAX_NAME_CHARS = 1000
MAX_PROSE_CHARS = 100_000


def key_of(title_id: str) -> str:
    """The site's own key of a title, fit for an address: `naver:183559` -> `183559`."""
    return quote(title_id.partition(":")[2], safe="")


def clean(value: Any) -> str | None:
    """A name as people read it: entities resolved, white space folded, None when empty."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARS:
        return None
    return clean_name(_writable(html.unescape(value))) or None


def prose(value: Any) -> str | None:
    """A longer text, whose line breaks stay."""
    if not isinstance(value, str) or len(value) > MAX_PROSE_CHARS:
        return None
    lines = (" ".join(line.split()) for line in _writable(html.unescape(value)).splitlines())
    return "\n".join(lines).strip() or None


def _writable(text: str) -> str:
    """Text that every table can hold: without zero bytes and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def https(url: Any) -> str | None:
    """An absolute https address of a picture or page, None when there is none."""
    text = url.strip() if isinstance(url, str) else ""
    if text.startswith("//"):
        text = "https:" + text
    if text.startswith("http://"):
        text = "https://" + text[7:]
    return text if text.startswith("https://") and is_address(text) else None


def is_address(text: str) -> bool:
    """Whether an address can be asked for."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - it is read when it is asked for
        text.encode("utf-8")
    except ValueError:
        return False
    return bool(parts.hostname) and "\0" not in text


def slices(request: PageRequest, addresses: Iterable[Any]) -> tuple[PictureLink, ...]:
    """The pictures of an episode's image strip. Where their addresses do not sort as they stand,
    each has its place in the strip behind it, as a fragment, which is never sent."""
    episode_no = whole(request.about.get("episode_no"))
    urls = [url for address in addresses if (url := https(address))]
    if urls != sorted(urls, key=natural_key):
        urls = [f"{url.partition('#')[0]}#{place}" for place, url in enumerate(urls, 1)]
    return tuple(PictureLink(url, "strip", episode_no) for url in urls)


def number(value: Any) -> float | None:
    """A score; 0 is what sites send when there is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6:
        return float(value)
    return None


def whole(value: Any) -> int | None:
    """A non-negative 32-bit number, such as an episode's."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= 10:
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if good else None


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object, empty when it is something else."""
    return value if isinstance(value, dict) else {}


def texts(value: Any) -> list[str]:
    """The texts of a JSON list, empty when it is something else."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def rows(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON list, empty when it is something else."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
