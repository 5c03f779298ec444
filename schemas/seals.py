"""Seals: up to which version a table is on the disk, and the digest of every file of it.

    tables/<name>/_sealed      version, file -> BLAKE3, and the seal's own digest

Delta Lake and Parquet as written here carry no checksums, so a byte that decays on the disk
would be read as if nothing had happened. A reader proves log entries before the library parses
them, and data files before anybody reads them, each once in a process (60 MB of tables take
30 ms). Names that a seal does not know pass: they are of another program, or of a writer that
is just about to seal them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from schemas.digests import digest_once, read_signed, signed_bytes
from schemas.durable import replace_file
from schemas.errors import InputError

SEAL = "_sealed"
FORMAT = 1
MAX_SEAL_BYTES = 1 << 26
RESTORE = "`toonsearch doctor` says what can be done."


@dataclass(frozen=True)
class Seal:
    """`files` are named relative to the table; None in seals that are but a number, as earlier
    programs wrote them."""

    version: int
    files: dict[str, str] | None = None


def read_seal(table: Path) -> Seal | None:
    """A table's seal; None without one, as in tables that another program made.

    Errors:  InputError when it is damaged or of a newer format
    """
    try:
        with (table / SEAL).open("rb") as handle:
            data = handle.read(MAX_SEAL_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise damaged(table, f"{SEAL}: {error.strerror}") from error
    try:
        return _parsed(data)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(table, f"{SEAL}: {error}") from error


@lru_cache(maxsize=64)
def _parsed(data: bytes) -> Seal:
    text = data.strip()
    if text.removeprefix(b"-").isdigit():
        return Seal(int(text))
    body = read_signed(data)
    if body["format"] != FORMAT:
        raise ValueError("it is of a newer program")
    return Seal(int(body["version"]), body["files"])


def write_seal(table: Path, seal: Seal) -> None:
    """Replace a table's seal. Errors:  OSError"""
    body = {"format": FORMAT, "version": seal.version, "files": seal.files}
    replace_file(table / SEAL, signed_bytes(body))


def prove(table: Path, names: Iterable[str]) -> None:
    """Prove files against the seal, before anybody parses them.

    Errors:  InputError names the first one that is damaged; FileNotFoundError
    """
    seal = read_seal(table)
    known = (seal.files if seal else None) or {}
    for name in names:
        if name in known and digest_once(table / name) != known[name]:
            raise damaged(table, f"{name} is damaged")


def damaged(table: Path, what: str) -> InputError:
    return InputError(f"the catalog table {table.name!r} cannot be read ({what})", RESTORE)
