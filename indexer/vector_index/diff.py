"""What differs between two generations: pictures, titles and their labels, vectors."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from indexer.vector_index.generations import Generation
from schemas.storage.layout import Layout

LABELS = ("name", "authors", "genres", "year")
SAME = 1e-3  # float16 storage of one vector and the same made again


@dataclass(frozen=True)
class TitleChange:
    """A title whose facts changed: field -> (before, after)."""

    title_id: str
    fields: dict[str, tuple[object, object]]


@dataclass
class Difference:
    """From generation `before` to `after`.

    Pictures are (title_id, picture_id); `moved` ones are (picture_id, title before, title
    after). `reembedded` counts pictures of both whose vectors differ; None when the models do.
    """

    before: str
    after: str
    pictures: tuple[int, int]
    titles: tuple[int, int]
    appeared: list[tuple[str, str]] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    titles_appeared: list[str] = field(default_factory=list)
    titles_gone: list[str] = field(default_factory=list)
    relabelled: list[TitleChange] = field(default_factory=list)
    reembedded: int | None = None

    @property
    def is_empty(self) -> bool:
        return not (
            self.appeared or self.gone or self.relabelled or self.reembedded
            or self.titles_appeared or self.titles_gone or self.reembedded is None
        )  # fmt: skip


def compare_generations(layout: Layout, before: str, after: str) -> Difference:
    """Compare two generations, both checked first.

    Errors:  NoIndexError when one does not exist or is damaged
    """
    with Generation.open(layout, before) as one, Generation.open(layout, after) as two:
        with closing(two.connect_meta()) as db:
            path = (one.directory / "meta.sqlite").resolve()
            db.execute("attach ? as old", (f"{path.as_uri()}?mode=ro&immutable=1",))
            found = Difference(
                one.id,
                two.id,
                (one.pictures_count, two.pictures_count),
                (one.titles_count, two.titles_count),
            )
            _pictures(db, found)
            _titles(db, found)
        if (one.model_id, one.preprocessing_digest) == (two.model_id, two.preprocessing_digest):
            found.reembedded = _vectors(one, two)
        return found


def _pictures(db: sqlite3.Connection, found: Difference) -> None:
    missing = (
        "select t.title_id, p.picture_id from {0}.pictures p join {0}.titles t using (title_no)"
        " where p.row_id not in (select row_id from {1}.pictures) order by 1, 2"
    )
    appeared = db.execute(missing.format("main", "old")).fetchall()
    gone = db.execute(missing.format("old", "main")).fetchall()
    came = {picture: title for title, picture in appeared}
    for title, picture in gone:
        if picture in came:
            found.moved.append((picture, title, came[picture]))
    carried = {picture for picture, _, _ in found.moved}
    found.appeared = [pair for pair in appeared if pair[1] not in carried]
    found.gone = [pair for pair in gone if pair[1] not in carried]


def _titles(db: sqlite3.Connection, found: Difference) -> None:
    only = "select title_id from {}.titles except select title_id from {}.titles order by 1"
    found.titles_appeared = [row[0] for row in db.execute(only.format("main", "old"))]
    found.titles_gone = [row[0] for row in db.execute(only.format("old", "main"))]
    columns = ", ".join(f"a.{name}, b.{name}" for name in LABELS)
    differs = " or ".join(f"a.{name} is not b.{name}" for name in LABELS)
    rows = db.execute(
        f"select a.title_id, {columns} from old.titles a join main.titles b using (title_id)"
        f" where {differs} order by 1"
    )
    for title_id, *values in rows:
        pairs = zip(LABELS, zip(values[::2], values[1::2], strict=True), strict=True)
        found.relabelled.append(
            TitleChange(title_id, {name: pair for name, pair in pairs if pair[0] != pair[1]})
        )


def _vectors(one: Generation, two: Generation) -> int:
    """Pictures of both whose vectors differ."""
    _, mine, theirs = np.intersect1d(
        one.index.row_ids, two.index.row_ids, assume_unique=True, return_indices=True
    )
    differ = 0
    for start in range(0, len(mine), 8192):
        part = slice(start, start + 8192)
        old, new = one.vectors(one.row_ids[mine[part]]), two.vectors(two.row_ids[theirs[part]])
        dots = np.einsum("nd,nd->n", old, new)
        differ += int((dots < 1.0 - SAME).sum())
    return differ
