"""The shell of `toonsearch sql`, driven line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from search.cli.context import Session
from search.sql import shell
from search.sql.session import SqlSession


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> None:
    """Let the shell read these lines, or be interrupted, and then the end of input."""
    waiting: Iterator[str | type[BaseException]] = iter([*lines, EOFError])

    def read() -> str:
        line = next(waiting)
        if not isinstance(line, str):
            raise line
        return line

    monkeypatch.setattr(shell, "_reader", lambda sql: read)


def test_mistakes_and_ctrl_c_end_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(
        monkeypatch, "select 40 + 1 as n;", "from titels;", "", KeyboardInterrupt, ".format nl",
        "select 40 + 2 as n;", ".schema titles", ".nonsense", "create table t as select 1;",
    )  # fmt: skip
    with SqlSession(settings.layout, settings) as sql:
        shell.run_shell(sql, Session(), "table", 1)
    out, err = capsys.readouterr()
    assert "41" in out and '{"n": 42}' in out
    assert "platform:id" in out
    assert ".format json" in out, "an unknown command shows the help"
    assert "catalog: " in err and "error: there is no view 'titels'" in err


def test_quit_ends_at_once_and_rows_are_cut(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "from range(9);", ".quit", "select 'never';")
    with SqlSession(settings.layout, settings) as sql:
        shell.run_shell(sql, Session(quiet=True), "table", 3)
    out, err = capsys.readouterr()
    assert "never" not in out
    assert err == "only the first 3 rows are shown\n"


def test_the_editor_completes_views_columns_and_keywords(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prompt_toolkit = pytest.importorskip("prompt_toolkit")
    made = []
    real = prompt_toolkit.PromptSession

    def remember(*args: object, **words: object) -> object:
        made.append(words)
        return real(*args, **words)

    monkeypatch.setattr(prompt_toolkit, "PromptSession", remember)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with SqlSession(settings.layout, settings) as sql:
        shell._reader(sql)
    assert {"genres", "title_id", "similar", "select"} <= set(made[0]["completer"].words)  # type: ignore[attr-defined]
    assert (tmp_path / "toonsearch").is_dir()


@pytest.mark.parametrize("text", ["select 1;", ".views", "select 1\n", ""])
def test_enter_ends_what_is_complete(text: str) -> None:
    assert shell.is_complete(text)
    assert not shell.is_complete("select 1")
