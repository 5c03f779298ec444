"""Kill after kill on one data root, with its folder changing under it."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.drawings import draw_folder, drawing
from tests.faults import operations
from tests.faults.worker import forked

OPERATIONS = ("import", "undo", "embed", "build", "publish", "gc", "maintain", "finish")
WHOLE_EVERY = 20


def chain(order: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Run so many trials; what failed, and how often a kill struck before the end."""
    rng = np.random.default_rng(order["seed"])
    place = Path(order["place"])
    root = place / "data"
    draw_folder(place / "drawings", titles=1, pictures=3, hands=3, side_px=64)
    out = scratch / "out"
    wrong: list[str] = []
    died = 0
    lasts: dict[str, float] = {}

    def run(work: Callable[[Path], None], delay: float | None) -> dict[str, Any]:
        def job(acks: int) -> None:
            operations.acknowledge(acks)
            if delay is not None:
                # Python's own handler would wait for native code; the default one does not.
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, delay)
            work(root)
            signal.setitimer(signal.ITIMER_REAL, 0)

        return forked(job, out)

    def read_state(_: int) -> dict[str, Any]:
        return {"stored": operations.stored(root), "answers": operations.answers(root)}

    def whole(where: Path) -> Callable[[int], dict[str, Any]]:
        def job(_: int) -> dict[str, Any]:
            operations.finish(where)
            return {
                "contents": operations.contents(where),
                "debris": operations.debris(where),
            }

        return job

    served = False
    for number in range(order["kills"]):
        name = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
        work = operations.finish if name == "finish" else operations.OPERATIONS[name]
        if number % 7 == 3:
            folder = place / "drawings/hand 1/title 1.0"
            drawing(1, 500 + number % 5, 64).save(folder / f"{number % 4}.png")
        before = forked(read_state, out)["result"]
        delay = float(rng.uniform(0.0, 1.1 * lasts.get(name, 0.3)))
        where = f"trial {number}: {name} killed after {delay:.4f} s"
        started = time.monotonic()
        found = run(work, delay)
        if found["code"] == -signal.SIGALRM:
            died += 1
        else:
            lasts[name] = time.monotonic() - started
            # Publishing or building nothing is an error in order; anything else is not.
            if found["code"] not in (0, 3, 5) and name != "publish":
                wrong.append(f"{where}: {found['code']} {found['result']}")
        lasts.setdefault(name, 0.3)
        after = forked(read_state, out)
        if after["code"] != 0:
            wrong.append(f"{where}: readers fail: {after['result']}")
            continue
        served = served or before["answers"] is not None
        if served and after["result"]["answers"] is None:
            wrong.append(f"{where}: nothing answers any more")
        for table, have in after["result"]["stored"].items():
            written: set[str] = set()
            for what, ids, gone in found["acks"]:
                if what == table:
                    written = (written - set(gone)) | set(ids)
            if not written <= set(have):
                wrong.append(f"{where}: {table} lost what was acknowledged")
        if number % WHOLE_EVERY == WHOLE_EVERY - 1:
            fresh = place / "fresh" / "data"
            shutil.rmtree(place / "fresh", ignore_errors=True)
            shutil.copytree(place / "drawings", place / "fresh" / "drawings")
            mine, truth = forked(whole(root), out), forked(whole(fresh), out)
            if mine["code"] != 0 or truth["code"] != 0:
                wrong.append(f"{where}: the next run fails: {mine['result']} {truth['result']}")
                continue
            for what, value in truth["result"]["contents"].items():
                if _plain(mine["result"]["contents"][what]) != _plain(value):
                    wrong.append(f"{where}: the next run ends elsewhere: {what}")
            if mine["result"]["debris"]:
                wrong.append(f"{where}: debris {mine['result']['debris']}")
    return {"trials": order["kills"], "died": died, "failures": wrong}


def _plain(value: Any) -> Any:
    """Without what names the folder or the moment of a run."""
    if isinstance(value, list):
        return sorted(text.split("'source_stamp'")[0].split("'source'")[0] for text in value)
    return value
