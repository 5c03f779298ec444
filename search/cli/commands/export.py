"""`toonsearch export`: plain Parquet with a data dictionary."""

from __future__ import annotations

from pathlib import Path

import click

from search.cli.commands import as_json, examples, print_json
from search.cli.context import Session


@click.command(epilog=examples("toonsearch export --to catalog-2026", "toonsearch export --to x"))
@click.option(
    "--to", "folder", metavar="DIR", required=True, type=click.Path(path_type=Path),
    help="A new folder.",
)  # fmt: skip
@click.option("--tables-only", is_flag=True, help="Leave the ready-made views out.")
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@as_json
@click.pass_obj
def command(session: Session, folder: Path, tables_only: bool, force: bool, as_json: bool) -> None:
    """Write the catalog as plain Parquet.

    One file for each table and view, all of one moment, with dictionary.json and README.md
    that say what each column means. Readable by pandas, Polars, Spark, R and the rest.
    """
    from indexer.export import export_catalog

    settings = session.settings()
    with session.progress("Exporting") as progress:
        report = export_catalog(
            settings.layout, folder, views=not tables_only, force=force, progress=progress
        )
    if as_json:
        print_json({"folder": str(report.folder), "rows": report.rows,
                    "bytes": report.bytes_count})  # fmt: skip
        return
    for name, rows in report.rows.items():
        print(f"{name:<20}{rows:>12,}")
    session.note(f"{len(report.rows)} files, {report.bytes_count:,} bytes, in {report.folder}")
