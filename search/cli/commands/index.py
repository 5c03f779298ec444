"""`toonsearch index`: generations are built, proven, published and taken back."""

from __future__ import annotations

import click

from search.cli.commands import as_json, command_group, dry_run, examples, print_json
from search.cli.context import Session

command = command_group("Build, publish and check index generations.", "toonsearch index build")


@command.command(epilog=examples("toonsearch index build", "toonsearch index build --no-publish"))
@click.option("--no-publish", is_flag=True, help="Build and prove it, keep using the old one.")
@click.option("--no-embed", is_flag=True, help="Index only what already has a vector.")
@click.option("--force", is_flag=True, help="Build even when nothing has changed.")
@click.option(
    "--accept",
    multiple=True,
    type=click.Choice(["yield", "canaries", "labels", "all"]),
    help="Publish although this proof against the index in use fails: the change is meant.",
)
@dry_run
@as_json
@click.pass_obj
def build(
    session: Session, no_publish: bool, no_embed: bool, force: bool, accept: tuple[str, ...],
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Embed what is new, build a generation, prove it and publish it."""
    import dataclasses

    from indexer.embedding.embed import embed_pending
    from indexer.forget import clean_up
    from indexer.vector_index.build import build_generation
    from indexer.vector_index.generations import publish
    from indexer.vector_index.retention import collect_garbage
    from schemas.storage.locking import writing
    from search.web.db import forget_visitors

    settings = session.settings()
    layout = settings.layout
    removed: list[str] = []
    if dry_run:
        report = build_generation(layout, settings, dry_run=True, force=force)
    else:
        with writing(layout, "index build"):
            clean_up(layout, settings, forget_visitors)
            if not no_embed:
                with session.progress("Embedding") as progress:
                    embedded = embed_pending(layout, settings, progress=progress)
                if any(embedded.counts[what] for what in ("embedded", "skipped", "failed")):
                    told = ", ".join(f"{n:,} {what}" for what, n in embedded.counts.items() if n)
                    session.note(f"embedding: {told}")
            with session.progress("Building the index") as progress:
                report = build_generation(
                    layout, settings, force=force, accept=accept, progress=progress
                )
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
            said = "" if check.passed else " (failed, accepted)"
            session.detail(f"check {check.name}: {check.detail}{said}")
        print(f"{report.generation_id} {'is published' if published else 'is built'}: {told}")
        for name in removed:
            session.note(f"removed the old generation {name}")


@command.command("list", epilog=examples("toonsearch index list"))
@as_json
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List all generations, oldest first, each with its verdict."""
    import dataclasses

    from indexer.vector_index.retention import list_generations

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


@command.command(epilog=examples("toonsearch index verify"))
@click.argument("generation", metavar="[GENERATION]", required=False)
@as_json
@click.pass_obj
def verify(session: Session, generation: str | None, as_json: bool) -> None:
    """Prove every byte of a generation, by default of the one in use."""
    import dataclasses

    from indexer.vector_index.retention import verify_generation

    layout = session.settings().layout
    info = verify_generation(layout, generation)
    if as_json:
        print_json(dataclasses.asdict(info))
    else:
        print(f"{info.id} is sound: {info.pictures_count:,} pictures, {info.bytes_count:,} bytes")


@command.command(epilog=examples("toonsearch index publish g20260101T030000000000-0123abcd"))
@click.argument("generation", metavar="GENERATION")
@dry_run
@click.pass_obj
def publish(session: Session, generation: str, dry_run: bool) -> None:
    """Prove a generation and use it from now on."""
    from indexer.vector_index import generations
    from indexer.vector_index import retention as overview
    from schemas.storage.locking import writing

    layout = session.settings().layout
    if dry_run:
        overview.verify_generation(layout, generation)
        print(f"would publish {generation}")
        return
    with writing(layout, "index publish"):
        generations.publish(layout, generation)
    print(f"{generation} is published")


@command.command(epilog=examples("toonsearch index rollback"))
@dry_run
@click.pass_obj
def rollback(session: Session, dry_run: bool) -> None:
    """Go back to the generation before the one in use."""
    from indexer.vector_index import retention
    from indexer.vector_index.retention import list_generations
    from schemas.storage.locking import writing

    layout = session.settings().layout
    if dry_run:
        older = [i for i in list_generations(layout) if i.state == "ok" and not i.published]
        print(f"would choose among: {', '.join(i.id for i in older) or 'none'}")
        return
    with writing(layout, "index rollback"):
        name = retention.rollback(layout)
    print(f"{name} is published")


@command.command(epilog=examples("toonsearch index gc --dry-run", "toonsearch index gc --keep 1"))
@click.option("--keep", type=click.IntRange(1), help="How many of the newest stay.")
@dry_run
@as_json
@click.pass_obj
def gc(session: Session, keep: int | None, dry_run: bool, as_json: bool) -> None:
    """Remove old generations: never the one in use, the one before it, or one being read."""
    import contextlib

    from indexer.vector_index.retention import collect_garbage
    from schemas.storage.locking import writing

    settings = session.settings({"index.keep": keep})
    layout = settings.layout
    with contextlib.nullcontext() if dry_run else writing(layout, "index gc"):
        removed = collect_garbage(layout, settings.index.keep, dry_run=dry_run)
    if as_json:
        print_json({"removed": removed, "dry_run": dry_run})
        return
    for name in removed:
        print(f"{'would remove' if dry_run else 'removed'} {name}")
    if not removed:
        session.note("there is nothing to remove")


@command.command(epilog=examples("toonsearch index diff", "toonsearch index diff OLD NEW --json"))
@click.argument("before", metavar="[A]", required=False)
@click.argument("after", metavar="[B]", required=False)
@click.option("--all", "everything", is_flag=True, help="List every difference.")
@as_json
@click.pass_obj
def diff(
    session: Session, before: str | None, after: str | None, everything: bool, as_json: bool
) -> None:
    """Say what moved, appeared and went from generation A to B.

    B is the one in use unless given, and A the one before it.
    """
    import dataclasses

    from indexer.vector_index.diff import compare_generations
    from indexer.vector_index.generations import current_generation_id, generation_ids
    from schemas.errors import NoIndexError
    from search.output.changes import difference_lines

    layout = session.settings().layout
    names = generation_ids(layout)
    after = after or current_generation_id(layout)
    if after is None:
        raise NoIndexError("there is no index yet", "Run `toonsearch index build`.")
    before = before or next((name for name in reversed(names) if name < after), None)
    if before is None:
        raise NoIndexError(f"there is no generation before {after} to compare with")
    found = compare_generations(layout, before, after)
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    for line in difference_lines(found, None if everything else 10):
        print(line)
