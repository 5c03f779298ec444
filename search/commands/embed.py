"""`toonsearch embed`: vectors for the pictures that have none."""

from __future__ import annotations

import contextlib

import click

from search.commands import as_json, dry_run, examples, print_json
from search.session import Session


@click.command(epilog=examples("toonsearch embed", "toonsearch embed --retry-failed --limit 1000"))
@click.option("--retry-failed", is_flag=True, help="Also try pictures that failed before.")
@click.option("--limit", type=click.IntRange(1), help="Stop after this many pictures.")
@dry_run
@as_json
@click.pass_obj
def command(
    session: Session, retry_failed: bool, limit: int | None, dry_run: bool, as_json: bool
) -> int:
    """Turn new pictures into vectors."""
    from indexer.embed import embed_pending
    from schemas.lock import writing

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
