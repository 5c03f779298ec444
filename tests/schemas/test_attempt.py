"""What is raised about one input stays its own; what concerns all inputs is passed on."""

from __future__ import annotations

import errno
import logging

import pytest

from schemas.attempt import attempt
from schemas.errors import InputError, LockedError, NoIndexError, StorageError, UsageError
from schemas.images import SKIPPED, PictureError, Reason


def fail(error: BaseException) -> int:
    raise error


class PanicException(BaseException):
    """Like that of pyo3, which derives from BaseException."""


def test_an_outcome_is_passed_through() -> None:
    assert attempt(lambda a, b: a + b, 1, b=2) == 3


@pytest.mark.parametrize(
    "error",
    [
        KeyError("MPO"),
        MemoryError(),
        RecursionError("maximum recursion depth exceeded"),
        UnicodeEncodeError("utf-8", "\udcbf", 0, 1, "surrogates not allowed"),
        OverflowError("date value out of range"),
        AssertionError(),
        PanicException("called `Option::unwrap()` on a `None` value\nat src/lib.rs"),
        type("Odd", (Exception,), {"__str__": lambda self: "one\ntwo"})(),
    ],
)
def test_what_nobody_foresaw_is_a_reason_with_the_exceptions_type(error: BaseException) -> None:
    found = attempt(fail, error)
    assert isinstance(found, PictureError) and found.reason is Reason.UNEXPECTED
    assert type(error).__name__ in found.message and "\n" not in found.message
    assert found.__cause__ is error
    assert found.reason not in SKIPPED  # so that it is tried again


def test_reasons_files_and_messages_stay_what_they_are() -> None:
    blank = PictureError(Reason.BLANK, "nothing is drawn on it")
    assert attempt(fail, blank) is blank
    found = attempt(fail, OSError(errno.EIO, "Input/output error"))
    assert isinstance(found, PictureError) and found.reason is Reason.UNREADABLE
    found = attempt(fail, InputError("it is odd", "Mend it."))
    assert isinstance(found, PictureError) and (found.message, found.hint) == (
        "it is odd",
        "Mend it.",
    )


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        StorageError("the disk is full"),
        LockedError("another run holds the lock"),
        NoIndexError("there is no index"),
        UsageError("no such setting"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_what_concerns_all_inputs_is_passed_on(error: BaseException) -> None:
    with pytest.raises(type(error)):
        attempt(fail, error)


def test_the_log_shows_where_it_arose(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "toonsearch"):
        attempt(fail, KeyError("MPO"))
    assert "in fail" in caplog.text and "KeyError" in caplog.text
