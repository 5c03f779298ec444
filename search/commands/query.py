"""`toonsearch query`: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import UsageError
from search.commands import command_app, examples
from search.session import Session

if TYPE_CHECKING:
    from schemas.records import Answer
    from schemas.settings import Settings
    from search.engine import QueryOptions
    from search.inputs import QueryPicture

app = command_app()

By = Literal["title", "picture"]
PreviewAs = Literal["auto", "kitty", "iterm", "sixel", "blocks"]


@app.command(
    epilog=examples(
        "toonsearch query cover.jpg -k 5",
        "toonsearch query a.png b.png --where \"genre = 'animals' and year < 2006\"",
        "toonsearch query cover.jpg --exclude-same-author --html similar.html",
        "toonsearch query - --json < cover.jpg",
    )
)
def query(
    ctx: typer.Context,
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURE...",
            help="Picture files; several make one query. `-` reads standard input.",
            show_default=False,
        ),
    ],
    k: Annotated[
        int | None, typer.Option("--k", "-k", "--top", "--limit", min=1, help="How many results.")
    ] = None,
    by: Annotated[By | None, typer.Option(help="What to list.")] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="Ask about a part: pixels, or percent with %."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Only pictures for which this holds, before searching."),
    ] = None,
    exclude_author: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave out an author; repeatable.")
    ] = None,
    exclude_same_author: Annotated[
        bool, typer.Option("--exclude-same-author", help="Who else draws like this?")
    ] = False,
    exclude_title: Annotated[
        list[str] | None,
        typer.Option(metavar="TITLE", help="Leave out a title, by id or name; repeatable."),
    ] = None,
    min_percentile: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0.0,
            max=100.0,
            help="Only what is nearer than this share of pairs by different authors.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    nl: Annotated[bool, typer.Option("--nl", help="Print one JSON object a line.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    paths_only: Annotated[
        bool, typer.Option("--paths-only", "-f", help="Print only the best picture's path.")
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="End paths with NUL, for `xargs -0`.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a gallery, one self-contained file.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", "-p", help="Show thumbnails in the terminal.")
    ] = False,
    preview_as: Annotated[
        PreviewAs, typer.Option(help="How the terminal shows pictures.", hidden=True)
    ] = "auto",
) -> None:
    """Find the works drawn most like a picture, and by whom."""
    chosen = [name for name, on in (("json", as_json), ("nl", nl), ("csv", csv),
                                    ("paths-only", paths_only or null)) if on]  # fmt: skip
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other", "Choose one.")
    if html is not None:
        from search.gallery import check_target

        check_target(html)
    session = ctx.ensure_object(Session)
    settings = session.settings(
        {"query.k": k, "query.by": by, "query.min_percentile": min_percentile}
    )
    answer, read = _asked(settings, _options(settings, where, exclude_author, exclude_same_author,
                                             exclude_title), pictures, crop)  # fmt: skip
    for note in answer.notes:
        session.note(note)
    _print(answer, settings, chosen[0] if chosen else "table", "\0" if null else "\n")
    if preview:
        _preview(session, answer, settings, preview_as)
    if html is not None:
        _write_html(session, html, answer, read, settings)


def _options(
    settings: Settings,
    where: str | None,
    exclude_author: list[str] | None,
    exclude_same_author: bool,
    exclude_title: list[str] | None,
) -> QueryOptions:
    from search.engine import QueryOptions

    return QueryOptions(
        k=settings.query.k,
        by=settings.query.by,
        neighbours=settings.query.neighbours,
        unknown_prior=settings.query.unknown_prior,
        where=where,
        exclude_authors=tuple(exclude_author or ()),
        exclude_same_author=exclude_same_author,
        exclude_titles=tuple(exclude_title or ()),
        min_percentile=settings.query.min_percentile,
    )


def _asked(
    settings: Settings, options: QueryOptions, sources: list[str], crop: str | None
) -> tuple[Answer, list[QueryPicture]]:
    from search.engine import Engine
    from search.inputs import STDIN, Crop, read_picture

    if sources.count(STDIN) > 1:
        raise UsageError("standard input can be read only once", "Name `-` once.")
    part = None if crop is None else Crop.parse(crop)
    limits = settings.decode.limits
    read = [read_picture(s, limits, crop=part, stdin=sys.stdin.buffer) for s in sources]
    with Engine.open(settings.layout, settings) as engine:
        return engine.query(read, options), read


def _print(answer: Answer, settings: Settings, form: str, end: str) -> None:
    from search import render

    by = settings.query.by
    if form == "json":
        render.write_json(sys.stdout, answer, by, settings.layout)
    elif form == "nl":
        render.write_lines(sys.stdout, answer, by, settings.layout)
    elif form == "csv":
        render.write_csv(sys.stdout, answer, by, settings.layout)
    elif form == "paths-only":
        render.write_paths(sys.stdout, answer, by, settings.layout, end)
    else:
        from search.table import write_table

        write_table(sys.stdout, answer, by)


def _preview(session: Session, answer: Answer, settings: Settings, style: PreviewAs) -> None:
    if not sys.stdout.isatty():
        session.note("no preview: standard output is not a terminal")
        return
    from search.preview import write_previews

    write_previews(
        sys.stdout, answer, settings.query.by, settings.layout, settings.decode.limits, style
    )


def _write_html(
    session: Session, file: Path, answer: Answer, read: list[QueryPicture], settings: Settings
) -> None:
    from search.gallery import GallerySection, write_gallery

    section = GallerySection(answer, tuple(read), by=settings.query.by)
    write_gallery(file, [section], layout=settings.layout, limits=settings.decode.limits)
    session.note(f"the gallery is in {file}")
