"""`toonsearch query`: the main job."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from schemas.errors import InputError, UsageError
from search.cli.context import Session
from search.cli.options import AsJson, check_output, examples, new_app, one_of

if TYPE_CHECKING:
    from schemas.images import PictureError
    from schemas.progress import Progress
    from schemas.records import Answer
    from schemas.settings import Settings
    from search.engine import Engine, QueryOptions
    from search.inputs import Crop, QueryPicture
    from search.output.html import WhyShown
    from search.palettes import ColorQuery
    from search.panels import Cutting

app = new_app()
Names = list[str] | None
_File = tuple[str, str]
"""A file as it was named, and where it lies."""
WHY_HITS = 3
"""Results of which --why tells: each takes as long as 34 queries."""
MANIFESTS = (".csv", ".tsv", ".parquet")


@app.command(
    epilog=examples(
        "toonsearch query cover.jpg -k 5",
        "toonsearch query a.png b.png --where \"genre = 'animals' and year < 2006\"",
        "toonsearch query cover.jpg --exclude-same-author --html similar.html",
        "toonsearch query cover.jpg --why --html why.html",
        "toonsearch query a.png b.png --weights 2,1",
        "toonsearch query --each new/ --csv > answers.csv",
        "toonsearch query --batch files.txt --nl > answers.jsonl",
        "toonsearch query episode-12/*.jpg",
        "toonsearch query cat.png --subject 0.6",
        "toonsearch query --text 'simcheong drama'",
        "toonsearch query - --json < cover.jpg",
    )
)
def query(
    ctx: typer.Context,
    pictures: Annotated[
        Names, Argument(metavar="PICTURE...", help="Files, or `-` for standard input.")
    ] = None,
    k: Annotated[
        int | None,
        Option(
            "-k",
            "--k",
            "--top",
            "--limit",
            min=1,
            help="How many results (setting query.k, default 10).",
        ),
    ] = None,
    by: Annotated[
        Literal["title", "picture"] | None,
        Option(help="What to list (setting query.by, default title)."),
    ] = None,
    crop: Annotated[
        str | None,
        Option(
            metavar="X,Y,W,H",
            help="Ask about a part: left, top, width, height, in pixels, or in percent with %.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        Option(metavar="N,N,...", help="How much each picture counts: with 2,1 the first twice."),
    ] = None,
    each: Annotated[
        bool,
        Option("--each", help="Ask about each file, and each picture of a folder, by itself."),
    ] = False,
    batch: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Ask about each file of a list by itself: a path a line (- for standard input), or"
            " a manifest (.csv, .tsv, .parquet).",
        ),
    ] = None,
    panels: Annotated[
        str,
        Option(
            metavar="auto|off|N",
            help="Cut strips and pages, and ask with each panel; N: every picture, N panels at most.",
        ),
    ] = "auto",
    where: Annotated[
        str | None, Option(metavar="SQL", help="Only pictures for which this condition holds.")
    ] = None,
    genre: Annotated[
        Names, Option(metavar="NAME", help="Only this genre; may be repeated.")
    ] = None,
    platform: Annotated[
        Names,
        Option(
            metavar="NAME",
            help="Only from this site, or source as `folder`; may be repeated.",
        ),
    ] = None,
    year_from: Annotated[int | None, Option(metavar="YEAR", help="Only from this year on.")] = None,
    year_to: Annotated[int | None, Option(metavar="YEAR", help="Only up to this year.")] = None,
    exclude_author: Annotated[
        Names, Option(metavar="NAME", help="Leave out an author; may be repeated.")
    ] = None,
    exclude_same_author: Annotated[
        bool,
        Option(
            "--exclude-same-author",
            help="Leave out who drew the picture itself, or most probably did.",
        ),
    ] = False,
    exclude_title: Annotated[
        Names,
        Option(
            metavar="TITLE",
            help="Leave out a title: its id, name or page's address; may be repeated.",
        ),
    ] = None,
    min_percentile: Annotated[
        float | None,
        Option(
            metavar="PERCENT",
            min=0,
            max=100,
            help="Only what is more alike than so many percent of pairs by different authors (setting query.min_percentile, default 0).",
        ),
    ] = None,
    expand: Annotated[
        bool | None,
        Option(
            help="Also find pictures through the first ten, under a heading of their own (setting query.expand, default on)."
        ),
    ] = None,
    subject: Annotated[
        float,
        Option(
            metavar="0..1",
            min=0,
            max=1,
            help="How much what is shown counts besides style: 0 style alone, 1 the same thing in"
            " other hands.",
        ),
    ] = 0.0,
    palette: Annotated[
        str | None,
        Option(
            metavar="COLORS",
            help="Only pictures with these colours (#1b2a49,#f2c14e or navy,gold).",
        ),
    ] = None,
    like_colors: Annotated[
        str | None, Option(metavar="FILE", help="Only pictures coloured like this one.")
    ] = None,
    words: Annotated[
        str | None,
        Option(
            "--text",
            metavar="WORDS",
            help="Only pictures whose title, author, tags, genres or file name have these words.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        Option(
            metavar="NAMES",
            help="Columns of the table: title, by, genre, year, closeness, picture, similarity,"
            " percentile, title_id, picture_id, url.",
        ),
    ] = None,
    as_json: AsJson = False,
    nl: Annotated[
        bool, Option("--nl", help="Print a JSON object for each result, one a line.")
    ] = False,
    csv: Annotated[
        bool, Option("--csv", help="Print CSV: a header, and a line for each result.")
    ] = False,
    paths_only: Annotated[
        bool,
        Option(
            "--paths-only",
            "-f",
            help="Print only the path of each result's best picture: your own file while it is there, else the"
            " stored copy.",
        ),
    ] = False,
    null: Annotated[
        bool,
        Option("--null", "-0", help="Print only the paths, each ending in NUL, for `xargs -0`."),
    ] = False,
    html: Annotated[
        Path | None, Option(metavar="FILE", help="Also write a gallery page, one file.")
    ] = None,
    why: Annotated[
        bool,
        Option(
            "--why",
            help="Also say which parts make the first results alike; --html shows them as heat.",
        ),
    ] = False,
    preview: Annotated[
        bool, Option("--preview", "-p", help="Also show thumbnails in the terminal.")
    ] = False,
) -> int | None:
    """Find the titles drawn most like a picture, and by whom.

    Several pictures make one query; those that are slices of one strip are joined. A strip, or a
    page on which several panels are found with confidence, is cut, and each panel asks (at most
    24, evenly spread): the answer names those that carried it.

    With --each every file is asked about by itself: the table has a line for each, --csv, --nl and
    --json name the `file`, one that cannot be used gets its `problem`, and the others go on. --batch
    is the same for a list of any length. --csv, --nl and --json are written as answers come.

    All filters act before the search. --where is one SQL condition over title, author, genre, year,
    era, kind, tags, star_score and the other columns of the index. Without any PICTURE, --palette
    and --like-colors rank by colour alone (after `toonsearch colors`), and --text by names alone,
    spelt in Korean or romanised, typos forgiven; with a model of `toonsearch models add` also by
    what pictures show.
    """
    # Before numpy starts: a query multiplies nothing large, and the threads that OpenBLAS
    # starts for that cost 50 ms on two cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    flags = {"json": as_json, "nl": nl, "csv": csv, "paths-only": paths_only or null}
    chosen = one_of(flags)
    nothing = not pictures and batch is None
    if nothing and palette is None and like_colors is None and words is None:
        raise UsageError("missing argument 'PICTURE...'", "See `toonsearch query --help`.")
    from search.engine import QueryOptions
    from search.filters import Filters
    from search.inputs import Crop, parse_weights
    from search.output import text
    from search.panels import Cutting

    cutting = Cutting.parse(panels)
    wanted = text.parse_columns(columns) if columns is not None else ()
    session: Session = ctx.obj
    settings = session.settings(
        {
            "query.k": k,
            "query.by": by,
            "query.min_percentile": min_percentile,
            "query.expand": expand,
        }
    )
    check_output(settings, html, "html", *(pictures or ()), *filter(None, [like_colors, batch]))
    filters = Filters(
        where=where,
        genres=tuple(genre or ()),
        platforms=tuple(platform or ()),
        year_from=year_from,
        year_to=year_to,
        exclude_authors=tuple(exclude_author or ()),
        exclude_same_author=exclude_same_author,
        exclude_titles=tuple(map(_title, exclude_title or ())),
        min_percentile=settings.query.min_percentile,
        text=words,
    )
    options = replace(QueryOptions.of(settings.query, filters), subject=subject)
    colors = _colors(settings, palette, like_colors)
    sources = pictures or []
    if colors is not None and (sources or batch is not None):
        from search.palettes import holders

        only = tuple(holders(settings.layout, colors))
        options = replace(options, filters=replace(filters, pictures=only))
    asking = _Asking(
        settings,
        options,
        None if crop is None else Crop.parse(crop),
        cutting,
        () if weights is None else parse_weights(weights),
    )
    if each or batch is not None:
        one_of({"each": each, "batch": batch is not None})
        name = "each" if each else "batch"
        one_of({name: True, "weights": weights is not None})
        one_of({name: True, "paths-only": paths_only or null})
        one_of({name: True, "preview": preview})
        one_of({name: True, "why": why})
        if each and not sources:
            raise UsageError("--each needs files or folders", "Name some.")
        if batch is not None and sources:
            raise UsageError(
                "--batch names all pictures", "Write them into the list, or use --each."
            )
        files = _named(sources) if batch is None else _listed(session, batch)
        return _each(session, asking, files, chosen or "table", html)
    needed = {"why": why, "weights": weights is not None, "crop": crop is not None}
    if not sources and any(needed.values()):
        name = next(name for name, given in needed.items() if given)
        raise UsageError(f"--{name} needs a picture", "Name one.")
    if why and chosen and html is None:
        raise UsageError(f"--{chosen} has no place for --why", "Add --html FILE.")
    shown: list[QueryPicture] = []
    whys: list[WhyShown] = []
    if colors is not None and not sources:
        answer = _by_color(settings, options, colors)
    elif words is not None and not sources:
        answer = _by_words(settings, options, words)
    else:
        answer, shown, whys = asking.together(sources, why=why)
    for note in answer.notes:
        session.note(note)
    level, layout, limits = settings.query.by, settings.layout, settings.decode.limits
    if chosen:
        from search.output.data import write_answer

        write_answer(sys.stdout, answer, level, layout, chosen, "\0" if null else "\n")
    else:
        text.write_answer(sys.stdout, answer, level, wanted, layout)
        text.write_whys(sys.stdout, [(one.rank, one.said) for one in whys])
    if preview and sys.stdout.isatty():
        from search.output.preview import write_previews

        write_previews(sys.stdout, answer, level, layout, limits)
    elif preview:
        session.note("no preview: standard output is not a terminal")
    if html is not None:
        from search.output.html import GallerySection, write_gallery

        section = GallerySection(answer, tuple(shown), by=level, whys=tuple(whys))
        write_gallery(html, [section], layout=layout, limits=limits)
        session.note(f"the gallery is in {html}")
    return None


def _title(text: str) -> str:
    """A title's id or name, as it is given or as an address names it. Errors:  UsageError"""
    from crawler.sites.base import title_of_address

    return (title_of_address(text) or (text,))[0]


@dataclass(frozen=True)
class _Asking:
    """How pictures are asked about."""

    settings: Settings
    options: QueryOptions
    crop: Crop | None
    cutting: Cutting
    weights: tuple[float, ...]

    def read(self, source: str) -> QueryPicture:
        from search.inputs import read_picture

        limits = self.settings.decode.limits
        return read_picture(source, limits, crop=self.crop, stdin=sys.stdin.buffer)

    def together(
        self, sources: list[str], *, why: bool
    ) -> tuple[Answer, list[QueryPicture], list[WhyShown]]:
        """The answer, the pictures or panels that asked, for a gallery, and why the first results
        are alike where that is wanted."""
        from search.engine import Engine
        from search.inputs import STDIN
        from search.panels import panel_pictures, see

        if sources.count(STDIN) > 1:
            raise UsageError("standard input can be read only once", "Name `-` once.")
        read = [self.read(source) for source in sources]
        with Engine.open(self.settings.layout, self.settings) as engine:
            started = time.perf_counter()
            engine.encoder.begin()
            limits = self.settings.decode.limits
            seen = see(read, limits, engine.encoder.pixel_spec, self.cutting)
            answer = engine.answer(
                engine.encode_seen(seen, len(read), subject=self.options.subject > 0).mixed(
                    self.weights
                ),
                self.options,
                picture_ids=[picture.picture_id for picture in read],
                names=[picture.name for picture in read],
                started=started,
            )
            shown = panel_pictures(answer, seen, read) or read
            whys = list(self._whys(engine, answer, shown)) if why else []
        return answer, shown, whys

    def _whys(
        self, engine: Engine, answer: Answer, asked: list[QueryPicture]
    ) -> Iterator[WhyShown]:
        """Why the first results are alike; a file that is gone is passed over."""
        import numpy as np

        from search.output.html import WhyShown
        from search.output.preview import hit_preview
        from search.why import heat, in_words, whole_spec, why_nearest

        limits, side_px = (
            self.settings.decode.limits,
            whole_spec(engine.encoder.pixel_spec).max_side_px,
        )
        own = [np.asarray(one.preview(limits, side_px).convert("RGB")) for one in asked]
        hits = (
            answer.pictures if self.options.by == "picture" else [t.hits[0] for t in answer.titles]
        )
        for rank, hit in enumerate(hits[:WHY_HITS], 1):
            image = hit_preview(self.settings.layout, hit, limits, side_px, whole=True)
            if image is None:
                continue
            other = np.asarray(image.convert("RGB"))
            place, found = why_nearest(engine.encoder, own, other)
            yield WhyShown(
                rank, in_words(found), heat(own[place], found.query), heat(other, found.hit)
            )


def _each(
    session: Session, asking: _Asking, files: Iterable[_File], form: str, html: Path | None
) -> int:
    """Ask about every file by itself; 4 when some could not be used, 3 when none could."""
    from search.batch import Asked, answer_each
    from search.engine import Engine
    from search.output.each import EachAnswer, write_each
    from search.output.html import GallerySection, write_gallery

    settings, options = asking.settings, asking.options
    sections: list[GallerySection] = []
    total = len(files) if isinstance(files, Sized) else 0
    done = failed = 0

    keep = html is not None

    def read(file: _File) -> QueryPicture:
        return asking.read(file[1])

    def answers(
        batches: Iterable[list[tuple[_File, Asked | PictureError]]], progress: Progress | None
    ) -> Iterator[EachAnswer]:
        nonlocal done, failed
        for some in batches:
            for (name, _), found in some:
                done += 1
                if isinstance(found, Asked):
                    if keep:
                        section = GallerySection(found.answer, (found.picture,), by=options.by)
                        sections.append(section)
                    yield name, found.answer
                else:
                    failed += 1
                    yield name, found
            sys.stdout.flush()  # what is known now is not lost with the run
            if progress is not None:
                progress(done, total)

    with (
        Engine.open(settings.layout, settings, bulk=True) as engine,
        session.progress("asking") as progress,
    ):
        batches = answer_each(engine, files, read, options, asking.cutting, keep=keep)
        write_each(sys.stdout, answers(batches, progress), options.by, settings.layout, form)
    if html is not None and sections:
        limits = settings.decode.limits
        write_gallery(html, sections, layout=settings.layout, limits=limits)
        session.note(f"the gallery is in {html}")
    if not done:
        raise InputError("the list names no picture", "Give it a path a line.")
    if failed:
        session.note(f"{failed:,} of {done:,} files could not be used")
    return 0 if not failed else 3 if failed == done else 4


def _named(sources: list[str]) -> list[_File]:
    return [(file, file) for file in _files(sources)]


def _listed(session: Session, batch: str) -> Iterable[_File]:
    """The files of a list or manifest. Errors:  InputError when it cannot be read"""
    if Path(batch).suffix.lower() in MANIFESTS:
        from indexer.embedding.embed import listed_pictures

        listed = listed_pictures(Path(batch), session.note)
        return [(name, str(file)) for name, file in listed]
    from search.inputs import listed_paths

    lines = listed_paths(batch, sys.stdin.buffer)
    return ((file, file) for line in lines for file in _files([line]))


def _files(sources: list[str]) -> Iterator[str]:
    """The files that are named, and the pictures in folders and below; a folder without any
    stays as it is, to be told of."""
    from crawler.importers.walk import walk

    for source in sources:
        inside = sorted(walk(Path(source)).files) if Path(source).is_dir() else []
        yield from (str(path) for path, *_ in inside) if inside else [source]


def _colors(settings: Settings, palette: str | None, like_colors: str | None) -> ColorQuery | None:
    """The colours that are asked for.

    Errors:  UsageError, InputError
    """
    if palette is None and like_colors is None:
        return None
    from search import palettes

    one_of({"palette": palette is not None, "like-colors": like_colors is not None})
    if palette is not None:
        return palettes.parse_palette(palette)
    return palettes.palette_of_file(str(like_colors), settings.decode.limits)


def _by_color(settings: Settings, options: QueryOptions, colors: ColorQuery) -> Answer:
    """The answer by colour alone."""
    from search.palettes import query_by_color

    if options.filters.exclude_same_author:
        raise UsageError("--exclude-same-author needs a picture", "Name one.")
    if options.subject:
        raise UsageError("--subject needs a picture", "Name one.")
    return query_by_color(
        settings.layout, colors, k=options.k, by=options.by, filters=options.filters
    )


def _by_words(settings: Settings, options: QueryOptions, words: str) -> Answer:
    """The answer by names alone."""
    from indexer.vector_index.generations import Generation
    from search.texts import query_by_text

    if options.filters.exclude_same_author or options.subject:
        raise UsageError("--exclude-same-author and --subject need a picture", "Name one.")
    filters = replace(options.filters, text=None)
    with Generation.open(settings.layout) as generation:
        return query_by_text(generation, words, k=options.k, by=options.by, filters=filters)
