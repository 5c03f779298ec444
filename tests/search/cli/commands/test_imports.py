"""`toonsearch import`: what it says, its exit codes, and how it is taken back."""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.cli.app import main
from tests.fuzz.trees import picture
from tests.search.cli.complaints import complaint

ROOT = Path(__file__).resolve().parents[4]
WITHOUT_RIGHTS = (
    "import ctypes, os, sys;"
    " os.geteuid() or ctypes.CDLL(None).unshare(0x10000000);"  # a user namespace of its own
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Runs Python as somebody whom permissions stop, whoever runs the tests."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n, name in enumerate(("Kim/One/a", "Kim/One/b", "Kim/Two/c", "Lee/Three/d")):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n))
    return tmp_path / "in"


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    return ["--data", str(tmp_path / "data")]


def test_a_dry_run_shows_the_tree(
    folder: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(30):
        path = folder / f"Artist {n:02}/Work/a.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(100 + n))
    for n in range(9):
        path = folder / f"Aaron/Title {n}/a.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(200 + n))
    assert main([*data, "import", "folder", str(folder), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "43 new, 42 titles" in out
    assert (
        "  Aaron: Title 0 (1), Title 1 (1), Title 2 (1), Title 3 (1), Title 4 (1), and 4 more\n"
        in out
    )
    assert "  and 13 more authors\n" in out
    assert "have one picture" in err
    assert main([*data, "import", "folder", str(folder), "--dry-run", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    tree = {one["author"]: one["titles"] for one in body["authors"]}
    assert [title["pictures"] for title in tree["Kim"]] == [2, 1]
    assert len(tree) == 33
    assert body["files"] == 43
    assert body["notes"]
    assert not Path(data[1]).exists()


def test_a_folder_and_a_list_point_at_each_other(
    folder: Path, data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*data, "import", "manifest", str(folder)]) == 3
    assert f"`toonsearch {data[0]} {data[1]} import folder {folder}`" in complaint(capsys)
    (tmp_path / "a list.csv").write_text("path\n")
    assert main([*data, "import", "folder", str(tmp_path / "a list.csv")]) == 3
    assert f"import manifest '{tmp_path / 'a list.csv'}'`" in complaint(capsys)


def test_many_problems_say_how_many_more(
    folder: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(23):
        (folder / f"Kim/One/text{n}.png").write_text(f"no picture {n}")
    main([*data, "import", "folder", str(folder)])
    told = capsys.readouterr().err.splitlines()
    assert sum("not a picture" in line for line in told) == 20
    assert (
        f"toonsearch: and 3 more: `toonsearch {data[0]} {data[1]} status` counts the reasons"
        in told
    )


def test_counts_add_up_in_json(
    folder: Path, data: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "Kim/One/cut.png").write_bytes(picture(9)[:100])
    (folder / "Kim/One/copy.png").write_bytes(picture(0))
    code = main([*data, "import", "folder", str(folder), "--json"])
    body = json.loads(capsys.readouterr().out)
    counts = body["counts"]
    assert code == 4
    assert (counts["new"], counts["skipped"], counts["failed"]) == (4, 1, 1)
    words = ("new", "changed", "unchanged", "kept", "skipped", "failed", "blocked")
    assert sum(counts[word] for word in words) == body["files"] == 6


def test_undoing_asks_first(
    folder: Path,
    data: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main([*data, "import", "undo"]) == 3
    assert main([*data, "import", "folder", str(folder)]) == 0
    capsys.readouterr()
    assert main([*data, "import", "undo", "--dry-run"]) == 0
    assert "4 removed, 3 titles removed" in capsys.readouterr().out
    assert main([*data, "import", "undo", "elsewhere"]) == 3
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main([*data, "import", "undo"]) == 2
    assert "--yes" in capsys.readouterr().err

    def answers(text: str) -> int:
        terminal = io.StringIO(text)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        return main([*data, "import", "undo", str(folder)])

    assert answers("\n") == 130
    assert main([*data, "import", "folder", str(folder)]) == 0
    assert "4 unchanged" in capsys.readouterr().out
    assert answers("y\n") == 0
    assert "took back the import of" in capsys.readouterr().out
    assert main([*data, "import", "folder", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["new"] == 4
    assert main([*data, "import", "undo", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["removed"] == 4


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "unshare"), reason="needs Linux")
@pytest.mark.slow
def test_what_this_user_may_not_list_stays(folder: Path, data: list[str]) -> None:
    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-c", WITHOUT_RIGHTS, "-m", "search.cli.app", *data, *words]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return found.returncode, found.stdout + found.stderr

    assert run("import", "folder", str(folder))[0] == 0
    closed = folder / "Kim/Two"
    closed.chmod(0)
    try:
        code, said = run("import", "folder", str(folder))
        if code == 0 and os.geteuid() == 0:
            pytest.skip("user namespaces are not allowed here")
        assert code == 4, said
        assert "1 kept, 1 unread folder\n" in said
        assert "Kim/Two: cannot be listed (Permission denied)" in said
        code, said = run("import", "folder", str(closed))
        assert (code, "cannot be read by this user" in said) == (3, True)
    finally:
        closed.chmod(0o755)
    assert "4 unchanged" in run("import", "folder", str(folder))[1]
