"""Writes measured figures where people read them: model card and README; draws retrievals.

`python -m indexer.training.evaluation.card --drawings DIR` is `make card`. Text between
`<!-- evaluation -->` and `<!-- /evaluation -->` is replaced; all else stays. The networks of
earlier practice are trained the first time (hours on two cores) and kept in the cache, split by
split.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.embedding.models import shipped_model_dir
from indexer.training.cache import default_cache
from indexer.training.data import MANIFEST_FILE, benchmark_of_manifest
from indexer.training.evaluation.protocol import Evaluation, evaluate, render
from indexer.training.evaluation.report import judged, queries_of
from indexer.training.evaluation.titles import title_table
from schemas.errors import InputError, ToonsearchError
from schemas.images import PictureLimits, decode_picture
from schemas.storage.fsio import replace_file

if TYPE_CHECKING:
    from PIL import Image

START, END = "<!-- evaluation -->", "<!-- /evaluation -->"
CELL_PX, LINE_PX, CAPTION_PX, FRAME_PX = 124, 150, 22, 4
SHEET_LINES = 8
COLOURS = {"query": (47, 111, 219), "right": (29, 131, 72), "wrong": (192, 57, 43)}


def replace_block(file: Path, text: str) -> None:
    """Replace what stands between the markers.

    Errors:  InputError when the file has none
    """
    before = file.read_text("utf-8")
    head, found, rest = before.partition(START)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise InputError(f"{file} has no place for figures ({START} ... {END})")
    replace_file(file, f"{head}{START}\n{text}\n{END}{tail}".encode())


def short_table(found: Evaluation) -> str:
    """The one table that matters, for the README."""
    lines = ["| what | R@1 | AP@100 | R@1, thumbnails |", "| --- | --- | --- | --- |"]
    small = {row.name: row for row in found.thumbnails}
    for row in found.retrieval:
        thumbnails = small.get(row.name)
        last = "" if thumbnails is None else f"{thumbnails.mean.r_at_1:.3f}"
        name = f"{row.name} ({row.note})" if row.note else row.name
        lines.append(f"| {name} | {row.mean.r_at_1:.3f} | {row.mean.ap_at_100:.3f} | {last} |")
    for row in found.long_lists:
        lines.append(f"| {row.name}, ordered as `query --by picture` orders long lists "
                     f"| {row.mean.r_at_1:.3f} | {row.mean.ap_at_100:.3f} | |")  # fmt: skip
    lines += ["", title_table(found.titles)]
    told = [row for row in found.labels.figures if row.name == "vote and head"]
    columns = ("held-out series", "top-1", "macro-F1", "calibration error (by chance)", "years off")
    lines += ["", f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row_ in told:
        years = "" if row_.years_error is None else f"{row_.years_error:.1f}"
        lines.append(f"| {row_.kind} | {row_.top1:.3f} | {row_.macro_f1:.3f} | {row_.calibration}"
                     f" | {years} |")  # fmt: skip
    return "\n".join(lines)


def draw_sheet(found: Evaluation, target: Path) -> None:
    """Real retrievals as a picture: query, hits, right (green) or wrong (red)."""
    import io

    from PIL import Image, ImageDraw

    sheet = queries_of(found, judged(found), SHEET_LINES)
    width = (1 + max(len(hits) for _, hits in sheet)) * (CELL_PX + 12) + 12
    canvas = Image.new("RGB", (width, LINE_PX * len(sheet) + 10), (255, 255, 255))
    pen = ImageDraw.Draw(canvas)
    for number, (query, hits) in enumerate(sheet):
        cells = [(query, "query"), *((hit, "right" if ok else "wrong") for hit, _, ok in hits)]
        for place, (row, kind) in enumerate(cells):
            left, top = 10 + place * (CELL_PX + 12), 8 + number * LINE_PX
            picture = _small(found, row)
            pen.rectangle((left, top, left + CELL_PX, top + CELL_PX), fill=COLOURS[kind])
            inner = CELL_PX - 2 * FRAME_PX
            pen.rectangle(
                (left + FRAME_PX, top + FRAME_PX, left + FRAME_PX + inner, top + FRAME_PX + inner),
                fill=(255, 255, 255),
            )
            at = (left + (CELL_PX - picture.width) // 2, top + (CELL_PX - picture.height) // 2)
            canvas.paste(picture, at)
            name = str(found.bench.manifest.authors[row])
            pen.text((left, top + CELL_PX + 2), name[:20], fill=COLOURS[kind])
    data = io.BytesIO()
    canvas.quantize(128).save(data, "PNG", optimize=True)
    replace_file(target, data.getvalue())


def _small(found: Evaluation, row: int) -> Image.Image:
    manifest = found.bench.manifest
    data = (manifest.root / manifest.paths[row]).read_bytes()
    image = decode_picture(data, PictureLimits(), target_px=2 * CELL_PX)
    side = CELL_PX - 2 * FRAME_PX - 2
    image.thumbnail((side, side))
    return image


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m indexer.training.evaluation.card")
    parser.add_argument("--drawings", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--card", type=Path, default=Path("docs/model-card.md"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--sheet", type=Path, help="also draw real retrievals (PNG)")
    options = parser.parse_args(arguments)

    def show(what: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {done} of {total}   ", end="", file=sys.stderr)

    try:
        bench = benchmark_of_manifest(options.drawings / MANIFEST_FILE)
        found = evaluate(
            bench, shipped_model_dir(), cache=default_cache(), earlier=True, progress=show
        )
        replace_block(options.card, render(found))
        replace_block(options.readme, short_table(found))
        if options.sheet is not None:
            draw_sheet(found, options.sheet)
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
