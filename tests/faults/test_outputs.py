"""An output file is the earlier one or the new one, whole, whatever happens while it is written."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.storage.outputs import output_file
from tests.faults.harness import compiler, preloaded
from tests.faults.power import cut
from tests.faults.worker import MODES, forked

OLD, NEW = b"the earlier one\n", bytes(range(256)) * 700
pytestmark = pytest.mark.skipif(compiler() is None, reason="the shim needs a C compiler")


def write(path: Path) -> None:
    with output_file(path) as file:
        for start in range(0, len(NEW), 50_000):
            file.write(NEW[start : start + 50_000])


def trial(place: Path, old: bytes | None, mode: str, n: int, number: int, how: str) -> list[str]:
    """Strike while a file is written; what is wrong with it, after the journal of calls."""
    replaced = place / "replaced"
    for name in ("saved", "trial", "replaced"):
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir()
        if old is not None and name != "replaced":
            (place / name / "out.bin").write_bytes(old)
    path, shim = place / "trial/out.bin", ctypes.CDLL(None)
    journal = place / "journal"
    journal.write_bytes(b"")

    def strike(_: int) -> None:
        log = os.open(journal, os.O_WRONLY | os.O_APPEND)
        shim.shim_keep(str(replaced).encode() if how else b"")
        folder = str(path.parent).encode()
        shim.shim_arm(MODES[mode], ctypes.c_long(n), number, folder, log)
        write(path)

    found = forked(strike, place / "answer")
    lines = journal.read_text().splitlines()
    if how:
        died = found["code"] == -signal.SIGKILL
        cut(path.parent, lines[:-1] if died else lines, how, replaced)
    there = path.read_bytes() if path.exists() else None
    right = {NEW} if found["code"] == 0 else {OLD if old else None, NEW}
    wrong = [] if there in right else [f"{found['code']}, it holds {str(there)[:40]}"]
    if mode == "fail" and found["code"] == 70:
        wrong.append(f"not a clean error: {found['result']}")
    if mode in ("fail", "short") and len(list(path.parent.iterdir())) > (there is not None):
        wrong.append(f"left: {list(path.parent.iterdir())}")
    return [f"{mode} {n} {number} {how}: {text}" for text in wrong]


def main(place: Path) -> None:
    """Kill, cut and fail at every call; prints how often, and what was wrong."""
    wrong: list[str] = []
    trials = 0
    for old in (OLD, None):
        wrong += trial(place, old, "count", 0, 0, "lost")
        calls = len((place / "journal").read_text().splitlines())
        for n in range(1, calls + 1):
            orders = [("kill", 0, how) for how in ("", "empty", "torn", "lost", "last")]
            orders += [("fail", number, "") for number in (errno.EIO, errno.ENOSPC)]
            for mode, number, how in [*orders, ("torn", 0, ""), ("short", 0, "")]:
                wrong += trial(place, old, mode, n, number, how)
                trials += 1
    print(json.dumps([trials, wrong]))


def test_an_output_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.test_outputs", str(tmp_path)],
        env=preloaded(tmp_path), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    trials, wrong = json.loads(done.stdout)
    assert not wrong, "\n".join(wrong)
    assert trials > 100


if __name__ == "__main__":
    main(Path(sys.argv[1]))
