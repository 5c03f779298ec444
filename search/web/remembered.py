"""Styles that were asked about a moment ago: enough to ask again with other filters.

Only vectors are kept, in memory, for the newest MAX_STYLES questions; a link that is to
live longer is a share (`search/web/store.py`).
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from indexer.questions import Question

MAX_STYLES = 4096


@dataclass(frozen=True)
class Style:
    """A query's common style, without its pictures.

    `own` are those of the query's pictures that the index itself holds.
    """

    question: Question
    model_id: str
    preprocessing: str
    own: tuple[str, ...]
    pictures_count: int


class Remembered:
    """The newest styles under names that nobody can guess."""

    def __init__(self) -> None:
        self._styles: OrderedDict[str, Style] = OrderedDict()

    def keep(self, style: Style) -> str:
        """Keep a style; returns its id."""
        key = secrets.token_urlsafe(16)
        self._styles[key] = style
        while len(self._styles) > MAX_STYLES:
            self._styles.popitem(last=False)
        return key

    def get(self, key: str) -> Style | None:
        """The style of an id, while it is remembered."""
        if key in self._styles:
            self._styles.move_to_end(key)
        return self._styles.get(key)
