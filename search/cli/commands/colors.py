"""`toonsearch colors`: the dominant colours of the pictures that have none yet."""

from __future__ import annotations

import typer

from search.cli.context import Session
from search.cli.options import AsJson, DryRun, Limit, examples, new_app, print_json

app = new_app()


@app.command(epilog=examples("toonsearch colors", "toonsearch colors --limit 1000 --json"))
def colors(
    ctx: typer.Context, limit: Limit = None, dry_run: DryRun = False, as_json: AsJson = False
) -> int:
    """Find the dominant colours of new pictures.

    Each picture is divided into a 3 x 2 grid and each region into its three dominant
    colours; they lie in the table `colors`, for SQL, the report and `query --palette`.
    """
    from indexer.palette import color_pending

    session: Session = ctx.obj
    settings = session.settings()
    with session.writing("colors", dry_run), session.progress("Colours") as progress:
        report = color_pending(
            settings.layout, settings, dry_run=dry_run, limit=limit, progress=progress
        )
    if as_json:
        print_json(
            {
                "counts": report.counts,
                "dry_run": dry_run,
                "seconds": round(report.seconds, 3),
                "problems": report.problems,
            }
        )
    else:
        print("colors: " + ", ".join(f"{n:,} {what}" for what, n in report.counts.items()))
    for problem in report.problems:
        session.note(problem)
    return 4 if report.counts.get("failed") else 0
