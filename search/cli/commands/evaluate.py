"""`toonsearch evaluate`: how good the answers are, measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from search.cli.context import Session
from search.cli.options import (
    AsJson,
    Manifest,
    check_place,
    examples,
    need_training,
    new_app,
    print_json,
)

app = new_app()
OutFile = Path | None


@app.command(
    epilog=examples(
        "toonsearch evaluate",
        "toonsearch evaluate --manifest drawings/manifest.csv --html report.html",
        "toonsearch evaluate --model style-lite0-0123abcd --json",
    )
)
def evaluate(
    ctx: typer.Context,
    manifest: Manifest = None,
    model: Annotated[
        str | None, Option(metavar="ID", help="`shipped`, an id or a folder; else encoder.model.")
    ] = None,
    html: Annotated[OutFile, Option(metavar="FILE", help="Write a report.")] = None,
    out: Annotated[OutFile, Option(metavar="FILE", help="Write the JSON here.")] = None,
    quick: Annotated[
        bool, Option("--quick", help="A part of the pictures and of the table, to try it.")
    ] = False,
    authors: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="JSON list of the authors to ask; everything is fitted on the others.",
        ),
    ] = None,
    cache: Annotated[
        OutFile,
        Option(metavar="DIR", help="Cache of features (default: the user's cache folder)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure retrieval, labels and calibration.

    Own series are masked, authors of a test were never learnt from, baselines stand in the same
    table. Splits are those of splits.json beside the manifest, or five drawn at random.
    """
    check_place(html, out)
    need_training("evaluate")
    from indexer.embedding.models import model_dir
    from indexer.training.data import benchmark_of_catalog, benchmark_of_manifest, held_out
    from indexer.training.evaluation import protocol
    from indexer.training.features import default_cache

    session: Session = ctx.obj
    settings = session.settings()
    folder = model_dir(model or settings.encoder.model, settings.layout)
    if manifest is None:
        bench = benchmark_of_catalog(settings.layout)
    else:
        bench = benchmark_of_manifest(manifest)
    if authors is not None:
        bench = dataclasses.replace(bench, splits=(held_out(bench.manifest, authors),))
    with session.progress("Measuring") as bar:
        found = protocol.evaluate(
            bench, folder, cache=cache or default_cache(), quick=quick, progress=bar
        )
    body = found.to_json()
    if as_json:
        print_json(body)
    else:
        print(protocol.render(found))
    if out is not None:
        from schemas.storage.fsio import replace_file

        replace_file(out, (json.dumps(body, ensure_ascii=False, indent=1) + "\n").encode())
    if html is not None:
        from indexer.training.evaluation.report import write_report

        write_report(html, found)
        session.note(f"the report is in {html}")
