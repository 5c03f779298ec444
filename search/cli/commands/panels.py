"""`toonsearch panels`: strips and pages into panels, and how well that works."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from schemas.errors import InputError
from search.cli.context import Session
from search.cli.options import AsJson, counted, examples, new_app, print_json

app = new_app()
group = new_app(
    "Cut strips and pages into panels.",
    "toonsearch panels cut episodes --out panels --preview",
    "toonsearch panels evaluate --truth truth.json",
)
app.add_typer(group, name="panels")


class Kind(StrEnum):
    """What the pictures of a folder are."""

    AUTO = "auto"
    STRIP = "strip"
    PAGE = "page"


class Arrangement(StrEnum):
    """How the folders of the results are named."""

    PLAIN = "plain"
    SEED = "seed"


@group.command(
    epilog=examples(
        "toonsearch panels cut episodes/12 --out panels",
        "toonsearch panels cut page-01.png page-02.png --out panels --rtl --preview",
    )
)
def cut(
    ctx: typer.Context,
    sources: Annotated[
        list[Path], Argument(metavar="FILE|DIR...", help="Pages, slices, folders of them.")
    ],
    out: Annotated[Path, Option(metavar="DIR", help="Where a folder for each result goes.")],
    kind: Annotated[
        Kind,
        Option("--as", help="What the pictures of a folder are; auto: slices if drawings run on."),
    ] = Kind.AUTO,
    rtl: Annotated[bool, Option("--rtl", help="Read from right to left, as manga.")] = False,
    min_size: Annotated[
        float,
        Option(min=0.01, max=0.5, help="Shortest side of a panel, as a share of the page's."),
    ] = 0.07,
    keep_balloons: Annotated[
        bool, Option("--keep-balloons", help="Widen panels to balloons that stick out of them.")
    ] = False,
    preview: Annotated[
        bool, Option("--preview", help="Also write a small copy with the panels drawn on it.")
    ] = False,
    layout: Annotated[
        Arrangement,
        Option(help="seed: EpisodeN/outputs/0.jpg, 1.jpg, ... for each folder."),
    ] = Arrangement.PLAIN,
    as_json: AsJson = False,
) -> int:
    """Cut the slices of an episode, or pages, into panels in reading order.

    The slices of a folder are joined in the order of their names (2.jpg before 10.jpg). Each
    strip or page gets a folder with its panels and a panels.json: boxes in the strip and in its
    slices, order, what bounds each panel, how sure that is, and what was left out.
    """
    from indexer.panels.cut import CutOptions
    from indexer.panels.export import check_targets, find_sources, write_panels

    session: Session = ctx.obj
    limits = session.settings().decode.limits
    options = CutOptions(rtl=rtl, min_size=min_size, keep_balloons=keep_balloons)
    found = find_sources(_grouped(sources), limits, kind)
    targets = []
    for number, source in enumerate(found, 1):
        name = source.name
        if layout is Arrangement.SEED:
            digits = re.findall(r"\d+", name)
            name = f"Episode{int(digits[-1]) if digits else number}/outputs"
        targets.append(out / name)
    check_targets(found, targets)
    written = []
    with session.progress("Cutting") as progress:
        for number, (source, target) in enumerate(zip(found, targets, strict=True), 1):
            done = write_panels(
                source,
                target,
                limits,
                options,
                preview=preview,
                numbers_only=layout is Arrangement.SEED,
            )
            written.append(done)
            for note in done.record["notes"]:
                session.note(f"{source.name}: {note}")
            if progress is not None:
                progress(number, len(found))
    failed = sum(bool(one.failed) for one in written)
    counts = {
        "strips": sum(one.source.kind == "strip" for one in written),
        "pages": sum(one.source.kind == "page" for one in written),
        "panels": sum(one.panels for one in written),
        "failed": failed,
    }
    if as_json:
        print_json({"out": str(out), "counts": counts, "sources": [one.record for one in written]})
    else:
        for one in written:
            print(
                f"{one.source.name}: {one.panels:,} panel{'' if one.panels == 1 else 's'} in {one.folder}"
            )
        print(f"cut: {counted({key: n for key, n in counts.items() if n}) or 'nothing'}")
    if failed and not counts["panels"]:
        return 3
    return 4 if failed else 0


def _grouped(sources: Sequence[Path]) -> list[tuple[str, list[Path]]]:
    """Pictures that lie together, with a name for each group.

    Errors:  InputError when there is nothing
    """
    from crawler.importers.walk import unique, walk

    groups: dict[Path, tuple[str, list[Path]]] = {}
    for source in sources:
        if not source.exists():
            raise InputError(f"{source} cannot be found", "Name pictures or folders.")
        if source.is_dir():
            for path, _, _ in walk(source).files:
                inner = path.parent.relative_to(source).parts
                name = "/".join(map(unique, (source.resolve().name, *inner)))
                groups.setdefault(path.parent, (name, []))[1].append(path)
        else:
            groups.setdefault(source.parent, ("", []))[1].append(source)
    if not groups:
        raise InputError(f"no pictures in {', '.join(map(str, sources))}")
    named: dict[str, list[Path]] = {}
    for folder, (name, paths) in groups.items():
        if not name and len(paths) > 1:
            name = unique(folder.resolve().name)
        base, k = name, 1
        while name in named:
            k += 1
            name = f"{base}-{k}"
        named[name] = list(dict.fromkeys(paths))
    return list(named.items())


@group.command(
    epilog=examples(
        "toonsearch panels evaluate --truth strips.json",
        "toonsearch panels evaluate --truth pages.json --json",
    )
)
def evaluate(
    ctx: typer.Context,
    truth: Annotated[
        Path, Option(metavar="FILE", help="Pages and their true boxes, JSON (docs/panels.md).")
    ],
    worst: Annotated[int, Option(min=0, help="How many of the worst pages to list.")] = 5,
    as_json: AsJson = False,
) -> int:
    """Cut the pages of a truth file and measure how well their panels are found."""
    from indexer.panels.evaluate import evaluate as scores_of
    from indexer.panels.evaluate import read_truth, summary

    session: Session = ctx.obj
    limits = session.settings().decode.limits
    pages = read_truth(truth)
    with session.progress("Evaluating") as progress:
        scores = list(scores_of(pages, limits, progress))
    figures = summary(scores)
    poor = sorted(scores, key=lambda score: (score.f1_50, score.matched_90))[:worst]
    if as_json:
        rows = [
            {
                "page": one.page,
                "true": one.true,
                "found": one.found,
                "matched_50": one.matched_50,
                "matched_90": one.matched_90,
                "f1_50": one.f1_50,
                "problem": one.problem,
            }
            for one in poor
        ]
        print_json({"truth": str(truth), **figures, "worst": rows})
    else:
        for name, value in figures.items():
            shown = (
                "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
            )
            print(f"{name.replace('_', ' '):<24}{shown:>10}")
        for one in poor:
            print(
                f"  {one.page}: {one.matched_50} of {one.true} found, {one.found} boxes {one.problem}"
            )
    for one in scores:
        if one.problem:
            session.note(f"{one.page}: {one.problem}")
    return 4 if figures["failed"] else 0
