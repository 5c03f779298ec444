"""Readers while nights go by, eight starters at once, and a lock holder that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schemas.storage.layout import Layout
from tests.drawings import draw_folder, drawing
from tests.e2e.test_command_line import ROOT, Shell

pytestmark = pytest.mark.slow

READER = """
import hashlib, json, sys, time
from pathlib import Path
import numpy as np
from indexer.vector_index.generations import Generation
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

layout, stop = Layout(Path(sys.argv[1])), Path(sys.argv[2])
answers, count = {}, 0
generation = None
while not stop.exists():
    # One reader keeps its generation for three queries, as a notebook does.
    if generation is None or count % 3 == 0:
        if generation is not None:
            generation.close()
        generation = Generation.open(layout)
    probes = np.random.default_rng(1).standard_normal((20, generation.dimension), dtype=np.float32)
    ids = generation.index.search(probes, 5)[1]
    rows = dict(generation.meta.execute("select row_id, title_id from catalog").fetchall())
    titles = [[rows[int(one)] for one in line if one >= 0] for line in ids]
    answer = hashlib.sha256(json.dumps(titles).encode()).hexdigest()
    assert answers.setdefault(generation.id, answer) == answer, "one generation gave two answers"
    pictures = Catalog(layout).read("pictures", ["picture_id", "title_id"])
    assert pictures.num_rows >= 12
    count += 1
    time.sleep(0.05)
print(json.dumps({"count": count, "answers": answers}))
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    draw_folder(tmp_path / "drawings", titles=1, pictures=3, side_px=64)
    (tmp_path / "toonsearch.toml").write_text(
        '[nightly]\nfolders = ["drawings"]\n[index]\nkeep = 1\n'
    )
    return Shell(tmp_path)


def test_four_readers_notice_nothing(shell: Shell) -> None:
    shell.ok("nightly")
    stop = shell.home / "stop"
    command = [sys.executable, "-c", READER, str(shell.data), str(stop)]
    readers = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shell.environ
        )
        for _ in range(4)
    ]
    try:
        for night in range(2):
            folder = shell.home / "drawings/hand 0/title 0.0"
            drawing(0, 200 + night, 64).save(folder / f"new {night}.png")
            if night == 1:
                (folder / "0.png").unlink()
            shell.ok("nightly", "--accept", "all")
    finally:
        stop.touch()
        outputs = [reader.communicate(timeout=300) for reader in readers]
    found = [json.loads(out) if out else pytest.fail(err.decode()) for out, err in outputs]
    assert [reader.returncode for reader in readers] == [0] * 4
    everything: dict[str, set[str]] = {}
    for one in found:
        assert one["count"] > 3
        for generation, answer in one["answers"].items():
            everything.setdefault(generation, set()).add(answer)
    assert len(everything) >= 2, "no reader ever opened a new generation"
    assert all(len(answers) == 1 for answers in everything.values())


def test_eight_start_at_once(shell: Shell) -> None:
    draw_folder(shell.home / "drawings", titles=4, pictures=8, side_px=160)
    running = [shell.start("nightly", "--json") for _ in range(8)]
    done = [process.communicate(timeout=300) for process in running]
    codes = sorted(process.returncode for process in running)
    assert set(codes) <= {0, 75}, [err.decode() for _, err in done]
    assert codes.count(75) >= 4  # whoever starts after the first has ended may run as well
    assert json.loads(shell.ok("status", "--json"))["pending"] == 0


def test_the_lock_of_a_killed_holder_is_taken_over(shell: Shell) -> None:
    draw_folder(shell.home / "drawings", titles=4, pictures=4, side_px=160)
    with shell.start("nightly") as holder:
        while not shell.data.joinpath("pictures").exists():
            time.sleep(0.01)
        assert shell.run("index", "gc")[0] == 75
        holder.send_signal(signal.SIGKILL)
    assert Layout(shell.data).lock.read_text()  # it never came to its end
    assert json.loads(shell.ok("nightly", "--json"))["outcome"] == "done"
    assert Layout(shell.data).lock.read_text() == ""
    assert not list(Layout(shell.data).staging.iterdir())


def test_a_child_keeps_the_lock_when_its_parent_dies(shell: Shell) -> None:
    """A crawl goes on under the nightly job's lock, and nobody else writes meanwhile."""
    program = """
import os, subprocess, sys, time
from pathlib import Path
from schemas.storage.layout import Layout
from schemas.storage.locking import handed_on, writing
layout = Layout(Path(sys.argv[1]))
with writing(layout, "nightly"):
    environ, handles = handed_on()
    code = ("import sys, time; from pathlib import Path; from schemas.storage.layout import Layout;"
            "from schemas.storage.locking import writing\\n"
            "with writing(Layout(Path(sys.argv[1])), 'crawl'):\\n"
            "    print('in', flush=True); sys.stdin.read()")
    child = subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], pass_fds=handles,
                             env={**os.environ, **environ}, stdout=subprocess.PIPE)
    child.stdout.readline()
    print("ready", flush=True)
    time.sleep(60)
"""
    shell.data.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(shell.data)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=shell.environ,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert shell.run("nightly")[0] == 75
        assert parent.stdin is not None
        parent.stdin.close()  # which the child reads as well: it ends now
    deadline = time.monotonic() + 30
    while (code := shell.run("nightly")[0]) == 75 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert code == 0
