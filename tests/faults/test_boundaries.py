"""Kill, cut the power, or fail at every call that changes a file, of every operation.

A third of a second for each trial: `make test` strides over the calls, `make faults` visits
every one. Failing trials are printed as orders that `replay` runs again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drawings import draw_folder, drawing
from tests.faults.harness import Worker, compiler, scratch_place, verdict

FULL = bool(os.environ.get("TOONSEARCH_FAULTS"))
PLACES = 100_000 if FULL else 6
ARTEFACTS = os.environ.get("TOONSEARCH_ARTEFACTS")
OPERATIONS = ("import", "embed", "build", "publish", "gc", "maintain", "forget")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler() is None, reason="the shim needs a C compiler"),
]


class Bench:
    """A small data root before each operation, and what each must lead to."""

    def __init__(self, place: Path, source: Path | None = None) -> None:
        (place / "worker").mkdir(parents=True)
        self.place = place
        self.worker = Worker(place / "worker", **({} if source is None else {"source": source}))
        self.bases: dict[str, Path] = {}
        self.truths: dict[str, dict[str, Any]] = {}
        first = place / "first"
        draw_folder(first / "drawings", titles=1, pictures=3, hands=3, side_px=64)
        self._run(first, "import", "embed", "build", "publish")
        folder = first / "drawings/hand 0/title 0.0"
        (folder / "0.png").unlink()
        drawing(0, 77, 64).save(folder / "1.png")
        drawing(0, 78, 64).save(folder / "5.png")
        state = first
        for operation in ("import", "embed", "build", "publish"):
            self._keep(operation, state)
            state = self._run(state, operation)
        drawing(2, 79, 64).save(state / "drawings/hand 2/title 2.0/6.png")
        self._run(state, "import", "embed", "build", "publish")
        for operation in ("gc", "maintain", "forget"):
            self._keep(operation, state)

    def _run(self, state: Path, *operations: str) -> Path:
        for operation in operations:
            found = self.worker.trial(state, operation, finish=False)
            assert found["code"] == 0, found["result"]
            shutil.rmtree(state)
            shutil.copytree(self.place / "worker/trial", state)
        return state

    def _keep(self, operation: str, state: Path) -> None:
        base = self.place / operation
        shutil.copytree(state, base)
        self.bases[operation] = base
        whole = self.worker.trial(base, operation, "count", told=True)
        assert whole["code"] == 0, whole["result"]
        assert whole["end"]["code"] == 0, whole["end"]["result"]
        assert whole["end"]["result"]["debris"] == []
        old = self.worker.trial(base, operation, "kill", n=1, finish=False)
        self.truths[operation] = {
            "calls": whole["result"]["calls"],
            "attempted": whole["after"]["result"]["stored"],
            "old": old["after"]["result"]["answers"],
            "new": whole["after"]["result"]["answers"],
            "contents": whole["end"]["result"]["contents"],
        }

    def failures(self, operation: str, orders: list[dict[str, Any]]) -> list[str]:
        """Run trials; what is wrong with each that fails, as an order to replay."""
        wrong = []
        for order in orders:
            found = self.worker.trial(self.bases[operation], operation, **order)
            bad = verdict(found, self.truths[operation], operation)
            if order["mode"] in ("fail", "short") and found["code"] in (70, "hung"):
                bad.append(f"not a clean error: {found['result']}")
            if bad:
                wrong.append(f"{operation} {json.dumps(order)}: {'; '.join(bad)}"[:2000])
                if ARTEFACTS:
                    keep = Path(ARTEFACTS) / f"{operation}-{order['mode']}-{order['n']}"
                    shutil.rmtree(keep, ignore_errors=True)
                    shutil.copytree(self.bases[operation], keep / "base")
                    (keep / "order.json").write_text(json.dumps(order))
        return wrong


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    place = scratch_place(tmp_path_factory.mktemp("faults")) / f"toonsearch-faults-{os.getpid()}"
    try:
        bench = Bench(place)
        yield bench
        bench.worker.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def places(calls: int, salt: int) -> list[int]:
    """Every call (and the one after the last), or some of them: always the last few, where
    an operation calls itself done."""
    step = max(1, (calls + 1) // PLACES)
    return sorted({*range(1 + salt % step, calls + 2, step), max(1, calls - 3)})


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_every_call(bench: Bench, operation: str) -> None:
    calls = bench.truths[operation]["calls"]
    orders = [{"mode": "kill", "n": n} for n in places(calls, 1)]
    orders += [{"mode": "torn", "n": n} for n in places(calls, 3)[:: 1 if FULL else 2]]
    wrong = bench.failures(operation, orders)
    print(f"\n{operation}: {calls} calls, {len(orders)} kills, {len(wrong)} failures")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_power_cut_at_every_call(bench: Bench, operation: str) -> None:
    calls = bench.truths[operation]["calls"]
    orders = [
        {"mode": "kill", "n": n, "power": how}
        for salt, how in enumerate(("empty", "torn", "lost"))
        for n in places(calls, salt)
    ]
    wrong = bench.failures(operation, orders)
    print(f"\n{operation}: {calls} calls, {len(orders)} power cuts, {len(wrong)} failures")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_call_fails_once(bench: Bench, operation: str) -> None:
    calls = bench.truths[operation]["calls"]
    orders = [
        {"mode": mode, "n": n, "errno": code}
        for salt, (mode, code) in enumerate(
            (("fail", errno.EIO), ("fail", errno.ENOSPC), ("short", 0))
        )
        for n in places(calls, salt)
    ]
    wrong = bench.failures(operation, orders)
    print(f"\n{operation}: {calls} calls, {len(orders)} failing calls, {len(wrong)} failures")
    assert not wrong, "\n".join(wrong)
