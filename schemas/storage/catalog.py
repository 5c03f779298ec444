"""The catalog: Delta Lake tables that are only ever appended to, merged or deleted from.

A commit counts as done when it is synced and recorded (`commits.py`). Readers go through the
file list of one version of each table, so that a writer never blocks them.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from schemas.storage import commits
from schemas.storage.fsio import scratch_folder, storage_errors
from schemas.storage.layout import Layout
from schemas.storage.mirrors import bring_home, drop_mirror, plain_path
from schemas.storage.tables import TABLES, arrow_schema, quoted, table_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from deltalake import DeltaTable


BATCH_ROWS = 4096
_TIMES = {"titles": "crawled_at", "pictures": "fetched_at", "strips": "cut_at"}


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
        return self.version(table) is not None

    def version(self, table: str) -> int | None:
        """The table's current version, None while it has none."""
        return commits.newest_version(self.layout.table(table))

    def read(
        self, table: str, columns: Sequence[str] | None = None, version: int | None = None
    ) -> pa.Table:
        """All rows of a version, by default the current one; an empty table while there is none."""
        schema = arrow_schema(table)
        if columns is not None:
            import pyarrow as pa

            schema = pa.schema([schema.field(name) for name in columns])
        return commits.reading(self.layout.table(table), lambda: self._read(table, schema, version))

    def _read(self, table: str, schema: pa.Schema, version: int | None) -> pa.Table:
        import pyarrow.parquet as pq

        files = self.files(table, version)
        if not files:
            return schema.empty_table()
        try:
            found = pq.ParquetDataset(files).read(columns=schema.names)
        except (OSError, ValueError) as error:
            raise commits.damaged(self.layout.table(table), error) from error
        return found.select(schema.names).cast(schema)

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows of the current version, a part at a time, for a table that may not fit into
        memory; within `commits.reading`, or while no writer can come between.

        Errors:  InputError when a file cannot be read
        """
        import pyarrow.dataset as ds

        files, schema = self.files(table), arrow_schema(table)
        try:
            rows = ds.dataset(files, schema=schema, format="parquet") if files else None
            if rows is not None:
                yield from rows.to_batches(
                    columns and list(columns),
                    batch_size=BATCH_ROWS,
                    batch_readahead=0,  # what is read ahead of a million vectors is a gigabyte
                    fragment_readahead=0,
                    use_threads=False,
                )
        except (OSError, ValueError) as error:
            raise commits.damaged(self.layout.table(table), error) from error

    def append(self, table: str, rows: pa.Table | Sequence[dict[str, Any]]) -> None:
        """Commit rows that are known to be new."""
        data = self._arrow(table, rows)
        if data.num_rows:
            from deltalake import write_deltalake

            with committing(self.layout, table):
                write_deltalake(self._created(table), data, mode="append", **_writing())

    def upsert(
        self,
        table: str,
        rows: pa.Table | Sequence[dict[str, Any]],
        *,
        gone: Iterable[tuple[str, ...]] = (),
    ) -> None:
        """Commit rows by their key, in one commit: known keys are replaced, others added,
        and rows whose key is in `gone` (and not in `rows`) are deleted."""
        key = TABLES[table].key
        data = _last_of_each(self._arrow(table, rows), key)
        gone = set(gone) - set(zip(*(data[name].to_pylist() for name in key), strict=True))
        if not data.num_rows and (not gone or not self.exists(table)):
            return
        with committing(self.layout, table):
            target = self._created(table)
            if target.count() > 0:
                _merge(target, data, key, gone)
                return
        self.append(table, data)

    def delete(self, table: str, column: str, values: Iterable[str]) -> int:
        """Delete the rows whose text column has one of the values; returns how many."""
        wanted = sorted(set(values))
        if not wanted or not self.exists(table):
            return 0
        deleted = 0
        for start in range(0, len(wanted), 1000):  # keeps each predicate parseable
            listed = ", ".join(quoted(value) for value in wanted[start : start + 1000])
            with committing(self.layout, table):
                outcome = self.open(table).delete(f"{column} in ({listed})", **_writing())
            deleted += int(outcome.get("num_deleted_rows") or 0)
        return deleted

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with a view for each table, all as of this moment."""
        import duckdb

        connection = duckdb.connect(":memory:")
        for name in TABLES:
            connection.execute(f"create view {name} as {table_sql(name, self.files(name))}")
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
            directory = self.layout.table(table)
            commits.prepare(directory)
            DeltaTable.create(
                plain_path(directory),
                schema=arrow_schema(table),
                name=table,
                mode="ignore",
                **_no_hooks(),
            )
            bring_home(directory)
        return self.open(table)

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """A version of a table, by default the newest that is whole; its log and data files
        are verified."""
        from deltalake.exceptions import DeltaError

        directory = self.layout.table(table)
        try:
            return commits.reading(directory, lambda: _opened(directory, version))
        except (DeltaError, OSError, ValueError) as error:
            raise commits.damaged(directory, error) from error

    def files(self, table: str, version: int | None = None) -> list[str]:
        """Data files of a version, by default the current one, by paths that any library takes."""
        if not self.exists(table):
            return []
        names = data_files(self.open(table, version))
        return [str(plain_path(self.layout.table(table)) / name) for name in names]


def _opened(directory: Path, version: int | None) -> DeltaTable:
    from deltalake import DeltaTable

    newest = commits.newest_version(directory) if version is None else version
    commits.verify(directory, commits.log_files(directory))
    table = DeltaTable(plain_path(directory), version=newest)
    commits.verify(directory, data_files(table))
    return table


def data_files(table: DeltaTable) -> list[str]:
    """Names of the data files; the library gives URIs, in which a space is %20."""
    return [unquote(uri.rpartition("/")[2]) for uri in table.file_uris()]


@contextlib.contextmanager
def committing(layout: Layout, table: str) -> Iterator[None]:
    """Record what is committed inside; after a failure, what was committed before stays.

    Errors:  StorageError
    """
    from deltalake.exceptions import DeltaError

    directory = layout.table(table)
    with storage_errors(f"the catalog table {table!r}", DeltaError):
        try:
            yield
            bring_home(directory)
        except BaseException:
            drop_mirror(directory)
            raise
        version = commits.newest_version(directory)
        if version is not None:
            commits.record_commit(directory, version)


def _merge(
    target: DeltaTable, data: pa.Table, key: Sequence[str], gone: set[tuple[str, ...]]
) -> None:
    """One commit that replaces, adds and deletes rows by their key."""
    import pyarrow as pa

    names = data.schema.names
    flags = [False] * data.num_rows + [True] * len(gone)
    if gone:
        rows = [dict(zip(key, values, strict=True)) for values in sorted(gone)]
        data = pa.concat_tables([data, pa.Table.from_pylist(rows, schema=data.schema)])
    data = data.append_column("gone", pa.array(flags, pa.bool_()))
    columns = {name: f"s.{name}" for name in names}
    merge = target.merge(
        data,
        predicate=" and ".join(f"t.{name} = s.{name}" for name in key),
        source_alias="s",
        target_alias="t",
        **_writing(),
    )
    if gone:
        merge = merge.when_matched_delete(predicate="s.gone")
    merge = merge.when_matched_update(columns, predicate="not s.gone")
    merge.when_not_matched_insert(columns, predicate="not s.gone").execute()


def _no_hooks() -> dict[str, Any]:
    """Checkpoints are made by `maintain`, which syncs them before anything older goes."""
    from deltalake import PostCommitHookProperties

    hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
    return {"post_commithook_properties": hooks}


def _writing() -> dict[str, Any]:
    from deltalake import WriterProperties

    return {"writer_properties": WriterProperties(compression="ZSTD"), **_no_hooks()}


def _last_of_each(data: pa.Table, key: Sequence[str]) -> pa.Table:
    """The last row of each key: a merge source must not name one key twice."""
    keys = zip(*(data[name].to_pylist() for name in key), strict=True)
    last = {values: row for row, values in enumerate(keys)}
    return data if len(last) == data.num_rows else data.take(sorted(last.values()))


# --- Keeping the tables tidy: few files, a checkpoint, and nothing left of what was deleted.

KEEP_HOURS = 7 * 24
"""Removed files stay this long for readers that opened an older version."""
MANY_FILES = 16
MANY_ENTRIES = 30


def maintain(layout: Layout, *, keep_history: bool = True) -> list[str]:
    """Compact tables of many small files, remove files that no version needs any more, and
    shorten the log. Without `keep_history` nothing stays but the rows of now: deleted ones
    are neither in data files nor in the log. Needs the data root's lock.

    Returns the tables that were worked on. Errors:  InputError when the disk refuses
    """
    catalog = Catalog(layout)
    done = []
    for name in TABLES:
        if not catalog.exists(name):
            continue
        directory = layout.table(name)
        files = len(catalog.files(name))
        if keep_history and files < MANY_FILES and len(commits.versions(directory)) < MANY_ENTRIES:
            continue
        if files >= MANY_FILES or (not keep_history and files > 1):
            with committing(layout, name):
                catalog.open(name).optimize.compact(**_no_hooks())
        vacuum = partial(
            catalog.open(name).vacuum,
            retention_hours=KEEP_HOURS if keep_history else 0,
            enforce_retention_duration=False,
            **_no_hooks(),
        )
        # Files that are gone already are listed for ever, and each vacuum makes new versions.
        if any((directory / file).exists() for file in vacuum(dry_run=True)):
            with committing(layout, name):
                vacuum(dry_run=False)
        with scratch_folder(layout.staging / f"log-{name}") as aside, committing(layout, name):
            commits.checkpoint(directory, catalog.version(name) or 0, aside)
        done.append(name)
    return done
