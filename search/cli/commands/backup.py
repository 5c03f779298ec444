"""`toonsearch backup` and `toonsearch restore`: a copy that is sound whatever writes meanwhile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from search.cli.context import Session
from search.cli.options import AsJson, examples, new_app, print_json

app = new_app()
Directory = Annotated[Path, Argument(metavar="DIR", help="The folder of backups.")]


@app.command(
    epilog=examples("toonsearch backup /mnt/backups", "toonsearch backup /mnt/backups --keep 7")
)
def backup(
    ctx: typer.Context,
    directory: Directory,
    keep: Annotated[
        int | None, Option(min=1, help="Keep only so many of the newest backups.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy catalog, pictures and the index in use into a folder of backups.

    May run while anything else does. Pictures are shared by all backups of the folder, so that
    each further one only costs what is new.
    """
    from indexer.backup import back_up

    session: Session = ctx.obj
    with session.progress("Copying pictures") as progress:
        report = back_up(session.settings().layout, directory, keep=keep, progress=progress)
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        print(
            f"{report.path}: {report.files:,} files, {report.copied:,} copied,"
            f" {report.pictures:,} pictures"
        )


@app.command(epilog=examples("toonsearch restore /mnt/backups --data /srv/toonsearch"))
def restore(ctx: typer.Context, directory: Directory, as_json: AsJson = False) -> None:
    """Restore the newest backup of a folder (or a named one) into an empty data root.

    Every byte is verified on the way; a damaged backup leaves nothing behind.
    """
    from indexer import backup

    session: Session = ctx.obj
    layout = session.settings().layout
    with session.progress("Restoring") as progress:
        report = backup.restore(directory, layout, progress=progress)
    if as_json:
        print_json({**dataclasses.asdict(report), "root": str(layout.root)})
    else:
        shown = report.generation_id or "no index"
        print(f"{layout.root}: {report.files:,} files from {report.path}, {shown}")
