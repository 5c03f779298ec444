"""`toonsearch import`: folders and manifests into the catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from search.cli.context import Session
from search.cli.options import AsJson, DryRun, examples, new_app, show

if TYPE_CHECKING:
    from crawler.importers.ingest import ImportReport

app = new_app()
group = new_app(
    "Bring pictures into the catalog.",
    "toonsearch import folder drawings",
    "toonsearch import manifest works.csv",
)
app.add_typer(group, name="import")

Name = Annotated[
    str | None, Option(metavar="NAME", help="Name of the source; by default its path.")
]
Prune = Annotated[bool, Option("--prune", help="Also forget pictures that are no longer there.")]
RetryFailed = Annotated[
    bool, Option("--retry-failed", help="Read files that failed before once more.")
]


@group.command(
    epilog=examples(
        "toonsearch import folder drawings",
        "toonsearch import folder covers --pattern {genre}/{author}/{title} --dry-run",
    )
)
def folder(
    ctx: typer.Context,
    directory: Annotated[Path, Argument(metavar="DIR", help="The folder.")],
    pattern: Annotated[
        str, Option(metavar="LEVELS", help="What the levels of folders mean.")
    ] = "{author}/{title}",
    name: Name = None,
    prune: Prune = False,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Import a folder whose levels name authors and titles."""
    from crawler.importers.folder import import_folder

    return _import(
        ctx.obj,
        import_folder,
        directory,
        as_json,
        pattern=pattern,
        name=name,
        dry_run=dry_run,
        prune=prune,
        retry_failed=retry_failed,
    )


@group.command(
    epilog=examples("toonsearch import manifest works.csv", "toonsearch import manifest w.parquet")
)
def manifest(
    ctx: typer.Context,
    file: Annotated[Path, Argument(metavar="FILE", help="The list.")],
    name: Name = None,
    prune: Prune = False,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Import the pictures that a CSV, TSV or Parquet file lists.

    It needs a column `path`; author, series, title, genre, year, date, kind, url and tags
    are read where they are there.
    """
    from crawler.importers.manifest import import_manifest

    return _import(
        ctx.obj,
        import_manifest,
        file,
        as_json,
        name=name,
        dry_run=dry_run,
        prune=prune,
        retry_failed=retry_failed,
    )


def _import(
    session: Session,
    run: Callable[..., ImportReport],
    source: Path,
    as_json: bool,
    *,
    dry_run: bool,
    **options: Any,
) -> int:
    settings = session.settings()
    with session.writing("import", dry_run), session.progress("Importing") as progress:
        report = run(
            settings.layout, settings, source, dry_run=dry_run, progress=progress, **options
        )
    what = f"{'would import' if dry_run else 'imported'} {report.source}"
    code = show(
        what,
        report.counts,
        dry_run,
        as_json,
        source=report.source,
        problems=report.problems,
    )
    if not as_json:
        for problem in report.problems:
            session.note(problem)
        if not dry_run and report.counts.get("new", 0) + report.counts.get("changed", 0):
            session.note("next: `toonsearch index build`")
    return code
