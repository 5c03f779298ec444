"""One session of SQL as the operator: a snapshot, all views, similarity, and plain errors."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from indexer.vector_index.generations import (
    Generation,
    current_generation_id,
    era_years_of,
    generation_ids,
    no_index,
)
from schemas.errors import InputError, ToonsearchError, UsageError
from schemas.settings import Settings
from schemas.storage.layout import Layout
from schemas.storage.snapshot import Snapshot, all_views, create_views, describe_views
from search.sql.errors import explain
from search.sql.functions import Similarity, add_functions

if TYPE_CHECKING:
    import duckdb

    from search.engine import Engine

FETCH_ROWS = 10_000
_ACKNOWLEDGED = (("Success",), ("Count",))
"""All that statements say which give no rows."""
_TIMES = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\b(?:TIMESTAMP WITH TIME ZONE|TIMESTAMPTZ_NS|INTERVAL)\b"""
)
"""In the name of a type: what is quoted, and times that Python does not have as DuckDB does."""
T = TypeVar("T")


class Result:
    """The rows of one statement, to be read once, before the next statement runs."""

    def __init__(
        self, session: SqlSession, statement: duckdb.Statement, values: dict[str, str], sql: str
    ) -> None:
        import duckdb

        self._session, self._query, self._values, self._sql = session, statement.query, values, sql
        self.cursor = self._execute(statement)
        self.columns = tuple(str(column[0]) for column in self.cursor.description or ())
        self.types = tuple(str(column[1]) for column in self.cursor.description or ())
        self._is_select = statement.type == duckdb.StatementType.SELECT
        self.has_rows = self._is_select or (*self.columns,) not in ((), *_ACKNOWLEDGED)

    def _execute(self, query: duckdb.Statement | str) -> duckdb.DuckDBPyConnection:
        connection = self._session.connection
        with self.explaining():
            run = partial(connection.execute, query, self._values or None)
            return _interruptible(connection, run)

    def explaining(self) -> AbstractContextManager[None]:
        """Turn what goes wrong while the rows are read into one line about the statement."""
        return self._session.explaining(self._sql)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows.

        Errors:  InputError when the statement fails while it runs
        """
        part: list[tuple[Any, ...]] | None = None
        told = with_times_as_text(self._query, self.types) if self._is_select else None
        if told is not None:
            self._session.abandon()
            self.cursor = self._execute(told)
        while part is None or part:
            with self.explaining():
                part = _interruptible(self.cursor, partial(self.cursor.fetchmany, FETCH_ROWS))
            yield from part


class SqlSession:
    """A connection over one snapshot; everything that it answers is of that one state."""

    def __init__(
        self, layout: Layout, settings: Settings, *, as_of: datetime | None = None
    ) -> None:
        import duckdb

        self.layout, self.settings = layout, settings
        generation_id = _generation_of(layout, as_of)
        self.snapshot = Snapshot.take(
            layout,
            as_of=as_of,
            generation_id=generation_id,
            era_years=era_years_of(layout, generation_id),
        )
        self.connection = duckdb.connect(":memory:")
        self._open = contextlib.ExitStack()
        self._failure: ToonsearchError | None = None
        create_views(self.connection, self.snapshot)
        add_functions(self.connection, lambda: self._similarity, self._failed)

    def close(self) -> None:
        """Let go of the index and the connection."""
        self._open.close()
        self.abandon()
        for name in ("similar_pictures_list", "similar_titles_list", "mean_of_vectors"):
            self.connection.remove_function(name)
        self.connection.close()

    def __enter__(self) -> SqlSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, sql: str, parameters: Mapping[str, str] | None = None) -> Result | None:
        """Run the statements of a text; the result of the last one, None when it has none.

        Errors:  as `results`
        """
        last: Result | None = None
        for result in self._executed(sql, parameters):
            last = result if result.has_rows else None
        return last

    def results(self, sql: str, parameters: Mapping[str, str] | None = None) -> Iterator[Result]:
        """The result of each statement of a text that has one; each runs when it is asked for.

        Errors:  InputError points at what is wrong; UsageError for a parameter too many
        """
        return (result for result in self._executed(sql, parameters) if result.has_rows)

    def _executed(self, sql: str, parameters: Mapping[str, str] | None) -> Iterator[Result]:
        given = dict(parameters or {})
        with self.explaining(sql):
            statements = self.connection.extract_statements(sql)
        if not statements:
            raise InputError("there is no statement", "Try: toonsearch sql --schema")
        unused = set(given).difference(*(one.named_parameters for one in statements))
        if unused:
            name = sorted(unused)[0]
            raise UsageError(f"the statement has no parameter ${name}", f"Write ${name} in it.")
        for statement in statements:
            self.abandon()
            values = {n: given[n] for n in statement.named_parameters if n in given}
            yield Result(self, statement, values, sql)

    def schema(self) -> list[tuple[str, str, str, str]]:
        """(view, column, type, comment) of everything that a statement may read."""
        describe_views(self.connection)
        types = {
            (view, column): str(kind)
            for view, column, kind in self.connection.execute(
                "select table_name, column_name, data_type from duckdb_columns()"
            ).fetchall()
        }
        return [
            (view.name, column, types.get((view.name, column), ""), comment)
            for view in all_views().values()
            for column, comment in view.columns
        ]

    @contextlib.contextmanager
    def explaining(self, sql: str) -> Iterator[None]:
        """Turn what DuckDB raises into one line about the statement."""
        import duckdb

        self._failure = None
        try:
            yield
        except (duckdb.Error, RuntimeError, ValueError, TypeError) as error:
            raise explain(error, sql, self._failure) from error

    def abandon(self) -> None:
        """Give up a result that was not read to its end: DuckDB would refuse other work."""
        import duckdb

        with contextlib.suppress(duckdb.Error, RuntimeError):
            self.connection.abort()

    def _failed(self, error: ToonsearchError) -> None:
        self._failure = error

    @cached_property
    def _similarity(self) -> Similarity:
        if self.snapshot.generation_id is None:
            raise no_index(self.layout)
        generation = Generation.open(self.layout, self.snapshot.generation_id)
        self._open.callback(generation.close)
        return Similarity(generation, self._vector_of_file)

    @cached_property
    def _engine(self) -> Engine:
        from search.engine import Engine

        return self._open.enter_context(
            Engine.open(self.layout, self.settings, self.snapshot.generation_id)
        )

    def _vector_of_file(self, name: str) -> np.ndarray:
        """The vector of a picture file, through the same path as `toonsearch query`."""
        from search.inputs import read_picture

        picture = read_picture(name, self.settings.decode.limits)
        return self._engine.encode([picture]).vector


def with_times_as_text(query: str, types: Sequence[str]) -> str | None:
    """The query with its times with time zone, in UTC, and its intervals as text, wherever they
    lie; None where it has none.

    DuckDB needs another package to give the first to Python, and gives a month as 30 days.
    """
    import duckdb

    texts = [_TIMES.sub(lambda f: f[0] if f[0][0] in "'\"" else "VARCHAR", kind) for kind in types]
    if texts == list(types):
        return None
    ends = (at for at, kind in duckdb.tokenize(query) if kind == duckdb.token_type.operator)
    data = query.encode()  # places are counted in bytes
    end = next((at for at in ends if data[at : at + 1] == b";"), len(data))
    names = [f"c{number}" for number in range(len(types))]
    casts = ", ".join(
        name if text == kind else f"cast({name} as {text})"
        for name, text, kind in zip(names, texts, types, strict=True)
    )
    return f"select {casts} from ({data[:end].decode()}\n) as r({', '.join(names)})"


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Run a call into DuckDB that Ctrl-C can stop: inside it, few signals are noticed."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    with ThreadPoolExecutor(1, "sql") as pool:
        future = pool.submit(work)
        try:
            while not wait([future], timeout=0.2).done:
                pass
        except KeyboardInterrupt:
            while not future.done():  # once may be too early to be noticed
                connection.interrupt()
                wait([future], timeout=0.2)
            raise
        return future.result()


def moment_of(text: str) -> datetime:
    """A day in any usual spelling (its end), or a moment as ISO 8601 writes it, in UTC.

    >>> moment_of("2026-11-20").isoformat()
    '2026-11-20T23:59:59.999999+00:00'

    Errors:  UsageError when it is neither
    """
    from schemas.dates import parse_date

    day = None if re.search(r":|\dT\d", text) else parse_date(text)
    try:
        found = datetime.fromisoformat(text.strip() if day is None else day.isoformat())
    except ValueError:
        raise UsageError(
            f"--as-of {text!r} is not a date", "Write 2026-11-20 or 2026-11-20T18:30."
        ) from None
    if day is not None:
        found += timedelta(days=1) - timedelta(microseconds=1)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _generation_of(layout: Layout, as_of: datetime | None) -> str | None:
    """The published generation, or the newest one that was built by then."""
    if as_of is None:
        return current_generation_id(layout)
    stamp = as_of.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")
    earlier = [name for name in generation_ids(layout) if name[1 : 1 + len(stamp)] <= stamp]
    return earlier[-1] if earlier else None
