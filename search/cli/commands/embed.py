"""`toonsearch embed`: vectors for the pictures that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from schemas.errors import UsageError
from search.cli.context import Session
from search.cli.options import (
    AsJson,
    DryRun,
    Limit,
    check_place,
    counted,
    examples,
    new_app,
    print_json,
)

app = new_app()


@app.command(
    epilog=examples(
        "toonsearch embed",
        "toonsearch embed --retry-failed --limit 1000",
        "toonsearch embed --manifest works.csv --out vectors.parquet",
    )
)
def embed(
    ctx: typer.Context,
    retry_failed: Annotated[
        bool, Option("--retry-failed", help="Also try pictures that failed before.")
    ] = False,
    limit: Limit = None,
    manifest: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Embed the pictures that this file lists, without the catalog; needs --out.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="Parquet file with path and vector for --manifest."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Turn new pictures into vectors."""
    if (manifest is None) != (out is None):
        raise UsageError("--manifest and --out belong together", "Give both or neither.")
    session: Session = ctx.obj
    if manifest is not None and out is not None:
        return _listed(session, manifest, out, limit, dry_run, as_json)
    from indexer.embedding.embed import embed_pending

    settings = session.settings()
    with session.writing("embed", dry_run), session.progress("Embedding") as progress:
        report = embed_pending(
            settings.layout,
            settings,
            retry_failed=retry_failed,
            dry_run=dry_run,
            limit=limit,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "model": report.model_id,
                "counts": report.counts,
                "dry_run": dry_run,
                "seconds": round(report.seconds, 3),
            }
        )
    else:
        print(f"{report.model_id}: {counted(report.counts)}")
        if report.counts.get("embedded"):
            session.note("next: `toonsearch index build`")
    if report.counts.get("failed"):
        session.note("`toonsearch status` shows why pictures failed")
        return 4
    return 0


def _listed(
    session: Session, manifest: Path, out: Path, limit: int | None, dry_run: bool, as_json: bool
) -> int:
    from indexer.embedding.listing import embed_listed, listed_pictures

    check_place(out)
    listed = listed_pictures(manifest)[:limit]
    if dry_run:
        print(f"would embed {len(listed):,} pictures into {out}")
        return 0
    with session.progress("Embedding") as progress:
        report = embed_listed(session.settings(), listed, out, progress=progress)
    if as_json:
        print_json(
            {
                "model": report.model_id,
                "embedded": report.embedded,
                "failed": report.failed,
                "out": str(out),
            }
        )
    else:
        done = f"{report.embedded:,} embedded, {report.failed:,} failed"
        print(f"{report.model_id}: {done}, in {out}")
    for problem in report.problems:
        session.note(problem)
    return 4 if report.failed else 0
