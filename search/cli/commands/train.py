"""`toonsearch train`: a style model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import InputError
from search.cli.commands import as_json, dry_run, examples, print_json
from search.cli.context import Session

if TYPE_CHECKING:
    from indexer.training.runs import Job, TrainReport
    from schemas.settings import Settings


@click.command(
    epilog=examples(
        "toonsearch train --quick",
        "toonsearch train --manifest works.csv --steps 600 --merge-genre myth=legend",
        "toonsearch train --backbone resnet18 --weights resnet18.safetensors",
        "toonsearch train --list",
    )
)
@click.option("--list", "list_", is_flag=True, help="List the models and stop.")
@click.option("--quick", is_flag=True, help="Keep the network, fit the label heads only.")
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV, TSV or Parquet with path, author, series, genre, year; else the catalog.",
)
@click.option("--model", metavar="ID", help="The model to start from, with --quick, and to beat.")
@click.option("--backbone", default="lite0", show_default=True, metavar="NAME",
              help="lite0, any convolutional network of timm, or open_clip:RN50.")  # fmt: skip
@click.option("--weights", metavar="FILE", type=click.Path(path_type=Path),
              help="Start from these weights and not from the published ones.")  # fmt: skip
@click.option("--random-weights", is_flag=True, help="Start from random weights.")
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True)
@click.option("--eval-every", type=click.IntRange(1), default=50, show_default=True,
              help="Steps between two measurements on unseen authors.")  # fmt: skip
@click.option("--patience", type=click.IntRange(1), default=3, show_default=True,
              help="Measurements without a gain before it stops.")  # fmt: skip
@click.option("--batch-authors", type=click.IntRange(2), default=8, show_default=True)
@click.option("--pictures-each", type=click.IntRange(2), default=4, show_default=True)
@click.option("--lr", type=click.FloatRange(0, 1), default=5e-5, show_default=True,
              help="Learning rate of the backbone.")  # fmt: skip
@click.option("--min-pictures-per-author", type=click.IntRange(1), default=2, show_default=True)
@click.option("--merge-genre", multiple=True, metavar="OLD=NEW", help="Count a genre as another.")
@click.option("--eras", metavar="RANGES", help="Such as 1840-1859,1860-1889; else decades.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--fresh", is_flag=True, help="Forget an interrupted run and start over.")
@click.option("--force", is_flag=True, help="Publish even what finds unseen authors less often.")
@dry_run
@as_json
@click.pass_obj
def command(
    session: Session, /, list_: bool, quick: bool, manifest: Path | None, model: str | None,
    dry_run: bool, as_json: bool, force: bool, fresh: bool, **options: Any,
) -> None:  # fmt: skip
    """Fine-tune a network on your own drawings.

    Authors, genres and eras are learnt from the catalog or a manifest; some authors are kept
    aside to measure on. An interrupted run goes on where it was. The model appears beside the
    others under the data root, if it finds unseen authors at least as often as the one before.
    """
    settings = session.settings()
    if list_:
        _list(settings, as_json)
        return
    from search.cli.commands.evaluate import need_training

    need_training("train")
    job = _job(session, settings, quick, manifest, model, options)
    job.force, job.fresh = force, fresh
    counts = {k: len(v) for k, v in job.classes.names.items()}
    what = (
        f"{len(job.bench):,} pictures; {', '.join(f'{n} {k} classes' for k, n in counts.items())};"
        f" {len(job.unseen)} authors kept aside"
    )
    if dry_run:
        print(f"would learn from {what}")
        return
    session.note(f"learning from {what}")
    report = _run(session, settings, job, quick)
    _tell(session, report, as_json)


def _list(settings: Settings, as_json: bool) -> None:
    import dataclasses

    from indexer.embedding.models import list_models

    found = list_models(settings.layout)
    if as_json:
        print_json([dataclasses.asdict(info) for info in found])
        return
    for info in found:
        mark = "shipped" if info.shipped else "trained"
        heads = "with heads" if info.heads else "no heads"
        print(f"{info.name}  {mark}  {info.dimension} d  {heads}  {info.state}")


def _job(
    session: Session, settings: Settings, quick: bool, manifest: Path | None, model: str | None,
    options: dict[str, Any],
) -> Job:  # fmt: skip
    """Everything that can be wrong is found here, before hours are spent."""
    from indexer.embedding.models import model_dir
    from indexer.training.data import (
        LabelRules,
        benchmark_of_catalog,
        benchmark_of_manifest,
        parse_eras,
        parse_merge,
    )
    from indexer.training.features import default_cache
    from indexer.training.runs import Job, catalog_encoded
    from indexer.training.trainer import TrainSettings

    weights: Path | None = options["weights"]
    if weights is not None and not weights.is_file():
        raise InputError(f"there are no weights at {weights}")
    rules = LabelRules(
        options["min_pictures_per_author"],
        parse_merge(options["merge_genre"]),
        parse_eras(options["eras"]),
    )
    chosen = TrainSettings(
        backbone=options["backbone"],
        weights=None if weights is None else str(weights.resolve()),
        random_weights=options["random_weights"], steps=options["steps"],
        eval_every=options["eval_every"], patience=options["patience"],
        authors=options["batch_authors"], pictures_each=options["pictures_each"],
        lr=options["lr"], seed=options["seed"], rules=rules,
    )  # fmt: skip
    base = model_dir(model or settings.encoder.model, settings.layout)
    known = None
    if manifest is None:
        bench = benchmark_of_catalog(settings.layout, training=True)
        known = catalog_encoded(settings.layout, bench, base)
    else:
        bench = benchmark_of_manifest(manifest, training=True)
    return Job(
        bench, chosen, base, settings.layout.models, default_cache(), known,
        tell=lambda row: (session.note if "r_at_1" in row else session.detail)(_line(row)),
    )  # fmt: skip


def _line(row: dict[str, float]) -> str:
    parts = [f"step {row['step']:.0f}"]
    if "loss" in row:
        parts.append(f"loss {row['loss']:.3f}")
    if "r_at_1" in row:
        parts.append(f"R@1 on unseen authors {row['r_at_1']:.3f}")
    return ", ".join(parts)


def _run(session: Session, settings: Settings, job: Job, quick: bool) -> TrainReport:
    from indexer.training.runs import train_heads, train_style
    from schemas.storage.locking import writing

    with writing(settings.layout, "train"), session.progress("Training") as bar:
        if bar is not None:
            job.store.progress = job.progress = bar
        return train_heads(job) if quick else train_style(job)


def _tell(session: Session, report: TrainReport, as_json: bool) -> None:
    if as_json:
        print_json({
            "model": report.model, "folder": str(report.folder), "history": report.history,
            "r_at_1_unseen": {"before": report.before, "after": report.after},
            "measured": report.measured, "classes": report.classes,
        })  # fmt: skip
        return
    print(f"{report.model} is published: R@1 of unseen authors {report.after:.3f}"
          f" (before {report.before:.3f})")  # fmt: skip
    for kind, count in report.classes.items():
        if f"{kind}_top1" in report.measured:
            told = report.measured
            print(
                f"  {kind}: {count} classes, held-out series top-1 {told[f'{kind}_top1']:.3f},"
                f" calibration error {100 * told[f'{kind}_calibration_error']:.1f} %"
            )
    session.note(f"use it: toonsearch predict --model {report.model} ..., or put"
                 f" encoder.model = \"{report.model}\" into the settings")  # fmt: skip
