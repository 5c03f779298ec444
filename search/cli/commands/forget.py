"""`toonsearch forget`: out of the answers, out of every file, and kept out."""

from __future__ import annotations

import click

from search.cli.commands import as_json, dry_run, examples, print_json
from search.cli.context import Session, plain

SHOWN = 20


@click.command(
    epilog=examples(
        'toonsearch forget --author "Jane Doe" --dry-run',
        "toonsearch forget --title naver:183559",
    )
)
@click.option("--author", "authors", multiple=True, metavar="NAME",
              help="All titles in which this person had a part.")  # fmt: skip
@click.option("--title", "titles", multiple=True, metavar="ID", help="This title.")
@click.option("--picture", "pictures", multiple=True, metavar="ID",
              help="This picture (its SHA-256), in every title.")  # fmt: skip
@dry_run
@as_json
@click.pass_obj
def command(
    session: Session, authors: tuple[str, ...], titles: tuple[str, ...],
    pictures: tuple[str, ...], dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Remove authors, titles or pictures for good, and keep them out.

    They leave the answers, the tables, the picture store and the older generations, and later
    crawls and imports pass them over. Backups made before are yours to remove.
    """
    from indexer.forget import Wanted, find, forget
    from schemas.storage.locking import writing
    from search.web.db import forget_visitors

    settings = session.settings()
    wanted = Wanted(authors, titles, tuple(picture.lower() for picture in pictures))
    if dry_run:
        report = find(settings.layout, wanted)
    else:
        find(settings.layout, wanted)  # a wish that makes no sense must not take the lock
        with writing(settings.layout, "forget"):
            report = forget(settings.layout, settings, wanted, forget_visitors)
    if as_json:
        print_json(
            {
                "dry_run": dry_run, "pending": report.pending, "generation": report.generation_id,
                "titles": [dict(zip(("title_id", "name", "authors"), title, strict=True))
                           for title in report.titles],
                "pictures": report.pictures, "generations": report.generations,
                "visitors": report.visitors,
            }
        )  # fmt: skip
    else:
        word = "would forget" if dry_run else "forgot"
        print(f"{word} {len(report.titles):,} titles, {len(report.pictures):,} pictures")
        for title_id, name, by in report.titles[: None if session.verbose else SHOWN]:
            print(f"  {plain(title_id)}  {plain(name)}  ({plain(by)})")
        if len(report.titles) > SHOWN and not session.verbose:
            session.note(f"and {len(report.titles) - SHOWN:,} more: -v shows all")
        if not report.pictures and not report.titles:
            session.note("nothing of that is here; it will be kept out all the same"
                         if not dry_run else "nothing of that is here")  # fmt: skip
    if report.pending:
        session.note("an older generation is still being read; `toonsearch index build` or the"
                     " next nightly run removes it")  # fmt: skip
    return 4 if report.pending else 0
