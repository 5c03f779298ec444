"""`toonsearch duplicates`: the same drawing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexer.duplicates import MAX_HAMMING_BITS, MIN_CORRELATION
from search.cli.commands import as_json, examples, print_json
from search.cli.context import Session, plain

if TYPE_CHECKING:
    from indexer.duplicates import Duplicates, Holder, Pair


@click.command(epilog=examples("toonsearch duplicates", "toonsearch duplicates --json"))
@click.option(
    "--bits", type=click.IntRange(0, 32), default=MAX_HAMMING_BITS, show_default=True,
    help="Most differing bits of the 64-bit perceptual hash.",
)  # fmt: skip
@click.option(
    "--correlation", type=click.FloatRange(0, 1), default=MIN_CORRELATION, show_default=True,
    help="Least correlation of 32 x 32 grey thumbnails.",
)  # fmt: skip
@as_json
@click.pass_obj
def command(session: Session, bits: int, correlation: float, as_json: bool) -> None:
    """List equal, near-equal and copied drawings.

    Three lists: the same bytes in several titles; almost the same picture by the same
    author; almost the same picture by different authors, which may be a copy, a reprint or
    a wrong credit. Two pictures are almost the same when their perceptual hashes differ in
    at most 10 of 64 bits and their grey thumbnails correlate above 0.98: recoloured and
    re-bordered copies do, redrawn, cropped or turned ones do not.
    """
    from indexer.duplicates import find_duplicates

    settings = session.settings()
    with session.progress("Comparing") as progress:
        found = find_duplicates(
            settings.layout, settings, max_bits=bits, min_correlation=correlation,
            progress=progress,
        )  # fmt: skip
    if found.unread:
        session.note(f"{found.unread:,} pairs could not be compared: a file is gone or damaged")
    if found.left:
        session.note(f"{found.left:,} pairs were not compared; fewer --bits leave out fewer")
    if as_json:
        print_json(_as_json(found))
        return
    _show("exact: the same bytes in several titles", [
        " = ".join(_name(holder) for holder in group) for group in found.exact])  # fmt: skip
    _show("near: almost the same picture, same author", [_pair(p) for p in found.near])
    _show("copied: almost the same picture, other author", [_pair(p) for p in found.copied])


def _show(heading: str, lines: list[str]) -> None:
    print(f"{heading} ({len(lines):,})")
    for line in lines:
        print(f"  {plain(line)}")


def _name(holder: Holder) -> str:
    file = (holder.source_path or holder.picture_id[:12]).rpartition("/")[2]
    by = f" by {', '.join(holder.authors)}" if holder.authors else ""
    return f"{file} ({holder.title}{by})"


def _pair(pair: Pair) -> str:
    return (
        f"{pair.correlation:.3f}  {pair.bits:>2} bits  {_name(pair.first)} ~ {_name(pair.second)}"
    )


def _as_json(found: Duplicates) -> dict[str, object]:
    def holder(one: Holder) -> dict[str, object]:
        return {**vars(one), "authors": list(one.authors)}

    def pair(one: Pair) -> dict[str, object]:
        return {"bits": one.bits, "correlation": round(one.correlation, 6),
                "pictures": [holder(one.first), holder(one.second)]}  # fmt: skip

    return {
        "exact": [[holder(one) for one in group] for group in found.exact],
        "near": [pair(one) for one in found.near],
        "copied": [pair(one) for one in found.copied],
        "compared": found.compared,
        "unread": found.unread,
        "left": found.left,
    }
