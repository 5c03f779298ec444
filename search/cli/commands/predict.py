"""`toonsearch predict`: every label with its probability, for a list of pictures."""

from __future__ import annotations

from pathlib import Path

import click

from schemas.errors import InputError
from search.cli.commands import as_json, dry_run, examples, print_json
from search.cli.context import Session


@click.command(
    epilog=examples(
        "toonsearch predict --manifest works.csv --out predictions.parquet",
        "toonsearch predict --manifest works.csv --out predictions.parquet --model shipped",
    )
)
@click.option(
    "--manifest",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="CSV, TSV or Parquet with a column `path`.",
)
@click.option(
    "--out",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Parquet file with path, authors, unknown_author, genres, eras and problem.",
)
@click.option(
    "--model",
    metavar="ID",
    help="Ask this model's own heads (`shipped`, an id or a folder) and not the index.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first pictures of the list.")
@dry_run
@as_json
@click.pass_obj
def command(
    session: Session,
    manifest: Path,
    out: Path,
    model: str | None,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Tell author, genre and era of listed pictures.

    The published index answers with the labels of your own catalog. Each picture gets every
    label with its probability, and the probability that none of the known authors drew it.
    """
    from indexer.embedding.embed import listed_pictures
    from search.predictions import predict_listed

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out} is not a place for a file")
    listed = listed_pictures(manifest)[:limit]
    if dry_run:
        print(f"would predict the labels of {len(listed):,} pictures into {out}")
        return 0
    with session.progress("Predicting") as progress:
        source, report = predict_listed(
            session.settings(), listed, out, model=model, progress=progress
        )
    if as_json:
        print_json({"source": source, "model": report.model_id, "predicted": report.embedded,
                    "failed": report.failed, "unknown_author": report.unknown,
                    "out_of_distribution": report.out_of_distribution, "out": str(out)})  # fmt: skip
    else:
        print(f"{source}: {report.embedded:,} predicted, {report.failed:,} failed, in {out}")
        print(f"by none of the known authors, more likely than not: {report.unknown:,}")
        if report.out_of_distribution:
            whose = "index" if model is None else "model"
            print(f"of another kind than the {whose}'s pictures: {report.out_of_distribution:,}")
    for problem in report.problems:
        session.note(problem)
    return 4 if report.failed else 0
