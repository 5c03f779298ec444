"""Random kills: whatever moment a run dies at, the next one ends where it would have ended.

TOONSEARCH_KILLS sets the number of trials (20 here, more for a release); the seed and the
delay of a failing trial are in its message.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from schemas.catalog import Catalog
from schemas.layout import Layout
from tests.drawings import draw_folder, drawing
from tests.e2e.test_command_line import Shell

TRIALS = int(os.environ.get("TOONSEARCH_KILLS", "20"))
SEED = 20051


def contents(layout: Layout) -> dict[str, object]:
    """What a catalog holds, but for times."""
    catalog = Catalog(layout)
    pictures = catalog.read("pictures").drop_columns(["fetched_at"]).to_pylist()
    vectors = {
        row["picture_id"]: np.asarray(row["vector"], np.float32)
        for row in catalog.read("vectors").to_pylist()
    }
    assert len(vectors) == catalog.count("vectors"), "a picture has two vectors"
    return {
        "pictures": sorted(map(str, pictures)),
        "titles": sorted(row["title_id"] for row in catalog.read("titles").to_pylist()),
        "vectors": sorted(vectors),
    }


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    draw_folder(tmp_path / "drawings", titles=2, pictures=6, side_px=120)
    query = tmp_path / "query.png"
    drawing(1, 500).save(query)
    whole = Shell(tmp_path)
    whole.data = tmp_path / "whole"
    whole.ok("import", "folder", "drawings")
    whole.ok("index", "build")
    truth = contents(Layout(whole.data))
    answer = json.loads(whole.ok("query", str(query), "--json"))["titles"]

    rng = np.random.default_rng(SEED)
    shell = Shell(tmp_path)
    shell.data = tmp_path / "killed"
    served = False
    for trial in range(TRIALS):
        command = ("import", "folder", "drawings") if trial % 2 == 0 else ("index", "build")
        if trial % 6 == 5:  # something to do in later trials as well
            drawing(trial % 4, 1000 + trial).save(tmp_path / "drawings/hand 0/title 0.0/extra.png")
        delay = float(rng.uniform(0.1, 1.6))
        where = f"seed {SEED}, trial {trial}, {command[0]} killed after {delay:.3f} s"
        with shell.start(*command) as process:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        code, _, err = shell.run("query", str(query), "--json")
        # Either there is an index and it answers, or none was ever published.
        assert code == 0 or (code == 5 and "no index yet" in err and not served), (where, err)
        served = served or code == 0
    (tmp_path / "drawings/hand 0/title 0.0/extra.png").unlink(missing_ok=True)
    shell.ok("import", "folder", "drawings")
    shell.ok("index", "build")
    assert contents(Layout(shell.data)) | {"vectors": []} == truth | {"vectors": []}
    assert set(truth["vectors"]) <= set(contents(Layout(shell.data))["vectors"])  # type: ignore[call-overload]
    found = json.loads(shell.ok("query", str(query), "--json"))["titles"]
    assert [title["title_id"] for title in found] == [title["title_id"] for title in answer]
    kept = {p.name for p in (shell.data / "pictures").rglob("*.*") if p.is_file()}
    named = {
        Path(row["file"]).name for row in Catalog(Layout(shell.data)).read("pictures").to_pylist()
    }
    assert named <= kept
    print(f"kills: seed {SEED}, {TRIALS} trials, 0 failures, bound {3 / TRIALS:.1%}")
