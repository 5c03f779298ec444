"""The evaluation as a self-contained page, and its tables in the docs.

`python -m indexer.training.evaluation.report --drawings DIR` is `make card`: the authors of
`report.json` are asked, everything is fitted on the others, and what stands between the markers
of `docs/evaluation.md` (all tables) and `docs/model-card.md` (those of retrieval) is replaced.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jinja2 import Template
from matplotlib.figure import Figure
from PIL import Image

from indexer.embedding.models import shipped_model_dir
from indexer.training.data import MANIFEST_FILE, REPORT_FILE, benchmark_of_manifest, held_out
from indexer.training.evaluation.protocol import (
    Beside,
    Evaluation,
    evaluate,
)
from indexer.training.evaluation.tables import (
    failure_table,
    gain_table,
    lines,
    markdown,
    render,
    retrieval_table,
    shown_table,
    tables,
    view_table,
)
from indexer.training.features import default_cache, pictures_of
from schemas.errors import InputError, ToonsearchError
from schemas.storage.fsio import replace_file
from schemas.storage.outputs import write_text

START, END = "<!-- evaluation -->", "<!-- /evaluation -->"
THUMBNAIL_PX = 132
SHEET_QUERIES = 12
HITS = 6
BINS = 10
TEMPLATE = Path(__file__).parent / "report.html.j2"


def write_report(target: Path, found: Evaluation) -> None:
    """Write the page.

    Errors:  InputError when it cannot be written
    """
    shown = next(row for row in found.retrieval if row.name == found.shown.name)
    charts = {"R@1": _bars({row.name: row.figures.r_at_1 for row in found.retrieval})}
    if shown.views:
        charts["R@1 of degraded queries"] = _bars({"clean": shown.figures.r_at_1, **shown.views})
    for kind, (confidence, right) in found.labels.reliability.items():
        charts[f"How often the first {kind} is right"] = _reliability(confidence, right)
    page = Template(TEMPLATE.read_text("utf-8"), autoescape=True, trim_blocks=True).render(
        found=found,
        facts=found.to_json()["benchmark"],
        tables=tables(found),
        lines=lines(found),
        charts=charts,
        sheet=_sheet(found),
        height_px=THUMBNAIL_PX,
    )
    write_text(target, page)


def _svg(figure: Figure) -> str:
    data = io.StringIO()
    figure.savefig(data, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = data.getvalue()
    return text[text.index("<svg") :]


def _bars(values: dict[str, float]) -> str:
    figure = Figure((7, 0.35 * len(values) + 0.6))
    axes = figure.subplots()
    bars = axes.barh(list(values), list(values.values()), color="#2f6fdb")
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    return _svg(figure)


def _reliability(confidence: np.ndarray, right: np.ndarray) -> str:
    """Share that is right by confidence, in bins of equally many."""
    order = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    bins = [rows for rows in order if len(rows)]
    figure = Figure((4, 4))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    axes.plot([confidence[b].mean() for b in bins], [right[b].mean() for b in bins], "o-")
    axes.set(xlabel="probability", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    return _svg(figure)


def _sheet(found: Evaluation) -> Iterator[list[tuple[str, str, str]]]:
    """A line of pictures for each query: the query and its first hits, as (mark, author, data)."""
    part, vectors, _ = found.ground.catalog(found.shown, 0)
    gallery = found.ground.galleries[0]
    rows = gallery.figures(vectors).rows
    for row in rows[:: max(1, len(rows) // SHEET_QUERIES)][:SHEET_QUERIES].tolist():
        hits = gallery.nearest(vectors, row, HITS).tolist()
        marks = ["right" if gallery.authors[h] == gallery.authors[row] else "wrong" for h in hits]
        images = pictures_of(part.part(np.array([row, *hits])), THUMBNAIL_PX)
        coded = map(_jpeg, images)
        yield list(zip(["query", *marks], gallery.authors[[row, *hits]], coded, strict=True))


def _jpeg(image: Image.Image) -> str:
    image.thumbnail((2 * THUMBNAIL_PX, THUMBNAIL_PX))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=72)
    return base64.b64encode(data.getvalue()).decode()


def replace_block(file: Path, text: str) -> None:
    """Replace what stands between the markers.

    Errors:  InputError when the file has none
    """
    head, found, rest = file.read_text("utf-8").partition(START)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise InputError(f"{file} has no place for figures ({START} ... {END})")
    replace_file(file, f"{head}{START}\n{text}\n{END}{tail}".encode())


def card_text(found: Evaluation) -> str:
    """What the model card shows."""
    several = [
        retrieval_table(found.retrieval),
        gain_table(found.gains),
        view_table(found.retrieval),
        shown_table(found.confounded),
        failure_table(found.failures, found.shown.name),
    ]
    return "\n\n".join([*(markdown(table) for table in several if table.rows), lines(found)])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.evaluation.report")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--model", type=Path, help="folder of a model (default: the shipped one)")
    parser.add_argument("--content", type=Path, help="folder of pictures with their content")
    parser.add_argument("--clipart", type=Path, help="folder of clip art")
    parser.add_argument("--vgg", type=Path, help="weights of VGG16 or VGG19, torchvision's names")
    parser.add_argument("--baselines", choices=("quick", "all"), default="quick")
    parser.add_argument("--baseline-steps", type=int, help="steps of each network that is trained")
    parser.add_argument("--without-views", action="store_true", help="no degraded queries")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the pages are")
    options = parser.parse_args(arguments)
    beside = Beside(
        options.content,
        options.clipart,
        options.vgg,
        options.baselines == "all",
        options.baseline_steps,
        not options.without_views,
    )

    def show(done: int, total: int, what: str = "", /) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{what}: {done} of {total}\x1b[K", end=end, file=sys.stderr)

    try:
        bench = benchmark_of_manifest(options.drawings / MANIFEST_FILE)
        split = held_out(bench, options.drawings / REPORT_FILE)
        found = evaluate(
            replace(bench, splits=(split,)),
            options.model or shipped_model_dir(),
            beside=beside,
            cache=default_cache(),
            progress=show,
        )
        if options.json:
            write_text(options.json, json.dumps(found.to_json(), ensure_ascii=False, indent=1))
        asked = f"{len(found.ground.asked):,} pictures by {len(split.test)} authors"
        fitted = f"fitted on {len(split.train)} others"
        about = f"{asked} are asked; everything but the model is {fitted}."
        replace_block(options.docs / "evaluation.md", f"{about}\n\n{render(found)}")
        replace_block(options.docs / "model-card.md", f"{about}\n\n{card_text(found)}")
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
