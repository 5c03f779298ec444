"""Differences between generations as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from search.cli.context import plain

if TYPE_CHECKING:
    from indexer.vector_index.diff import Difference


def difference_lines(found: Difference, limit: int | None) -> Iterator[str]:
    """What changed, sums first, then examples of each kind."""
    yield f"{found.before} -> {found.after}"
    for what, (old, new) in (("pictures", found.pictures), ("titles", found.titles)):
        yield f"{what:<22}{old:>9,} -> {new:,}"
    yield from _part("pictures appeared", [f"{p[:12]}  {t}" for t, p in found.appeared], limit)
    yield from _part("pictures gone", [f"{p[:12]}  {t}" for t, p in found.gone], limit)
    yield from _part("pictures moved", [f"{p[:12]}  {a} -> {b}" for p, a, b in found.moved], limit)
    yield from _part("titles appeared", found.titles_appeared, limit)
    yield from _part("titles gone", found.titles_gone, limit)
    changed = [
        f"{change.title_id}  "
        + ", ".join(f"{name}: {old} -> {new}" for name, (old, new) in change.fields.items())
        for change in found.relabelled
    ]
    yield from _part("titles relabelled", changed, limit)
    if found.reembedded is None:
        yield "vectors are of another model"
    else:
        yield f"{'vectors changed':<22}{found.reembedded:>9,}"
    if found.is_empty:
        yield "nothing differs"


def _part(what: str, lines: list[str], limit: int | None) -> Iterator[str]:
    yield f"{what:<22}{len(lines):>9,}"
    for line in lines[:limit]:
        yield f"  {plain(line)}"
    if limit is not None and len(lines) > limit:
        yield f"  ... and {len(lines) - limit:,} more (--all)"
