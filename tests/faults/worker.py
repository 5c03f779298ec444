"""A warm process that is forked for each trial, so that a kill costs milliseconds.

Everything is imported before the first fork and nothing is started: no thread, no session,
no runtime. Reads one JSON order a line, answers with one JSON line.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

MODES = {"off": 0, "count": 1, "kill": 2, "torn": 3, "fail": 4, "short": 5}


def warm() -> None:
    import importlib

    for name in (
        "deltalake", "faiss", "numpy", "onnxruntime", "pyarrow.parquet", "pyarrow.dataset",
        "PIL.Image", "crawler.importers.folder", "indexer.vector_index.build", "indexer.embedding.embed", "indexer.forget",
        "indexer.vector_index.generations", "schemas.storage.catalog", "tests.faults.operations",
        "indexer.backup", "crawler.importers.history", "schemas.storage.snapshot", "search.web.db", "duckdb",
    ):  # fmt: skip
        importlib.import_module(name)


def forked(
    job: Any, out: Path, journal: Path | None = None, seconds: float = 120.0
) -> dict[str, Any]:
    """Run a job in a child; its answer, how it ended, and what it acknowledged."""
    out.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            acks = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                result = job(acks)
                code = 0
            except BaseException as error:  # reported to the parent, whatever it is
                from schemas.errors import ToonsearchError

                code = error.exit_code if isinstance(error, ToonsearchError) else 70
                result = {
                    "error": f"{type(error).__name__}: {error}",
                    "trace": traceback.format_exc(),
                }
            ctypes.CDLL(None).shim_disarm()
            os.write(acks, b"=" + json.dumps(result).encode() + b"\n")
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"code": "hung", "acks": [], "result": None}
        time.sleep(0.002)
    lines = out.read_bytes().splitlines() if out.exists() else []
    acks = [json.loads(line) for line in lines if line.startswith(b"[") and line.endswith(b"]")]
    result = next((json.loads(line[1:]) for line in lines if line.startswith(b"=")), None)
    return {"code": os.waitstatus_to_exitcode(status), "acks": acks, "result": result}


def trial(order: dict[str, Any], scratch: Path) -> dict[str, Any]:
    from tests.faults import operations

    operation = order["operation"]
    root = operations.root_of(scratch / "trial", operation)
    shutil.rmtree(root.parent, ignore_errors=True)
    shutil.copytree(Path(order["base"]), root.parent)
    if "power" in order:
        shutil.rmtree(scratch / "saved", ignore_errors=True)
        shutil.copytree(Path(order["base"]), scratch / "saved")
    shim = ctypes.CDLL(None)
    journal = scratch / "journal"
    journal.unlink(missing_ok=True)
    replaced = scratch / "replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if "power" in order:
        replaced.mkdir()

    def strike(acks: int) -> dict[str, Any]:
        operations.acknowledge(acks)
        log = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        shim.shim_keep(str(replaced).encode() if "power" in order else b"")
        shim.shim_arm(
            MODES[order["mode"]], ctypes.c_long(order.get("n", 0)), order.get("errno", 5),
            str(root).encode(), log,
        )  # fmt: skip
        operations.OPERATIONS[operation](root)
        return {"calls": shim.shim_calls()}

    before = order.get("before")
    if before is None:
        before = forked(lambda _: operations.stored(root), scratch / "out")["result"]
    found = forked(strike, scratch / "out")
    if order.get("power"):
        from tests.faults.power import cut

        lines = journal.read_text().splitlines() if journal.exists() else []
        struck = order["mode"] == "kill" and found["code"] == -signal.SIGKILL
        # It died before that call.
        cut(root, lines[:-1] if struck else lines, order["power"], replaced)
    found["journal"] = journal.read_text() if journal.exists() and order.get("journal") else ""

    def read_state(_: int) -> dict[str, Any]:
        return {"stored": operations.stored(root), "answers": operations.answers(root)}

    def end(_: int) -> dict[str, Any]:
        left = operations.finish(root, operation)
        contents = {"left": left, **operations.contents(root)}
        return {"contents": contents, "debris": operations.debris(root)}

    found["before"] = before
    found["after"] = forked(read_state, scratch / "out")
    again = order.get("again")
    if again is not None:  # recovery is killed as well

        def killed(_: int) -> None:
            shim.shim_arm(2, ctypes.c_long(again), 5, str(root).encode(), -1)
            operations.finish(root, operation)

        forked(killed, scratch / "out")
        found["after_again"] = forked(read_state, scratch / "out")
    if order.get("finish", True):
        found["end"] = forked(end, scratch / "out")
    return found


def main() -> None:
    scratch = Path(sys.argv[1])
    warm()
    from tests.faults.caching import cache_arithmetic

    cache_arithmetic(scratch / "cache")
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "kills" in order:
            from tests.faults.chain import chain

            print(json.dumps(chain(order, scratch)), flush=True)
        elif "stride" in order:
            from tests.faults.damage import damage

            print(json.dumps(damage(order, scratch)), flush=True)
        else:
            print(json.dumps(trial(order, scratch)), flush=True)


if __name__ == "__main__":
    main()
