"""What is said beside an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from indexer.vector_index.ranking import KEPT
from schemas.records import Labels

if TYPE_CHECKING:
    from search.engine import QueryOptions


def notes_of(
    options: QueryOptions,
    own: Mapping[str, str],
    same: Sequence[str],
    candidates: tuple[int, int],
    shown: int,
    labels: Labels,
) -> Iterator[str]:
    """What a reader should know before trusting the list: `candidates` of how many pictures were
    asked, `own` and `same` are titles and authors that the query itself is of."""
    left, total = candidates
    if labels.is_foreign:
        yield "a picture of quite another kind than the index's: nothing in it is drawn alike"
    if own:
        yield f"the picture itself is in the index ({', '.join(own)})"
    if same:
        yield f"left out: pictures by {', '.join(same)}"
    elif options.filters.exclude_same_author:
        yield "no author is known that could be left out"
    if left < total:
        yield f"the filters left {left:,} of {total:,} pictures"
    if options.expand and options.by == "picture" and shown > KEPT:
        yield f"after the first {KEPT}, pictures like those and the query together"
    if shown < options.k:
        yield f"{shown} of the {options.k} {options.by}s asked for were found"
