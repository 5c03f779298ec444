"""`toonsearch backup`, `restore` and `catalog`: copies that are sound whatever writes meanwhile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from search.cli.context import Session
from search.cli.options import AsJson, counted, examples, new_app, print_json

if TYPE_CHECKING:
    from indexer.object_storage import SyncReport

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


# --- Object storage.

group = new_app(
    "Keep a copy of the catalog on object storage.", "toonsearch catalog push s3://BUCKET/PREFIX"
)
app.add_typer(group, name="catalog")
Url = Annotated[str, Argument(metavar="URL", help="s3://BUCKET/PREFIX")]


@group.command(epilog=examples("toonsearch catalog push s3://BUCKET/webtoons"))
def push(ctx: typer.Context, url: Url, as_json: AsJson = False) -> int:
    """Bring a place on object storage up to this catalog.

    Tables and pictures lie there as in the data folder, and only what is new is copied: Spark,
    Trino and others read s3://BUCKET/PREFIX/tables/NAME as Delta tables. What was removed here is
    removed there. The index and models are not copied. May run while anything else does.
    Credentials and the endpoint are taken from the environment (AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL). Needs the extra [s3].
    """
    from indexer import object_storage

    session: Session = ctx.obj
    with session.progress("Pushing pictures") as progress:
        report = object_storage.push(session.settings().layout, url, progress=progress)
    return _shown(session, report, as_json)


@group.command(epilog=examples("toonsearch catalog pull s3://BUCKET/webtoons --data /srv/copy"))
def pull(ctx: typer.Context, url: Url, as_json: AsJson = False) -> int:
    """Bring this catalog up to a place that was pushed to.

    Every byte is verified, and only what is new is copied. Refused when tables here have changes
    that are not there: pull into a data folder of its own, and build an index there.
    """
    from indexer import object_storage

    session: Session = ctx.obj
    with session.writing("catalog pull", False), session.progress("Pulling pictures") as progress:
        report = object_storage.pull(session.settings().layout, url, progress=progress)
    if report.tables and not as_json:
        session.note("next: `toonsearch index build`")
    return _shown(session, report, as_json)


def _shown(session: Session, report: SyncReport, as_json: bool) -> int:
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        counts = {
            "tables": len(report.tables),
            "files": report.files,
            "pictures": report.pictures,
            "removed": report.removed,
            "failed": report.failed,
        }
        done = counted({name: count for name, count in counts.items() if count})
        print(f"{report.url}: {done or 'nothing to do'}")
        for problem in report.problems:
            session.note(problem)
        if report.new_marks:
            session.note(
                "something was forgotten there: `toonsearch index build`, then"
                " `toonsearch index gc --keep 1`"
            )
    return 4 if report.failed else 0
