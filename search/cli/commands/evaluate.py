"""`toonsearch evaluate`: how good the answers are, measured."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from schemas.errors import InputError
from search.cli.commands import as_json, examples, print_json
from search.cli.context import Session


@click.command(
    epilog=examples(
        "toonsearch evaluate",
        "toonsearch evaluate --manifest drawings/manifest.csv --html report.html",
        "toonsearch evaluate --model style-lite0-0123abcd --json",
    )
)
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV, TSV or Parquet with path, author, series, genre, year; else the catalog.",
)
@click.option("--model", metavar="ID", help="`shipped`, an id or a folder; else encoder.model.")
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="Write a report.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write the JSON here.")
@click.option("--quick", is_flag=True, help="A part of the pictures and of the table, to try it.")
@click.option(
    "--authors",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="JSON list of the authors to ask; everything is fitted on the others.",
)
@click.option(
    "--cache",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where features are kept between runs (default: the user's cache folder).",
)
@as_json
@click.pass_obj
def command(
    session: Session,
    manifest: Path | None,
    model: str | None,
    authors: Path | None,
    html: Path | None,
    out: Path | None,
    quick: bool,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Measure retrieval, labels and calibration.

    Own series are masked, nothing is fitted on the authors that are asked, baselines stand in
    the same table. Splits are those of splits.json beside the manifest, or five drawn at random.
    """
    for target in (html, out):
        if target is not None and (target.is_dir() or not target.absolute().parent.is_dir()):
            raise InputError(f"{target} is not a place for a file")
    need_training("evaluate")
    import dataclasses
    import json

    from indexer.embedding.models import model_dir
    from indexer.training.data import benchmark_of_catalog, benchmark_of_manifest, held_out
    from indexer.training.evaluation.protocol import evaluate, render
    from indexer.training.features import default_cache

    settings = session.settings()
    folder = model_dir(model or settings.encoder.model, settings.layout)
    if manifest is None:
        bench = benchmark_of_catalog(settings.layout)
    else:
        bench = benchmark_of_manifest(manifest)
    if authors is not None:
        bench = dataclasses.replace(bench, splits=(held_out(bench.manifest, authors),))
    with session.progress("Measuring") as bar:
        found = evaluate(bench, folder, cache=cache or default_cache(), quick=quick, progress=bar)
    body = found.to_json()
    if as_json:
        print_json(body)
    else:
        print(render(found))
    if out is not None:
        from schemas.storage.fsio import replace_file

        replace_file(out, (json.dumps(body, ensure_ascii=False, indent=1) + "\n").encode())
    if html is not None:
        from indexer.training.evaluation.report import write_report

        write_report(html, found)
        session.note(f"the report is in {html}")


def need_training(what: str) -> None:
    """Refuse before anything is read when the packages of training are missing.

    Errors:  InputError
    """
    for package in ("torch", "timm", "onnx", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"`toonsearch {what}` needs {package}, which is not installed",
                "make train-env, or pip install 'toonsearch[train]'.",
            )
