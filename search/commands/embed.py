"""`toonsearch embed`: vectors for the pictures that have none."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from search.commands import AsJson, DryRun, command_app, examples, print_json
from search.session import Session

app = command_app()


@app.command(epilog=examples("toonsearch embed", "toonsearch embed --retry-failed --limit 1000"))
def embed(
    ctx: typer.Context,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try pictures that failed before.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after this many pictures.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Turn new pictures into vectors."""
    from indexer.embed import embed_pending
    from schemas.lock import writing

    session = ctx.ensure_object(Session)
    settings = session.settings()
    lock = contextlib.nullcontext() if dry_run else writing(settings.layout, "embed")
    with lock, session.progress("Embedding") as progress:
        report = embed_pending(
            settings.layout, settings, retry_failed=retry_failed, dry_run=dry_run, limit=limit,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print_json({"model": report.model_id, "counts": report.counts, "dry_run": dry_run,
                    "seconds": round(report.seconds, 3)})  # fmt: skip
    else:
        told = ", ".join(f"{count:,} {what}" for what, count in report.counts.items())
        print(f"{report.model_id}: {told}")
        if report.counts.get("embedded"):
            session.note("next: `toonsearch index build`")
    if report.counts.get("failed"):
        session.note("`toonsearch status` shows why pictures failed")
        return 4
    return 0
