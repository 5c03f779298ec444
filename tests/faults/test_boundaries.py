"""Kill, cut the power, or fail at every call that changes a file, of every operation.

A third of a second for each trial: `make test` strides over the calls, `make faults` visits
every one. Failing trials are printed as orders that `replay` runs again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drawings import draw_folder, drawing
from tests.faults.harness import Worker, compiler, failures_of, scratch_place
from tests.faults.operations import AWKWARD
from tests.faults.power import states

FULL = bool(os.environ.get("TOONSEARCH_FAULTS"))
PLACES = 1
ARTEFACTS = os.environ.get("TOONSEARCH_ARTEFACTS")
OPERATIONS = (
    "import", "awkward", "undo", "embed", "renew", "publish", "gc", "maintain", "forget",
)  # fmt: skip
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
        # As if its disk were gone: what is known of it stays.
        (first / "drawings/hand 2").rename(first / "aside")
        (first / "drawings/hand 2").mkdir()
        state = first
        self._keep("import", state)
        (state / "data").rename(state / AWKWARD)
        self._keep("awkward", state)
        (state / AWKWARD).rename(state / "data")
        state = self._run(state, "import")
        self._keep("undo", state)
        (state / "drawings/hand 2").rmdir()
        (state / "aside").rename(state / "drawings/hand 2")
        self._keep("embed", state)
        state = self._run(state, "embed")
        self._keep("renew", state)
        state = self._run(state, "build")
        self._keep("publish", state)
        state = self._run(state, "publish")
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
        whole = self.worker.trial(base, operation, "count", journal=True)
        assert whole["code"] == 0, whole["result"]
        assert whole["end"]["code"] == 0, whole["end"]["result"]
        assert whole["end"]["result"]["debris"] == []
        old = self.worker.trial(base, operation, "kill", n=1, finish=False)
        self.truths[operation] = {
            "journal": whole["journal"].splitlines(),
            "before": whole["before"],
            "attempted": whole["after"]["result"]["stored"],
            "old": old["after"]["result"]["answers"],
            "new": whole["after"]["result"]["answers"],
            "contents": whole["end"]["result"]["contents"],
        }

    def failures(self, operation: str, orders: list[dict[str, Any]]) -> list[str]:
        """Run trials; what is wrong with each that fails, as an order to replay."""
        wrong = []
        for order in orders:
            before = self.truths[operation]["before"]
            base = self.bases[operation]
            found = self.worker.trial(base, operation, before=before, **order)
            bad = failures_of(found, self.truths[operation], operation)
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


def some(numbers: list[int], salt: int) -> list[int]:
    """All of these calls, or some of them: always the last few, where an operation calls
    itself done."""
    if FULL:
        return numbers
    step = max(1, len(numbers) // PLACES)
    return sorted({*numbers[salt % step :: step], *numbers[-4:-3], *numbers[-1:]})


def kills(journal: list[str]) -> list[dict[str, Any]]:
    """Before every call that follows a change, after the last, and in the middle of writes.
    A sync changes nothing that a kill could show."""
    kinds = ["", *(line.split("\t")[1] for line in journal)]
    before = [n for n in range(1, len(kinds) + 1) if kinds[n - 1] != "fsync"]
    writes = [n for n, kind in enumerate(kinds) if kind == "write"]
    return [{"mode": "kill", "n": n} for n in some(before, 1)] + [
        {"mode": "torn", "n": n} for n in some(writes, 3)
    ]


def cuts(journal: list[str]) -> list[dict[str, Any]]:
    """Before every call, in each way in which what is not synced then can be lost."""
    ways: dict[str, list[int]] = {"empty": [], "torn": [], "lost": [], "last": []}
    for n, (dirty, given) in enumerate(states(journal, lambda _: False), 1):
        lock = {path for path in (*dirty, *given) if path.endswith("/lock")}
        names = len(given.keys() - lock)
        fits = {"empty": dirty - lock, "torn": dirty - lock, "lost": names, "last": names > 1}
        for how, fit in fits.items():
            if fit or (how == "lost" and n == len(journal) + 1):
                ways[how].append(n)
    return [
        {"mode": "kill", "n": n, "power": how}
        for salt, (how, numbers) in enumerate(ways.items())
        for n in some(numbers, salt)
    ]


def failing(journal: list[str]) -> list[dict[str, Any]]:
    """Every call fails once; only those that write can be short, or lack space."""
    kinds = [line.split("\t")[1] for line in journal]
    calls = list(range(1, len(kinds) + 1))
    growing = [n for n in calls if kinds[n - 1] != "unlink"]
    writes = [n for n in calls if kinds[n - 1] == "write"]
    return [
        *({"mode": "fail", "n": n, "errno": errno.EIO} for n in some(calls, 0)),
        *({"mode": "fail", "n": n, "errno": errno.ENOSPC} for n in some(growing, 1)),
        *({"mode": "short", "n": n, "errno": 0} for n in some(writes, 2)),
    ]


def test_a_full_disk_does_not_stop_what_frees_it(bench: Bench) -> None:
    journal = bench.truths["gc"]["journal"]
    sign = next(n for n, line in enumerate(journal, 1) if "\twrite\t" in line and "/lock\t" in line)
    order = {"mode": "fail", "n": sign, "errno": errno.ENOSPC}
    found = bench.worker.trial(bench.bases["gc"], "gc", **order)
    assert found["code"] == 0, found["result"]


@pytest.mark.parametrize("what", [kills, cuts, failing])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_call(
    bench: Bench, operation: str, what: Callable[[list[str]], list[dict[str, Any]]]
) -> None:
    if not FULL and operation not in ("import", "forget") and what is not kills:
        pytest.skip("left to make faults: it takes as long as all the rest")
    journal = bench.truths[operation]["journal"]
    orders = what(journal)
    started = time.monotonic()
    wrong = bench.failures(operation, orders)
    took = time.monotonic() - started
    summary = f"{len(journal)} calls, {len(orders)} {what.__name__}, {len(wrong)} failures"
    print(f"\n{operation}: {summary}, {took:.0f} s")
    assert not wrong, "\n".join(wrong)
