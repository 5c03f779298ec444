"""`toonsearch query`: the main job."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.errors import UsageError
from search.cli.commands import examples
from search.cli.context import Session

if TYPE_CHECKING:
    from schemas.records import Answer
    from schemas.settings import Settings
    from search.engine import QueryOptions
    from search.inputs import QueryPicture


@click.command(
    epilog=examples(
        "toonsearch query cover.jpg -k 5",
        "toonsearch query a.png b.png --where \"genre = 'animals' and year < 2006\"",
        "toonsearch query cover.jpg --exclude-same-author --html similar.html",
        "toonsearch query - --json < cover.jpg",
    )
)
@click.argument("pictures", metavar="PICTURE...", nargs=-1)
@click.option(
    "--k", "-k", "--top", "--limit", "k", type=click.IntRange(1), help="How many results."
)
@click.option("--by", type=click.Choice(["title", "picture"]), help="What to list.")
@click.option("--crop", metavar="X,Y,W,H", help="Ask about a part: pixels, or percent with %.")
@click.option("--where", metavar="SQL", help="Only pictures for which this holds.")
@click.option("--exclude-author", metavar="NAME", multiple=True, help="Leave out an author.")
@click.option("--exclude-same-author", is_flag=True, help="Who else draws like this?")
@click.option("--exclude-title", metavar="TITLE", multiple=True, help="Leave out an id or name.")
@click.option(
    "--min-percentile",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Only what is nearer than this share of pairs by different authors.",
)
@click.option(
    "--expand/--no-expand", default=None,
    help="Order pictures after the tenth by likeness to the first ten as well.",
)  # fmt: skip
@click.option(
    "--palette", metavar="COLORS",
    help="Only pictures with these colours (#1b2a49,#f2c14e or navy,gold).",
)  # fmt: skip
@click.option("--like-colors", metavar="FILE", help="Only pictures coloured like this one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--nl", is_flag=True, help="Print one JSON object a line.")
@click.option("--csv", is_flag=True, help="Print CSV with a header.")
@click.option("--paths-only", "-f", is_flag=True, help="Print only the best picture's path.")
@click.option("--null", "-0", is_flag=True, help="Print paths ending in NUL, for `xargs -0`.")
@click.option(
    "--html", metavar="FILE", type=click.Path(path_type=Path), help="Also write a gallery page."
)
@click.option("--preview", "-p", is_flag=True, help="Also show thumbnails in the terminal.")
@click.option(
    "--preview-as",
    type=click.Choice(["auto", "kitty", "iterm", "sixel", "blocks"]),
    default="auto",
    hidden=True,
)
@click.pass_obj
def command(
    session: Session,
    pictures: tuple[str, ...],
    k: int | None,
    by: str | None,
    crop: str | None,
    where: str | None,
    exclude_author: tuple[str, ...],
    exclude_same_author: bool,
    exclude_title: tuple[str, ...],
    min_percentile: float | None,
    expand: bool | None,
    palette: str | None,
    like_colors: str | None,
    as_json: bool,
    nl: bool,
    csv: bool,
    paths_only: bool,
    null: bool,
    html: Path | None,
    preview: bool,
    preview_as: str,
) -> None:
    """Find the works drawn most like a picture, and by whom.

    PICTURE is a file, or `-` for standard input; several make one query. All filters act
    before the search. --palette and --like-colors filter too; without any PICTURE they rank
    by colour alone (after `toonsearch colors`). --where is one SQL condition over title,
    author, genre, year, era, kind, tags, star_score and the other columns of the index.
    """
    # Before numpy starts: a query multiplies nothing large, and the threads that OpenBLAS
    # starts for that cost 50 ms on two cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    chosen = [name for name, on in (("json", as_json), ("nl", nl), ("csv", csv),
                                    ("paths-only", paths_only or null)) if on]  # fmt: skip
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other", "Choose one.")
    if html is not None:
        from search.output.html import check_target

        check_target(html)
    if not pictures and palette is None and like_colors is None:
        raise UsageError("missing argument 'PICTURE...'", "See `toonsearch query --help`.")
    settings = session.settings(
        {
            "query.k": k,
            "query.by": by,
            "query.min_percentile": min_percentile,
            "query.expand": expand,
        }
    )
    options = _options(settings, where, exclude_author, exclude_same_author, exclude_title)
    if palette is not None or like_colors is not None:
        answer, read = _colored(settings, options, pictures, crop, palette, like_colors)
    else:
        answer, read = _asked(settings, options, pictures, crop)
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
    exclude_author: tuple[str, ...],
    exclude_same_author: bool,
    exclude_title: tuple[str, ...],
) -> QueryOptions:
    from search.engine import QueryOptions
    from search.filters import Filters

    filters = Filters.from_params(
        settings.query, where=where, exclude_author=exclude_author,
        exclude_same_author=exclude_same_author, exclude_title=exclude_title,
    )  # fmt: skip
    return QueryOptions(
        k=settings.query.k,
        by=settings.query.by,
        neighbours=settings.query.neighbours,
        unknown_prior=settings.query.unknown_prior,
        filters=filters,
        expand=settings.query.expand,
    )


def _asked(
    settings: Settings, options: QueryOptions, sources: tuple[str, ...], crop: str | None
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


def _colored(
    settings: Settings,
    options: QueryOptions,
    sources: tuple[str, ...],
    crop: str | None,
    palette: str | None,
    like_colors: str | None,
) -> tuple[Answer, list[QueryPicture]]:
    """By colour alone, or by style among the pictures whose colours fit."""
    from dataclasses import replace

    from search import palettes

    if palette is not None and like_colors is not None:
        raise UsageError("--palette and --like-colors exclude each other", "Choose one.")
    if palette is not None:
        colors = palettes.parse_palette(palette)
    else:
        colors = palettes.palette_of_file(str(like_colors), settings.decode.limits)
    if sources:
        only = tuple(palettes.holders(settings.layout, colors))
        filters = replace(options.filters, pictures=only)
        return _asked(settings, replace(options, filters=filters), sources, crop)
    if options.filters.exclude_same_author:
        raise UsageError("--exclude-same-author needs a picture", "Name one.")
    answer = palettes.query_by_color(
        settings.layout, colors, k=options.k, by=options.by, filters=options.filters
    )
    return answer, []


def _print(answer: Answer, settings: Settings, form: str, end: str) -> None:
    from search.output import data as render

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
        from search.output.text import write_table

        write_table(sys.stdout, answer, by)


def _preview(session: Session, answer: Answer, settings: Settings, style: str) -> None:
    if not sys.stdout.isatty():
        session.note("no preview: standard output is not a terminal")
        return
    from search.output.preview import write_previews

    write_previews(
        sys.stdout, answer, settings.query.by, settings.layout, settings.decode.limits, style
    )


def _write_html(
    session: Session, file: Path, answer: Answer, read: list[QueryPicture], settings: Settings
) -> None:
    from search.output.html import GallerySection, write_gallery

    section = GallerySection(answer, tuple(read), by=settings.query.by)
    write_gallery(file, [section], layout=settings.layout, limits=settings.decode.limits)
    session.note(f"the gallery is in {file}")
