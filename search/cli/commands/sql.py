"""`toonsearch sql`: the catalog in SQL, with similarity as part of the language."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer
from typer import Argument, Option

from schemas.errors import InputError, UsageError, nearest
from search.cli.context import Session
from search.cli.options import check_output, examples, new_app, one_of

if TYPE_CHECKING:
    from schemas.settings import Settings
    from search.sql.session import SqlSession

app = new_app()
STREAMS = ("-", "/dev/stdout")
ENDINGS = {
    ".json": "json",
    ".nl": "nl",
    ".ndjson": "nl",
    ".jsonl": "nl",
    ".csv": "csv",
    ".md": "markdown",
    ".parquet": "parquet",
    ".txt": "table",
}


@app.command(
    epilog=examples(
        'toonsearch sql "from hardest_genres limit 5"',
        "toonsearch sql 'select title, s.* from similar($picture, 50) s join catalog"
        " using (picture_id) where year < $y' -p picture=cover.jpg -p y=2015",
        "toonsearch sql --schema",
        "toonsearch sql < question.sql --csv > answer.csv",
    )
)
def sql(
    ctx: typer.Context,
    query: Annotated[
        str | None,
        Argument(
            metavar="QUERY", help="A statement, `-` for standard input, nothing for a prompt."
        ),
    ] = None,
    file: Annotated[
        Path | None, Option("--file", "-f", metavar="FILE", help="SQL from a file.")
    ] = None,
    param: Annotated[
        list[str] | None,
        Option("--param", "-p", metavar="NAME=VALUE", help="Value of $NAME; may be repeated."),
    ] = None,
    form: Annotated[
        Literal["table", "json", "nl", "csv", "markdown", "parquet"] | None,
        Option("--format", help="How to print the rows."),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON array.")] = False,
    nl: Annotated[bool, Option("--nl", help="Print one JSON object a line.")] = False,
    csv: Annotated[bool, Option("--csv", help="Print CSV with a header.")] = False,
    markdown: Annotated[bool, Option("--markdown", help="Print a Markdown table.")] = False,
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write to a file; its ending chooses the format."),
    ] = None,
    rows: Annotated[
        int, Option(metavar="N", min=0, help="Rows of a table on a terminal; 0 shows all.")
    ] = 100,
    schema: Annotated[bool, Option("--schema", help="Print every view with its columns.")] = False,
    as_of: Annotated[
        str | None,
        Option(metavar="DATE", help="The catalog as it was at the end of this day (UTC)."),
    ] = None,
    untrusted: Annotated[
        bool, Option("--untrusted", help="Run in a locked-down process of its own.")
    ] = False,
) -> None:
    """Ask the catalog in SQL, with similarity.

    Of several statements each prints its rows, and --out takes those of the last one. The dialect is DuckDB's. All views are of one moment, however long a session lasts.
    similar('picture.jpg', 200) and similar_titles(title_id, 50) are tables of nearest
    pictures and titles.
    """
    from search.sql.session import SqlSession, moment_of

    session: Session = ctx.obj
    settings = session.settings()
    chosen = _format(form, {"json": as_json, "nl": nl, "csv": csv, "markdown": markdown}, out)
    params = _parameters(param or [])
    text = query if schema else _text(query, file)
    if out is not None:
        check_output(settings, out, chosen, *_files_read(query, file, text, params))
    if untrusted:
        if text is None or schema or as_of:
            raise UsageError("--untrusted takes a statement", "Leave --schema and --as-of out.")
        _untrusted(session, settings, text, params, chosen, out)
        return
    moment = None if as_of is None else moment_of(as_of)
    with SqlSession(settings.layout, settings, as_of=moment) as asked:
        if schema:
            _schema(asked, chosen, query)
        elif text is None:
            from search.sql.shell import run_shell

            run_shell(asked, session, chosen, rows)
        else:
            _answer(session, asked, text, params, chosen, out, rows)


def _files_read(
    query: str | None, file: Path | None, text: str | None, params: dict[str, str]
) -> list[str]:
    """The files that a statement lies in, names in quotes, or is given."""
    quoted = re.findall(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""", text or "")
    named = [one[1:-1].replace(one[0] * 2, one[0]) for one in quoted]
    given = [one for one in (query, *named, *params.values(), file) if one]
    return [str(one) for one in given if isfile(one)]  # noqa: PTH113 (of any length)


def _parameters(given: list[str]) -> dict[str, str]:
    values = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name.strip() or not equals:
            raise UsageError(f"{one!r} is no parameter", "Write it as -p NAME=VALUE.")
        values[name.strip()] = value
    return values


def _format(named: str | None, flags: dict[str, bool], out: Path | None) -> str:
    chosen = one_of({**flags, named: True} if named else flags)
    if chosen:
        return chosen
    if out is None or str(out) in STREAMS:
        return "table"
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"--out {out}: the ending says no format", nearest(ending, ENDINGS))
    return ENDINGS[ending]


def _text(query: str | None, file: Path | None) -> str | None:
    if query is not None and file is not None:
        raise UsageError("a statement and --file exclude each other", "Give one of them.")
    if query is None and file is None:
        return None if sys.stdin.isatty() else sys.stdin.read()
    if query == "-":
        return sys.stdin.read()
    if file is None and query is not None:
        if not (query.lower().endswith(".sql") and Path(query).is_file()):
            return query
        file = Path(query)
    assert file is not None
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{file} cannot be read ({why})") from error


def _schema(asked: SqlSession, form: str, view: str | None) -> None:
    from schemas.storage.snapshot import all_views
    from search.output.data import write_result, write_rows
    from search.sql.functions import FUNCTIONS

    views = all_views()
    if view is not None and view not in views:
        raise InputError(f"there is no view {view!r}", nearest(view, views))
    lines = [line for line in asked.schema() if view in (None, line[0])]
    if form != "table":
        write_result(sys.stdout, ("view", "column", "type", "comment"), ("",) * 4, lines, form)
        return
    for name in dict.fromkeys(line[0] for line in lines):
        print(f"\n{name}: {views[name].comment}")
        rows = [(f"  {column}", kind, said) for at, column, kind, said in lines if at == name]
        write_rows(sys.stdout, ("  column", "type", "meaning"), ("",) * 3, rows)
    if view is None:
        print("\nfunctions")
        rows = [(f"  {name}", kind, said) for name, kind, said in FUNCTIONS]
        write_rows(sys.stdout, ("  function", "gives", "meaning"), ("",) * 3, rows)


def _answer(
    session: Session,
    asked: SqlSession,
    sql: str,
    params: dict[str, str],
    form: str,
    out: Path | None,
    rows: int,
) -> None:
    from search.output.data import write_parquet, write_result

    if form == "parquet" and out is None:
        raise UsageError("Parquet needs a file", "Add --out FILE.parquet.")
    if out is not None:
        result = asked.run(sql, params)
        if result is None:
            raise InputError("the last statement has no rows to write")
        if form == "parquet":
            session.note(f"{out}: {write_parquet(out, result):,} rows")
            return
        with _opened(out) as stream:
            write_result(stream, result.columns, result.types, result.rows(), form)
        return
    most = rows or None if sys.stdout.isatty() else None
    for place, result in enumerate(asked.results(sql, params)):
        if place and form in ("table", "markdown", "csv"):
            print()
        if write_result(sys.stdout, result.columns, result.types, result.rows(), form, most):
            session.note(
                f"only the first {most:,} rows are shown; --rows 0 shows all,"
                " --csv or --out FILE keeps them"
            )


def _untrusted(
    session: Session,
    settings: Settings,
    sql: str,
    params: dict[str, str],
    form: str,
    out: Path | None,
) -> None:
    from search.output.data import write_result
    from search.sql.sandbox import Sandbox

    if form == "parquet":
        raise UsageError("--untrusted writes no Parquet", "Choose another format.")
    with Sandbox(settings.layout) as sandbox:
        found = sandbox.run(sql, params)
    session.detail(f"walls: {', '.join(found.walls)}")
    with _opened(out) as stream:
        write_result(stream, found.columns, found.types, found.rows, form)
    if found.truncated:
        session.note(f"only the first {len(found.rows):,} rows are shown")


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    from schemas.storage.outputs import output_file

    with output_file(out) as file:
        stream = io.TextIOWrapper(file, encoding="utf-8")
        yield stream
        stream.flush()
        stream.detach()
