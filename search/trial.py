"""A trial: pictures whose artist is known are asked about, and the answers are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError
from schemas.images import PictureLimits
from schemas.records import Answer
from search.engine import Engine, QueryOptions
from search.inputs import QueryPicture, read_picture

NEW_PICTURE, NEW_TITLE, UNKNOWN = "new picture", "new title", "unknown artist"
KINDS = (NEW_PICTURE, NEW_TITLE, UNKNOWN)

COPY_SIMILARITY = 0.95
"""Above this the index holds nearly the same picture (redrawn, recoloured, a part moved):
finding that says nothing about style, so such cases do not count."""


@dataclass(frozen=True)
class Case:
    """A picture that is not in the index, with the truth about it.

    `kind` is one of KINDS: other pictures of its title are in the index, only other titles by
    its author are, or nothing by its author is.
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
        return any(t.hits[0].similarity > COPY_SIMILARITY for t in self.answer.titles)

    @property
    def called_unknown(self) -> bool:
        """Whether the answer is that nobody in the catalog drew it, or anything of its kind."""
        return self.answer.labels.conclusion in ("nobody", "other kind")

    @property
    def named(self) -> str | None:
        """Whom it looks like, where the answer says so."""
        labels = self.answer.labels
        return labels.authors[0].label if labels.conclusion == "looks like" else None

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
    def is_correct(self) -> bool:
        """Whether the known author comes first, or the unknown one is called unknown."""
        if self.case.kind == UNKNOWN:
            return self.called_unknown
        return self.author_rank == 1 and not self.called_unknown


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
    rows: list[tuple[str, str]] = []
    fair = [outcome for outcome in outcomes if not outcome.is_copy]
    for kind in KINDS:
        some = [outcome for outcome in fair if outcome.case.kind == kind]
        if not some:
            continue
        unknown = _share([o.called_unknown for o in some])
        if kind == UNKNOWN:
            rows.append((f"{kind}: “probably nobody in this catalog”", unknown))
            continue
        near = _share([(o.title_rank or 99) <= 10 for o in some])
        first = _share([o.author_rank == 1 for o in some])
        five = _share([o.author_rank is not None for o in some])
        rows += [
            (f"{kind}: a title by its artist among the ten nearest", near),
            (f"{kind}: its artist first by probability / among five", f"{first} / {five}"),
            (f"{kind}: wrongly “probably nobody in this catalog”", unknown),
        ]
    if told := [o for o in fair if o.named]:
        right = _share([o.named == o.case.author for o in told])
        rows.append((f"“looks like …” was said of {len(told)} of {len(fair)}, and right of", right))
    if len(fair) < len(outcomes):
        left_out = str(len(outcomes) - len(fair))
        rows.append(("left out, because the index holds nearly the same picture", left_out))
    return rows


def _share(hits: Sequence[bool]) -> str:
    return f"{sum(hits)} of {len(hits)} ({100 * sum(hits) / len(hits):.0f} %)"
