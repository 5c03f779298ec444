"""`toonsearch crawl`: sites into the catalog."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import ToonsearchError, UsageError
from schemas.storage.locking import writing
from search.cli.commands import as_json, command_group, dry_run, examples, print_json
from search.cli.context import Session

if TYPE_CHECKING:
    from crawler.crawl import CrawlReport
    from crawler.sites.base import Scope

POLITENESS = """robots.txt is obeyed, every request names toonsearch and your contact
(setting crawl.contact), hosts are asked slowly (crawl.delay_s, longer when they are slow or
say Retry-After) and within a budget (crawl.max_requests, crawl.max_bytes). Pictures and pages
marked noai or noindex are left out, and so are the authors and titles of crawl.block_list and
titles for adults (crawl.adult)."""

command = command_group(
    f"Fetch titles and pictures from a site, politely.\n\n{POLITENESS}",
    "toonsearch crawl naver --weekday --max-titles 20",
    "toonsearch crawl status",
)


def _date(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    try:
        found = datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        raise UsageError(f"{value!r} is not a date", "Write it as 2026-01-31.") from None
    if found > date.today():
        raise UsageError(f"{value} lies in the future")
    return found


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every site."""
    whole = click.IntRange(min=1)
    for option in reversed(
        (
            click.option("--since", metavar="DATE", callback=_date,
                         help="Only episodes published on or after this day."),
            click.option("--max-titles", type=whole, metavar="N", help="Ask for so many titles."),
            click.option("--max-pictures", type=whole, metavar="N",
                         help="Fetch so many pictures."),
            click.option("--contact", metavar="TEXT",
                         help="Address or page that the site can write to."),
            click.option("--delay", type=click.FloatRange(min=0.0), metavar="SECONDS",
                         help="Least time between two requests to a host."),
            click.option("--max-minutes", type=click.FloatRange(min=0.0, min_open=True),
                         metavar="N", help="Stop after so long; the next run goes on."),
            click.option("--save-samples", type=click.Path(path_type=Path), metavar="DIR",
                         help="Save the first answer of each kind there."),
            click.option("--accept-fewer", is_flag=True,
                         help="Accept a site that lists far fewer titles than last time."),
            click.option("--retry-failed", is_flag=True,
                         help="Only what failed before."),
            dry_run,
            as_json,
        )
    ):  # fmt: skip
        function = option(function)
    return click.pass_obj(function)


weekday = click.option("--weekday", is_flag=True, help="Only titles that are being published.")
finished = click.option("--finished", is_flag=True, help="Only finished titles.")
titles = click.option("--title", "titles", multiple=True, metavar="ID", help="Only this title.")
strips = click.option("--strips", is_flag=True, help="Also the image strips of free episodes.")


@command.command(epilog=examples("toonsearch crawl naver --title 183559 --contact me@example.org"))
@weekday
@finished
@titles
@strips
@_shared
def naver(
    session: Session, weekday: bool, finished: bool, titles: tuple[str, ...], strips: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Crawl Naver Webtoon: titles, episodes, thumbnails."""
    from crawler.sites.base import Scope

    scope = Scope(lists=_lists(weekday, finished), titles=_numbers(titles, weekday or finished),
                  strips=strips)  # fmt: skip
    return _crawled(session, "naver", scope, **options)


@command.command(epilog=examples("toonsearch crawl webtoons --language en --genre romance"))
@click.option("--language", default="en", show_default=True, metavar="CODE",
              help="en, zh-hant, th, id, es, fr or de.")  # fmt: skip
@click.option("--genre", "genres", multiple=True, metavar="NAME", help="Only this genre's list.")
@weekday
@finished
@titles
@strips
@_shared
def webtoons(
    session: Session, language: str, genres: tuple[str, ...], weekday: bool, finished: bool,
    titles: tuple[str, ...], strips: bool, **options: Any,
) -> int:  # fmt: skip
    """Crawl WEBTOON: titles, episodes, thumbnails."""
    from crawler.sites.base import Scope
    from crawler.sites.webtoons import LANGUAGES
    from schemas.errors import nearest

    if language not in LANGUAGES:
        raise UsageError(f"unknown language {language!r}", nearest(language, LANGUAGES))
    scope = Scope(
        lists=_lists(weekday, finished), language=language, genres=genres, strips=strips,
        titles=_numbers(titles, weekday or finished or bool(genres)),
    )  # fmt: skip
    return _crawled(session, "webtoons", scope, **options)


@command.command(epilog=examples("toonsearch crawl melon --from 1990 --to 1999"))
@click.option("--from", "from_year", type=int, metavar="YEAR", help="First chart; 1980 otherwise.")
@click.option("--to", "to_year", type=int, metavar="YEAR", help="Last chart; last year otherwise.")
@click.option("--period", type=click.Choice(["year", "decade"]), default="year",
              show_default=True, help="Charts of a year or of a decade.")  # fmt: skip
@click.option("--genre", "genres", multiple=True, type=click.Choice(["KPOP", "POP"]),
              help="KPOP unless given.")  # fmt: skip
@click.option("--details", is_flag=True, help="Also each album's release date and genre.")
@_shared
def melon(
    session: Session, from_year: int | None, to_year: int | None, period: str,
    genres: tuple[str, ...], details: bool, **options: Any,
) -> int:  # fmt: skip
    """Crawl Melon's charts: album covers with artist, album and year."""
    from crawler.sites.base import Scope

    scope = Scope(
        from_year=from_year, to_year=to_year, period=period, genres=genres, details=details
    )
    return _crawled(session, "melon", scope, **options)


@command.command(epilog=examples("toonsearch crawl status", "toonsearch crawl status --json"))
@as_json
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Show what the catalog has of each site, and what failed."""
    from crawler.status import site_status

    found = site_status(session.settings().layout)
    if as_json:
        print_json(found)
        return
    if not found:
        print("nothing has been crawled yet")
    for site, facts in found.items():
        known = f"{facts['titles']:,} titles, {facts['pictures']:,} pictures"
        print(f"{site:<10}{known}")
        last = facts["last"]
        if last:
            told = ", ".join(
                f"{n:,} {what.replace('_', ' ')}" for what, n in last["counts"].items()
            )
            print(f"{'':<10}last crawl {last['ended'][:16]} ({last['outcome']}): {told}")
        if facts["unfinished"]:
            print(f"{'':<10}{facts['unfinished']:,} requests are left; run it again to go on")
        for kind in ("partial", "skipped", "failed"):
            for reason, count in facts[kind].items():
                print(f"{'':<10}{kind} {count:,}: {reason}")


def _lists(weekday: bool, finished: bool) -> tuple[str, ...]:
    return (*(("weekday",) if weekday else ()), *(("finished",) if finished else ()))


def _numbers(titles: tuple[str, ...], lists: bool) -> tuple[str, ...]:
    """Title numbers, with or without the site's name before them.

    Errors:  UsageError
    """
    numbers = tuple(title.rpartition(":")[2] for title in titles)
    if titles and lists:
        raise UsageError("--title stands alone", "Leave out --weekday, --finished and --genre.")
    for number in numbers:
        if not number.isascii() or not number.isdecimal():
            raise UsageError(f"{number!r} is not a title's number", "Such as --title 183559.")
    return numbers


def _crawled(
    session: Session, site: str, scope: Scope, *, since: date | None, max_titles: int | None,
    max_pictures: int | None, contact: str | None, delay: float | None, retry_failed: bool,
    max_minutes: float | None, accept_fewer: bool, save_samples: Path | None,
    dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
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
    lock = contextlib.nullcontext() if dry_run else writing(settings.layout, f"crawl {site}")
    with lock, session.progress(f"Crawling {site}") as progress:
        report = crawl(
            settings.layout, settings, plan, version=VERSION,
            max_seconds=None if max_minutes is None else 60 * max_minutes,
            accept_fewer=accept_fewer, samples=save_samples, progress=progress,
        )  # fmt: skip
    _told(session, report, dry_run, as_json)
    if report.error is not None:
        raise report.error
    return 0


def _told(session: Session, report: CrawlReport, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "site": report.site, "outcome": report.outcome, "counts": report.counts,
                "requests": report.requests, "bytes": report.bytes_count,
                "seconds": round(report.seconds, 3), "resumed": report.resumed,
                "dry_run": dry_run, "problems": report.problems,
            }
        )  # fmt: skip
    else:
        hidden = ("complete", "titles_asked", "pictures_asked", "picture_bytes", "requests_saved")
        told = ", ".join(
            f"{n:,} {what.replace('_', ' ')}" for what, n in sorted(report.counts.items())
            if n and what not in hidden
        )  # fmt: skip
        word = "would crawl" if dry_run else "crawled"
        print(f"{word} {report.site}: {told or 'nothing'}")
        saved = report.counts.get("requests_saved", 0)
        session.note(
            f"{report.requests:,} requests, {report.bytes_count:,} bytes in {report.seconds:,.0f} s"
            + (f"; {saved:,} requests saved, because nothing had changed" if saved else "")
        )
        for problem in report.problems:
            session.note(problem)
        if report.counts.get("pictures_stored") and report.error is None:
            session.note("next: `toonsearch index build`")
    sys.stdout.flush()
