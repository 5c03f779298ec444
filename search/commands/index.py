"""`toonsearch index`: generations are built, proven, published and taken back."""

from __future__ import annotations

from typing import Annotated

import typer

from search.commands import AsJson, DryRun, examples, group_app, print_json
from search.session import Session

app = group_app("Build, publish and check index generations.", "toonsearch index build")

Id = Annotated[
    str | None,
    typer.Argument(metavar="GENERATION", help="By default the one in use.", show_default=False),
]


@app.command(epilog=examples("toonsearch index build", "toonsearch index build --no-publish"))
def build(
    ctx: typer.Context,
    no_publish: Annotated[
        bool, typer.Option("--no-publish", help="Build and prove it, keep using the old one.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Build even when nothing has changed.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Build a generation from the catalog, prove it, and publish it."""
    import dataclasses

    from indexer.build import build_generation
    from indexer.generations import publish
    from indexer.retention import collect_garbage
    from schemas.lock import writing

    session = ctx.ensure_object(Session)
    settings = session.settings()
    layout = settings.layout
    removed: list[str] = []
    if dry_run:
        report = build_generation(layout, settings, dry_run=True, force=force)
    else:
        with writing(layout, "index build"):
            with session.progress("Building the index") as progress:
                report = build_generation(layout, settings, force=force, progress=progress)
            if report.generation_id and not report.unchanged and not no_publish:
                publish(layout, report.generation_id)
                removed = collect_garbage(layout, settings.index.keep)
    published = bool(report.generation_id) and not no_publish
    if as_json:
        print_json({"generation": report.generation_id, "unchanged": report.unchanged,
                    "published": published, "dry_run": dry_run, "counts": report.counts,
                    "checks": [dataclasses.asdict(check) for check in report.checks],
                    "removed": removed, "seconds": round(report.seconds, 3)})  # fmt: skip
        return
    told = ", ".join(f"{count:,} {what}" for what, count in report.counts.items())
    if dry_run:
        print(f"{'nothing has changed' if report.unchanged else 'would index'}: {told}")
    elif report.unchanged:
        print(f"{report.generation_id} is up to date: {told}")
    else:
        for check in report.checks:
            session.detail(f"check {check.name}: {check.detail}")
        print(f"{report.generation_id} {'is published' if published else 'is built'}: {told}")
        for name in removed:
            session.note(f"removed the old generation {name}")


@app.command("list", epilog=examples("toonsearch index list"))
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List all generations, oldest first, each with its verdict."""
    import dataclasses

    from indexer.generations import list_generations

    session = ctx.ensure_object(Session)
    found = list_generations(session.settings().layout)
    if as_json:
        print_json([dataclasses.asdict(info) for info in found])
        return
    if not found:
        session.note("there is no index yet; run `toonsearch index build`")
    for info in found:
        mark = "*" if info.published else " "
        size = f"{info.bytes_count / 1e6:>8.1f} MB"
        counts = f"{info.pictures_count:>9,} pictures  {info.titles_count:>7,} titles"
        print(f"{mark} {info.id}  {counts}  {size}  {info.model_id or '-'}  {info.state}")


@app.command(epilog=examples("toonsearch index verify"))
def verify(ctx: typer.Context, generation: Id = None, as_json: AsJson = False) -> None:
    """Prove every byte of a generation."""
    import dataclasses

    from indexer.generations import verify_generation

    layout = ctx.ensure_object(Session).settings().layout
    info = verify_generation(layout, generation)
    if as_json:
        print_json(dataclasses.asdict(info))
    else:
        print(f"{info.id} is sound: {info.pictures_count:,} pictures, {info.bytes_count:,} bytes")


@app.command(epilog=examples("toonsearch index publish g20260101T030000-0123abcd"))
def publish(
    ctx: typer.Context,
    generation: Annotated[str, typer.Argument(metavar="GENERATION", help="See `index list`.")],
    dry_run: DryRun = False,
) -> None:
    """Prove a generation and use it from now on."""
    from indexer import generations
    from schemas.lock import writing

    layout = ctx.ensure_object(Session).settings().layout
    if dry_run:
        generations.verify_generation(layout, generation)
        print(f"would publish {generation}")
        return
    with writing(layout, "index publish"):
        generations.publish(layout, generation)
    print(f"{generation} is published")


@app.command(epilog=examples("toonsearch index rollback"))
def rollback(ctx: typer.Context, dry_run: DryRun = False) -> None:
    """Go back to the generation before the one in use."""
    from indexer import retention
    from indexer.generations import list_generations
    from schemas.lock import writing

    layout = ctx.ensure_object(Session).settings().layout
    if dry_run:
        older = [i for i in list_generations(layout) if i.state == "ok" and not i.published]
        print(f"would choose among: {', '.join(i.id for i in older) or 'none'}")
        return
    with writing(layout, "index rollback"):
        name = retention.rollback(layout)
    print(f"{name} is published")
