"""`toonsearch embed`: vectors for the pictures that have none."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from schemas.errors import InputError, UsageError
from search.cli.commands import as_json, dry_run, examples, print_json
from search.cli.context import Session


@click.command(
    epilog=examples(
        "toonsearch embed",
        "toonsearch embed --retry-failed --limit 1000",
        "toonsearch embed --manifest works.csv --out vectors.parquet",
    )
)
@click.option("--retry-failed", is_flag=True, help="Also try pictures that failed before.")
@click.option("--limit", type=click.IntRange(1), help="Stop after this many pictures.")
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Embed the pictures that this file lists, without the catalog; needs --out.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Parquet file with path and vector for --manifest.",
)
@dry_run
@as_json
@click.pass_obj
def command(
    session: Session,
    retry_failed: bool,
    limit: int | None,
    manifest: Path | None,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Turn new pictures into vectors."""
    if (manifest is None) != (out is None):
        raise UsageError("--manifest and --out belong together", "Give both or neither.")
    if manifest is not None and out is not None:
        return _listed(session, manifest, out, limit, dry_run, as_json)
    from indexer.embedding.embed import embed_pending
    from schemas.storage.locking import writing

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


def _listed(
    session: Session, manifest: Path, out: Path, limit: int | None, dry_run: bool, as_json: bool
) -> int:
    from indexer.embedding.embed import embed_listed, listed_pictures

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out} is not a place for a file")
    listed = listed_pictures(manifest)[:limit]
    if dry_run:
        print(f"would embed {len(listed):,} pictures into {out}")
        return 0
    with session.progress("Embedding") as progress:
        report = embed_listed(session.settings(), listed, out, progress=progress)
    if as_json:
        print_json({"model": report.model_id, "embedded": report.embedded,
                    "failed": report.failed, "out": str(out)})  # fmt: skip
    else:
        print(
            f"{report.model_id}: {report.embedded:,} embedded, {report.failed:,} failed, in {out}"
        )
    for problem in report.problems:
        session.note(problem)
    return 4 if report.failed else 0
