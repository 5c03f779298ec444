"""The evaluation as a self-contained page, and its tables in the docs.

`python -m indexer.training.evaluation.report --drawings DIR` is `make card`: the authors of
`report.json` are asked, everything is fitted on the others, and what stands between the markers
of `docs/evaluation.md` (all tables) and `docs/model-card.md` (two of them) is replaced.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from indexer.embedding.models import shipped_model_dir
from indexer.training.data import MANIFEST_FILE, REPORT_FILE, benchmark_of_manifest, held_out
from indexer.training.evaluation.protocol import (
    Evaluation,
    evaluate,
    render,
    retrieval_table,
    view_table,
)
from indexer.training.features import default_cache, pictures_of
from schemas.errors import InputError, ToonsearchError
from schemas.storage.fsio import replace_file, storage_error

START, END = "<!-- evaluation -->", "<!-- /evaluation -->"
THUMBNAIL_PX = 132
SHEET_QUERIES = 12
HITS = 6
BINS = 10
TEMPLATE = """<!doctype html><meta charset=utf-8><title>toonsearch: evaluation</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem .6rem; text-align: left;
border-bottom: 1px solid #ccc }} .wide {{ overflow-x: auto }} .line {{ display: flex; gap: 6px;
margin: 6px 0 }} img {{ height: {height}px; border: 4px solid #999 }} img.right {{ border-color:
#1d8348 }} img.wrong {{ border-color: #c0392b }} svg {{ max-width: 100%; height: auto }}
</style>
<h1>Evaluation</h1>
{body}
"""


def write_report(target: Path, found: Evaluation) -> None:
    """Write the page.

    Errors:  InputError when it cannot be written
    """
    facts = found.to_json()["benchmark"]
    about = (
        f"{facts['pictures']:,} pictures by {facts['authors']} authors in {facts['series']} series"
        f" ({facts['name']}), {facts['splits']} author-disjoint splits; model {found.model}"
    )
    parts = [
        f"<p>{escape(': '.join(filter(None, (about, found.model_note))))}</p>",
        tables_to_html(render(found)),
        "<h2>R@1</h2>",
        _bars({row.name: row.figures.r_at_1 for row in found.retrieval}),
    ]
    shown = next(row for row in found.retrieval if row.name == found.shown.name)
    if shown.views:
        parts += ["<h2>R@1 of degraded queries</h2>"]
        parts += [_bars({"clean": shown.figures.r_at_1, **shown.views})]
    for kind, (confidence, right) in found.labels.reliability.items():
        parts += [f"<h2>How often the first {kind} is right</h2>", _reliability(confidence, right)]
    parts += [
        f"<h2>Retrievals</h2><p>{escape(shown.name)}; first split, every so many-th query, not"
        " chosen. Green: the same author in another series. Red: another author.</p>",
        *_sheet(found),
    ]
    page = TEMPLATE.format(height=THUMBNAIL_PX, body="\n".join(parts))
    try:
        replace_file(target, page.encode())
    except OSError as error:
        raise storage_error(error, str(target)) from error


def tables_to_html(markdown: str) -> str:
    """Our own Markdown tables and lines as HTML."""
    parts: list[str] = []
    for block in markdown.split("\n\n"):
        lines = block.split("\n")
        if not lines[0].startswith("|"):
            parts.append(f"<p>{escape(block)}</p>")
            continue
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        body = "".join(
            "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in zip(["th", *["td"] * len(rows)], [rows[0], *rows[2:]], strict=False)
        )
        parts.append(f"<div class=wide><table>{body}</table></div>")
    return "\n".join(parts)


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


def _sheet(found: Evaluation) -> list[str]:
    """A line of pictures for each query: the query and its first hits."""
    part, (vectors, _) = found.ground.catalog(found.shown, 0)
    gallery = found.ground.galleries[0]
    rows = gallery.figures(vectors).rows
    lines = []
    for row in rows[:: max(1, len(rows) // SHEET_QUERIES)][:SHEET_QUERIES].tolist():
        hits = gallery.nearest(vectors, row, HITS).tolist()
        marks = ["right" if gallery.authors[h] == gallery.authors[row] else "wrong" for h in hits]
        images = pictures_of(part.part(np.array([row, *hits])), THUMBNAIL_PX)
        shown = zip(images, ["query", *marks], gallery.authors[[row, *hits]], strict=True)
        lines.append(f"<div class=line>{''.join(_picture(*one) for one in shown)}</div>")
    return lines


def _picture(image: Any, mark: str, author: str) -> str:
    image.thumbnail((2 * THUMBNAIL_PX, THUMBNAIL_PX))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=72)
    coded = base64.b64encode(data.getvalue()).decode()
    return f'<img class={mark} title="{escape(author)}" src="data:image/jpeg;base64,{coded}">'


def replace_block(file: Path, text: str) -> None:
    """Replace what stands between the markers.

    Errors:  InputError when the file has none
    """
    head, found, rest = file.read_text("utf-8").partition(START)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise InputError(f"{file} has no place for figures ({START} ... {END})")
    replace_file(file, f"{head}{START}\n{text}\n{END}{tail}".encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.evaluation.report")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the pages are")
    options = parser.parse_args(arguments)
    try:
        bench = benchmark_of_manifest(options.drawings / MANIFEST_FILE)
        split = held_out(bench.manifest, options.drawings / REPORT_FILE)
        found = evaluate(
            replace(bench, splits=(split,)), shipped_model_dir(), cache=default_cache()
        )
        asked = f"{len(found.ground.asked):,} pictures by {len(split.test)} authors"
        fitted = f"fitted on {len(split.train)} others"
        about = f"{asked} are asked; everything is {fitted}."
        replace_block(options.docs / "evaluation.md", f"{about}\n\n{render(found)}")
        tables = f"{retrieval_table(found.retrieval)}\n\n{view_table(found.retrieval)}"
        replace_block(options.docs / "model-card.md", f"{about}\n\n{tables}")
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
