"""`toonsearch judge`: the labels that the index gives its own pictures, their titles hidden."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Option

from search.cli.context import Session
from search.cli.options import AsJson, DryRun, Limit, counted, examples, new_app, print_json

app = new_app()


@app.command(epilog=examples("toonsearch judge", "toonsearch judge --again"))
def judge(
    ctx: typer.Context,
    again: Annotated[bool, Option("--again", help="All pictures, not only new ones.")] = False,
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Predict the labels of the index's own pictures.

    Each picture is predicted as if it were new, its own title hidden from the vote, and the
    five most probable authors, genres and eras go into the table `predictions`: which
    genres are confused with which, and which titles are hard to place, are then questions
    for SQL and the report.
    """
    from indexer.labels.judge import judge_pending

    session: Session = ctx.obj
    settings = session.settings()
    with session.writing("judge", dry_run), session.progress("Predicting") as progress:
        report = judge_pending(
            settings.layout, again=again, dry_run=dry_run, limit=limit, progress=progress
        )
    if as_json:
        print_json(
            {
                "model": report.model_id,
                "counts": report.counts,
                "dry_run": dry_run,
                "seconds": round(report.seconds, 3),
            }
        )
    else:
        print(f"{report.model_id}: {counted(report.counts)}")
