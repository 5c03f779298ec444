r"""Delta tables in folders with any name.

The Delta library takes a folder's canonical path for part of an address, and fails or ends in a
panic when that has characters such as `[`, `|`, `^`, `\`, `%20` or a tab; DuckDB takes `*`, `?`
and `[` for patterns. No spelling of the path avoids that. So such a table is worked on through a
mirror: a temporary folder of links to the table's files, whose name is plain. What the library
writes there is moved into the table, data first and the log last, as the library would have.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import blake3

from schemas.errors import InputError

if TYPE_CHECKING:
    import tempfile

LOG = "_delta_log"
_AWKWARD = frozenset(r"[]|^\%*?")
_linked: dict[Path, set[str]] = {}
"""Of each mirror the files of its table that it was given: what a library may remove."""


def plain_path(table: Path) -> Path:
    """The folder by which libraries can open a table: its own, or a mirror of its present files,
    which lives as long as this process.

    Errors:  OSError; InputError when the folder for temporary files has such a name as well
    """
    real = os.path.realpath(table)
    if _is_plain(real):
        return Path(real)
    mirror = _mirror(real)
    for inner in ("", LOG):
        there, here = Path(real, inner), mirror / inner
        here.mkdir(exist_ok=True)
        names = {path.name for path in there.iterdir()} if there.is_dir() else set()
        for name in names:
            if not (there / name).is_dir():
                with contextlib.suppress(FileExistsError):
                    (here / name).symlink_to(there / name)
        for path in here.iterdir():
            if path.is_symlink() and path.name not in names:
                path.unlink(missing_ok=True)
        if not inner:
            _linked[mirror] = names
    return mirror


def utf8_path(path: Path) -> Path:
    """A path to the same file for libraries that take no other bytes than UTF-8."""
    if not any("\udc80" <= letter <= "\udcff" for letter in str(path)):
        return path
    real = os.path.realpath(path.parent)
    link = _mirror(real).with_suffix(".link")
    with contextlib.suppress(FileExistsError):
        link.symlink_to(real)
    return link / path.name


def bring_home(table: Path) -> None:
    """Do to a table what the library did to its mirror: move new files, remove removed ones.

    Errors:  OSError
    """
    real = os.path.realpath(table)
    if _is_plain(real):
        return
    mirror = _mirror(real)
    for inner in ("", LOG):
        there, here = Path(real, inner), mirror / inner
        for path in sorted(here.iterdir()) if here.is_dir() else ():
            if path.is_file() and not path.is_symlink():
                there.mkdir(exist_ok=True)
                aside = there / f".{path.name}.tmp"  # it may come from another file system
                try:
                    shutil.copyfile(path, aside)
                    aside.replace(there / path.name)
                except BaseException:
                    with contextlib.suppress(OSError):
                        aside.unlink()
                    raise
                path.unlink()
                path.symlink_to(there / path.name)
    for name in _linked.get(mirror, set()):
        if name.endswith(".parquet") and not (mirror / name).is_symlink():
            Path(real, name).unlink(missing_ok=True)


def drop_mirror(table: Path) -> None:
    """Throw away what a library did that failed, so that the next commit does not bring it home."""
    real = os.path.realpath(table)
    if not _is_plain(real):
        mirror = _mirror(real)
        _linked.pop(mirror, None)
        shutil.rmtree(mirror, ignore_errors=True)


def _is_plain(path: str) -> bool:
    return path.isprintable() and not _AWKWARD & set(path)


def _mirror(real: str) -> Path:
    inside = _mirrors().name
    if not _is_plain(inside):
        raise InputError(
            f"the folder for temporary files has an unusual name: {inside}",
            "Set TMPDIR to another.",
        )
    return Path(inside, blake3.blake3(os.fsencode(real)).hexdigest())


@cache
def _mirrors() -> tempfile.TemporaryDirectory[str]:
    """Where the mirrors are; removed when the process ends."""
    import tempfile

    return tempfile.TemporaryDirectory(prefix="toonsearch-", ignore_cleanup_errors=True)
