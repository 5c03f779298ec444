"""One picture to judge an index by: 24 queries, each with the pictures that were found first.

`make sheet` asks the demo's queries. With DRAWINGS=folder half of them are drawings from books, asked
of an index that has other books by the same artists, but not that one.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

from schemas.settings import Settings, load_settings
from search.cli.app import main as toonsearch
from search.engine import Engine, QueryOptions
from search.output.preview import closer, hit_preview
from search.trial import NEW_TITLE, UNKNOWN, Case, Outcome, run_trial

QUERIES = 24
COLUMNS = 2  # of queries
HITS = 7
TILE_PX, GAP_PX, WORDS_PX = 132, 6, 30
PER_BOOK = 5
"""Pictures of each book in the index, so that building it takes a minute or two."""
T = TypeVar("T")
INK, PAPER, SOFT, RIGHT, QUERY = "#1d1b18", "#f7f5f0", "#655f56", "#2f6f3e", "#a93f1b"


def demo_cases(demo: Path) -> list[Case]:
    """What the demo asks about: known artists' pictures, and a few by artists it lacks."""
    known = [
        Case(demo / row["path"], row["author"], row["series"], NEW_TITLE)
        for row in _rows(demo / "queries.csv")
    ]
    unknown = [
        Case(demo / row["path"], row["author"], row["series"], UNKNOWN)
        for row in _rows(demo / "unknown.csv")
    ]
    return [*_spread(known, QUERIES * 5 // 6), *_spread(unknown, QUERIES // 6)]


def book_cases(drawings: Path, work: Path) -> tuple[Settings, list[Case]]:
    """An index of the drawings without one book of each artist who is asked about.

    Asked are artists whom the shipped model was not trained on, with two books or more.
    """
    books: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(drawings / "manifest.csv"):
        row["path"] = str((drawings / row["path"]).resolve())
        books[row["author"]][row["series"]].append(row)
    asked = json.loads((drawings / "report.json").read_text("utf-8"))
    several = [author for author in sorted(asked) if len(books[author]) > 1]
    held = {author: min(books[author]) for author in _spread(several, QUERIES // 2)}
    work.mkdir(parents=True, exist_ok=True)
    rows = [
        row
        for author, of_author in books.items()
        for series, some in of_author.items()
        if held.get(author) != series
        for row in _spread(some, PER_BOOK)
    ]
    listed = work / "catalog.csv"
    with listed.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    root = ["--data", str(work / "data")]
    for command in (["import", "manifest", str(listed), "--prune"], ["index", "build"]):
        if (code := toonsearch([*root, *command])) not in (0, 4):
            sys.exit(code)
    middle = [(author, series, books[author][series]) for author, series in held.items()]
    cases = [
        Case(Path(some[len(some) // 2]["path"]), author, series, NEW_TITLE)
        for author, series, some in middle
    ]
    return load_settings({"store.root": str(work / "data")}), cases


def answered(settings: Settings, cases: Sequence[Case]) -> Iterator[list[Image.Image]]:
    """The tiles of each query: the picture that asked, and what was found."""
    limits = settings.decode.limits
    options = QueryOptions(k=HITS, by="title", neighbours=settings.query.neighbours)
    with Engine.open(settings.layout, settings) as engine:
        for outcome in run_trial(engine, cases, options, limits):
            yield [
                _query_tile(
                    outcome, closer(outcome.picture.preview(limits, 8 * TILE_PX), 3 * TILE_PX)
                ),
                *(
                    _tile(
                        hit_preview(settings.layout, title.hits[0], limits, 3 * TILE_PX),
                        f"{', '.join(title.authors)}\n{title.closeness or ''} "
                        f"{title.similarity:.2f}",
                        RIGHT if outcome.case.author in title.authors else None,
                    )
                    for title in outcome.answer.titles[:HITS]
                ),
            ]


def _query_tile(outcome: Outcome, image: Image.Image) -> Image.Image:
    said = outcome.answer.labels.sentence or ""
    return _tile(image, f"{outcome.case.author}\n{said}", QUERY)


def _tile(image: Image.Image | None, words: str, frame: str | None) -> Image.Image:
    """A picture on white with two lines under it; a frame marks the query and its artist."""
    tile = Image.new("RGB", (TILE_PX, TILE_PX + WORDS_PX), PAPER)
    pen = ImageDraw.Draw(tile)
    pen.rectangle((0, 0, TILE_PX - 1, TILE_PX - 1), "white", frame or "#e0dacf", 4 if frame else 1)
    if image is not None:
        small = image.convert("RGB")
        small.thumbnail((TILE_PX - 12, TILE_PX - 12))
        tile.paste(small, ((TILE_PX - small.width) // 2, (TILE_PX - small.height) // 2))
    for n, line in enumerate(words.split("\n")):
        text = line.encode("latin-1", "replace").decode("latin-1")
        pen.text(
            (2, TILE_PX + 2 + 14 * n), text, INK if n == 0 else SOFT, ImageFont.load_default(11)
        )
    return tile


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """All tiles, a query a row, in columns."""
    each = -(-len(rows) // COLUMNS)
    wide = (HITS + 1) * (TILE_PX + GAP_PX) + 4 * GAP_PX
    high = TILE_PX + WORDS_PX + GAP_PX
    made = Image.new("RGB", (COLUMNS * wide, each * high + GAP_PX), PAPER)
    for n, row in enumerate(rows):
        for m, tile in enumerate(row):
            left = n // each * wide + GAP_PX + m * (TILE_PX + GAP_PX) + (2 * GAP_PX if m else 0)
            made.paste(tile, (left, GAP_PX + n % each * high))
    return made


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _spread(items: Sequence[T], count: int) -> list[T]:
    """So many of them, evenly spread."""
    count = min(count, len(items))
    return [items[(2 * n + 1) * len(items) // (2 * count)] for n in range(count)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, and write the sheet."""
    parser = argparse.ArgumentParser("python -m bench.sheet", description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of the demo")
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--drawings", type=Path, help="folder with manifest.csv and report.json")
    chosen = parser.parse_args(arguments)
    demo = load_settings({"store.root": str(chosen.demo / "data")})
    asked = [(demo, demo_cases(chosen.demo))]
    if chosen.drawings:
        asked = [
            (demo, _spread(asked[0][1], QUERIES // 2)),
            book_cases(chosen.drawings, chosen.demo / "drawings"),
        ]
    rows = [tiles for settings, cases in asked for tiles in answered(settings, cases)]
    sheet(rows).quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(chosen.out, optimize=True)
    print(f"{len(rows)} queries with what was found: {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
