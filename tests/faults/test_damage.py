"""Every damaged byte is found before anybody uses it, and no damage crashes a process.

`make test` strides over the headers and draws a few hundred other places; `make faults` flips
every byte of manifests and headers, and draws 20,000. A failing trial is printed as an order,
and stays with its data root where TOONSEARCH_ARTEFACTS says.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness import Worker, compiler, scratch_place

FULL = bool(os.environ.get("TOONSEARCH_FAULTS"))
SEED = int(os.environ.get("TOONSEARCH_SEED", "20053"))
ARTEFACTS = os.environ.get("TOONSEARCH_ARTEFACTS")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler() is None, reason="the shim needs a C compiler"),
]


def test_all_damage_is_found(tmp_path: Path) -> None:
    place = scratch_place(tmp_path) / f"toonsearch-damage-{os.getpid()}"
    (place / "worker").mkdir(parents=True)
    try:
        worker = Worker(place / "worker")
        order = {
            "place": str(place / "place"), "seed": SEED, "stride": 1 if FULL else 400,
            "random": 20_000 if FULL else 200,
        }  # fmt: skip
        found = worker.order(order)
        worker.close()
        for failure in found["failures"] if ARTEFACTS else []:
            keep = Path(str(ARTEFACTS)) / f"damage-{failure['number']}"
            shutil.rmtree(keep, ignore_errors=True)
            shutil.copytree(place / "place", keep / "place")
            (keep / "order.json").write_text(json.dumps({**order, "trials": [failure]}))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"\ndamage: seed {SEED}, {found['trials']} trials {found['kinds']}, "
          f"{len(found['failures'])} failures, {found['crashes']} crashes")  # fmt: skip
    assert not found["failures"], "\n".join(map(json.dumps, found["failures"][:50]))
    assert Counter(found["kinds"]).keys() == {"flip", "cut", "swap"}
