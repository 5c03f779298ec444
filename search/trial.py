"""A trial: pictures whose answer is known are asked about, and the answers are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError
from schemas.images import PictureLimits
from schemas.records import Answer
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture, read_picture

NEW_PICTURE, NEW_TITLE, UNKNOWN = "new picture", "new work", "unknown hand"
KINDS = (NEW_PICTURE, NEW_TITLE, UNKNOWN)


COPY_SIMILARITY = 0.95
"""Above this the index holds nearly the same picture (redrawn, recoloured, a part moved):
finding that says nothing about style, so such cases do not count."""


@dataclass(frozen=True)
class Case:
    """A picture that is not in the index, with the truth about it.

    `kind` is "new picture" (other pictures of its title are in the index), "new work" (only
    other titles by its author are) or "unknown hand" (nothing by its author is).
    """

    path: Path
    author: str
    title: str
    kind: str


@dataclass(frozen=True)
class Outcome:
    """A case with its answer."""

    case: Case
    picture: QueryPicture
    answer: Answer

    @property
    def is_copy(self) -> bool:
        """Whether the index holds nearly the same picture."""
        return any(title.similarity > COPY_SIMILARITY for title in self.answer.titles)

    @property
    def believed_unknown(self) -> bool:
        """Whether "none of the known authors" is the most probable answer."""
        return self.answer.labels.unknown_author > 0.5

    @property
    def author_rank(self) -> int | None:
        """Place of the true author among the probable ones, 1 being the first."""
        names = [label.label for label in self.answer.labels.authors]
        return names.index(self.case.author) + 1 if self.case.author in names else None

    @property
    def title_rank(self) -> int | None:
        """Place of the first title by the true author in the list."""
        ranks = (hit.rank for hit in self.answer.titles if self.case.author in hit.authors)
        return next(ranks, None)

    @property
    def verdict(self) -> bool:
        """Right: the known author comes first, or the unknown one is called unknown."""
        if self.case.kind == UNKNOWN:
            return self.believed_unknown
        return self.author_rank == 1 and not self.believed_unknown


def run_trial(
    engine: Engine, cases: Sequence[Case], options: QueryOptions, limits: PictureLimits
) -> Iterator[Outcome]:
    """Ask about each case; a picture that cannot be read is left out."""
    for case in cases:
        try:
            picture = read_picture(str(case.path), limits)
            yield Outcome(case, picture, engine.query([picture], options))
        except InputError:
            continue


def figures(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """What a reader wants to know of many answers, as (what, figure) pairs."""
    told: list[tuple[str, str]] = []
    copies = sum(outcome.is_copy for outcome in outcomes)
    outcomes = [outcome for outcome in outcomes if not outcome.is_copy]
    for kind in KINDS:
        some = [outcome for outcome in outcomes if outcome.case.kind == kind]
        if not some:
            continue
        if kind == UNKNOWN:
            told.append(
                (
                    f"{kind}: called “none of the known authors”",
                    _share(sum(o.believed_unknown for o in some), len(some)),
                )
            )
            continue
        told += [
            (
                f"{kind}: a work by its author among the ten nearest",
                _share(sum((o.title_rank or 99) <= 10 for o in some), len(some)),
            ),
            (
                f"{kind}: its author first by probability / among five",
                f"{_share(sum(o.author_rank == 1 for o in some), len(some))}"
                f" / {_share(sum(o.author_rank is not None for o in some), len(some))}",
            ),
            (
                f"{kind}: wrongly called “none of the known authors”",
                _share(sum(o.believed_unknown for o in some), len(some)),
            ),
        ]
    if copies:
        told.append(("left out, because the index holds nearly the same picture", str(copies)))
    return told


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)"
