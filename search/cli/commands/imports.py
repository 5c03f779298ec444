"""`toonsearch import`: folders and manifests into the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from schemas.errors import PartlyDoneError
from search.cli.context import Session, plain
from search.cli.options import (
    LEVELS_HELP,
    AsJson,
    DryRun,
    Yes,
    confirm,
    counted,
    examples,
    new_app,
    show,
)

if TYPE_CHECKING:
    from typer._click import Context

    from crawler.importers.ingest import ImportReport
    from schemas.records import Title

AUTHORS_SHOWN = 20
TITLES_SHOWN = 5
app = new_app()
group = new_app(
    "Bring pictures into the catalog.",
    "toonsearch import folder drawings",
    "toonsearch import manifest works.csv",
    "toonsearch import undo",
)


class ImportGroup(TyperGroup):
    """`--undo` anywhere means the command `undo`: whoever has just typed an import adds it."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if "--undo" in args:
            rest = [arg for arg in args if arg != "--undo"]
            args = ["undo", *(rest[1:] if rest[:1] in (["folder"], ["manifest"]) else rest)]
        return super().parse_args(ctx, args)


app.add_typer(group, name="import", cls=ImportGroup)

Name = Annotated[
    str | None, Option(metavar="NAME", help="Name of the source; by default its path.")
]
Prune = Annotated[
    bool, Option("--prune", help="Also remove pictures when most, or a whole folder, is gone.")
]
RetryFailed = Annotated[
    bool, Option("--retry-failed", help="Read files that failed before once more.")
]


@group.command(
    epilog=examples(
        "toonsearch import folder drawings",
        "toonsearch import folder covers --pattern {genre}/{author}/{title} --dry-run",
    )
)
def folder(
    ctx: typer.Context,
    directory: Annotated[Path, Argument(metavar="DIR", help="The folder.")],
    pattern: Annotated[str, Option(metavar="LEVELS", help=LEVELS_HELP)] = "{author}/{title}",
    name: Name = None,
    prune: Prune = False,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Import a folder whose levels name authors and titles.

    --dry-run shows the authors and titles that it makes. Hidden files, folders that a NAS or a
    system keeps for itself, and what toonsearch wrote are left out; links to folders are not
    followed. What cannot be read now stays as it is in the catalog, with exit code 4.
    """
    from crawler.importers.folder import import_folder

    return _import(
        ctx.obj,
        import_folder,
        directory,
        as_json,
        pattern=pattern,
        name=name,
        dry_run=dry_run,
        prune=prune,
        retry_failed=retry_failed,
    )


@group.command(
    epilog=examples("toonsearch import manifest works.csv", "toonsearch import manifest w.parquet")
)
def manifest(
    ctx: typer.Context,
    file: Annotated[Path, Argument(metavar="FILE", help="The list.")],
    name: Name = None,
    prune: Prune = False,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Import the pictures that a CSV, TSV or Parquet file lists.

    It needs a column `path`; author, series, title, genre, year, date, kind, episode, url and tags
    are read where they are there.
    """
    from crawler.importers.manifest import import_manifest

    return _import(
        ctx.obj,
        import_manifest,
        file,
        as_json,
        name=name,
        dry_run=dry_run,
        prune=prune,
        retry_failed=retry_failed,
    )


@group.command(
    epilog=examples(
        "toonsearch import undo --dry-run",
        "toonsearch import undo drawings",
    )
)
def undo(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        Argument(metavar="SOURCE", help="Folder, list or name; by default the last import."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Take back the last import of a source.

    Its pictures and titles become what they were before. This works for some days, as long as
    the catalog holds its earlier versions; what was forgotten since stays forgotten.
    """
    from crawler.importers.history import find_import, undo_import
    from schemas.storage.catalog import Catalog

    session: Session = ctx.obj
    layout = session.settings().layout
    run = find_import(Catalog(layout), source)  # an unknown name must not take the lock
    what = f"the import of {run.source} on {run.started:%Y-%m-%d %H:%M} UTC"
    if not dry_run:
        would = undo_import(layout, run, dry_run=True)
        found = counted({name: n for name, n in would.counts.items() if n}) or "nothing"
        confirm(f"take back {what} ({found})", yes)
    with session.writing("import", dry_run):
        report = undo_import(layout, find_import(Catalog(layout), run.source), dry_run=dry_run)
    facts = {"source": run.source, "started": run.started.isoformat()}
    told = f"{'would take back' if dry_run else 'took back'} {what}"
    code = show(told, report.counts, dry_run, as_json, **facts)
    if not (dry_run or as_json):
        session.note("next: `toonsearch index build`; a nightly import brings it again")
    return code


def _import(
    session: Session,
    run: Callable[..., ImportReport],
    source: Path,
    as_json: bool,
    *,
    dry_run: bool,
    **options: Any,
) -> int:
    settings = session.settings()
    with session.writing("import", dry_run), session.progress("Importing") as progress:
        report = run(
            settings.layout, settings, source, dry_run=dry_run, progress=progress, **options
        )
    authors = by_author(report.titles)
    facts: dict[str, object] = {
        "source": report.source,
        "files": report.files,
        "problems": report.problems,
        "notes": report.notes,
    }
    if dry_run:
        facts["authors"] = [
            {"author": author, "titles": [asdict(title) for title in titles]}
            for author, titles in authors.items()
        ]
    what = f"{'would import' if dry_run else 'imported'} {plain(report.source)}"
    show(what, report.counts, dry_run, as_json, **facts)
    if not as_json:
        if dry_run:
            for line in tree_lines(authors):
                print(plain(line))
        for remark in report.problems:
            session.note(remark)
        if report.more_problems:
            session.note(
                f"and {report.more_problems:,} more: `toonsearch status` counts the reasons"
            )
        for remark in report.notes:
            session.note(remark)
        if not dry_run and report.counts["new"] + report.counts["changed"]:
            session.note("next: `toonsearch index build`")
    return PartlyDoneError.exit_code if report.is_partial else 0


@dataclass(frozen=True)
class TitleFiles:
    """A title of a source with how many files it has there."""

    title_id: str
    name: str
    pictures: int


def by_author(titles: Sequence[tuple[Title, int]]) -> dict[str, list[TitleFiles]]:
    """The tree that an import makes: titles by the names of their authors, in order."""
    tree: dict[str, list[TitleFiles]] = {}
    for title, pictures in titles:
        authors = "; ".join(author.name for author in title.authors)
        tree.setdefault(authors, []).append(TitleFiles(title.title_id, title.name, pictures))
    return {author: tree[author] for author in sorted(tree)}


def tree_lines(authors: Mapping[str, list[TitleFiles]]) -> Iterator[str]:
    """The tree for people, cut where it is long."""
    for author, titles in islice(authors.items(), AUTHORS_SHOWN):
        names = [f"{title.name} ({title.pictures:,})" for title in titles[:TITLES_SHOWN]]
        if len(titles) > TITLES_SHOWN:
            names.append(f"and {len(titles) - TITLES_SHOWN:,} more")
        yield f"  {author or '(no author)'}: {', '.join(names)}"
    if len(authors) > AUTHORS_SHOWN:
        yield f"  and {len(authors) - AUTHORS_SHOWN:,} more authors"
