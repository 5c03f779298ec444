"""`toonsearch import`: folders and manifests into the catalog."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.progress import Progress
from schemas.storage.locking import writing
from search.cli.commands import as_json, command_group, dry_run, examples, print_json
from search.cli.context import Session

if TYPE_CHECKING:
    from crawler.importers.ingest import ImportReport
    from schemas.storage.layout import Layout

command = command_group(
    "Bring pictures into the catalog.",
    "toonsearch import folder drawings",
    "toonsearch import manifest works.csv",
)

name_option = click.option(
    "--name", metavar="NAME", help="Name of the source; by default its path."
)
prune_option = click.option(
    "--prune", is_flag=True, help="Also forget pictures that are no longer there."
)
retry_option = click.option(
    "--retry-failed", is_flag=True, help="Read files that failed before once more."
)


@command.command(
    epilog=examples(
        "toonsearch import folder drawings",
        "toonsearch import folder covers --pattern {genre}/{author}/{title} --dry-run",
    )
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--pattern",
    metavar="LEVELS",
    default="{author}/{title}",
    show_default=True,
    help="What the levels of folders mean.",
)
@name_option
@prune_option
@retry_option
@dry_run
@as_json
@click.pass_obj
def folder(
    session: Session,
    directory: Path,
    pattern: str,
    name: str | None,
    prune: bool,
    retry_failed: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Import a folder whose levels name authors and titles."""
    from crawler.importers.folder import import_folder

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


@command.command(
    epilog=examples("toonsearch import manifest works.csv", "toonsearch import manifest w.parquet")
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@name_option
@prune_option
@retry_option
@dry_run
@as_json
@click.pass_obj
def manifest(
    session: Session,
    file: Path,
    name: str | None,
    prune: bool,
    retry_failed: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Import the pictures that a CSV, TSV or Parquet file lists.

    It needs a column `path`; author, series, title, genre, year, date, kind, url and tags
    are read where they are there.
    """
    from crawler.importers.manifest import import_manifest

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
            session.note("next: `toonsearch index build`")
    return 4 if report.counts.get("failed", 0) else 0
