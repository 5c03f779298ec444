"""One session of SQL as the operator: a snapshot, all views, similarity, and plain errors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from indexer.vector_index.generations import (
    Generation,
    current_generation_id,
    era_years_of,
    generation_ids,
)
from indexer.vector_index.search import Question
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


@dataclass
class Result:
    """The rows of one statement, to be read once."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    cursor: duckdb.DuckDBPyConnection
    fetch: Callable[[int], list[tuple[Any, ...]]]
    explained: Callable[[Exception], ToonsearchError]

    def rows(self, most: int | None = None) -> Iterator[tuple[Any, ...]]:
        """All rows, or the first ones.

        Errors:  InputError when the statement fails while it runs
        """
        import duckdb

        left = most
        while left is None or left > 0:
            try:
                part = self.fetch(FETCH_ROWS if left is None else min(left, FETCH_ROWS))
            except (duckdb.Error, RuntimeError) as error:
                raise self.explained(error) from error
            if not part:
                return
            yield from part
            if left is not None:
                left -= len(part)


class SqlSession:
    """A connection over one snapshot; everything that it answers is of that one state."""

    def __init__(
        self, layout: Layout, settings: Settings, *, as_of: datetime | None = None
    ) -> None:
        import duckdb

        self.layout, self.settings = layout, settings
        generation_id = _generation_of(layout, as_of)
        self.snapshot = Snapshot.take(
            layout, as_of=as_of, generation_id=generation_id,
            era_years=era_years_of(layout, generation_id),
        )  # fmt: skip
        self.connection = duckdb.connect(":memory:")
        self.failure: ToonsearchError | None = None
        self._engine: Engine | None = None
        self._similarity: Similarity | None = None
        create_views(self.connection, self.snapshot)
        add_functions(self.connection, self._ask_index, self._failed)

    def close(self) -> None:
        """Let go of the index and the connection."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        elif self._similarity is not None:
            self._similarity.generation.close()
        self._similarity = None
        self._let_go()
        for name in ("similar_pictures_list", "similar_titles_list", "mean_of_vectors"):
            self.connection.remove_function(name)
        self.connection.close()

    def __enter__(self) -> SqlSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, sql: str, parameters: Mapping[str, str] | None = None) -> Result | None:
        """Run the statements of a text; the result of the last one, None when it has none.

        Errors:  InputError points at what is wrong
        """
        import duckdb

        self.failure = None
        self._let_go()
        try:
            statements = self.connection.extract_statements(sql)
            if not statements:
                raise InputError("there is no statement", "Try: toonsearch sql --schema")
            unused = set(parameters or {})
            for statement in statements:
                wanted = set(statement.named_parameters)
                unused -= wanted
                values = {n: v for n, v in (parameters or {}).items() if n in wanted}
                cursor = self._stoppable(
                    partial(self.connection.execute, statement, values or None)
                )
            if unused:
                name = sorted(unused)[0]
                raise UsageError(f"the statement has no parameter ${name}", f"Write ${name} in it.")
        except (duckdb.Error, RuntimeError, ValueError, TypeError) as error:
            raise explain(error, sql, self.failure) from error
        described = cursor.description or []
        if not described:
            return None
        return Result(
            tuple(str(column[0]) for column in described),
            tuple(str(column[1]) for column in described),
            cursor,
            lambda count: self._stoppable(lambda: cursor.fetchmany(count)),
            lambda error: explain(error, sql, self.failure),
        )

    def schema(self) -> list[tuple[str, str, str, str]]:
        """(view, column, type, comment) of everything that can be asked about."""
        describe_views(self.connection)
        types = {
            (view, column): kind
            for view, column, kind in self.connection.execute(
                "select table_name, column_name, data_type from duckdb_columns()"
            ).fetchall()
        }
        return [
            (view.name, column, str(types.get((view.name, column), "")), comment)
            for view in all_views().values()
            for column, comment in view.columns
        ]

    def _stoppable(self, work: Callable[[], T]) -> T:
        """Run a call into DuckDB that Ctrl-C can stop: inside it, no signal is looked at."""
        if threading.current_thread() is not threading.main_thread():
            return work()
        with ThreadPoolExecutor(1, "sql") as pool:
            future = pool.submit(work)
            try:
                while True:
                    try:
                        return future.result(timeout=0.2)
                    except TimeoutError:
                        if future.done():  # the work itself timed out
                            raise
            except KeyboardInterrupt:
                while not future.done():  # once may be too early to be noticed
                    self.connection.interrupt()
                    wait([future], timeout=0.2)
                raise

    def _let_go(self) -> None:
        """Give up a result that was not read to its end: DuckDB would refuse other work."""
        import duckdb

        with contextlib.suppress(duckdb.Error, RuntimeError):
            self.connection.abort()

    def _failed(self, error: ToonsearchError) -> None:
        self.failure = error

    def _ask_index(self) -> Similarity:
        if self._similarity is None:
            if self.snapshot.generation_id is None:
                raise NoIndexError("similar: there is no index", "Run `toonsearch index build`.")
            generation = Generation.open(self.layout, self.snapshot.generation_id)
            self._similarity = Similarity(generation, self._question_of_file)
        return self._similarity

    def _question_of_file(self, name: str) -> Question:
        """What a picture file asks, through the same path as `toonsearch query`."""
        from search.engine import Engine
        from search.inputs import read_picture

        if self._engine is None:
            self._engine = Engine.open(self.layout, self.settings, self.snapshot.generation_id)
            if self._similarity is not None:
                self._similarity.generation.close()
                self._similarity.generation = self._engine.generation
        return self._engine.question_of([read_picture(name, self.settings.decode.limits)])


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
