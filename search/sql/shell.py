"""The prompt of `toonsearch sql`: history, completion, and statements that end in `;`."""

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

KEYWORDS = (
    "select", "from", "where", "group by", "order by", "limit", "join", "using", "left join",
    "having", "with", "as", "distinct", "count(*)", "avg", "sum", "min", "max", "desc", "asc",
    "and", "or", "not", "in", "is null", "is not null", "like", "ilike", "between", "case",
    "when", "then", "else", "end", "union all", "filter", "over", "partition by", "qualify",
    "unnest", "list", "mode", "median", "describe", "summarize",
)  # fmt: skip
HELP = """\
End a statement with ; or an empty line.  Ctrl-C stops a statement, Ctrl-D ends.
  .views            all views        .schema VIEW   its columns
  .format json      table, json, nl, csv or markdown
  .quit"""


def history_file() -> Path:
    """Where the statements of earlier sessions are."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "toonsearch" / "sql_history"


def converse(asked: SqlSession, session: Session, form: str, rows: int) -> None:
    """Read statements and answer them until the end of input; mistakes end nothing."""
    if not session.quiet:
        print(f"{_state(asked)}\n.help for help", file=sys.stderr)
    read = _reader()
    while True:
        try:
            text = read().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if not text:
            continue
        if text.startswith("."):
            word, _, rest = text.rstrip(";").partition(" ")
            if word in (".quit", ".exit", ".q"):
                return
            form = _dot(asked, word, rest.strip(), form)
            continue
        _answer(asked, text, form, rows)


def _answer(asked: SqlSession, text: str, form: str, rows: int) -> None:
    """One statement; whatever goes wrong is one line, and the prompt comes back."""
    try:
        result = asked.run(text)
        if result is None or result.columns == ("Success",):
            return
        shown = rows or None
        if write_result(sys.stdout, result, form, shown):
            print(f"only the first {shown:,} rows are shown", file=sys.stderr)
        sys.stdout.flush()
    except KeyboardInterrupt:
        asked.connection.interrupt()
        print("stopped", file=sys.stderr)
    except ToonsearchError as error:
        print(f"error: {plain(' '.join(str(error).split()))}", file=sys.stderr)


def _dot(asked: SqlSession, word: str, rest: str, form: str) -> str:
    """A command of the prompt; returns the format from now on."""
    views = all_views()
    if word == ".views":
        width = max(len(name) for name in views)
        for view in views.values():
            print(f"{view.name:<{width}}  {view.comment}")
    elif word == ".schema" and rest in views:
        for column, said in views[rest].columns:
            print(f"{column:<22}{said}")
    elif word == ".format" and rest in FORMATS and rest != "parquet":
        return rest
    else:
        print(HELP)
    return form


def _state(asked: SqlSession) -> str:
    versions = [
        f"{name} v{table.version}"
        for name, table in asked.snapshot.tables.items()
        if table.version is not None
    ]
    return "catalog: " + (", ".join(versions) if versions else "empty")


def _reader() -> Callable[[], str]:
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
    words = [*all_views(), *KEYWORDS, *(name.partition("(")[0] for name, _, _ in FUNCTIONS)]
    words += sorted({column for view in all_views().values() for column, _ in view.columns})
    kept: History = InMemoryHistory()
    try:
        history_file().parent.mkdir(parents=True, exist_ok=True)
        kept = FileHistory(str(history_file()))
    except OSError:
        pass
    keys = KeyBindings()
    editor: PromptSession[str] = PromptSession(
        "sql> ",
        multiline=True,
        prompt_continuation=lambda width, number, wrapped: " " * (width - 2) + ". ",
        lexer=PygmentsLexer(SqlLexer),
        completer=WordCompleter(words, ignore_case=True),
        complete_while_typing=False,
        history=kept,
        key_bindings=keys,
    )

    @Condition
    def whole() -> bool:
        return ends(editor.default_buffer.text)

    @keys.add("enter", filter=whole)
    def _accept(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return lambda: str(editor.prompt())


def ends(text: str) -> bool:
    """Whether Enter after this text ends the statement."""
    bare = text.strip()
    return bare == "" or bare.endswith(";") or bare.startswith(".") or text.endswith("\n")
