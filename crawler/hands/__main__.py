"""Pictures by many hands from packages, drawn into one folder to train on.

Fetches icon sets from npm and clip art from Debian, and draws them, emoji and figures on white.
What is there already is neither fetched nor drawn again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from crawler.hands.folder import ASKED, draw_all, licence_table, write_manifest
from crawler.hands.packages import JsonArchive, fetch_npm
from crawler.hands.sources import (
    ICONIFY,
    ICONIFY_VERSION,
    Sketch,
    clipart,
    emoji,
    figures,
    icons,
)
from schemas.errors import ToonsearchError

Source = Callable[[], list[Sketch]]
KINDS = ("figures", "clipart", "icons", "emoji")
PARTLY_DONE = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 4 when a source could not be had, else 0 or the error's code."""
    parser = argparse.ArgumentParser(prog="python -m crawler.hands", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for images/, manifest.csv")
    parser.add_argument("--packages", type=Path, help="folder for the packages (OUT/packages)")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS, help="these sources")
    parser.add_argument(
        "--licences", action="store_true", help="only print what lies in OUT, as a Markdown table"
    )
    options = parser.parse_args(arguments)
    try:
        if options.licences:
            print(licence_table(options.out))
            return 0
        return run(options.out, sources(options.packages or options.out / "packages"), options.only)
    except ToonsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        return 130


def sources(store: Path) -> dict[str, Source]:
    """What lists the sketches of each kind, with the packages in `store`."""

    @cache
    def archive() -> JsonArchive:
        return JsonArchive(fetch_npm(ICONIFY, ICONIFY_VERSION, store))

    def drawings() -> list[Sketch]:
        from crawler.demo.debian import fetch
        from crawler.demo.openclipart import prepare

        lists = store / "openclipart-lists"
        prepare(fetch(store, progress=show), lists, progress=show, every_category=True)
        return clipart(lists / "catalog.csv")

    return {
        "figures": figures,
        "clipart": drawings,
        "icons": lambda: icons(archive()),
        "emoji": lambda: emoji(archive()),
    }


def run(out: Path, kinds: dict[str, Source], only: Sequence[str]) -> int:
    """Draw every kind, then write the manifests.

    The manifests come last and hold the kinds of `only`: a run that ended early left the older
    ones, or none.
    """
    missing = False
    parts: tuple[tuple[Path, list[Sketch]], ...] = ((out, []), (out / ASKED, []))
    for kind in (kind for kind in kinds if kind in only):
        try:
            sketches = kinds[kind]()
        except ToonsearchError as error:
            print(f"{kind}: left out: {error}", file=sys.stderr)
            missing = True
            continue
        for folder, drawn in parts:
            is_asked = folder != out
            found = draw_all([one for one in sketches if one.asked == is_asked], folder, show)
            drawn += found.sketches
            if found.sketches or found.dropped:
                print(f"{folder}: {kind}: {found}", file=sys.stderr)
    for folder, drawn in parts:
        write_manifest(drawn, folder)
    print(out)
    return PARTLY_DONE if missing else 0


def show(done: int, total: int, what: str = "", /) -> None:
    """Progress on one line of a terminal."""
    if sys.stderr.isatty():
        count = f"{done} of {total}" if total else ""
        end = "\n" if total and done >= total else ""
        print(f"\r{what}: {count}\x1b[K", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
