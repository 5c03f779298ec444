"""`forget` asks before it deletes, and takes the address of a page."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from schemas.records import Author, Title
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.layout import Layout
from search.cli.app import main


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("TOONSEARCH_STORE__ROOT", str(tmp_path / "data"))
    made = Catalog(Layout(tmp_path / "data"))
    titles = [
        Title(f"naver:{number}", "naver", f"Title {number}", (Author(f"Kim {number % 2}"),))
        for number in (747269, 747270)
    ]
    made.upsert("titles", rows_of(titles))
    return made


def left(catalog: Catalog) -> list[str]:
    return sorted(catalog.read("titles")["title_id"].to_pylist())


def answering(monkeypatch: pytest.MonkeyPatch, text: str, terminal: bool = True) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(text) if terminal else io.StringIO(text))


@pytest.mark.parametrize("answer", ["\n", "n\n", "nonsense\n", ""])
def test_any_answer_but_yes_keeps_everything(
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
) -> None:
    answering(monkeypatch, answer)
    assert main(["forget", "--author", "Kim 1"]) == 130
    told = capsys.readouterr()
    assert "Title 747269" in told.out and "1 title, 0 pictures for good? [y/N]" in told.err
    assert len(left(catalog)) == 2 and not catalog.layout.blocked.exists()


def test_yes_and_the_option_delete(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, "y\n")
    assert main(["forget", "--author", "Kim 1"]) == 0
    assert "forgot 1 title" in capsys.readouterr().out
    assert left(catalog) == ["naver:747270"]
    answering(monkeypatch, "", terminal=False)
    address = "https://m.comic.naver.com/webtoon/detail?no=3&titleId=747270"
    assert main(["forget", "--title", address, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["titles"][0]["title_id"] == "naver:747270"
    assert left(catalog) == []


def test_without_anybody_to_ask_nothing_is_deleted(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, "y\n", terminal=False)
    assert main(["forget", "--title", "naver:747269"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "Add --yes" in told.err
    assert main(["forget", "--title", "naver:747269", "--dry-run"]) == 0
    assert "would forget 1 title" in capsys.readouterr().out
    assert main(["forget", "--title", "https://example.org/?titleId=747269", "--yes"]) == 2
    assert len(left(catalog)) == 2
