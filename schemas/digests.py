"""Digests: whether a file is, byte for byte, what it was when it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import blake3

_proven: dict[str, tuple[int, int, int, str]] = {}


def digest_file(path: Path) -> str:
    """BLAKE3 of a file through a memory map, in hex."""
    return blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).hexdigest()


def digest_once(path: Path) -> str:
    """The same for files that are never written twice: a process reads each once, and again
    only when its inode, length or time of change is another.

    Errors:  OSError
    """
    facts = path.stat()
    key = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    known = _proven.get(str(path))
    if known is not None and known[:3] == key:
        return known[3]
    digest = digest_file(path)
    _proven[str(path)] = (*key, digest)
    return digest


def signed_bytes(body: dict[str, Any]) -> bytes:
    """The one serialisation of a record that carries the digest of the rest of itself."""
    plain = {key: value for key, value in body.items() if key != "digest"}
    digest = blake3.blake3(_canonical(plain)).hexdigest()
    return _canonical({**plain, "digest": digest})


def read_signed(data: bytes) -> dict[str, Any]:
    """The record of such bytes; any changed byte is found, white space included.

    Errors:  ValueError
    """
    try:
        body = json.loads(data)
        if signed_bytes(body) != data:
            raise ValueError("its digest does not match")
        return dict(body)
    except (AttributeError, RecursionError, TypeError) as error:
        raise ValueError("it is no record") from error


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, ensure_ascii=True, indent=1).encode() + b"\n"
