"""`toonsearch demo`: the whole job on real drawings, from nothing to a gallery."""

from __future__ import annotations

import contextlib
import csv
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from schemas.storage.fsio import storage_error
from search.cli.commands.index import build_and_publish, embed_new
from search.cli.context import Session, plain, program
from search.cli.options import check_output, counted, examples, new_app

if TYPE_CHECKING:
    from schemas.settings import Settings
    from search.trial import Case, Outcome

app = new_app()
SHOWN = 8  # queries in the gallery
UNKNOWN_SHOWN = 3  # of those, by authors that the index lacks
TITLES_IN_TABLE = 3


@app.command(epilog=examples("toonsearch demo", "toonsearch demo --images drawings --to trial"))
def demo(
    ctx: typer.Context,
    to: Annotated[
        Path, Option(metavar="DIR", help="Where the demo keeps its catalog and gallery.")
    ] = Path("demo"),
    images: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Use these pictures (author/title/picture) instead of Debian's clip art.",
        ),
    ] = None,
    k: Annotated[int, Option("-k", "--k", min=1, help="How many results.")] = 10,
    waited: Annotated[
        float, Option(hidden=True, help="Seconds that went by before, for the list of stages.")
    ] = 0.0,
) -> None:
    """Try everything on real public-domain drawings.

    Gets Debian's clip art with apt, keeps its drawings of people, animals, plants, food,
    recreation, buildings and tools (760 by over 200 people), builds an index, asks it about
    pictures that it has never seen, prints what it found and writes a gallery. It ends with
    commands to go on with. Nothing is installed, and a second run takes seconds.
    """
    session: Session = ctx.obj
    clock = _Clock({"set-up and download": waited} if waited else {})
    to = to.absolute()
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, f"the folder {to}") from error
    settings = session.settings({} if session.data else {"store.root": str(to / "data")})
    check_output(settings, to / "gallery.html", "html")
    if images is None:
        from crawler.demo.openclipart import FILES

        for part in FILES:
            check_output(settings, to / part, "csv")
        check_output(settings, to / "summary.json", "json")
    if images is None:
        cases, showcase = _clip_art(session, settings, to, clock)
    else:
        with clock.stage("importing"):
            cases, showcase = _own_pictures(session, settings, images)
    with session.writing("demo", dry_run=False):
        with clock.stage("embedding"):
            embed_new(session, settings)
        with clock.stage("building the index"):
            built, _ = build_and_publish(session, settings)
    session.note(f"generation {built.generation_id} holds {counted(built.counts)}")
    with clock.stage(f"asking about {len(cases)} pictures"):
        outcomes = _ask(session, settings, cases, k)
    shown = _shown(outcomes, showcase)
    _report(shown, outcomes)
    gallery = to / "gallery.html"
    with clock.stage("gallery"):
        _write_gallery(gallery, settings, shown, outcomes)
    for line in clock.lines():
        session.note(line)
    print(f"\nGallery: {gallery}\n\nGo on with:")
    for line in _next_commands(settings, to, images, shown):
        print(f"  {plain(line)}")


class _Clock:
    """Seconds of each stage."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextlib.contextmanager
    def stage(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - started

    def lines(self) -> list[str]:
        total = {**self.seconds, "together": sum(self.seconds.values())}
        return [f"{seconds:6.1f} s  {what}" for what, seconds in total.items()]


def _next_commands(
    settings: Settings, to: Path, images: Path | None, shown: list[Outcome]
) -> Iterator[str]:
    """What to try next, to copy as it stands: a query, the page, a folder of one's own."""

    def command(data: Path, *words: str | Path) -> str:
        given = [_near(word) if isinstance(word, Path) else word for word in words]
        return f"{program()} {shlex.join(['--data', _near(data), *given])}"

    root = settings.store.root
    if shown:
        yield command(root, "query", shown[0].case.path)
    yield command(root, "serve", "--open")
    own = Path("~/Pictures").expanduser() if "HOME" in os.environ else Path("Pictures")
    if not own.is_dir():
        own = images or (shown[0].case.path.parent if shown else to)
    yield command(to / "own", "open", own) + "  # or any other folder of pictures"


def _near(path: Path) -> str:
    """A path as one would type it here."""
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near


def _clip_art(
    session: Session, settings: Settings, to: Path, clock: _Clock
) -> tuple[list[Case], list[Path]]:
    """Fetch, clean and import the clip art; what to ask, and which of it to show."""
    from crawler.demo.debian import fetch
    from crawler.demo.openclipart import prepare, showcase
    from crawler.importers.manifest import import_manifest
    from search.trial import NEW_PICTURE, NEW_TITLE, UNKNOWN, Case

    session.note("getting and checking Debian's clip art")
    with session.progress("Preparing") as bar:
        progress = bar or (lambda done, total, what="", /: None)
        with clock.stage("downloading"):
            root = fetch(to / "clipart", progress=progress)
        with clock.stage("choosing drawings"):
            summary = prepare(root, to, progress=progress)
    session.note(
        f"of {summary.found:,} pictures {summary.indexed:,} drawings by {summary.authors} authors"
        f" go into the index; asked about are {summary.queries} more by them, and"
        f" {summary.unknown} by {' and '.join(summary.unknown_authors) or 'nobody else'}"
    )
    session.detail(f"not used: {counted(summary.dropped)}")
    with (
        clock.stage("importing"),
        session.writing("demo", dry_run=False),
        session.progress("Importing") as bar,
    ):
        import_manifest(
            settings.layout,
            settings,
            to / "catalog.csv",
            name="openclipart",
            prune=True,
            progress=bar,
        )
    catalog, queries, unknown = (
        _rows(to / f"{name}.csv") for name in ("catalog", "queries", "unknown")
    )
    indexed = {row["title_id"] for row in catalog}
    cases = []
    for row in queries:
        kind = NEW_PICTURE if row["title_id"] in indexed else NEW_TITLE
        cases.append(Case(Path(row["path"]), row["author"], row["series"], kind))
    cases += [Case(Path(r["path"]), r["author"], r["series"], UNKNOWN) for r in unknown]
    return cases, [Path(row["path"]) for row in (*showcase(queries), *showcase(unknown))]


def _own_pictures(
    session: Session, settings: Settings, images: Path
) -> tuple[list[Case], list[Path]]:
    """Import a folder but for one picture of each title, which is asked about."""
    from dataclasses import replace

    from crawler.importers.folder import folder_items, parse_pattern
    from crawler.importers.ingest import Source, import_items
    from crawler.importers.walk import walk
    from schemas.errors import InputError
    from search.trial import NEW_PICTURE, Case

    if not images.is_dir():
        raise InputError(f"{images} is not a folder")
    root = images.resolve()
    source = Source.of("demo", root)
    items = list(folder_items(walk(root), parse_pattern("{author}/{title}"), source))
    of_title = Counter(item.title.title_id for item in items)
    held: dict[str, Case] = {}
    rest = []
    for item in items:
        title = item.title
        if of_title[title.title_id] >= 3 and title.title_id not in held:
            author = title.authors[0].name if title.authors else ""
            held[title.title_id] = Case(item.path, author, title.name, NEW_PICTURE)
        else:
            rest.append(replace(item, source_path=f"{source.place}/{item.source_path}"))
    cases = list(held.values())[:200]
    if not cases:
        raise InputError(
            f"no folder under {images} has three pictures or more, so none can be held out",
            "Lay them out as author/title/picture.",
        )
    with session.writing("demo", dry_run=False), session.progress("Importing") as progress:
        import_items(settings.layout, settings, source, rest, prune=True, progress=progress)
    return cases, [case.path for case in cases]


def _ask(session: Session, settings: Settings, cases: list[Case], k: int) -> list[Outcome]:
    from search.engine import Engine, QueryOptions
    from search.trial import run_trial

    options = QueryOptions(
        k=k, neighbours=settings.query.neighbours, unknown_prior=settings.query.unknown_prior
    )
    outcomes: list[Outcome] = []
    with (
        Engine.open(settings.layout, settings) as engine,
        session.progress("Asking") as progress,
    ):
        for outcome in run_trial(engine, cases, options, settings.decode.limits):
            outcomes.append(outcome)
            if progress:
                progress(len(outcomes), len(cases))
    return outcomes


def _shown(outcomes: list[Outcome], showcase: list[Path]) -> list[Outcome]:
    """The queries that are shown in full: known artists first, then unknown ones."""
    from search.trial import UNKNOWN

    place = {path: n for n, path in enumerate(showcase)}
    fit = [o for o in outcomes if o.case.path in place and not o.is_copy]
    fit.sort(key=lambda o: place[o.case.path])
    unknown = [o for o in fit if o.case.kind == UNKNOWN][:UNKNOWN_SHOWN]
    known = [o for o in fit if o.case.kind != UNKNOWN][: SHOWN - len(unknown)]
    return sorted(known, key=lambda o: not o.is_correct) + unknown


def _truth(outcome: Outcome) -> str:
    from search.trial import NEW_PICTURE, UNKNOWN

    case = outcome.case
    if case.kind == UNKNOWN:
        return f"drawn by {case.author}, by whom the index has nothing"
    author = case.author or "somebody"
    if case.kind == NEW_PICTURE:
        return f"drawn by {author}; other pictures of “{case.title}” are in the index"
    return f"drawn by {author}; the index has other titles by the same artist, not this one"


def _report(shown: list[Outcome], outcomes: list[Outcome]) -> None:
    from dataclasses import replace

    from search.output.text import write_answer
    from search.trial import figures

    for outcome in shown:
        print(f"\n{outcome.case.path.name} - {_truth(outcome)}")
        short = replace(outcome.answer, titles=outcome.answer.titles[:TITLES_IN_TABLE])
        write_answer(sys.stdout, short, "title")
    print(f"\nAll {len(outcomes)} pictures that were asked about, none of them in the index:")
    for what, figure in figures(outcomes):
        print(f"  {what}: {figure}")


def _write_gallery(
    file: Path, settings: Settings, shown: list[Outcome], outcomes: list[Outcome]
) -> None:
    from search.output.html import GallerySection, write_gallery
    from search.trial import figures

    sections = [
        GallerySection(
            outcome.answer,
            (outcome.picture,),
            heading=outcome.case.path.stem.replace("_", " "),
            truth=_truth(outcome),
            correct=outcome.is_correct,
            author=outcome.case.author or None,
        )
        for outcome in shown
    ]
    write_gallery(
        file,
        sections,
        layout=settings.layout,
        limits=settings.decode.limits,
        title="Who draws like that?",
        intro="Pictures that the index does not have, and what it found to be drawn alike.",
        facts=figures(outcomes),
    )


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
