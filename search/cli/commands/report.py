"""`toonsearch report`, `export` and `duplicates`: the whole catalog at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from search.cli.context import Session, plain
from search.cli.options import AsJson, check_output, examples, new_app, print_json

if TYPE_CHECKING:
    from indexer.duplicates import Duplicates, Holder, Pair
    from schemas.progress import Progress
    from schemas.settings import Settings

app = new_app()


@app.command(epilog=examples("toonsearch report --html report.html"))
def report(
    ctx: typer.Context,
    html: Annotated[
        Path,
        Option(metavar="FILE", help="The page to write; it needs no network and no other file."),
    ],
    as_is: Annotated[
        bool, Option("--as-is", help="Show what is known; find no colours, judge nothing.")
    ] = False,
) -> None:
    """Show how style, colour and genre move, on one page.

    Size and freshness, genre by year, distinctive and ambiguous titles, a map of authors,
    style drift, palettes, eras, possible copies and coverage, with the SQL behind each
    chart. What new pictures lack is done first, as by `toonsearch colors` and `toonsearch
    judge`. A part without data is left out, and the page says which command fills it.
    """
    from search.report.build import check_report, write_report

    session: Session = ctx.obj
    settings = session.settings()
    check_output(settings, html, "html")
    check_report(html)
    if not as_is:
        _complete(session, settings)
    size = write_report(settings, html, note=session.note)
    session.note(f"the report is in {html} ({size / 1e6:.1f} MB)")


def _complete(session: Session, settings: Settings) -> None:
    """Colours and predictions that are missing. What cannot be done is said: the page shows the
    rest."""
    from indexer.labels.judge import judge_pending
    from indexer.palette import color_pending
    from schemas.errors import ToonsearchError

    def colors(dry_run: bool, progress: Progress | None) -> dict[str, int]:
        return color_pending(settings.layout, settings, dry_run=dry_run, progress=progress).counts

    def judge(dry_run: bool, progress: Progress | None) -> dict[str, int]:
        return judge_pending(settings.layout, dry_run=dry_run, progress=progress).counts

    for command, what, work in (("colors", "Colours", colors), ("judge", "Predicting", judge)):
        try:
            if not work(True, None)["pending"]:
                continue
            with session.writing("report", False), session.progress(what) as progress:
                counts = work(False, progress)
        except ToonsearchError as error:
            session.note(f"`toonsearch {command}` was left out: {error.message}")
        else:
            if counts.get("failed"):
                session.note(f"{counts['failed']:,} failed: `toonsearch {command}` says why")


@app.command(
    epilog=examples(
        "toonsearch export --to catalog-2026", "toonsearch export --to tables --tables-only"
    )
)
def export(
    ctx: typer.Context,
    to: Annotated[Path, Option(metavar="DIR", help="A new folder.")],
    tables_only: Annotated[
        bool, Option("--tables-only", help="Leave the ready-made views out.")
    ] = False,
    force: Annotated[bool, Option("--force", help="Replace an earlier export.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the catalog as plain Parquet.

    One file for each table and view, all of one moment, with dictionary.json and README.md
    that say what each column means. Readable by pandas, Polars, Spark, R and the rest.
    """
    from indexer.export import export_catalog

    session: Session = ctx.obj
    settings = session.settings()
    with session.progress("Exporting") as progress:
        done = export_catalog(
            settings.layout, to, views=not tables_only, force=force, progress=progress
        )
    if as_json:
        print_json({"folder": str(done.folder), "rows": done.rows, "bytes": done.bytes_count})
        return
    for name, rows in done.rows.items():
        print(f"{name:<20}{rows:>12,}")
    session.note(f"{len(done.rows)} files, {done.bytes_count:,} bytes, in {done.folder}")


@app.command(epilog=examples("toonsearch duplicates", "toonsearch duplicates --json"))
def duplicates(
    ctx: typer.Context,
    bits: Annotated[
        int, Option(min=0, max=32, help="Most differing bits of the 64-bit perceptual hash.")
    ] = 10,
    correlation: Annotated[
        float, Option(min=0, max=1, help="Least correlation of 32 x 32 grey thumbnails.")
    ] = 0.98,
    as_json: AsJson = False,
) -> None:
    """List equal, near-equal and copied drawings.

    Three lists: the same bytes in several titles; almost the same picture by the same
    author; almost the same picture by different authors, which may be a copy, a reprint or
    a wrong credit. Two pictures are almost the same when their perceptual hashes differ in
    at most 10 of 64 bits and their grey thumbnails correlate above 0.98: recoloured and
    re-bordered copies do, redrawn, cropped or turned ones do not.
    """
    from indexer.duplicates import find_duplicates

    session: Session = ctx.obj
    settings = session.settings()
    with session.progress("Comparing") as progress:
        found = find_duplicates(
            settings.layout,
            settings,
            max_bits=bits,
            min_correlation=correlation,
            progress=progress,
        )
    if found.unread:
        session.note(f"{found.unread:,} pairs could not be compared: a file is gone or damaged")
    if found.left:
        session.note(f"{found.left:,} pairs were not compared; fewer --bits leave out fewer")
    if as_json:
        print_json(_copies(found))
        return
    exact = [" = ".join(_name(holder) for holder in group) for group in found.exact]
    for heading, lines in (
        ("exact: the same bytes in several titles", exact),
        ("near: almost the same picture, same artist", [_pair(p) for p in found.near]),
        ("copied: almost the same picture, other artist", [_pair(p) for p in found.copied]),
    ):
        print(f"{heading} ({len(lines):,})")
        for line in lines:
            print(f"  {plain(line)}")


def _name(holder: Holder) -> str:
    file = (holder.source_path or holder.picture_id[:12]).rpartition("/")[2]
    by = f" by {', '.join(holder.authors)}" if holder.authors else ""
    return f"{file} ({holder.title}{by})"


def _pair(pair: Pair) -> str:
    names = f"{_name(pair.first)} ~ {_name(pair.second)}"
    return f"{pair.correlation:.3f}  {pair.bits:>2} bits  {names}"


def _copies(found: Duplicates) -> dict[str, Any]:
    def pair(one: Pair) -> dict[str, Any]:
        correlation = round(one.correlation, 6)
        both = [vars(one.first), vars(one.second)]
        return {"bits": one.bits, "correlation": correlation, "pictures": both}

    return {
        "exact": [[vars(one) for one in group] for group in found.exact],
        "near": [pair(one) for one in found.near],
        "copied": [pair(one) for one in found.copied],
        "compared": found.compared,
        "unread": found.unread,
        "left": found.left,
    }
