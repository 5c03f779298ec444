"""Many files in one run, and several pictures by weight."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import search.why
from schemas.settings import Settings
from search.cli.app import main
from search.cli.commands import query
from tests.search.artists import draw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    (folder / "below").mkdir(parents=True)
    draw(0, 90).save(folder / "a.png")
    draw(1, 91).save(folder / "below" / "b.png")
    (folder / "odd.png").write_bytes(b"no picture")
    return folder


def run(settings: Settings, *arguments: str | Path) -> int:
    return main(["query", *map(str, arguments), "--data", str(settings.store.root)])


def test_each_file_is_answered_and_an_odd_one_ends_nothing(
    settings: Settings, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = folder / "missing.png"
    assert run(settings, "--each", folder, missing, "--nl", "-k", "2") == 4
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {Path(line["file"]).name: line for line in lines}
    assert list(told) == ["a.png", "b.png", "odd.png", "missing.png"]
    assert "does not exist" in told["missing.png"]["problem"] and told["odd.png"]["problem"]
    assert [len(told[name]["titles"]) for name in ("a.png", "b.png")] == [2, 2]
    assert run(settings, folder / "below" / "b.png", "--json", "-k", "2") == 0
    alone = json.loads(capsys.readouterr().out)
    assert told["b.png"]["titles"] == alone["titles"] and told["b.png"]["problem"] is None

    page = tmp_path / "all.html"
    assert run(settings, "--each", folder, "--csv", "-k", "2", "--html", page) == 4
    out, said = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [Path(row["file"]).name for row in rows] == ["a.png"] * 2 + ["b.png"] * 2 + ["odd.png"]
    assert rows[0]["title"] == told["a.png"]["titles"][0]["title"] and rows[-1]["problem"]
    assert "1 of 3 files" in said and page.stat().st_size > 5000

    assert run(settings, "--each", folder / "a.png", folder / "below") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["file", "artist", "nearest", "by", "closeness"] and len(table) == 3
    assert run(settings, "--each", missing) == 3  # none could be used


def test_a_list_is_asked_as_its_files(
    settings: Settings,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answers(*arguments: str | Path, code: int = 4) -> dict[str, Any]:
        assert run(settings, *arguments, "--nl", "-k", "2") == code
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {Path(one["file"]).name: (one["problem"], one.get("titles")) for one in lines}

    expected = answers("--each", folder, "missing.png")
    text = f"{folder}\nmissing.png\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert answers("--batch", "-") == expected
    # The paths of a manifest begin where it lies.
    (folder / "list.csv").write_text("path,author\na.png,A\nbelow/b.png,B\n")
    del expected["odd.png"], expected["missing.png"]
    assert answers("--batch", folder / "list.csv", code=0) == expected

    (tmp_path / "empty.txt").write_text("\n\n")
    assert run(settings, "--batch", tmp_path / "empty.txt") == 3
    assert run(settings, "--batch", tmp_path / "none.txt") == 3
    assert run(settings, "--batch", "-", folder / "a.png") == 2
    assert run(settings, "--batch", "-", "--each") == 2


def test_what_was_answered_before_ctrl_c_stays(
    settings: Settings,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Typed(io.BytesIO):
        """A list that is interrupted after its second line."""

        def readline(self, size: int | None = -1) -> bytes:
            if line := super().readline(size):
                return line
            raise KeyboardInterrupt

    text = f"{folder / 'a.png'}\n{folder / 'odd.png'}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Typed(text.encode())))
    monkeypatch.setattr("search.batch.BATCH", 1)
    monkeypatch.setattr("search.batch.WINDOW", 1)
    assert run(settings, "--batch", "-", "--csv", "-k", "1") == 130
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [Path(row["file"]).name for row in rows] == ["a.png", "odd.png"]


def test_what_is_wrong_with_all_files_is_told_once(
    settings: Settings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, "--each", folder, "--where", "no_column = 1") == 3
    assert run(settings, "--each", folder, "--weights", "1,2") == 2
    assert run(settings, "--each") == 2
    assert capsys.readouterr().out == ""


def test_weights_as_in_the_engine(
    settings: Settings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = (folder / "a.png", folder / "below" / "b.png")

    def found(*arguments: str | Path) -> list[tuple[str, float]]:
        assert run(settings, *arguments, "--json") == 0
        titles = json.loads(capsys.readouterr().out)["titles"]
        return [(one["title_id"], pytest.approx(one["similarity"], abs=1e-5)) for one in titles]

    assert found(*pictures, "--weights", "50%,0%") == found(pictures[0])
    assert run(settings, *pictures, "--weights", "1") == 2
    assert run(settings, *pictures, "--weights", "1,-2") == 2
    assert run(settings, *pictures, "--weights", "0,0") == 3


def test_why_is_said_and_shown(
    settings: Settings,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search.why, "CELLS", 2)
    monkeypatch.setattr(query, "WHY_HITS", 1)
    page = tmp_path / "why.html"
    told = (folder / "a.png", folder / "below" / "b.png", "-k", "2", "--why")
    assert run(settings, *told, "--html", page) == 0
    _, said = capsys.readouterr().out.split("Why alike?\n")
    assert said.startswith("  1  ") and said.count("\n") == 1
    assert page.read_text("utf-8").count('class="heat"') == 2
    assert run(settings, *told, "--csv") == 2
    assert run(settings, "--text", "a", "--why") == 2
