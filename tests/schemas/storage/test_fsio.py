"""Digests that are taken once notice every change; signed records every byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.storage.fsio import (
    digest_file,
    digest_once,
    is_out_of_memory,
    read_signed,
    refusal,
    signed_bytes,
)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        RuntimeError("IO Error: Cannot open file: Permission denied"),
        ValueError("Generic LocalFileSystem error (os error 13)"),
    ],
)
def test_what_a_user_may_not_read_is_told_from_damage(error: Exception) -> None:
    said, hint = refusal(error) or ("", "")
    assert said == "cannot be read by this user (Permission denied)"
    assert "right to read" in hint


def test_damage_is_no_refusal() -> None:
    assert refusal(OSError(2, "No such file or directory")) is None
    assert refusal(ValueError("its digest does not match")) is None


def test_lack_of_memory_in_the_words_of_libraries() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(ImportError("x.so: failed to map segment from shared object"))
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert not is_out_of_memory(RuntimeError("a bad picture"))


@pytest.mark.parametrize("change", ["written", "longer", "another file"])
def test_a_changed_file_is_read_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before = digest_once(path)
    facts = path.stat()
    if change == "another file":
        (tmp_path / "other").write_bytes(b"abd")
        (tmp_path / "other").replace(path)
    else:
        path.write_bytes(b"abd" if change == "written" else b"abcd")
    if change == "written":
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    else:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert digest_once(path) == digest_file(path) != before


def test_any_changed_byte_of_a_record_is_found() -> None:
    data = signed_bytes({"format": 1, "files": {"a": "b"}})
    assert read_signed(data)["format"] == 1
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(ValueError, match=r"."):
                read_signed(bytes(changed))
    for bad in (b"", b"1", b"[]", data[:-1], data + b" ", b"[" * 100_000):
        with pytest.raises(ValueError, match=r"."):
            read_signed(bad)
