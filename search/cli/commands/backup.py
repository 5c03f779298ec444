"""`toonsearch backup`: a copy that is sound whatever writes meanwhile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from search.cli.commands import as_json, examples, print_json
from search.cli.context import Session


@click.command(
    epilog=examples("toonsearch backup /mnt/backups", "toonsearch backup /mnt/backups --keep 7")
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--keep", type=click.IntRange(1), help="Keep only so many of the newest backups.")
@as_json
@click.pass_obj
def command(session: Session, directory: Path, keep: int | None, as_json: bool) -> None:
    """Copy catalog, pictures and the index in use into a folder of backups.

    May run while anything else does. Pictures are shared by all backups of the folder, so that
    each further one only costs what is new.
    """
    from indexer.backup import back_up

    with session.progress("Copying pictures") as progress:
        report = back_up(session.settings().layout, directory, keep=keep, progress=progress)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        print(
            f"{report.path}: {report.files:,} files, {report.copied:,} copied,"
            f" {report.pictures:,} pictures"
        )
