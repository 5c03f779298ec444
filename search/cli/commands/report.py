"""`toonsearch report`: the catalog on one page."""

from __future__ import annotations

from pathlib import Path

import click

from search.cli.commands import examples
from search.cli.context import Session


@click.command(epilog=examples("toonsearch report --html report.html"))
@click.option(
    "--html", "target", metavar="FILE", required=True, type=click.Path(path_type=Path),
    help="The page to write; it needs no network and no other file.",
)  # fmt: skip
@click.pass_obj
def command(session: Session, target: Path) -> None:
    """Show how style, colour and genre move, on one page.

    Size and freshness, genre by year, distinctive and ambiguous titles, a map of authors,
    style drift, palettes, eras, possible copies and coverage, with the SQL behind each
    chart. Run `toonsearch colors` and `toonsearch judge` first.
    """
    from search.report.build import write_report

    size = write_report(session.settings(), target, note=session.note)
    session.note(f"the report is in {target} ({size / 1e6:.1f} MB)")
