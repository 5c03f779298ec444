"""Names of titles and authors, searched as people type them: any part, any case, no accents."""

from __future__ import annotations

import difflib
import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

from search.filters import folded
from search.web.engine_pool import OpenEngine


class Entry(NamedTuple):
    """One name: of a title (`key` is its id) or an author (`key` is the name itself)."""

    kind: str
    key: str
    name: str
    folded: str
    pictures_count: int


@dataclass(frozen=True)
class Directory:
    """All names of one generation, in the order of their folded form."""

    titles: tuple[Entry, ...]
    authors: tuple[Entry, ...]

    @staticmethod
    def of(opened: OpenEngine) -> Directory:
        """The directory of a generation, read once."""
        if "directory" not in opened.derived:
            opened.derived["directory"] = _read(opened.engine.generation.meta)
        found: Directory = opened.derived["directory"]
        return found

    def search(self, kind: str, text: str) -> list[Entry]:
        """Names that hold every word of a text, best first; everything when it is empty.

        When nothing holds them, the names that are spelt most alike.
        """
        entries = self.titles if kind == "title" else self.authors
        wanted = folded(text)
        if not wanted:
            return list(entries)
        words = wanted.split()
        found = [e for e in entries if all(w in e.folded or w == e.key.lower() for w in words)]
        if not found:
            names = {e.folded: e for e in reversed(entries)}
            near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.6)
            return [names[name] for name in near]
        return sorted(found, key=lambda e: _rank(e, wanted))


def _rank(entry: Entry, wanted: str) -> tuple[int, int, str]:
    name = entry.folded
    if name == wanted:
        place = 0
    elif name.startswith(wanted):
        place = 1
    elif f" {wanted}" in name:
        place = 2
    else:
        place = 3
    return place, -entry.pictures_count, name


def _read(meta: sqlite3.Connection) -> Directory:
    titles = [
        Entry("title", title_id, name or title_id, folded(name or title_id), count)
        for title_id, name, count in meta.execute(
            "select t.title_id, t.name, count(*) from titles t join pictures p using (title_no)"
            " group by t.title_no"
        )
    ]
    authors = [
        Entry("author", name, name, folded(name), count)
        for name, count in meta.execute(
            "select n.name, count(*) from names n join pictures p using (title_no)"
            " where n.kind = 'author' group by n.name"
        )
    ]
    return Directory(tuple(sorted(titles, key=_order)), tuple(sorted(authors, key=_order)))


def _order(entry: Entry) -> tuple[str, str]:
    return entry.folded, entry.key
