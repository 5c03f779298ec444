"""The records that every part of the program passes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from schemas.names import author_key, clean_name

Row = Mapping[str, Any]
"""A row of a table, by column."""


@dataclass(frozen=True)
class Author:
    """A person with the part they had in a title: author, writer, painter, origin."""

    name: str
    role: str = "author"


def distinct_authors(authors: Iterable[Author]) -> tuple[Author, ...]:
    """Authors with cleaned names, each role of a person once; the first spelling counts."""
    found: dict[tuple[str, str], Author] = {}
    for author in authors:
        if name := clean_name(author.name):
            found.setdefault((author_key(name), author.role), Author(name, author.role))
    return tuple(found.values())


@dataclass(frozen=True)
class Title:
    """A webtoon, album or book; `title_id` is `platform:id`."""

    title_id: str
    platform: str
    name: str
    authors: tuple[Author, ...] = ()
    genres: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    year: int | None = None
    synopsis: str | None = None
    age_rating: str | None = None
    star_score: float | None = None
    first_date: date | None = None
    last_date: date | None = None
    finished: bool | None = None
    url: str | None = None


@dataclass(frozen=True)
class Episode:
    """One episode of a title; `episode_no` is the platform's number."""

    title_id: str
    episode_no: int
    name: str | None = None
    published: date | None = None
    star_score: float | None = None
    url: str | None = None


@dataclass(frozen=True)
class Picture:
    """A picture as fetched or imported; `picture_id` is the SHA-256 of its bytes.

    `status` is stored, skipped or failed; `reason` is a `schemas.images.Reason`.
    """

    picture_id: str
    title_id: str
    kind: str
    source: str
    source_path: str
    source_stamp: str
    status: str
    reason: str | None = None
    file: str | None = None
    format: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    bytes_count: int | None = None
    perceptual_hash: str | None = None
    year: int | None = None
    published: date | None = None
    episode_no: int | None = None


PixelBox = tuple[int, int, int, int]
"""Left, top, width and height, in pixels."""


@dataclass(frozen=True)
class PanelPart:
    """The part of a panel that one stored picture shows; the box in pixels of that picture."""

    picture_id: str
    file: str
    box: PixelBox


@dataclass(frozen=True)
class Panel:
    """Where a panel of the catalog lies. It has no file of its own: it is a box of a strip (or
    page), and so of the stored pictures that the strip is joined from.

    strip_id  key of the strip in the table `strips`: its picture's id where it is a single one
    box       in the strip
    slices    its parts from the top, mostly a single one
    order     place in the strip, from 1, as it is read
    """

    strip_id: str
    box: PixelBox
    slices: tuple[PanelPart, ...]
    order: int

    def facts(self) -> dict[str, Any]:
        """As answers show it."""
        return {
            "strip": self.strip_id,
            "box": list(self.box),
            "slices": [[part.picture_id, list(part.box)] for part in self.slices],
            "order": self.order,
        }

    def to_text(self) -> str:
        """As an index holds it."""
        files = [part.file for part in self.slices]
        return json.dumps({**self.facts(), "files": files}, separators=(",", ":"))

    @classmethod
    def of_text(cls, text: str | None) -> Panel | None:
        """What `to_text` wrote; None of a picture that is no panel."""
        if text is None:
            return None
        found = json.loads(text)
        parts = zip(found["slices"], found["files"], strict=True)
        slices = tuple(PanelPart(one, file, tuple(box)) for (one, box), file in parts)
        return cls(found["strip"], tuple(found["box"]), slices, found["order"])

    @classmethod
    def of_row(cls, row: Row) -> Panel:
        """From a row of the table `panels`."""
        slices = tuple(
            PanelPart(part["picture_id"], part["file"], tuple(part["box"]))
            for part in row["slices"]
        )
        return cls(row["strip_id"], tuple(row["box"]), slices, row["order_no"])


@dataclass(frozen=True)
class LabelProbability:
    """One label with its probability among the known labels and `unknown`."""

    label: str
    probability: float


CLOSENESS = ("very close", "close", "loose")
"""How near a result is, in words (`indexer/labels/calibration.py` draws the lines)."""


@dataclass(frozen=True)
class Hit:
    """A picture found. `similarity` is a cosine, larger is nearer: it orders a list.

    `percentile` is the share, in percent, of background pairs (pictures by different
    authors) that are less similar than this one; `closeness` is one of CLOSENESS, or empty where
    no style was compared. `expanded` marks what is not among the nearest pictures, but was found
    through the first of them; in a list those come last.

    `source_path` is where the imported file lay, from the root on where its source is known by its
    path. A panel's `file` and `source_path` are those of the first picture that it is part of;
    `episode_url` is the page of its episode. Where the panels of a strip asked, `asked_by` is the
    number of the one that is nearest to this picture.
    """

    picture_id: str
    title_id: str
    similarity: float
    percentile: float
    file: str | None
    source_path: str | None
    year: int | None
    closeness: str = ""
    expanded: bool = False
    asked_by: int | None = None
    panel: Panel | None = None
    episode_no: int | None = None
    episode_url: str | None = None


@dataclass(frozen=True)
class TitleHit:
    """A title found, with the hits that carried it, best first.

    `similarity` is that of the title as a whole (a weighted mean of its best pictures' and its
    centroid's): it orders a list. `percentile` and `closeness` say how large that is, as of a Hit.
    """

    rank: int
    title_id: str
    name: str
    authors: tuple[str, ...]
    genres: tuple[str, ...]
    year: int | None
    url: str | None
    similarity: float
    percentile: float
    hits: tuple[Hit, ...]
    closeness: str = ""


class Bar(NamedTuple):
    """A share that is drawn; `what` is "label", "nobody" or "others"."""

    label: str
    share: float
    what: str


CONCLUSIONS = {
    "looks like": "Looks like {name}",
    "not sure": "Not sure who drew this",
    "nobody": "Probably nobody in this catalog",
    "other kind": "Not a drawing of this kind",
}
"""What an answer may conclude; the page says the same in Korean (`strings.js`)."""
LOOKS_LIKE_FROM = 0.4
"""The first author's least probability for that, if it is also greater than that of nobody."""
NOBODY_FROM = 0.6
"""The least probability that nobody in the catalog drew it (docs/decisions.md has what both
thresholds were chosen for)."""
OTHER_KIND_FROM = 0.5


@dataclass(frozen=True)
class Labels:
    """Label probabilities of a query.

    `authors` and `unknown_author` add up to at most 1 (the rest is the long tail that was
    cut); genres and eras are conditional on the picture having one. `out_of_distribution`, from 0
    to 1, is how surely the picture is of another kind than the catalog's, and how much of its
    labels is therefore no more than how common each is there. `by_softmax` are the kinds in which
    the softmax of a network that was trained on the catalog was one of the voices.
    """

    authors: tuple[LabelProbability, ...] = ()
    unknown_author: float = 0.0
    genres: tuple[LabelProbability, ...] = ()
    eras: tuple[LabelProbability, ...] = ()
    out_of_distribution: float = 0.0
    by_softmax: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[LabelProbability, ...]:
        """Those of one of LABEL_KINDS."""
        found: tuple[LabelProbability, ...] = getattr(self, LABEL_KINDS[kind].column)
        return found

    @property
    def conclusion(self) -> str:
        """Which of CONCLUSIONS the probabilities allow; empty where neither an author is known nor
        the picture is of another kind."""
        if self.out_of_distribution > OTHER_KIND_FROM:
            return "other kind"
        if not self.authors:
            return ""
        if self.authors[0].probability >= max(LOOKS_LIKE_FROM, self.unknown_author):
            return "looks like"
        return "nobody" if self.unknown_author >= NOBODY_FROM else "not sure"

    @property
    def sentence(self) -> str:
        """The conclusion as people read it; empty where there is none."""
        name = self.authors[0].label if self.authors else ""
        return CONCLUSIONS[self.conclusion].format(name=name) if self.conclusion else ""

    def bars(self, kind: str) -> list[Bar]:
        """What is drawn of one of LABEL_KINDS: whole percents that add up to 100, most probable
        first; empty where the catalog has no such label.

        What is too small for a percent is counted with the others, which come last.
        """
        rows = [Bar(one.label, one.probability, "label") for one in self.of(kind)]
        if not rows:
            return []
        if kind == "author":
            rows.append(Bar("nobody in this catalog", self.unknown_author, "nobody"))
            rows.sort(key=lambda row: -row.share)
        rows.append(Bar("others", max(0.0, 1.0 - sum(row.share for row in rows)), "others"))
        # The largest remainder: each is cut, and the percents that lack go to those cut most.
        exact = [100.0 * row.share for row in rows]
        whole = [int(value) for value in exact]
        order = sorted(range(len(rows)), key=lambda at: whole[at] - exact[at])
        for at in order[: 100 - sum(whole)]:
            whole[at] += 1
        return [
            row._replace(share=percent / 100.0)
            for row, percent in zip(rows, whole, strict=True)
            if percent
        ]


@dataclass(frozen=True)
class AskedPart:
    """A part of a picture of the query: the picture's place in it, from 1, and left, top, width
    and height in its pixels."""

    picture: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class AskedPanel:
    """A panel of the query, or a whole picture beside panels.

    number      from 1, in reading order, among all that were found
    parts       where it lies; more than one where it runs over several slices
    confidence  how sure its borders are, 0 to 1
    asks        whether it took part in the answer; where some were chosen, not all do
    similarity  to the first title of the answer: how far this panel carried it
    """

    number: int
    parts: tuple[AskedPart, ...]
    confidence: float
    asks: bool
    similarity: float | None = None


@dataclass(frozen=True)
class Answer:
    """All that a query returns, ready to be rendered on any surface. `panels` are those of its
    strips and pages that may ask; empty where every picture asked whole. `subject`, 0 to 1, is how
    much what is shown counted in the list, besides style."""

    titles: tuple[TitleHit, ...]
    pictures: tuple[Hit, ...]
    labels: Labels
    generation_id: str
    model_id: str
    preprocessing: str
    pictures_count: int
    candidates_count: int
    elapsed_ms: float
    queries: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    panels: tuple[AskedPanel, ...] = ()
    subject: float = 0.0


# --- Eras: ranges of years as labels, all of the width that an index was built with.

DECADE = 10
"""Years of an era where nothing else is set."""


def era_of(year: int | None, years: int) -> str | None:
    """The era that a year falls into, as a label.

    >>> era_of(2005, 10), era_of(2007, 5), era_of(2005, 1)
    ('2000s', '2005-2009', '2005')

    Units:   years of an era, at least 1
    """
    if year is None:
        return None
    start = year // years * years
    if years == DECADE:
        return f"{start}s"
    return str(start) if years == 1 else f"{start}-{start + years - 1}"


def era_start(label: str) -> int:
    """The first year of an era of any width.

    Errors:  ValueError when it is no era
    """
    found = re.match(r"-?\d+", label)
    if found is None:
        raise ValueError(f"{label!r} is no era")
    return int(found[0])


def is_era(label: str, years: int) -> bool:
    """Whether a label is an era of this width, and not one of another index's."""
    return era_of(era_start(label), years) == label


def era_sql(year: str, years: int) -> str:
    """`era_of` of an SQL expression, for SQLite and DuckDB alike; null where the year is."""
    start = f"({year} - {year} % {years})"
    if years == DECADE:
        return f"({start} || 's')"
    if years == 1:
        return f"cast({start} as varchar)"
    return f"({start} || '-' || ({start} + {years - 1}))"


# --- Kinds of labels: all that is predicted of a picture besides what it is like.


def author_names(title: Row) -> list[str]:
    """Names of a title's authors without repetition, the main one (the painter) first."""
    authors = title.get("authors") or []
    first = [a["name"] for a in authors if a.get("role") == "painter"]
    return list(dict.fromkeys(first + [a["name"] for a in authors]))


def year_of(picture: Row, title: Row) -> int | None:
    """The year of a picture: its own, else its title's."""
    found = (picture.get("year"), picture.get("published"), title.get("year"))
    years = [int(one.year if hasattr(one, "year") else one) for one in found if one is not None]
    return years[0] if years else None


class LabelKind(NamedTuple):
    """A kind of label.

    column   its name in `Labels`, the table of predictions, JSON and Parquet
    word     what people read
    of       the label from the rows of a picture and its title and the years of an era
    """

    column: str
    word: str
    of: Callable[[Row, Row, int], str | None]


LABEL_KINDS = {
    "author": LabelKind(
        "authors", "artist", lambda _, title, years: next(iter(author_names(title)), None)
    ),
    "genre": LabelKind(
        "genres", "genre", lambda _, title, years: next(iter(title.get("genres") or ()), None)
    ),
    "era": LabelKind(
        "eras", "era", lambda picture, title, years: era_of(year_of(picture, title), years)
    ),
}
