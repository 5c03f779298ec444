"""`toonsearch forget`: out of the answers, out of every file, and blocked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from search.cli.context import Session, plain
from search.cli.options import AsJson, DryRun, confirm, counted, examples, new_app, print_json

if TYPE_CHECKING:
    from indexer.forget import ForgetReport

app = new_app()
SHOWN = 20


@app.command(
    epilog=examples(
        'toonsearch forget --author "Jane Doe" --dry-run',
        "toonsearch forget --title naver:183559 --yes",
    )
)
def forget(
    ctx: typer.Context,
    author: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="All titles in which this person had a part; may be repeated, as the others.",
        ),
    ] = None,
    title: Annotated[
        list[str] | None,
        Option(metavar="ID", help="This title: its id, or its page's address."),
    ] = None,
    picture: Annotated[
        list[str] | None,
        Option(metavar="ID", help="This picture (its SHA-256), in every title."),
    ] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask before.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Remove authors, titles or pictures for good, and keep them out.

    They leave the answers, the tables, the picture store and the older generations, and later
    crawls and imports pass them over. It cannot be undone, so the command asks before; scripts
    say --yes. Backups made before are yours to remove.
    """
    from crawler.sites.base import title_of_address
    from indexer import forget as removal
    from search.cli.commands.index import follow_published
    from search.web.db import forget_visitors

    session: Session = ctx.obj
    settings = session.settings()
    pictures = [one.lower() for one in picture or ()]
    titles = [(title_of_address(one) or (one,))[0] for one in title or ()]
    wanted = {"author": author or [], "title": titles, "picture": pictures}
    report = removal.find(settings.layout, wanted)  # an unknown name must not take the lock
    if not dry_run:
        if not yes and sys.stdin and sys.stdin.isatty():
            _list(session, report)
        confirm(f"forget {_counted(report)} for good", yes)
        with session.writing("forget", dry_run):
            report = removal.forget(settings.layout, settings, wanted, forget_visitors)
            follow_published(session, settings)
    if as_json:
        keys = ("title_id", "name", "authors")
        print_json(
            {
                "dry_run": dry_run,
                "pending": report.pending,
                "generation": report.generation_id,
                "titles": [dict(zip(keys, one, strict=True)) for one in report.titles],
                "pictures": report.pictures,
                "generations": report.generations,
                "visitors": report.visitors,
            }
        )
    else:
        print(f"{'would forget' if dry_run else 'forgot'} {_counted(report)}")
        if dry_run or yes:
            _list(session, report)
        if not report.pictures and not report.titles:
            kept_out = "" if dry_run else "; it is blocked all the same"
            session.note(f"nothing of that is here{kept_out}")
    if report.pending:
        session.note(
            "an older generation is still being read; `toonsearch index build` or the"
            " next nightly run removes it"
        )
    return 4 if report.pending else 0


def _counted(report: ForgetReport) -> str:
    return counted({"titles": len(report.titles), "pictures": len(report.pictures)})


def _list(session: Session, report: ForgetReport) -> None:
    for title_id, name, by in report.titles[: None if session.verbose else SHOWN]:
        print(f"  {plain(title_id)}  {plain(name)}  ({plain(by)})")
    if len(report.titles) > SHOWN and not session.verbose:
        session.note(f"and {len(report.titles) - SHOWN:,} more: -v shows all")
