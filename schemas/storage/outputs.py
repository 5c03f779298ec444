"""Outputs: files that the user names, and that must not cost another file of the user's."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from schemas.errors import InputError, UsageError
from schemas.storage.fsio import replaced, storage_error

HEAD_BYTES = 65_536
OUTPUTS = {
    "html": "an HTML page",
    "parquet": "a Parquet file",
    "json": "JSON",
    "nl": "JSON lines",
    "csv": "CSV as toonsearch writes it",
    "markdown": "a Markdown table",
    "table": "a table in plain text",
    "metrics": "a file of metrics",
}
"""Kinds of outputs, and what a file of that kind is."""
_STREAM = re.compile(r"-|/dev/(?:stdin|stdout|stderr|fd/\d+)|/proc/self/fd/\d+")
_OBJECT = r'\{\s*("|\})'
_MARKS = {
    "html": r"(?i)\s*<(!doctype html|html)\b",
    "json": rf"\s*({_OBJECT}|\[\s*({_OBJECT}|\]))",
    "nl": _OBJECT,
    "markdown": r"\| ",
    "metrics": r"# (HELP|TYPE) ",
}
_TABLE_ENDINGS = ("", ".csv", ".txt", ".tsv", ".dat", ".out")
_NO_TABLE = re.compile(r"[<\[{]|#!|# \S|[^\n]*\t")
"""How markup, settings, scripts, notes and rows parted by tabs begin; a line of names does not."""


def check_target(path: Path, kind: str, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse, before any work is done, a place where an output of a kind (one of OUTPUTS) cannot
    be written, or where it would cost another file: one of the inputs (standard input is one, and
    a folder among them stands for everything below it), or a file of another kind.

    An earlier output may be replaced. Streams such as /dev/stdout, and devices, may be written.

    Errors:  InputError where nothing can be written, UsageError where nothing should be
    """
    if stream_of(path) is not None:
        return
    try:
        old: os.stat_result | None = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        old = None
    except (OSError, ValueError) as error:
        raise storage_error(error, str(path)) from error
    real = Path(os.path.realpath(path))
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise InputError(f"{path} is a directory", "Name a file in it.")
    if not real.parent.is_dir():
        raise InputError(f"the folder {real.parent} does not exist", "Create it first.")
    if old is not None and not stat.S_ISREG(old.st_mode):
        return
    for one in inputs:
        above = Path(os.path.realpath(str(one).replace("\0", "")))
        if real == above or (old is not None and _is_same(old, one)):
            raise UsageError(f"{path} is an input", "It would be lost: name another file.")
        if above in real.parents:
            raise UsageError(f"{path} lies in {one}, which toonsearch reads", "Name another file.")
    if old is not None and _is_same(old, 0):
        raise UsageError(f"{path} is what standard input reads", "Name another file.")
    if not os.access(path if old is not None else real.parent, os.W_OK):
        raise InputError(f"{path} may not be written", "Name another file.")
    if old is not None and not _is_kind(path, kind):
        raise UsageError(
            f"{path} exists and is not {OUTPUTS[kind]}",
            "It is left as it is: name another file, or remove it first.",
        )


def stream_of(path: Path) -> int | None:
    """The descriptor that a name such as `-` or /dev/stdout stands for; None for all others."""
    if not _STREAM.fullmatch(str(path)):
        return None
    last = path.name
    return int(last) if last.isdecimal() else {"stdin": 0, "stderr": 2}.get(last, 1)


def _is_same(old: os.stat_result, one: str | Path | int) -> bool:
    try:
        found = os.fstat(one) if isinstance(one, int) else Path(one).stat()
        return os.path.samestat(old, found)
    except (OSError, ValueError):
        return False


def _is_kind(path: Path, kind: str) -> bool:
    """Whether a file begins as an output of a kind does; an empty one holds nothing to lose."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES + 1)
    except OSError as error:
        raise storage_error(error, str(path)) from error
    if not head or kind == "parquet":
        return not head or head.startswith(b"PAR1")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # its end may be cut
    except UnicodeDecodeError:
        return False
    if "\0" in text or text.startswith("\ufeff"):
        return False
    if kind in _MARKS:
        return re.match(_MARKS[kind], text) is not None
    if path.suffix.lower() not in _TABLE_ENDINGS:  # a short script reads as a table too
        return False
    if _NO_TABLE.match(text) or any(re.match(mark, text) for mark in _MARKS.values()):
        return False
    whole = len(head) <= HEAD_BYTES
    return _is_csv(text, whole) if kind == "csv" else _is_table(text, whole)


def _is_csv(text: str, whole: bool) -> bool:
    """Whether a text reads as rows of equal length, and is written again as it was."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return False
    if not whole:
        del rows[-1]
    again = io.StringIO()
    csv.writer(again, lineterminator="\n").writerows(rows)
    return len({len(row) for row in rows}) <= 1 and text.startswith(again.getvalue())


def _is_table(text: str, whole: bool) -> bool:
    """Whether all lines could be those of a table: none is empty, no space ends one."""
    lines = text.split("\n")
    if whole and lines.pop():  # a table's last line ends
        return False
    return all(line and line == line.rstrip() and "\t" not in line for line in lines)


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write an output into, which then appears whole, or not at all.

    Links are followed. What cannot be replaced (a pipe, a device, a file in a folder that may
    not be written) gets everything at the end.

    Errors:  StorageError when it cannot be written
    """
    try:
        stream = stream_of(path)
        real = Path(os.path.realpath(path))
        is_plain = stream is None and (path.is_file() or not path.exists())
        if is_plain and os.access(real.parent, os.W_OK):
            with replaced(real) as file:
                with contextlib.suppress(OSError):  # it keeps the permissions of an earlier one
                    os.fchmod(file.fileno(), stat.S_IMODE(real.stat().st_mode))
                yield file
            return
        with tempfile.TemporaryFile() as spool:
            yield spool
            if stream is not None and sys.stdout is not None:
                sys.stdout.flush()
            spool.seek(0)
            with path.open("wb") if stream is None else os.fdopen(os.dup(stream), "wb") as file:
                shutil.copyfileobj(spool, file)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise storage_error(error, str(path)) from error


def write_text(path: Path, text: str) -> int:
    """Write an output that is a text; returns its size in bytes.

    Errors:  StorageError when it cannot be written
    """
    data = text.encode()
    with output_file(path) as file:
        file.write(data)
    return len(data)
