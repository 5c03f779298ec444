"""`toonsearch judge`: what the index says of its own pictures, their titles hidden."""

from __future__ import annotations

import contextlib

import click

from search.cli.commands import as_json, dry_run, examples, print_json
from search.cli.context import Session


@click.command(epilog=examples("toonsearch judge", "toonsearch judge --again"))
@click.option("--again", is_flag=True, help="Judge all pictures anew, not only new ones.")
@click.option("--limit", type=click.IntRange(1), help="Stop after this many pictures.")
@dry_run
@as_json
@click.pass_obj
def command(session: Session, again: bool, limit: int | None, dry_run: bool, as_json: bool) -> None:
    """Write down what the index says of its own pictures.

    Each picture is judged as if it were new, its own title hidden from the vote, and the
    five most probable authors, genres and eras go into the table `predictions`: which
    genres are confused with which, and which titles are hard to place, are then questions
    for SQL and the report.
    """
    from indexer.labels.judge import judge_pending
    from schemas.storage.locking import writing

    settings = session.settings()
    lock = contextlib.nullcontext() if dry_run else writing(settings.layout, "judge")
    with lock, session.progress("Judging") as progress:
        report = judge_pending(
            settings.layout, again=again, dry_run=dry_run, limit=limit, progress=progress
        )
    if as_json:
        print_json({"model": report.model_id, "counts": report.counts, "dry_run": dry_run,
                    "seconds": round(report.seconds, 3)})  # fmt: skip
    else:
        told = ", ".join(f"{n:,} {what}" for what, n in report.counts.items())
        print(f"{report.model_id}: {told}")
