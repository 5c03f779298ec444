"""`toonsearch crawl`: sites into the catalog."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Option

from schemas.errors import ToonsearchError, UsageError
from search.cli.context import Session
from search.cli.options import AsJson, DryRun, counted, examples, new_app, print_json, show

if TYPE_CHECKING:
    from crawler.crawl import CrawlReport
    from crawler.sites.base import Scope

POLITENESS = """Politeness: robots.txt is obeyed, every request names toonsearch and your contact
(setting crawl.contact), hosts are asked slowly (crawl.delay_s, longer when they are slow or
say Retry-After) and within a budget (crawl.max_requests, crawl.max_bytes). Pictures and pages
marked noai or noindex are left out, and so are the authors and titles of crawl.block_list and
titles for adults (crawl.adult)."""

app = new_app()
group = new_app(
    f"Fetch titles and pictures from a site, politely.\n\n{POLITENESS}",
    "toonsearch crawl naver --weekday --max-titles 20",
    "toonsearch crawl status",
)
app.add_typer(group, name="crawl")


class Chart(StrEnum):
    """Melon's charts."""

    KPOP = "KPOP"
    POP = "POP"


def _day(text: str) -> date:
    from schemas.dates import parse_date

    found = parse_date(text)
    if found is None:
        raise UsageError(f"{text!r} is not a date", "Write it as 2026-01-31.")
    if found > date.today():
        raise UsageError(f"{text} lies in the future")
    return found


Weekday = Annotated[bool, Option("--weekday", help="Only titles that are being published.")]
Finished = Annotated[bool, Option("--finished", help="Only finished titles.")]
Titles = Annotated[
    list[str] | None,
    Option(
        "--title",
        metavar="ID",
        help="Only this title: its number, or its page's address; may be repeated.",
    ),
]
Strips = Annotated[
    bool,
    Option("--strips", help="Also the image strips of free episodes, to be searched by panels."),
]
MaxEpisodes = Annotated[
    int | None,
    Option(min=1, metavar="N", help="With --strips: those of so many episodes of a title, newest."),
]


def _crawl(
    session: Session,
    site: str,
    scope: Scope,
    *,
    since: Annotated[
        date | None,
        Option(
            parser=_day,
            metavar="DATE",
            help="Only episodes published on or after this day, as 2026-01-31.",
        ),
    ] = None,
    max_titles: Annotated[
        int | None, Option(min=1, metavar="N", help="Ask for so many titles at most.")
    ] = None,
    max_pictures: Annotated[
        int | None, Option(min=1, metavar="N", help="Fetch so many pictures at most.")
    ] = None,
    contact: Annotated[
        str | None,
        Option(
            metavar="TEXT",
            help="Address or page that the site can write to (setting crawl.contact).",
        ),
    ] = None,
    delay: Annotated[
        float | None,
        Option(
            min=0,
            metavar="SECONDS",
            help="Least time between two requests to a host (setting crawl.delay_s, default 1).",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        Option(min=0.01, metavar="N", help="Stop after so many minutes; the next run goes on."),
    ] = None,
    save_samples: Annotated[
        Path | None,
        Option(metavar="DIR", help="Save the first answer of each kind there, for a repair."),
    ] = None,
    accept_fewer: Annotated[
        bool,
        Option("--accept-fewer", help="Accept a site that lists far fewer titles than last time."),
    ] = False,
    retry_failed: Annotated[
        bool, Option("--retry-failed", help="Only what failed before.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    from crawler.sites.base import Plan
    from search.cli.app import VERSION

    settings = session.settings({"crawl.contact": contact, "crawl.delay_s": delay})
    try:
        from crawler.crawl import crawl
    except ModuleNotFoundError as error:
        raise ToonsearchError(
            f"crawling needs a package that is not installed ({error.name})",
            "Install toonsearch[crawl].",
        ) from error
    if not settings.crawl.contact:
        session.note("no contact is set: give one with --contact, so that the site can write")
    plan = Plan(site, scope, since, max_titles, max_pictures, retry_failed, dry_run)
    with (
        session.writing(f"crawl {site}", dry_run),
        session.progress(f"Crawling {site}") as progress,
    ):
        report = crawl(
            settings.layout,
            settings,
            plan,
            version=VERSION,
            max_seconds=None if max_minutes is None else 60 * max_minutes,
            accept_fewer=accept_fewer,
            samples=save_samples,
            progress=progress,
        )
    _show(session, report, dry_run, as_json)
    if report.error is not None:
        raise report.error
    return 0


def _with_shared_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a site's command, beside its own options, those of `_crawl` (as its `**options`);
    `since` only where there are episodes."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    names = {one.name for one in own}
    shared = inspect.signature(_crawl, eval_str=True, locals={"Scope": Any}).parameters.values()
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *(one for one in own if one.kind is not one.VAR_KEYWORD),
            *(
                one
                for one in shared
                if one.kind is one.KEYWORD_ONLY and (one.name != "since" or "strips" in names)
            ),
        ]
    )
    return command


@group.command(
    epilog=examples(
        "toonsearch crawl naver --title 183559 --contact me@example.org",
        "toonsearch crawl naver --title 183559 --strips --max-episodes 3",
    )
)
@_with_shared_options
def naver(
    ctx: typer.Context,
    weekday: Weekday = False,
    finished: Finished = False,
    titles: Titles = None,
    strips: Strips = False,
    max_episodes: MaxEpisodes = None,
    **options: Any,
) -> int:
    """Crawl Naver Webtoon: titles, episodes, thumbnails, strips."""
    scope = _scope("naver", weekday, finished, titles, strips, max_episodes=max_episodes)
    return _crawl(ctx.obj, "naver", scope, **options)


@group.command(epilog=examples("toonsearch crawl webtoons --language en --genre romance"))
@_with_shared_options
def webtoons(
    ctx: typer.Context,
    language: Annotated[
        str | None,
        Option(
            metavar="CODE",
            help="en, zh-hant, th, id, es, fr or de; else that of an address, or en.",
        ),
    ] = None,
    genre: Annotated[
        list[str] | None, Option(metavar="NAME", help="Only this genre's list; may be repeated.")
    ] = None,
    weekday: Weekday = False,
    finished: Finished = False,
    titles: Titles = None,
    strips: Strips = False,
    max_episodes: MaxEpisodes = None,
    **options: Any,
) -> int:
    """Crawl WEBTOON: titles, episodes, thumbnails, strips."""
    from crawler.sites.webtoons import LANGUAGES
    from schemas.errors import nearest

    if language is not None and language not in LANGUAGES:
        raise UsageError(f"unknown language {language!r}", nearest(language, LANGUAGES))
    scope = _scope(
        "webtoons",
        weekday,
        finished,
        titles,
        strips,
        tuple(genre or ()),
        language,
        LANGUAGES,
        max_episodes=max_episodes,
    )
    return _crawl(ctx.obj, "webtoons", scope, **options)


@group.command(epilog=examples("toonsearch crawl melon --from 1990 --to 1999"))
@_with_shared_options
def melon(
    ctx: typer.Context,
    from_year: Annotated[
        int | None, Option("--from", metavar="YEAR", help="Year of the first chart; else 1980.")
    ] = None,
    to_year: Annotated[
        int | None, Option("--to", metavar="YEAR", help="Year of the last chart; else last year.")
    ] = None,
    period: Annotated[
        Literal["year", "decade"], Option(help="Charts of a year or of a decade.")
    ] = "year",
    genre: Annotated[list[Chart] | None, Option(help="Charts of this genre; else KPOP.")] = None,
    details: Annotated[
        bool, Option("--details", help="Also each album's release date and genre.")
    ] = False,
    **options: Any,
) -> int:
    """Crawl Melon's charts: album covers with artist, album and year."""
    from crawler.sites.base import Scope

    scope = Scope(
        from_year=from_year,
        to_year=to_year,
        period=period,
        genres=tuple(one.value for one in genre or ()),
        details=details,
    )
    return _crawl(ctx.obj, "melon", scope, **options)


@group.command(epilog=examples("toonsearch crawl status", "toonsearch crawl status --json"))
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show what the catalog has of each site, and what failed."""
    from crawler.status import site_status

    session: Session = ctx.obj
    found = site_status(session.settings().layout)
    if as_json:
        print_json(found)
        return
    if not found:
        print("nothing has been crawled yet")
    for site, facts in found.items():
        print(f"{site:<10}{facts['titles']:,} titles, {facts['pictures']:,} pictures")
        last = facts["last"]
        if last:
            when = f"{last['ended'][:16]} ({last['outcome']})"
            print(f"{'':<10}last crawl {when}: {counted(last['counts'])}")
        if facts["unfinished"]:
            print(f"{'':<10}{facts['unfinished']:,} requests are left; run it again to go on")
        for kind in ("partial", "skipped", "failed"):
            for reason, count in facts[kind].items():
                print(f"{'':<10}{kind} {count:,}: {reason}")


def _scope(
    site: str,
    weekday: bool,
    finished: bool,
    titles: list[str] | None,
    strips: bool,
    genres: tuple[str, ...] = (),
    language: str | None = None,
    languages: tuple[str, ...] = (),
    *,
    max_episodes: int | None = None,
) -> Scope:
    """What to ask a site for. A title is given by its number, its id or the address of a page,
    which may also say one of the `languages`.

    Errors:  UsageError
    """
    from crawler.sites.base import Scope, title_of_address

    if max_episodes is not None and not strips:
        raise UsageError("--max-episodes belongs to --strips", "Add --strips, or leave it out.")
    lists = tuple(name for name, on in (("weekday", weekday), ("finished", finished)) if on)
    if titles and (lists or genres):
        raise UsageError("--title stands alone", "Leave out --weekday, --finished and --genre.")
    numbers, canvas, said = [], [], set()
    for text in titles or ():
        title_id, path = title_of_address(text) or (text.strip(), ())
        of, _, number = title_id.rpartition(":")
        if not number.isascii() or not number.isdecimal():
            raise UsageError(f"{text!r} is not a title's number", "Such as --title 183559.")
        if of not in ("", site):
            raise UsageError(f"{text!r} is a title of {of}", f"Try `toonsearch crawl {of}`.")
        numbers.append(number)
        if {"canvas", "challenge"} & {*path}:
            canvas.append(number)
        said |= {part for part in path[:1] if part in languages}
    if len(said | {language} - {None}) > 1:
        raise UsageError("the titles are of several languages", "Ask for one after the other.")
    return Scope(
        lists=lists,
        titles=tuple(numbers),
        canvas=tuple(canvas),
        language=language or next(iter(said), "en"),
        genres=genres,
        strips=strips,
        max_episodes=max_episodes,
    )


def _show(session: Session, report: CrawlReport, dry_run: bool, as_json: bool) -> None:
    hidden = ("complete", "titles_asked", "pictures_asked", "picture_bytes", "requests_saved")
    counts = {what: n for what, n in sorted(report.counts.items()) if what not in hidden}
    show(
        f"{'would crawl' if dry_run else 'crawled'} {report.site}",
        report.counts if as_json else counts,
        dry_run,
        as_json,
        site=report.site,
        outcome=report.outcome,
        requests=report.requests,
        bytes=report.bytes_count,
        seconds=round(report.seconds, 3),
        resumed=report.resumed,
        problems=report.problems,
    )
    if not as_json:
        saved = report.counts.get("requests_saved", 0)
        session.note(
            f"{report.requests:,} requests, {report.bytes_count:,} bytes in {report.seconds:,.0f} s"
            + (f"; {saved:,} requests saved, because nothing had changed" if saved else "")
        )
        for problem in report.problems:
            session.note(problem)
        if report.counts.get("pictures_stored") and report.error is None:
            session.note("next: `toonsearch index build`")
