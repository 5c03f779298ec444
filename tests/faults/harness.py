"""Starts the worker under the shim, and lays out the small catalogs that it damages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.small_model import ENVIRON

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).with_name("shim.c")


def compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def scratch_place(fallback: Path) -> Path:
    """Memory where there is some: a trial is a few hundred small files."""
    shared = Path("/dev/shm")
    return (
        shared if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 2e9 else fallback
    )


def preloaded(scratch: Path, source: Path = ROOT) -> dict[str, str]:
    """The environment of a process under the shim, which is built into a folder."""
    library = scratch / "shim.so"
    built = subprocess.run(
        [str(compiler()), "-O1", "-fPIC", "-shared", "-o", str(library), str(SHIM), "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (scratch / "tmp").mkdir()  # where killed children leave what they worked on
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("TOONSEARCH")},
        **ENVIRON,
        "LD_PRELOAD": str(library), "PYTHONPATH": str(source), "TMPDIR": str(scratch / "tmp"),
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip


class Worker:
    """A warm process under the shim; `trial` damages a copy of a base folder."""

    def __init__(self, scratch: Path, *, source: Path = ROOT) -> None:
        self.scratch = scratch
        environ = preloaded(scratch, source)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(source / "tests/faults/worker.py"), str(scratch)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ, cwd=source,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def trial(self, base: Path, operation: str, mode: str = "off", **more: Any) -> dict[str, Any]:
        return self.order({"base": str(base), "operation": operation, "mode": mode, **more})

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send one order, and wait for what came of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        self.process.communicate("")
        shutil.rmtree(self.scratch, ignore_errors=True)


def failures_of(found: dict[str, Any], truth: dict[str, Any], operation: str) -> list[str]:
    """What is wrong after a trial; empty when all is well."""
    wrong = []
    for moment in ("after", "after_again"):
        if moment not in found:
            continue
        state = found[moment]["result"]
        if found[moment]["code"] != 0:
            wrong.append(f"{moment}: readers fail: {state}")
            continue
        for table, have in state["stored"].items():
            had = set(found["before"][table])
            written: set[str] = set()
            removed: set[str] = set()
            for name, ids, gone in found["acks"]:
                if name == table:
                    written = (written - set(gone)) | set(ids)
                    removed = (removed | set(gone)) - set(ids)
            to_stay = (had & set(truth["attempted"][table])) | written
            if operation != "forget" and not to_stay - removed <= set(have):
                wrong.append(f"{moment}: {table} lost what was acknowledged")
            if (
                moment == "after"
                and not set(have) <= had | set(truth["attempted"][table]) | written
            ):
                wrong.append(f"{moment}: {table} holds what nobody stored")
        answers = [truth["old"], truth["new"]]
        if moment == "after" and state["answers"] not in answers:
            wrong.append(f"{moment}: answers of neither the old nor the new generation")
    if "end" in found:
        if found["end"]["code"] != 0:
            wrong.append(f"the next run fails: {found['end']['result']}")
        else:
            if found["end"]["result"]["contents"] != truth["contents"]:
                wrong.append("the next run ends elsewhere: " + _difference(found, truth))
            if found["end"]["result"]["debris"]:
                wrong.append(f"debris: {found['end']['result']['debris']}")
    return wrong


def _difference(found: dict[str, Any], truth: dict[str, Any]) -> str:
    mine, theirs = found["end"]["result"]["contents"], truth["contents"]
    return ", ".join(key for key in theirs if mine[key] != theirs[key])
