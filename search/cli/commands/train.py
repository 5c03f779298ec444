"""`toonsearch train` and `evaluate`: a style model of one's own, and how good one is."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from schemas.errors import InputError, UsageError
from search.cli.context import Session
from search.cli.options import (
    AsJson,
    DryRun,
    Manifest,
    check_output,
    examples,
    need_training,
    new_app,
    print_json,
)

if TYPE_CHECKING:
    from indexer.training.confusion import Confusion
    from indexer.training.data import Benchmark
    from indexer.training.runs import TrainReport
    from schemas.settings import Settings

app = new_app()

SHOWN_PAIRS = 10


class Baselines(StrEnum):
    """Which rows stand beside the model."""

    quick = "quick"
    all = "all"


@app.command(
    epilog=examples(
        "toonsearch train --quick",
        "toonsearch train --manifest works.csv --steps 600 --merge-genre myth=legend",
        "toonsearch train --backbone resnet18 --weights resnet18.safetensors",
        "toonsearch train --backbone open_clip:ViT-B-32 --weights hub",
        "toonsearch train --quick --genres comic,daily",
        "toonsearch train --list",
    )
)
def train(
    ctx: typer.Context,
    list_: Annotated[bool, Option("--list", help="List the models and stop.")] = False,
    quick: Annotated[
        bool, Option("--quick", help="Keep the network, fit the label heads only.")
    ] = False,
    manifest: Manifest = None,
    model: Annotated[
        str | None,
        Option(metavar="ID", help="The model to start from, with --quick, and to beat."),
    ] = None,
    backbone: Annotated[
        str,
        Option(metavar="NAME", help="lite0, a network of timm, open_clip:RN50 or its like."),
    ] = "lite0",
    weights: Annotated[
        str | None,
        Option(metavar="FILE|hub", help="Weights of the backbone: a file, or hub to fetch them."),
    ] = None,
    random_weights: Annotated[
        bool, Option("--random-weights", help="Start from random weights.")
    ] = False,
    steps: Annotated[int, Option(min=1, help="At most so many optimizer steps.")] = 1000,
    eval_every: Annotated[
        int, Option(min=1, help="Steps between two evaluations on unseen authors.")
    ] = 200,
    patience: Annotated[
        int, Option(min=1, help="Stop early after so many evaluations without a gain.")
    ] = 3,
    batch_authors: Annotated[int, Option(min=2, help="Authors of one batch.")] = 16,
    pictures_each: Annotated[int, Option(min=2, help="Pictures of each of these authors.")] = 4,
    lr: Annotated[float, Option(min=0, max=1, help="Learning rate of the backbone.")] = 2e-4,
    min_pictures_per_author: Annotated[
        int, Option(min=1, help="Authors with fewer are not learnt, only their genres and eras.")
    ] = 2,
    merge_genre: Annotated[
        list[str] | None,
        Option(metavar="OLD=NEW", help="Count a genre as another; may be repeated."),
    ] = None,
    eras: Annotated[
        str | None, Option(metavar="RANGES", help="Such as 1840-1859,1860-1889; else decades.")
    ] = None,
    genres: Annotated[
        str | None,
        Option(metavar="A,B", help="Learn from these genres only, all shown equally often."),
    ] = None,
    balance: Annotated[
        str,
        Option(
            metavar="HOW",
            help="none, sqrt or equal: how far rare authors, genres and eras count as much as common ones.",
        ),
    ] = "sqrt",
    seed: Annotated[int, Option(help="Seed of the random numbers.")] = 0,
    fresh: Annotated[
        bool, Option("--fresh", help="Forget an interrupted run and start over.")
    ] = False,
    log: Annotated[
        str | None,
        Option(
            metavar="KIND",
            help="What a run writes: csv, tensorboard (beside CSV) or none; else CSV, and TensorBoard's where it is installed.",
        ),
    ] = None,
    precision: Annotated[
        str,
        Option(metavar="KIND", help="bfloat16, float32, or auto: as the machine is fastest."),
    ] = "auto",
    force: Annotated[
        bool, Option("--force", help="Publish even what finds unseen authors less often.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a network on your own drawings.

    Authors, genres and eras are learnt from the catalog or a manifest; some authors are held
    out to measure on. An interrupted run goes on where it was. The model appears beside the
    others under the data root, if it finds unseen authors at least as often as the one before.
    """
    session: Session = ctx.obj
    settings = session.settings()
    if list_:
        _list(settings, as_json)
        return
    need_training("train")
    from indexer.embedding.models import model_dir
    from indexer.training.backbones import HUB
    from indexer.training.data import (
        BALANCES,
        LabelRules,
        parse_eras,
        parse_genres,
        parse_merge,
    )
    from indexer.training.features import default_cache
    from indexer.training.logs import LOGS, check_log
    from indexer.training.runs import Job, catalog_encoded, train_heads, train_style
    from indexer.training.trainer import PRECISIONS, TrainSettings

    if weights is not None and weights != HUB:
        file = Path(weights).expanduser().resolve()
        if not file.is_file():
            raise InputError(f"there are no weights at {weights}")
        weights = str(file)
    choices = {"--balance": tuple(BALANCES), "--log": LOGS, "--precision": PRECISIONS}
    for (option, known), value in zip(choices.items(), (balance, log, precision), strict=True):
        if value is not None and value not in known:
            raise UsageError(f"{option} {value!r} is unknown", f"Choose {', '.join(known)}.")
    check_log(log)
    chosen = TrainSettings(
        backbone=backbone,
        weights=weights,
        random_weights=random_weights,
        steps=steps,
        eval_every=eval_every,
        patience=patience,
        authors=batch_authors,
        pictures_each=pictures_each,
        lr=lr,
        seed=seed,
        rules=LabelRules(
            min_pictures_per_author,
            parse_merge(merge_genre or ()),
            parse_eras(eras),
        ),
    )
    base = model_dir(model or settings.encoder.model, settings.layout)
    bench = _benchmark(session, manifest, training=True)
    job = Job(
        bench,
        chosen,
        base,
        settings.layout.models,
        default_cache(),
        catalog_encoded(settings.layout, bench, base) if manifest is None else None,
        force=force,
        fresh=fresh,
        note=session.note,
        genres=parse_genres(genres),
        balance=balance,
        log=log,
        precision=precision,
    )
    counts = {k: len(v) for k, v in job.classes.names.items()}
    what = (
        f"{len(job.bench):,} pictures; {', '.join(f'{n} {k} classes' for k, n in counts.items())};"
        f" {len(job.unseen)} authors held out"
    )
    if dry_run:
        print(f"would learn from {what}")
        return
    session.note(f"learning from {what}")
    with session.writing("train", dry_run), session.progress("Training") as job.progress:
        report = train_heads(job) if quick else train_style(job)
    _show(session, report, as_json)


def _list(settings: Settings, as_json: bool) -> None:
    from indexer.embedding.models import list_models

    found = list_models(settings.layout)
    if as_json:
        print_json([dataclasses.asdict(info) for info in found])
        return
    for info in found:
        mark = "shipped" if info.shipped else "trained"
        heads = "with heads" if info.heads else "no heads"
        print(f"{info.name}  {mark}  {info.dimension} d  {heads}  {info.state}")


def _benchmark(session: Session, manifest: Path | None, training: bool = False) -> Benchmark:
    from indexer.training.data import benchmark_of_catalog, benchmark_of_manifest

    if manifest is None:
        return benchmark_of_catalog(session.settings().layout, training)
    bench = benchmark_of_manifest(manifest, training)
    for line in bench.notes:
        session.note(line)
    return bench


def _show(session: Session, report: TrainReport, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "model": report.model,
                "folder": str(report.folder),
                "history": report.history,
                "r_at_1_unseen": {"before": report.before, "after": report.after},
                "measured": report.measured,
                "classes": report.classes,
                "confusion": report.confusion and report.confusion.to_json(),
                "softmax": report.softmax,
            }
        )
        return
    print(
        f"{report.model} is published: unseen authors R@1 {report.after:.3f}"
        f" (before {report.before:.3f})"
    )
    measured = report.measured
    for kind, count in report.classes.items():
        if f"{kind}_top1" in measured:
            print(
                f"  {kind}: {count} classes, held-out series top-1 {measured[f'{kind}_top1']:.3f},"
                f" calibration error {100 * measured[f'{kind}_calibration_error']:.1f} %"
            )
    if report.softmax:
        heard = [f"{kind} {weight:.2f}" for kind, weight in report.softmax.items() if weight > 0]
        print(
            f"  weight of the network's own softmax: {', '.join(heard) or 'none, it adds nothing'}"
        )
    if report.confusion is not None:
        _show_confusion(report.confusion)
    session.note(
        f"use it: toonsearch predict --model {report.model} ..., or put"
        f' encoder.model = "{report.model}" into the settings'
    )


def _show_confusion(confusion: Confusion) -> None:
    print(
        f"  genres of held-out titles: {confusion.accuracy:.3f} right,"
        f" {confusion.balanced_accuracy:.3f} with every genre counting the same; hardest pairs:"
    )
    shown = confusion.pairs[:SHOWN_PAIRS]
    names = [f"{first} / {second}" for first, second in (pair.genres for pair in shown)]
    width = max(map(len, names))
    for name, pair in zip(names, shown, strict=True):
        (first, second), (one, other) = pair.genres, pair.mistaken
        print(
            f"    {name:{width}}  told apart {pair.told_apart:.3f};"
            f" {100 * one:.0f} % of {first} called {second}, {100 * other:.0f} % the other way"
            f" ({pair.pictures[0]:,} and {pair.pictures[1]:,} pictures)"
        )


@app.command(
    epilog=examples(
        "toonsearch evaluate",
        "toonsearch evaluate --manifest drawings/manifest.csv --html report.html",
        "toonsearch evaluate --model style-lite0-0123abcd --json",
        "toonsearch evaluate --manifest works.csv --content emoji/manifest.csv --vgg vgg16.pth",
    )
)
def evaluate(
    ctx: typer.Context,
    manifest: Manifest = None,
    model: Annotated[
        str | None, Option(metavar="ID", help="`shipped`, an id or a folder; else encoder.model.")
    ] = None,
    html: Annotated[Path | None, Option(metavar="FILE", help="Write a report.")] = None,
    out: Annotated[Path | None, Option(metavar="FILE", help="Write the JSON here.")] = None,
    quick: Annotated[
        bool, Option("--quick", help="Take a part of the pictures and rows, to try it.")
    ] = False,
    authors: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="JSON list of the authors to ask; everything is fitted on the others.",
        ),
    ] = None,
    content: Annotated[
        Path | None,
        Option(
            metavar="MANIFEST",
            help="Pictures that show the same things (`content`) in several styles (`author`), as a manifest or"
            " its folder: how often is the nearest one of another content in the same style?",
        ),
    ] = None,
    clipart: Annotated[
        Path | None,
        Option(
            metavar="MANIFEST",
            help="Clip art to be asked with its hues turned: how far do results follow colour?",
        ),
    ] = None,
    vgg: Annotated[
        Path | None,
        Option(metavar="FILE", help="Weights of VGG16 or VGG19, for a row of its Gram matrices."),
    ] = None,
    baselines: Annotated[
        Baselines,
        Option(help="all: also train two plain networks to compare with, some minutes each."),
    ] = Baselines.quick,
    baseline_steps: Annotated[
        int | None, Option(min=1, help="Steps of each of these networks.")
    ] = None,
    cache: Annotated[
        Path | None,
        Option(metavar="DIR", help="Cache of features (default: the user's cache folder)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure retrieval, labels and calibration.

    How often is the nearest picture of another series by the same author? Nothing was learnt from
    the authors who are asked, and plain methods stand in the same table (docs/evaluation.md). Splits
    are those of splits.json beside the manifest, or five drawn at random.
    """
    session: Session = ctx.obj
    settings = session.settings()
    given = (manifest, authors, content, clipart, vgg)
    inputs = [
        file / "manifest.csv" if file.is_dir() else file for file in given if file is not None
    ]
    if manifest is not None:
        inputs.append(manifest.resolve().with_name("splits.json"))
    check_output(settings, html, "html", *inputs)
    check_output(settings, out, "json", *inputs)
    if html is not None and out is not None and html.resolve() == out.resolve():
        raise UsageError("--html and --out name one file", "Name two.")
    need_training("evaluate")
    from indexer.embedding.models import model_dir
    from indexer.training.data import held_out
    from indexer.training.evaluation import protocol, tables
    from indexer.training.features import default_cache
    from schemas.storage.outputs import write_text

    folder = model_dir(model or settings.encoder.model, settings.layout)
    bench = _benchmark(session, manifest)
    if authors is not None:
        bench = dataclasses.replace(bench, splits=(held_out(bench, authors),))
    with session.progress("Measuring") as bar:
        found = protocol.evaluate(
            bench,
            folder,
            beside=protocol.Beside(
                content, clipart, vgg, baselines is Baselines.all, baseline_steps
            ),
            cache=cache or default_cache(),
            quick=quick,
            progress=bar,
        )
    body = found.to_json()
    if as_json:
        print_json(body)
    else:
        print(tables.render(found))
    if out is not None:
        write_text(out, json.dumps(body, ensure_ascii=False, indent=1) + "\n")
    if html is not None:
        from indexer.training.evaluation.report import write_report

        write_report(html, found)
        session.note(f"the report is in {html}")
