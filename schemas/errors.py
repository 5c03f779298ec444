"""Every error that a user can meet, one class for each exit code.

Library code raises these and never prints or exits; `search/cli/app.py` turns them into one
line on standard error and the exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class ToonsearchError(Exception):
    """What happened in one sentence, and what to do about it in another.

    `message` is lower case without a full stop; `hint` is a full sentence or a command.
    """

    exit_code: ClassVar[int] = 1  # our bug, or a failure that has no better name

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class UsageError(ToonsearchError):
    """The command line or a setting is wrong."""

    exit_code = 2


class InputError(ToonsearchError):
    """A picture, file, manifest or query cannot be used."""

    exit_code = 3


class StorageError(InputError):
    """The data root cannot be read or written: whatever comes next would fail as well."""


class UnreachableError(StorageError):
    """What lies there may be whole, but this user or this machine cannot get at it."""


class NothingToIndex(InputError):
    """No picture of the catalog has a vector yet."""


class PartlyDoneError(ToonsearchError):
    """Part of the work was done, part was not."""

    exit_code = 4


class NoIndexError(ToonsearchError):
    """There is no index, it is damaged, or it belongs to another model."""

    exit_code = 5


class MissingIndexError(NoIndexError):
    """Nothing has been built yet, and nothing is wrong."""


class NetworkError(ToonsearchError):
    """A host could not be reached, or refused."""

    exit_code = 6


class LockedError(ToonsearchError):
    """Another run holds the lock (EX_TEMPFAIL)."""

    exit_code = 75


class InterruptedRun(ToonsearchError):
    """Ctrl-C or SIGTERM ended the run; what was acknowledged stays."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word nearest to a mistyped one, or lists them all; empty where
    nothing is known."""
    words = sorted(known)
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if found:
        return f"Did you mean {found[0]!r}?"
    return f"Known: {', '.join(words)}." if words else ""
