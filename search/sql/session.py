"""One session of SQL as the operator: a snapshot, all views, similarity, and plain errors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from indexer.vector_index.generations import (
    Generation,
    current_generation_id,
    era_years_of,
    generation_ids,
)
from schemas.errors import InputError, NoIndexError, ToonsearchError, UsageError
from schemas.settings import Settings
from schemas.storage.layout import Layout
from schemas.storage.snapshot import Snapshot, all_views, create_views, describe_views
from search.sql.errors import explain
from search.sql.functions import Similarity, add_functions

if TYPE_CHECKING:
    import duckdb

    from search.engine import Engine

FETCH_ROWS = 10_000
T = TypeVar("T")


class Result:
    """The rows of one statement, to be read once."""

    def __init__(self, session: SqlSession, cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
        self.cursor, self._session, self._sql = cursor, session, sql
        self.columns = tuple(str(column[0]) for column in cursor.description or ())
        self.types = tuple(str(column[1]) for column in cursor.description or ())

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows.

        Errors:  InputError when the statement fails while it runs
        """
        part: list[tuple[Any, ...]] | None = None
        while part is None or part:
            with self._session.explaining(self._sql):
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
        self._abandon()
        for name in ("similar_pictures_list", "similar_titles_list", "mean_of_vectors"):
            self.connection.remove_function(name)
        self.connection.close()

    def __enter__(self) -> SqlSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, sql: str, parameters: Mapping[str, str] | None = None) -> Result | None:
        """Run the statements of a text; the result of the last one, None when it has none.

        Errors:  InputError points at what is wrong; UsageError for a parameter too many
        """
        given = dict(parameters or {})
        unused = set(given)
        self._abandon()
        with self.explaining(sql):
            statements = self.connection.extract_statements(sql)
            if not statements:
                raise InputError("there is no statement", "Try: toonsearch sql --schema")
            for statement in statements:
                values = {n: given[n] for n in statement.named_parameters if n in given}
                unused -= values.keys()
                cursor = _interruptible(
                    self.connection,
                    partial(self.connection.execute, statement, values or None),
                )
        if unused:
            name = sorted(unused)[0]
            raise UsageError(f"the statement has no parameter ${name}", f"Write ${name} in it.")
        return Result(self, cursor, sql) if cursor.description else None

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

    def _abandon(self) -> None:
        """Give up a result that was not read to its end: DuckDB would refuse other work."""
        import duckdb

        with contextlib.suppress(duckdb.Error, RuntimeError):
            self.connection.abort()

    def _failed(self, error: ToonsearchError) -> None:
        self._failure = error

    @cached_property
    def _similarity(self) -> Similarity:
        if self.snapshot.generation_id is None:
            raise NoIndexError("similar: there is no index", "Run `toonsearch index build`.")
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
    """A day (its end) or a moment, in UTC.

    >>> moment_of("2026-11-20").isoformat()
    '2026-11-20T23:59:59.999999+00:00'

    Errors:  UsageError when it is neither
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--as-of {text!r} is not a date", "Write 2026-11-20 or 2026-11-20T18:30."
        ) from None
    if len(text) <= 10:
        found += timedelta(days=1) - timedelta(microseconds=1)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _generation_of(layout: Layout, as_of: datetime | None) -> str | None:
    """The published generation, or the newest one that was built by then."""
    if as_of is None:
        return current_generation_id(layout)
    stamp = as_of.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")
    earlier = [name for name in generation_ids(layout) if name[1 : 1 + len(stamp)] <= stamp]
    return earlier[-1] if earlier else None
