"""`toonsearch import`: folders and manifests into the catalog."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.lock import writing
from search.commands import AsJson, DryRun, examples, group_app, print_json
from search.session import Progress, Session

if TYPE_CHECKING:
    from crawler.intake import ImportReport
    from schemas.layout import Layout

app = group_app(
    "Bring pictures into the catalog.", "toonsearch import folder drawings --pattern {author}"
)

Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the source; by default its path.")
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Also forget pictures that are no longer there.")
]
Retry = Annotated[
    bool, typer.Option("--retry-failed", help="Read files that failed before once more.")
]


@app.command(
    epilog=examples(
        "toonsearch import folder drawings",
        "toonsearch import folder covers --pattern {genre}/{author}/{title} --dry-run",
    )
)
def folder(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder.")],
    pattern: Annotated[
        str, typer.Option(metavar="LEVELS", help="What the levels of folders mean.")
    ] = "{author}/{title}",
    name: Name = None,
    prune: Prune = False,
    retry_failed: Retry = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Import a folder whose levels name authors, titles, genres or years."""
    from crawler.importers import import_folder

    session = ctx.ensure_object(Session)
    settings = session.settings()
    return _imported(
        session,
        settings.layout,
        lambda progress: import_folder(
            settings.layout, settings, directory, pattern=pattern, name=name, dry_run=dry_run,
            prune=prune, retry_failed=retry_failed, progress=progress,
        ),
        dry_run,
        as_json,
    )  # fmt: skip


@app.command(
    epilog=examples("toonsearch import manifest works.csv", "toonsearch import manifest w.parquet")
)
def manifest(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, TSV or Parquet with a column `path`.")
    ],
    name: Name = None,
    prune: Prune = False,
    retry_failed: Retry = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Import the pictures that a file lists with author, series, genre and year."""
    from crawler.importers import import_manifest

    session = ctx.ensure_object(Session)
    settings = session.settings()
    return _imported(
        session,
        settings.layout,
        lambda progress: import_manifest(
            settings.layout, settings, file, name=name, dry_run=dry_run, prune=prune,
            retry_failed=retry_failed, progress=progress,
        ),
        dry_run,
        as_json,
    )  # fmt: skip


def _imported(
    session: Session,
    layout: Layout,
    work: Callable[[Progress | None], ImportReport],
    dry_run: bool,
    as_json: bool,
) -> int:
    lock = contextlib.nullcontext() if dry_run else writing(layout, "import")
    with lock, session.progress("Importing") as progress:
        report = work(progress)
    if as_json:
        print_json({"source": report.source, "counts": report.counts, "dry_run": dry_run,
                    "problems": report.problems})  # fmt: skip
    else:
        told = ", ".join(f"{count:,} {what}" for what, count in report.counts.items() if count)
        print(f"{'would import' if dry_run else 'imported'} {report.source}: {told or 'nothing'}")
        for problem in report.problems:
            session.note(problem)
        if not dry_run and report.counts.get("new", 0) + report.counts.get("changed", 0):
            session.note("next: `toonsearch embed`, then `toonsearch index build`")
    return 4 if report.counts.get("failed", 0) else 0
