"""`toonsearch sql`: the catalog in SQL, with similarity as part of the language."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.errors import InputError, UsageError, nearest
from search.cli.commands import examples, print_json
from search.cli.context import Session

if TYPE_CHECKING:
    from schemas.settings import Settings
    from search.sql.session import SqlSession

TERMINAL_ROWS = 100
FORMATS = ("table", "json", "nl", "csv", "markdown", "parquet")


@click.command(
    epilog=examples(
        'toonsearch sql "from hardest_genres limit 5"',
        "toonsearch sql \"select title, s.* from similar('cover.jpg', 50) s join catalog"
        ' using (picture_id) where year < $y" -p y 2015',
        "toonsearch sql --schema",
        "toonsearch sql < question.sql --csv > answer.csv",
    )
)
@click.argument("query", required=False)
@click.option(
    "--file", "-f", "file", metavar="FILE", type=click.Path(path_type=Path), help="SQL from a file."
)
@click.option(
    "--param", "-p", "params", nargs=2, multiple=True, metavar="NAME VALUE", help="Value of $NAME."
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="How to print the rows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.option("--nl", is_flag=True, help="Print one JSON object a line.")
@click.option("--csv", is_flag=True, help="Print CSV with a header.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path),
    help="Write to a file; its ending chooses the format.",
)  # fmt: skip
@click.option(
    "--rows", metavar="N", type=click.IntRange(0), default=TERMINAL_ROWS, show_default=True,
    help="Rows of a table on a terminal; 0 shows all.",
)  # fmt: skip
@click.option("--schema", is_flag=True, help="Print every view with its columns.")
@click.option("--as-of", metavar="DATE", help="The catalog as it was at the end of this day (UTC).")
@click.option("--untrusted", is_flag=True, help="Run in a locked-down process of its own.")
@click.pass_obj
def command(
    session: Session,
    query: str | None,
    file: Path | None,
    params: tuple[tuple[str, str], ...],
    form: str | None,
    as_json: bool,
    nl: bool,
    csv: bool,
    markdown: bool,
    out: Path | None,
    rows: int,
    schema: bool,
    as_of: str | None,
    untrusted: bool,
) -> None:
    """Ask the catalog in SQL, with similarity.

    The dialect is DuckDB's. QUERY is a statement, `-` for standard input, or nothing for a
    prompt. All views are of one moment, however long a session lasts.
    similar('picture.jpg', 200) and similar_titles(title_id, 50) are tables of nearest
    pictures and titles.
    """
    from search.sql.session import SqlSession, moment_of

    settings = session.settings()
    form = _format(form, {"json": as_json, "nl": nl, "csv": csv, "markdown": markdown}, out)
    sql = query if schema else _text(query, file)
    if untrusted:
        if sql is None or schema or as_of:
            raise UsageError("--untrusted takes a statement", "Leave --schema and --as-of out.")
        _untrusted(session, settings, sql, dict(params), form, out)
        return
    moment = None if as_of is None else moment_of(as_of)
    with SqlSession(settings.layout, settings, as_of=moment) as asked:
        if schema:
            _schema(asked, form, query)
        elif sql is None:
            from search.sql.shell import run_shell

            run_shell(asked, session, form, rows)
        else:
            _answer(session, asked, sql, dict(params), form, out, rows)


def _format(named: str | None, flags: dict[str, bool], out: Path | None) -> str:
    chosen = [name for name, on in flags.items() if on] + ([named] if named else [])
    if len(set(chosen)) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other", "Choose one.")
    if chosen:
        return chosen[0]
    if out is None:
        return "table"
    endings = {
        ".json": "json", ".nl": "nl", ".ndjson": "nl", ".jsonl": "nl", ".csv": "csv",
        ".md": "markdown", ".parquet": "parquet", ".txt": "table",
    }  # fmt: skip
    if out.suffix not in endings:
        raise UsageError(f"--out {out}: the ending says no format", nearest(out.suffix, endings))
    return endings[out.suffix]


def _text(query: str | None, file: Path | None) -> str | None:
    if query is not None and file is not None:
        raise UsageError("a statement and --file exclude each other", "Give one of them.")
    if query is None and file is None:
        return None if sys.stdin.isatty() else sys.stdin.read()
    if query == "-":
        return sys.stdin.read()
    if file is None and query is not None:
        if not (query.endswith(".sql") and Path(query).is_file()):
            return query
        file = Path(query)
    assert file is not None
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error})") from error


def _schema(asked: SqlSession, form: str, view: str | None) -> None:
    from schemas.storage.snapshot import all_views
    from search.output.data import write_markdown, write_rows
    from search.sql.functions import FUNCTIONS

    views = all_views()
    if view is not None and view not in views:
        raise InputError(f"there is no view {view!r}", nearest(view, views))
    lines = [line for line in asked.schema() if view in (None, line[0])]
    if form in ("json", "nl"):
        print_json([dict(zip(("view", "column", "type", "comment"), row, strict=True))
                    for row in lines])  # fmt: skip
        return
    if form == "markdown":
        write_markdown(sys.stdout, ("view", "column", "type", "meaning"), ("",) * 4, lines)
        return
    for name in dict.fromkeys(line[0] for line in lines):
        print(f"\n{name}: {views[name].comment}")
        rows = [(f"  {column}", kind, said) for at, column, kind, said in lines if at == name]
        write_rows(sys.stdout, ("  column", "type", "meaning"), ("",) * 3, rows)
    if view is None:
        print("\nfunctions")
        write_rows(sys.stdout, ("  function", "gives", "meaning"), ("",) * 3,
                   [(f"  {name}", kind, said) for name, kind, said in FUNCTIONS])  # fmt: skip


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
        from search.output.html import check_target

        check_target(out)
    result = asked.run(sql, params)
    if result is None or result.columns == ("Success",):
        return
    if form == "parquet":
        assert out is not None
        session.note(f"{write_parquet(out, result):,} rows are in {out}")
        return
    with _opened(out) as stream:
        most = rows or None if form == "table" and stream.isatty() else None
        if write_result(stream, result, form, most):
            session.note(
                f"only the first {most:,} rows are shown; --rows 0 shows all,"
                " --csv or --out FILE keeps them"
            )


@contextlib.contextmanager
def _opened(out: Path | None):  # type: ignore[no-untyped-def]
    if out is None:
        yield sys.stdout
        return
    try:
        with out.open("w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        from schemas.storage.fsio import storage_error

        raise storage_error(error, str(out)) from error


def _untrusted(
    session: Session,
    settings: Settings,
    sql: str,
    params: dict[str, str],
    form: str,
    out: Path | None,
) -> None:
    from search.output.data import unique, write_markdown, write_rows
    from search.sql.sandbox import run_untrusted

    if form in ("csv", "parquet"):
        raise UsageError(f"--untrusted does not write {form}", "Choose table, json or markdown.")
    found = run_untrusted(sql, settings.layout, parameters=params)
    session.detail(f"walls: {', '.join(found.walls)}")
    with _opened(out) as stream:
        if form == "json":
            names = unique(found.columns)
            print_json([dict(zip(names, row, strict=True)) for row in found.rows])
        elif form == "markdown":
            write_markdown(stream, found.columns, found.types, found.rows)
        else:
            write_rows(stream, found.columns, found.types, found.rows)
    if found.truncated:
        session.note(f"only the first {len(found.rows):,} rows are shown")
