"""Random kills, one after another on one data root: whatever moment a run dies at, readers go
on, nothing acknowledged is lost, and the next whole run ends where an undisturbed one does.

TOONSEARCH_KILLS sets the number of trials (more for `make faults`). The seed is printed, and
a failing trial names its operation and delay.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.harness import Worker, compiler, scratch_place

TRIALS = int(os.environ.get("TOONSEARCH_KILLS", "20"))
SEED = int(os.environ.get("TOONSEARCH_SEED", "20051"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler() is None, reason="the shim needs a C compiler"),
]


def test_kills_at_random_moments(tmp_path: Path) -> None:
    place = scratch_place(tmp_path) / f"toonsearch-kills-{os.getpid()}"
    (place / "worker").mkdir(parents=True)
    try:
        worker = Worker(place / "worker")
        found = worker.order({"kills": TRIALS, "seed": SEED, "place": str(place / "chain")})
        worker.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    bound = f"bound {3 / TRIALS:.2%}" if not found["failures"] else ""
    print(f"\nkills: seed {SEED}, {found['trials']} trials, {found['died']} died in the middle,"
          f" {len(found['failures'])} failures {bound}")  # fmt: skip
    assert not found["failures"], "\n".join(found["failures"])
    assert found["died"] > TRIALS / 4, "the kills came too early or too late to mean anything"
