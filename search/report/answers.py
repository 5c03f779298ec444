"""The answers behind a report, each asked once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search.asking import SqlSession
from search.markup import Markup, element

Row = dict[str, Any]
Note = Callable[[str], None]


class Answers:
    """Runs each question once and remembers its rows."""

    def __init__(self, asked: SqlSession, say: Note) -> None:
        self.asked, self.say = asked, say
        self.known: dict[str, list[Row]] = {}

    def rows(self, sql: str) -> list[Row]:
        if sql not in self.known:
            result = self.asked.run(sql)
            assert result is not None
            self.known[sql] = [dict(zip(result.columns, row, strict=True)) for row in result.rows()]
        return self.known[sql]

    def one(self, sql: str) -> Row:
        return self.rows(sql)[0]


def none(text: str = "There is nothing to show yet.") -> list[Markup]:
    """What a part says that has nothing to show."""
    return [element("p", {"class": "empty"}, text)]
