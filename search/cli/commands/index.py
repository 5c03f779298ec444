"""`toonsearch index`: generations are built, verified, published and taken back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from search.cli.context import Session, plain
from search.cli.options import Accept, AsJson, DryRun, counted, examples, new_app, print_json

if TYPE_CHECKING:
    from indexer.vector_index.build import BuildReport
    from indexer.vector_index.diff import Difference
    from schemas.attempt import WorkReport
    from schemas.settings import Settings

app = new_app()
group = new_app(
    "Build, publish and check index generations.\n\nA generation is one whole index. A build makes a"
    " new one beside the others, and one of them is in use; `rollback` goes back to the one before.",
    "toonsearch index build",
    "toonsearch index list",
)
app.add_typer(group, name="index")


class Kind(StrEnum):
    """How vectors are searched."""

    AUTO = "auto"
    FLAT = "flat"
    IVF = "ivf"
    IVFPQ = "ivfpq"
    HNSW = "hnsw"


@group.command(
    epilog=examples(
        "toonsearch index build",
        "toonsearch index build --no-publish",
        "toonsearch index build --kind auto --memory 4G --latency 10",
    )
)
def build(
    ctx: typer.Context,
    no_publish: Annotated[
        bool, Option("--no-publish", help="Build and check it, keep using the old one.")
    ] = False,
    no_embed: Annotated[
        bool, Option("--no-embed", help="Index only what already has a vector.")
    ] = False,
    force: Annotated[bool, Option("--force", help="Build even when nothing has changed.")] = False,
    accept: Accept = None,
    kind: Annotated[
        Kind | None,
        Option(
            help="How vectors are searched; auto goes by their number (setting index.kind, default auto)."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        Option(
            metavar="AMOUNT",
            help="Memory that --kind auto may take for codes of vectors, such as 4G (setting index.memory, default 64M; 0: any).",
        ),
    ] = None,
    latency: Annotated[
        float | None,
        Option(
            min=0,
            metavar="MS",
            help="Milliseconds that --kind auto may take to scan all vectors (setting index.latency_ms, default 10).",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Build a generation of the catalog, check it and publish it.

    New pictures are embedded before, strips and pages by their panels.
    """
    from indexer.embedding.embed import embed_pending
    from indexer.forget import clean_up
    from indexer.vector_index.build import BuildReport, build_generation
    from schemas.errors import NothingToIndex
    from search.web.db import forget_visitors

    session: Session = ctx.obj
    settings = session.settings(
        {"index.kind": kind, "index.memory": memory, "index.latency_ms": latency}
    )
    layout = settings.layout
    removed: list[str] = []
    if dry_run:
        pending = 0 if no_embed else embed_pending(layout, settings, dry_run=True).counts["pending"]
        try:
            report = build_generation(layout, settings, dry_run=True, force=force)
        except NothingToIndex:
            if not pending:
                raise
            report = BuildReport(None, False, {"pictures": 0})
        if pending:
            session.note(f"{pending:,} more pictures would be embedded and indexed too")
    else:
        with session.writing("index build", dry_run):
            clean_up(layout, settings, forget_visitors)
            if not no_embed:
                embed_new(session, settings)
            report, removed = build_and_publish(
                session, settings, not no_publish, force=force, accept=accept or ()
            )
    published = bool(report.generation_id) and not no_publish
    if as_json:
        print_json(
            {
                "generation": report.generation_id,
                "unchanged": report.unchanged,
                "published": published,
                "dry_run": dry_run,
                "counts": report.counts,
                "search": dataclasses.asdict(report.plan),
                "notes": report.notes,
                "checks": [dataclasses.asdict(check) for check in report.checks],
                "removed": removed,
                "seconds": round(report.seconds, 3),
            }
        )
        return
    counts = counted(report.counts)
    for note in report.notes:
        session.note(note)
    if dry_run:
        print(
            f"{'nothing has changed' if report.unchanged and not pending else 'would index'}: {counts}"
        )
    elif report.unchanged:
        print(f"{report.generation_id} is up to date: {counts}")
    else:
        for check in report.checks:
            said = "" if check.passed else " (failed, accepted)"
            session.detail(f"check {check.name}: {check.detail}{said}")
        print(f"{report.generation_id} {'is published' if published else 'is built'}: {counts}")
        for name in removed:
            session.note(f"removed the old generation {name}")


def cut_new(session: Session, settings: Settings, **options: Any) -> WorkReport:
    """Cut new strips and pages of the catalog into panels and say what came of it."""
    from indexer.panels.strips import cut_pending

    with session.progress("Cutting") as progress:
        report = cut_pending(settings.layout, settings, progress=progress, **options)
    counts = {what: n for what, n in report.counts.items() if n and what != "already"}
    if counts:
        session.note(f"strips and pages: {counted(counts)}")
    for problem in report.problems:
        session.note(problem)
    return report


def embed_new(session: Session, settings: Settings) -> None:
    """Cut and embed what is new and say what came of it."""
    from indexer.embedding.embed import embed_pending

    cut_new(session, settings)
    with session.progress("Embedding") as progress:
        report = embed_pending(settings.layout, settings, progress=progress)
    if any(report.counts[what] for what in ("embedded", "skipped", "failed")):
        counts = counted({what: n for what, n in report.counts.items() if n})
        session.note(f"embedding: {counts}")


def build_and_publish(
    session: Session, settings: Settings, published: bool = True, **options: Any
) -> tuple[BuildReport, list[str]]:
    """Build a generation when anything has changed; returns also the old ones that it replaced."""
    from indexer.vector_index.build import build_generation
    from indexer.vector_index.generations import collect_garbage, publish

    layout = settings.layout
    with session.progress("Building the index") as progress:
        report = build_generation(layout, settings, progress=progress, **options)
    removed: list[str] = []
    if published and report.generation_id and not report.unchanged:
        publish(layout, report.generation_id)
        removed = collect_garbage(layout, settings.index.keep)
    if published:
        follow_published(session, settings)
    return report, removed


def follow_published(session: Session, settings: Settings) -> None:
    """Bring the Milvus of index.kind to what is published now.

    Errors:  as `export_index`; NetworkError says that it is published
    """
    if settings.index.milvus:
        from indexer.vector_index.milvus import follow
        from schemas.errors import NetworkError

        try:
            with session.progress("Copying to Milvus") as progress:
                follow(settings.layout, settings, progress)
        except NetworkError as error:
            said = f"the index is published, but {error.message}"
            raise NetworkError(said, error.hint) from error


@group.command("list", epilog=examples("toonsearch index list"))
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List all generations, oldest first, each with its state."""
    from indexer.vector_index.generations import list_generations, no_index

    session: Session = ctx.obj
    layout = session.settings().layout
    found = list_generations(layout)
    if as_json:
        print_json([dataclasses.asdict(info) for info in found])
        return
    if not found:
        session.note(str(no_index(layout)))
    for info in found:
        mark = "*" if info.published else " "
        size = f"{info.bytes_count / 1e6:>8.1f} MB"
        counts = f"{info.pictures_count:>9,} pictures  {info.titles_count:>7,} titles"
        how = f"{info.kind or '-':<5}  recall {info.recall if info.recall is not None else 0:.3f}"
        print(f"{mark} {info.id}  {counts}  {size}  {how}  {info.model_id or '-'}  {info.state}")


@group.command(epilog=examples("toonsearch index verify"))
def verify(
    ctx: typer.Context,
    generation: Annotated[
        str | None, Argument(metavar="GENERATION", help="By default the one in use.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify every byte of a generation."""
    from indexer.vector_index.generations import verify_generation

    session: Session = ctx.obj
    layout = session.settings().layout
    info = verify_generation(layout, generation)
    if as_json:
        print_json(dataclasses.asdict(info))
    else:
        print(f"{info.id} is sound: {info.pictures_count:,} pictures, {info.bytes_count:,} bytes")


@group.command(epilog=examples("toonsearch index publish g20260101T030000000000-0123abcd"))
def publish(
    ctx: typer.Context,
    generation: Annotated[str, Argument(metavar="GENERATION", help="Its id.")],
    dry_run: DryRun = False,
) -> None:
    """Verify a generation and use it from now on."""
    from indexer.vector_index import generations

    session: Session = ctx.obj
    settings = session.settings()
    layout = settings.layout
    if dry_run:
        generations.verify_generation(layout, generation)
        print(f"would publish {generation}")
        return
    with session.writing("index publish", dry_run):
        generations.publish(layout, generation)
        print(f"{generation} is published")
        follow_published(session, settings)


@group.command(epilog=examples("toonsearch index rollback"))
def rollback(ctx: typer.Context, dry_run: DryRun = False) -> None:
    """Go back to the generation before the one in use."""
    from indexer.vector_index import generations

    session: Session = ctx.obj
    settings = session.settings()
    layout = settings.layout
    if dry_run:
        older = [
            i for i in generations.list_generations(layout) if i.state == "ok" and not i.published
        ]
        print(f"would choose among: {', '.join(i.id for i in older) or 'none'}")
        return
    with session.writing("index rollback", dry_run):
        name = generations.rollback(layout)
        print(f"{name} is published")
        follow_published(session, settings)


@group.command(epilog=examples("toonsearch index gc --dry-run", "toonsearch index gc --keep 1"))
def gc(
    ctx: typer.Context,
    keep: Annotated[
        int | None,
        Option(min=1, help="How many of the newest stay (setting index.keep, default 3)."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove old generations.

    Never the one in use, the one before it, or one that is being read.
    """
    from indexer.vector_index.generations import collect_garbage

    session: Session = ctx.obj
    settings = session.settings({"index.keep": keep})
    with session.writing("index gc", dry_run):
        removed = collect_garbage(settings.layout, settings.index.keep, dry_run=dry_run)
    if as_json:
        print_json({"removed": removed, "dry_run": dry_run})
        return
    for name in removed:
        print(f"{'would remove' if dry_run else 'removed'} {name}")
    if not removed:
        session.note("there is nothing to remove")


@group.command(epilog=examples("toonsearch index export --to milvus:http://localhost:19530"))
def export(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        Option(metavar="milvus:URI", help="By default the Milvus that index.kind names."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the vectors of the index in use into Milvus.

    Each generation is a collection of its own; the alias toonsearch moves to it when it is
    complete and has been checked. What Milvus held of generations that are gone is removed. A token
    is read from MILVUS_TOKEN.
    """
    from indexer.vector_index.generations import no_index
    from indexer.vector_index.milvus import export_index, shown
    from schemas.errors import UsageError

    session: Session = ctx.obj
    settings = session.settings({"index.kind": to})
    uri = settings.index.milvus
    if not uri:
        raise UsageError("say where to", "Give --to milvus:http://HOST:19530.")
    with session.writing("index export", False), session.progress("Copying to Milvus") as progress:
        report = export_index(settings.layout, settings.index, uri, progress)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    for name in report.removed:
        session.note(f"removed the collection {name}")
    if report.generation_id is None:
        raise no_index(settings.layout)
    recall = "" if report.recall is None else f", recall {report.recall:.3f}"
    print(
        f"{report.generation_id} {'was copied to' if report.copied else 'is in'} {shown(uri)}:"
        f" {report.vectors_count:,} vectors{recall}"
    )


@group.command(epilog=examples("toonsearch index diff", "toonsearch index diff OLD NEW --json"))
def diff(
    ctx: typer.Context,
    before: Annotated[
        str | None, Argument(metavar="A", help="By default the one before B.")
    ] = None,
    after: Annotated[str | None, Argument(metavar="B", help="By default the one in use.")] = None,
    everything: Annotated[bool, Option("--all", help="List every difference.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what moved, appeared and went from generation A to B."""
    from indexer.vector_index.diff import compare_generations
    from indexer.vector_index.generations import current_generation_id, generation_ids, no_index
    from schemas.errors import NoIndexError

    session: Session = ctx.obj
    layout = session.settings().layout
    names = generation_ids(layout)
    after = after or current_generation_id(layout)
    if after is None:
        raise no_index(layout)
    before = before or next((name for name in reversed(names) if name < after), None)
    if before is None:
        raise NoIndexError(f"there is no generation before {after} to compare with")
    found = compare_generations(layout, before, after)
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    for line in difference_lines(found, None if everything else 10):
        print(line)


def difference_lines(found: Difference, limit: int | None) -> Iterator[str]:
    """What changed between two generations, sums first, then examples of each kind."""
    yield f"{found.before} -> {found.after}"
    for what, (old, new) in (("pictures", found.pictures), ("titles", found.titles)):
        yield f"{what:<22}{old:>9,} -> {new:,}"
    relabelled = (
        f"{change.title_id}  "
        + ", ".join(f"{name}: {old} -> {new}" for name, (old, new) in change.fields.items())
        for change in found.relabelled
    )
    for what, lines in (
        ("pictures appeared", [f"{p[:12]}  {t}" for t, p in found.appeared]),
        ("pictures gone", [f"{p[:12]}  {t}" for t, p in found.gone]),
        ("pictures moved", [f"{p[:12]}  {a} -> {b}" for p, a, b in found.moved]),
        ("titles appeared", found.titles_appeared),
        ("titles gone", found.titles_gone),
        ("titles relabelled", list(relabelled)),
    ):
        yield f"{what:<22}{len(lines):>9,}"
        yield from (f"  {plain(line)}" for line in lines[:limit])
        if limit is not None and len(lines) > limit:
            yield f"  ... and {len(lines) - limit:,} more (--all)"
    if found.reembedded is None:
        yield "vectors are of another model"
    else:
        yield f"{'vectors changed':<22}{found.reembedded:>9,}"
    if found.is_empty:
        yield "nothing differs"
