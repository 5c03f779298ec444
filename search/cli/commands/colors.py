"""`toonsearch colors`: the dominant colours of the pictures that have none yet."""

from __future__ import annotations

import contextlib

import click

from search.cli.commands import as_json, dry_run, examples, print_json
from search.cli.context import Session


@click.command(epilog=examples("toonsearch colors", "toonsearch colors --limit 1000 --json"))
@click.option("--limit", type=click.IntRange(1), help="Stop after this many pictures.")
@dry_run
@as_json
@click.pass_obj
def command(session: Session, limit: int | None, dry_run: bool, as_json: bool) -> int:
    """Find the dominant colours of new pictures.

    Each picture is divided into a 3 x 2 grid and each region into its three dominant
    colours; they lie in the table `colors`, for SQL, the report and `query --palette`.
    """
    from indexer.palette import color_pending
    from schemas.storage.locking import writing

    settings = session.settings()
    lock = contextlib.nullcontext() if dry_run else writing(settings.layout, "colors")
    with lock, session.progress("Colours") as progress:
        report = color_pending(
            settings.layout, settings, dry_run=dry_run, limit=limit, progress=progress
        )
    if as_json:
        print_json({"counts": report.counts, "dry_run": dry_run,
                    "seconds": round(report.seconds, 3), "problems": report.problems})  # fmt: skip
    else:
        print("colors: " + ", ".join(f"{n:,} {what}" for what, n in report.counts.items()))
    for problem in report.problems:
        session.note(problem)
    return 4 if report.counts.get("failed") else 0
