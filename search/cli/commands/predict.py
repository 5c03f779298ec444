"""`toonsearch predict`: every label with its probability, for a list of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from search.cli.context import Session
from search.cli.options import AsJson, DryRun, check_place, examples, new_app, print_json

app = new_app()


@app.command(
    epilog=examples(
        "toonsearch predict --manifest works.csv --out predictions.parquet",
        "toonsearch predict --manifest works.csv --out predictions.parquet --model shipped",
    )
)
def predict(
    ctx: typer.Context,
    manifest: Annotated[
        Path, Option(metavar="FILE", help="CSV, TSV or Parquet with a column `path`.")
    ],
    out: Annotated[
        Path,
        Option(
            metavar="FILE",
            help="Parquet file with path, authors, unknown_author, genres, eras and problem.",
        ),
    ],
    model: Annotated[
        str | None,
        Option(
            metavar="ID",
            help="Ask this model's own heads (`shipped`, an id or a folder) and not the index.",
        ),
    ] = None,
    limit: Annotated[int | None, Option(min=1, help="Only the first pictures of the list.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Tell author, genre and era of listed pictures.

    The published index answers with the labels of your own catalog. Each picture gets every
    label with its probability, and the probability that none of the known authors drew it.
    """
    from indexer.embedding.listing import listed_pictures
    from search.predictions import predict_listed

    session: Session = ctx.obj
    check_place(out)
    listed = listed_pictures(manifest)[:limit]
    if dry_run:
        print(f"would predict the labels of {len(listed):,} pictures into {out}")
        return 0
    with session.progress("Predicting") as progress:
        source, report = predict_listed(
            session.settings(), listed, out, model=model, progress=progress
        )
    if as_json:
        print_json(
            {
                "source": source,
                "model": report.model_id,
                "predicted": report.embedded,
                "failed": report.failed,
                "unknown_author": report.unknown,
                "foreign": report.foreign,
                "out": str(out),
            }
        )
    else:
        print(f"{source}: {report.embedded:,} predicted, {report.failed:,} failed, in {out}")
        print(f"by none of the known authors, more likely than not: {report.unknown:,}")
        if report.foreign:
            whose = "index" if model is None else "model"
            print(f"of quite another kind than the {whose}'s pictures: {report.foreign:,}")
    for problem in report.problems:
        session.note(problem)
    return 4 if report.failed else 0
