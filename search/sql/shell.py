"""The shell of `toonsearch sql`: history, completion, and statements that end in `;`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import ToonsearchError
from schemas.storage.snapshot import all_views
from search.cli.context import Session, plain
from search.output.data import FORMATS, write_result
from search.sql.functions import FUNCTIONS

if TYPE_CHECKING:
    from search.sql.session import SqlSession

HELP = """\
End a statement with ; or an empty line.  Ctrl-C stops a statement, Ctrl-D ends.
  .views            all views        .schema VIEW   its columns
  .format json      table, json, nl, csv or markdown
  .quit"""


def run_shell(sql: SqlSession, session: Session, form: str, rows: int) -> None:
    """Read statements and answer them until the end of input; mistakes end nothing."""
    if not session.quiet:
        tables = sql.snapshot.tables.items()
        versions = [f"{name} v{t.version}" for name, t in tables if t.version is not None]
        print(f"catalog: {', '.join(versions) or 'empty'}\n.help for help", file=sys.stderr)
    read = _reader(sql)
    while True:
        try:
            text = read().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.startswith("."):
            word, _, rest = text.rstrip(";").partition(" ")
            if word in (".quit", ".exit", ".q"):
                return
            form = _dot_command(word, rest.strip(), form)
        elif text:
            _answer(sql, text, form, rows or None)


def _answer(sql: SqlSession, text: str, form: str, most: int | None) -> None:
    """One statement; whatever goes wrong is one line, and the prompt comes back."""
    try:
        for result in sql.results(text):
            if write_result(sys.stdout, result.columns, result.types, result.rows(), form, most):
                print(f"only the first {most:,} rows are shown", file=sys.stderr)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sql.connection.interrupt()
        print("stopped", file=sys.stderr)
    except ToonsearchError as error:
        print(f"error: {plain(' '.join(str(error).split()))}", file=sys.stderr)


def _dot_command(word: str, rest: str, form: str) -> str:
    """A command of the shell; returns the format from now on."""
    views = all_views()
    if word == ".views":
        width = max(len(name) for name in views)
        for view in views.values():
            print(f"{view.name:<{width}}  {view.comment}")
    elif word == ".schema" and rest in views:
        for column, comment in views[rest].columns:
            print(f"{column:<22}{comment}")
    elif word == ".format" and rest in FORMATS and rest != "parquet":
        return rest
    else:
        print(HELP)
    return form


def _reader(sql: SqlSession) -> Callable[[], str]:
    """A line editor with history, colours and completion; plain input without the package."""
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.history import FileHistory, History, InMemoryHistory
        from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
        from prompt_toolkit.lexers import PygmentsLexer
        from pygments.lexers.sql import SqlLexer
    except ImportError:
        return lambda: input("sql> ")
    keywords = sql.connection.execute("select keyword_name from duckdb_keywords()").fetchall()
    words = {*all_views(), *(name.partition("(")[0] for name, _, _ in FUNCTIONS)}
    words |= {column for view in all_views().values() for column, _ in view.columns}
    words |= {str(keyword) for (keyword,) in keywords}
    history: History = InMemoryHistory()
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        (state / "toonsearch").mkdir(parents=True, exist_ok=True)
        history = FileHistory(str(state / "toonsearch" / "sql_history"))
    except (OSError, RuntimeError):  # a user without a home has no history
        pass
    keys = KeyBindings()
    editor: PromptSession[str] = PromptSession(
        "sql> ",
        multiline=True,
        prompt_continuation=lambda width, number, wrapped: " " * (width - 2) + ". ",
        lexer=PygmentsLexer(SqlLexer),
        completer=WordCompleter(sorted(words), ignore_case=True),
        complete_while_typing=False,
        history=history,
        key_bindings=keys,
    )

    @keys.add("enter", filter=Condition(lambda: is_complete(editor.default_buffer.text)))
    def _accept(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return lambda: str(editor.prompt())


def is_complete(text: str) -> bool:
    """Whether Enter after this text ends the statement."""
    bare = text.strip()
    return bare == "" or bare.endswith(";") or bare.startswith(".") or text.endswith("\n")
