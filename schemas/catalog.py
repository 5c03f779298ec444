"""The catalog: Delta Lake tables that are only ever appended to, merged or deleted from.

Writers commit through `deltalake`; a killed commit is one that did not happen. Readers go
through DuckDB over the file list of one version of each table, so that a writer never
blocks them, and no DuckDB file holds anything.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from schemas.durable import storage_error
from schemas.errors import InputError, ToonsearchError
from schemas.layout import Layout
from schemas.tables import TABLES, arrow_schema

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from deltalake import DeltaTable

_TIMES = {"titles": "crawled_at", "pictures": "fetched_at"}


def rows_of(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Records (dataclass instances) as plain rows for `append` and `upsert`."""
    return [dataclasses.asdict(record) for record in records]


class Catalog:
    """The tables under one data root. Cheap to make; nothing is opened until used.

    Errors:  InputError when a table cannot be read
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def exists(self, table: str = "pictures") -> bool:
        return (self.layout.table(table) / "_delta_log").is_dir()

    def version(self, table: str) -> int | None:
        """The table's current version, None while it has none."""
        return self._open(table).version() if self.exists(table) else None

    def count(self, table: str) -> int:
        """Rows of the current version."""
        return self._open(table).count() if self.exists(table) else 0

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of the current version; an empty table while there is none."""
        import pyarrow.parquet as pq

        schema = arrow_schema(table)
        if columns is not None:
            import pyarrow as pa

            schema = pa.schema([schema.field(name) for name in columns])
        files = self._files(table)
        if not files:
            return schema.empty_table()
        try:
            found = pq.ParquetDataset(files).read(columns=schema.names)
        except (OSError, ValueError) as error:
            raise _damaged(table, error) from error
        return found.select(schema.names).cast(schema)

    def append(self, table: str, rows: pa.Table | Sequence[dict[str, Any]]) -> None:
        """Commit rows that are known to be new."""
        data = self._arrow(table, rows)
        if data.num_rows:
            from deltalake import WriterProperties, write_deltalake

            with _committing(table):
                write_deltalake(
                    self._created(table),
                    data,
                    mode="append",
                    writer_properties=WriterProperties(compression="ZSTD"),
                )

    def upsert(self, table: str, rows: pa.Table | Sequence[dict[str, Any]]) -> None:
        """Commit rows by their key: known keys are replaced, others added, in one commit."""
        data = self._arrow(table, rows)
        if not data.num_rows:
            return
        key = TABLES[table].key
        data = _last_of_each(data, key)
        with _committing(table):
            target = self._created(table)
            if target.count() > 0:
                predicate = " and ".join(f"t.{name} = s.{name}" for name in key)
                merge = target.merge(data, predicate=predicate, source_alias="s", target_alias="t")
                merge.when_matched_update_all().when_not_matched_insert_all().execute()
                return
        self.append(table, data)

    def delete(
        self,
        table: str,
        column: str,
        values: Iterable[str],
        *,
        also: dict[str, str] | None = None,
        before: tuple[str, datetime] | None = None,
    ) -> int:
        """Delete the rows whose text column has one of the values; returns how many.

        `also` narrows by other text columns, `before` by a time column.
        """
        wanted = sorted(set(values))
        if not wanted or not self.exists(table):
            return 0
        narrowed = [f"{name} = {_quoted(value)}" for name, value in (also or {}).items()]
        if before is not None:
            moment = before[1].astimezone(UTC).isoformat()
            narrowed.append(
                f"{before[0]} < arrow_cast('{moment}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
            )
        deleted = 0
        for start in range(0, len(wanted), 1000):  # keeps each predicate parseable
            listed = ", ".join(_quoted(value) for value in wanted[start : start + 1000])
            predicate = " and ".join([f"{column} in ({listed})", *narrowed])
            with _committing(table):
                outcome = self._open(table).delete(predicate)
            deleted += int(outcome.get("num_deleted_rows") or 0)
        return deleted

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with a view for each table, all as of this moment."""
        import duckdb

        connection = duckdb.connect(":memory:")
        for name in TABLES:
            files = self._files(name)
            if files:
                listed = ", ".join(_quoted(file) for file in files)
                columns = ", ".join(arrow_schema(name).names)
                connection.execute(
                    f"create view {name} as select {columns} from read_parquet([{listed}])"
                )
            else:
                connection.register(f"{name}_empty", arrow_schema(name).empty_table())
                connection.execute(f"create view {name} as from {name}_empty")
        return connection

    def _arrow(self, table: str, rows: pa.Table | Sequence[dict[str, Any]]) -> pa.Table:
        import pyarrow as pa

        schema = arrow_schema(table)
        if isinstance(rows, pa.Table):
            return rows.select(schema.names).cast(schema)
        stamp = _TIMES.get(table)
        if stamp is not None:
            now = datetime.now(UTC)
            rows = [{stamp: now, **row} for row in rows]
        return pa.Table.from_pylist(list(rows), schema=schema)

    def _created(self, table: str) -> DeltaTable:
        from deltalake import DeltaTable

        if not self.exists(table):
            DeltaTable.create(
                self.layout.table(table), schema=arrow_schema(table), name=table, mode="ignore"
            )
        return self._open(table)

    def _open(self, table: str) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            return DeltaTable(self.layout.table(table))
        except (DeltaError, OSError, ValueError) as error:
            raise _damaged(table, error) from error

    def _files(self, table: str) -> list[str]:
        return list(self._open(table).file_uris()) if self.exists(table) else []


@contextlib.contextmanager
def _committing(table: str) -> Iterator[None]:
    """Turn a failed commit into one clear line; what was committed before stays."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, OSError) as error:
        raise storage_error(error, f"the catalog table {table!r}") from error


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _damaged(table: str, error: Exception) -> ToonsearchError:
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"the catalog table {table!r} cannot be read ({line})",
        "`toonsearch doctor` says what is wrong.",
    )


def _last_of_each(data: pa.Table, key: Sequence[str]) -> pa.Table:
    """Keep the last row of each key: a merge source must not name one key twice."""
    seen: dict[tuple[Any, ...], int] = {}
    for row, values in enumerate(zip(*(data[name].to_pylist() for name in key), strict=True)):
        seen[values] = row
    return data if len(seen) == data.num_rows else data.take(sorted(seen.values()))
