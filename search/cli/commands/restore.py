"""`toonsearch restore`: a data root from a backup."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from search.cli.commands import as_json, examples, print_json
from search.cli.context import Session


@click.command(epilog=examples("toonsearch restore /mnt/backups --data /srv/toonsearch"))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@as_json
@click.pass_obj
def command(session: Session, directory: Path, as_json: bool) -> None:
    """Restore the newest backup of a folder (or a named one) into an empty data root.

    Every byte is proven on the way; a damaged backup leaves nothing behind.
    """
    from indexer.backup import restore

    layout = session.settings().layout
    with session.progress("Restoring") as progress:
        report = restore(directory, layout, progress=progress)
    if as_json:
        print_json({**dataclasses.asdict(report), "root": str(layout.root)})
    else:
        shown = report.generation_id or "no index"
        print(f"{layout.root}: {report.files:,} files from {report.path}, {shown}")
