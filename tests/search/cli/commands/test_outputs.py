"""No option that writes a file costs an input, the catalog, or a file of another kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.settings import Settings
from search.cli.app import main

COMMANDS = {
    "query": ("query", "a.png", "--html"),
    "query by colour": ("query", "--like-colors", "a.png", "--html"),
    "report": ("report", "--html"),
    "predict": ("predict", "--manifest", "m.csv", "--out"),
    "embed": ("embed", "--manifest", "m.csv", "--out"),
    "evaluate as a page": ("evaluate", "--manifest", "m.csv", "--html"),
    "evaluate as JSON": ("evaluate", "--manifest", "m.csv", "--authors", "asked.json", "--out"),
    "evaluate on contents": ("evaluate", "--manifest", "m.csv", "--content", "a.csv", "--out"),
    "sql as CSV": ("sql", "select 1", "--csv", "--out"),
    "sql as JSON": ("sql", "select 1", "--json", "--out"),
    "sql as Parquet": ("sql", "select 1", "--format", "parquet", "--out"),
    "sql as text": ("sql", "select 1", "--format", "table", "--out"),
    "untrusted sql": ("sql", "select 1", "--untrusted", "--nl", "--out"),
    "export": ("export", "--force", "--to"),
    "backup": ("backup",),
}


@pytest.fixture
def here(tmp_path: Path, drawings: Path) -> Path:
    """The current folder, with pictures, manifests and settings of the user's."""
    picture = next(iter(sorted(drawings.rglob("*.png")))).read_bytes()
    for name in ("a.png", "b.PNG", "c.jpg"):
        (tmp_path / name).write_bytes(picture)
    (tmp_path / "m.csv").write_text("path,author,series\na.png,Kim,One\n")
    (tmp_path / "a.csv").write_text("path,author,content\na.png,Kim,tree\n")
    (tmp_path / "asked.json").write_text('{"authors": ["Kim"]}')
    (tmp_path / "splits.json").write_text('{"splits": []}')
    (tmp_path / "toonsearch.toml").write_text("[query]\nk = 3\n")
    (tmp_path / "link").symlink_to("a.png")
    (tmp_path / "new").symlink_to("toonsearch.toml")
    os.link(tmp_path / "m.csv", tmp_path / "hard")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_files_of_the_user_stay(
    here: Path, settings: Settings, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = settings.layout.root
    before = {path: path.read_bytes() for path in here.iterdir()}
    names = ["a.png", "./a.png", str(here / "b.PNG"), "c.jpg", "toonsearch.toml", "link", "new"]
    own = [root / "index/CURRENT", root / "lock", next(root.glob("tables/*/*.parquet"))]
    own += [root / "forgotten.json", root / "tables/new.parquet"]
    if command == "evaluate on contents":
        names += ["a.csv"]
    if command in ("predict", "embed", "evaluate as a page", "evaluate as JSON"):
        names += ["m.csv", "hard", str(here / ".." / here.name / "m.csv")]
    if command == "evaluate as JSON":
        names += ["asked.json", "splits.json"]
    for target in (*names, *own):
        code = main([*COMMANDS[command], str(target)])
        told = capsys.readouterr()
        assert (code, told.out) == (2, ""), (target, told)
        assert told.err.startswith("toonsearch: error: ") and told.err.count("\n") == 1
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_one_file_is_not_two_outputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ("--html", "x", "--out", str(here / "x"))
    assert main(["evaluate", "--manifest", "m.csv", *both]) == 2
    assert "one file" in capsys.readouterr().err


def test_the_demo_replaces_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "gallery.html").write_text("my notes")
    assert main(["demo", "--to", ".", "--images", "."]) == 2
    assert (here / "gallery.html").read_text() == "my notes"
    (here / "gallery.html").unlink()
    (here / "catalog.csv").write_bytes(b"\xef\xbb\xbfmine,too\r\n")
    assert main(["demo", "--to", "."]) == 2
    assert "catalog.csv exists" in capsys.readouterr().err


def test_rows_on_standard_output_are_alone(
    here: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for command in ("embed", "predict"):
        assert main([*COMMANDS[command], "-"]) == 0
        told = capfdbinary.readouterr()
        assert pq.read_table(pa.BufferReader(told.out))["path"].to_pylist() == ["a.png"]
        assert b"1" in told.err
        assert main([*COMMANDS[command], "/dev/stdout", "--json"]) == 2


def test_an_earlier_output_is_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        for command, target in (("query", "x.html"), ("embed", "x.parquet"), ("sql as CSV", "x")):
            assert main([*COMMANDS[command], target]) == 0, capsys.readouterr()
            os.utime(here / target, (0, 0))
        assert main([*COMMANDS["query"], "/dev/null"]) == 0
        assert Path("/dev/null").is_char_device()
