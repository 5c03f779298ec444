"""`toonsearch embed`, `colors`, `judge` and `predict`: what is computed for each picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from schemas.errors import UsageError
from search.cli.context import Session
from search.cli.options import (
    AsJson,
    DryRun,
    Limit,
    check_output,
    counted,
    examples,
    new_app,
    print_json,
    show,
)

if TYPE_CHECKING:
    from indexer.embedding.embed import EncodeRows
    from schemas.attempt import WorkReport

app = new_app()


@app.command(
    epilog=examples(
        "toonsearch embed",
        "toonsearch embed --retry-failed --limit 1000",
        "toonsearch embed --manifest works.csv --out vectors.parquet",
        "toonsearch embed --ray auto",
    )
)
def embed(
    ctx: typer.Context,
    retry_failed: Annotated[
        bool, Option("--retry-failed", help="Also try pictures that failed before.")
    ] = False,
    no_panels: Annotated[
        bool, Option("--no-panels", help="Do not look for new strips and pages to cut.")
    ] = False,
    limit: Limit = None,
    manifest: Annotated[
        Path | None,
        Option(metavar="FILE", help="Embed what this file lists, not the catalog; needs --out."),
    ] = None,
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="Parquet file with path and vector for --manifest."),
    ] = None,
    ray: Annotated[
        str | None,
        Option(
            metavar="ADDRESS",
            help="Encode on a Ray cluster: auto, HOST:PORT, or local; needs the extra [ray].",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Turn new pictures into vectors.

    Strips and pages are cut into panels first (setting panels.cut), which are embedded and
    searched in their place: pictures imported or crawled as a strip or page, the slices of an
    episode in an imported folder, and whatever is more than 2.5 times as tall as wide.
    """
    if (manifest is None) != (out is None):
        raise UsageError("--manifest and --out belong together", "Give both or neither.")
    if manifest is not None and ray is not None:
        raise UsageError("--ray embeds the catalog, not what a file lists", "Leave out --manifest.")
    from indexer.embedding.embed import embed_pending

    session: Session = ctx.obj
    settings = session.settings()
    if manifest is not None and out is not None:
        from indexer.embedding.embed import embed_listed, listed_pictures

        check_output(settings, out, "parquet", manifest)
        say = _say(session, out, as_json)
        listed = listed_pictures(manifest, session.note)[:limit]
        if dry_run:
            print(f"would embed {len(listed):,} pictures into {out}")
            return 0
        with session.progress("Embedding") as progress:
            done = embed_listed(settings, listed, out, progress=progress)
        if as_json:
            print_json({"model": done.model_id, **done.counts, "out": str(out)})
        else:
            say(f"{done.model_id}: {counted(done.counts)}, in {out}")
        return _problems(session, done)
    from search.cli.commands.index import cut_new

    encode: EncodeRows | None = None
    if ray is not None:
        from indexer.embedding.ray_data import encoded_by_ray

        encode = partial(encoded_by_ray, ray)
    strips: dict[str, int] = {}
    with session.writing("embed", dry_run):
        if not no_panels:
            more = {"retry_failed": retry_failed, "dry_run": dry_run, "limit": limit}
            strips = cut_new(session, settings, **more).counts
        with session.progress("Embedding") as progress:
            report = embed_pending(
                settings.layout,
                settings,
                retry_failed=retry_failed,
                dry_run=dry_run,
                limit=limit,
                progress=progress,
                encode=encode,
            )
    code = show(
        report.model_id,
        report.counts,
        dry_run,
        as_json,
        model=report.model_id,
        seconds=round(report.seconds, 3),
        strips=strips,
        device="ray" if ray is not None else report.device,
    )
    if report.device and report.counts.get("embedded") and not as_json:
        session.note(f"encoded on {report.device}")
    if report.counts.get("embedded") and not as_json:
        session.note("next: `toonsearch index build`")
    if code:
        session.note("`toonsearch status` shows why pictures failed")
    return code


@app.command(epilog=examples("toonsearch colors", "toonsearch colors --limit 1000 --json"))
def colors(
    ctx: typer.Context, limit: Limit = None, dry_run: DryRun = False, as_json: AsJson = False
) -> int:
    """Find the dominant colours of new pictures.

    Each picture is divided into a 3 x 2 grid and each region into its three dominant
    colours; they lie in the table `colors`, for SQL, the report and `query --palette`.
    """
    from indexer.palette import color_pending

    session: Session = ctx.obj
    settings = session.settings()
    with session.writing("colors", dry_run), session.progress("Colours") as progress:
        report = color_pending(
            settings.layout, settings, dry_run=dry_run, limit=limit, progress=progress
        )
    seconds = round(report.seconds, 3)
    more = {"seconds": seconds, "problems": report.problems}
    show("colors", report.counts, dry_run, as_json, **more)
    return _problems(session, report)


@app.command(epilog=examples("toonsearch judge", "toonsearch judge --again"))
def judge(
    ctx: typer.Context,
    again: Annotated[bool, Option("--again", help="All pictures, not only new ones.")] = False,
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Predict the labels of the index's own pictures.

    Each picture is predicted as if it were new, its own title hidden from the vote, and the
    five most probable authors, genres and eras go into the table `predictions`: which
    genres are confused with which, and which titles are hard to place, are then questions
    for SQL and the report.
    """
    from indexer.labels.judge import judge_pending

    session: Session = ctx.obj
    settings = session.settings()
    with session.writing("judge", dry_run), session.progress("Predicting") as progress:
        report = judge_pending(
            settings.layout, again=again, dry_run=dry_run, limit=limit, progress=progress
        )
    show(
        report.model_id,
        report.counts,
        dry_run,
        as_json,
        model=report.model_id,
        seconds=round(report.seconds, 3),
        problems=report.problems,
    )
    return _problems(session, report)


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
            help="Parquet file with path, authors, genres, eras, unknown_author, conclusion, problem.",
        ),
    ],
    model: Annotated[
        str | None,
        Option(
            metavar="ID",
            help="Ask this model's own heads (`shipped`, an id or a folder) and not the index.",
        ),
    ] = None,
    panels: Annotated[
        str,
        Option(
            metavar="auto|off|N",
            help="Cut strips and pages into panels that answer together (auto), no picture (off),"
            " or all, where at most N panels answer.",
        ),
    ] = "auto",
    limit: Limit = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Predict author, genre and era of listed pictures.

    The published index answers with the labels of your own catalog. Each picture gets every
    label with its probability, and the probability that nobody in this catalog drew it.
    Strips and pages are cut into panels, which answer together.
    """
    from indexer.embedding.embed import listed_pictures
    from schemas.records import CONCLUSIONS
    from search.panels import Cutting
    from search.predictions import predict_listed

    session: Session = ctx.obj
    cutting = Cutting.parse(panels)
    settings = session.settings()
    check_output(settings, out, "parquet", manifest)
    say = _say(session, out, as_json)
    listed = listed_pictures(manifest, session.note)[:limit]
    if dry_run:
        print(f"would predict the labels of {len(listed):,} pictures into {out}")
        return 0
    with session.progress("Predicting") as progress:
        source, report = predict_listed(
            settings, listed, out, model=model, cutting=cutting, progress=progress
        )
    if as_json:
        print_json(
            {
                "source": source,
                "model": report.model_id,
                **report.counts,
                "conclusions": {name: report.conclusions.get(name, 0) for name in CONCLUSIONS},
                "out": str(out),
            }
        )
    else:
        predicted, failed, cut = report.counts.values()
        say(f"{source}: {predicted:,} predicted, {failed:,} failed, in {out}")
        for name, sentence in CONCLUSIONS.items():
            if count := report.conclusions.get(name):
                say(f"{sentence.format(name='a known artist')}: {count:,}")
        if cut:
            say(f"cut into panels that answered together: {cut:,}")
    return _problems(session, report)


def _say(session: Session, out: Path, as_json: bool) -> Callable[[str], None]:
    """How to tell what was done: not among rows that go to standard output themselves."""
    from schemas.storage.outputs import stream_of

    if stream_of(out) is None:
        return print
    if as_json:
        raise UsageError(f"--json and --out {out} would be mixed", "Leave one out.")
    return session.note


def _problems(session: Session, report: WorkReport) -> int:
    """Say what went wrong; the exit code."""
    for problem in report.problems:
        session.note(problem)
    return 4 if report.counts.get("failed") else 0
