"""`open`: a folder in one line, and what it does when the folder changes or goes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from indexer.vector_index.generations import Generation
from schemas.storage.layout import Layout
from search.cli.app import main
from search.cli.commands.open import Watcher, fingerprint
from tests.drawings import drawing
from tests.search.cli.complaints import complaint

ROOT = Path(__file__).parents[4]


@pytest.fixture
def mine(tmp_path: Path, small_root: Path) -> Path:
    """A folder with `drawings/` and, in `data/`, a catalog and an index of them."""
    shutil.copytree(small_root / "data", tmp_path / "mine" / "data")
    shutil.copytree(small_root / "drawings", tmp_path / "mine" / "drawings")
    return tmp_path / "mine"


def pictures_count(data: Path) -> int:
    with Generation.open(Layout(data)) as generation:
        return generation.pictures_count


def test_a_folder_is_taken_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        folder = tmp_path / "pictures" / "Kim" / "Sea"
        folder.mkdir(parents=True, exist_ok=True)
        drawing(0, number).save(folder / f"{number}.png")
    words = ["--data", "new", "open", "pictures", "--no-serve"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "the index holds 3 pictures, 1 title, 1 author" in told.err
    assert pictures_count(tmp_path / "new") == 3
    before = (tmp_path / "new/index/CURRENT").read_bytes()
    assert main(words) == 0
    assert (tmp_path / "new/index/CURRENT").read_bytes() == before


def test_what_is_no_folder_and_a_taken_port_cost_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", "new", "open", "nowhere", "--no-serve"]) == 3
    assert complaint(capsys) == "there is no folder nowhere"
    (tmp_path / "pictures").mkdir()
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--data", "new", "open", "pictures", "--port", port]) == 2
    assert "is in use" in complaint(capsys)
    assert not (tmp_path / "new" / "tables").exists()


class Folder:
    """A watched folder, and what its watcher has said and done."""

    def __init__(self, root: Path, codes: list[int]) -> None:
        self.root, self.codes = root, codes
        self.notes: list[str] = []
        self.updates = 0
        self.watcher = Watcher(root, fingerprint(root), self.update, self.notes.append)

    def update(self, stop: threading.Event) -> int:
        self.updates += 1
        return self.codes.pop(0)

    def look(self, times: int = 1) -> int:
        for _ in range(times):
            self.watcher.look(threading.Event())
        return self.updates


def test_a_change_is_taken_in_when_it_is_over(tmp_path: Path) -> None:
    root = tmp_path / "drawings"
    root.mkdir()
    folder = Folder(root, [0, 75, 3, 0])
    assert folder.look(2) == 0
    (root / "a.png").write_bytes(b"1")
    assert folder.look() == 0  # it may still be written
    (root / "a.png").write_bytes(b"12")
    assert folder.look() == 0
    assert folder.look() == 1
    assert folder.look(3) == 1
    (root / "notes.txt").write_bytes(b"no picture")
    assert folder.look(3) == 1
    (root / "a.png").unlink()
    assert folder.look(2) == 2  # another run held the lock: again
    assert folder.look() == 3  # refused: not again until something changes
    assert folder.look(3) == 3
    (root / "b.png").write_bytes(b"1")
    assert folder.look(3) == 4


def test_a_folder_that_vanishes_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "drawings"
    root.mkdir()
    (root / "a.png").write_bytes(b"1")
    folder = Folder(root, [0])
    root.rename(tmp_path / "away")
    assert folder.look(3) == 0
    assert len(folder.notes) == 1 and "is gone: its pictures stay" in folder.notes[0]
    (tmp_path / "away").rename(root)
    assert folder.look(3) == 0
    assert folder.notes[1:] == [f"{root} is back"]


@pytest.mark.slow
def test_watching_takes_in_keeps_and_ends(mine: Path) -> None:
    command = [sys.executable, "-m", "search", "--data", str(mine / "data")]
    command += ["open", str(mine / "drawings"), "--watch", "--port", "0", "--no-browser"]
    with (mine / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 120
        while text not in (mine / "said").read_text():
            assert process.poll() is None and time.monotonic() < deadline, (
                mine / "said"
            ).read_text()
            time.sleep(0.1)

    try:
        wait_for("the page is at")
        count = pictures_count(mine / "data")
        drawing(2, 99).save(mine / "drawings" / "hand 2" / "title 2.0" / "new.png")
        wait_for(f"the index holds {count + 1} pictures")
        shutil.rmtree(mine / "drawings")
        wait_for("is gone")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert pictures_count(mine / "data") == count + 1
    assert "Traceback" not in (mine / "said").read_text()
