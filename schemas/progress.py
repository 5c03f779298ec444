"""Progress of long work: the one interface for import, embed, build, export and training."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called after each piece of work; the command line draws a bar from it."""

    def __call__(self, done: int, total: int, what: str = "", /) -> None:
        """`done` of `total` pieces of `what` are finished; a total of 0 is not known yet."""
