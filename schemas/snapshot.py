"""One consistent state of the whole catalog, for readers that ask more than once.

A snapshot pins one version of each table. Versions are read twice: when nothing was
committed in between, they all held at the same instant, so a reader never sees vectors of
pictures that it does not know. Writers are not blocked and do not block.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from schemas import commits
from schemas.catalog import Catalog
from schemas.eras import DECADE, era_sql
from schemas.errors import InputError
from schemas.layout import Layout
from schemas.seals import prove
from schemas.tables import TABLES
from schemas.views import SNAPSHOT_VIEW, all_views, quoted, ready_views, table_sql

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

ATTEMPTS = 5


@dataclass(frozen=True)
class TableVersion:
    """One version of a table: its Parquet files, relative to `Layout.tables`.

    `version` is None while the table does not exist (or did not yet).
    """

    version: int | None = None
    committed_at: datetime | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """A version of every table, the index generation to ask beside it, and how many years an
    era has there."""

    layout: Layout
    tables: dict[str, TableVersion]
    generation_id: str | None = None
    as_of: datetime | None = None
    era_years: int = DECADE

    @classmethod
    def take(
        cls,
        layout: Layout,
        *,
        as_of: datetime | None = None,
        generation_id: str | None = None,
        era_years: int = DECADE,
    ) -> Snapshot:
        """Pin the current versions, or those of an earlier moment.

        Errors:  InputError when a table cannot be read, or nothing existed at that moment
        """
        versions = _versions(layout, as_of)
        for _ in range(ATTEMPTS):
            again = _versions(layout, as_of)
            if again == versions:
                break
            versions = again
        if as_of is not None and all(v.version is None for v in versions.values()):
            raise InputError(
                f"the catalog did not exist on {as_of:%Y-%m-%d %H:%M} UTC", _first_commit(layout)
            )
        return cls(layout, versions, generation_id, as_of, era_years)

    def key(self) -> str:
        """The versions as one short text: equal keys mean equal tables."""
        return "-".join(f"{name[:4]}{self.tables[name].version}" for name in sorted(self.tables))

    @property
    def files(self) -> list[str]:
        """All files, relative to `Layout.tables`."""
        return [file for table in self.tables.values() for file in table.files]


def create_views(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    *,
    folder: str,
    kept: dict[str, str] | None = None,
    public: bool = False,
) -> None:
    """Create every documented view, without comments (see `describe_views`).

    `folder` is put before each file of the tables; `kept` maps views to the Parquet file
    that holds their result; `public` hides where on this machine a picture came from.
    """
    for name, table in snapshot.tables.items():
        files = tuple(f"{folder}{file}" for file in table.files)
        connection.execute(f"create view {name} as {table_sql(name, files, public)}")
    connection.execute(f"create view {SNAPSHOT_VIEW.name} as {_snapshot_sql(snapshot)}")
    # What the views call for the label of a year.
    connection.execute(f"create macro era_of(y) as {era_sql('y', snapshot.era_years)}")
    for name, view in ready_views().items():
        file = (kept or {}).get(name)
        sql = view.sql if file is None else f"from read_parquet([{quoted(file)}])"
        connection.execute(f"create view {name} as {sql}")


def describe_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Put the comments of views and columns into DuckDB's own catalog."""
    statements = []
    for view in all_views().values():
        statements.append(f"comment on view {view.name} is {quoted(view.comment)}")
        statements += [
            f'comment on column {view.name}."{column}" is {quoted(comment)}'
            for column, comment in view.columns
        ]
    connection.execute(";".join(statements))


def _snapshot_sql(snapshot: Snapshot) -> str:
    rows = [
        f"({quoted(name)}, {quoted(str(t.version))}, {_time(t.committed_at)})"
        for name, t in snapshot.tables.items()
        if t.version is not None
    ]
    if snapshot.generation_id is not None:
        rows.append(f"('index', {quoted(snapshot.generation_id)}, null)")
    if not rows:
        return (
            "select null::varchar as name, null::varchar as version,"
            " null::timestamp as committed_at where false"
        )
    return f"select * from (values {', '.join(rows)}) v(name, version, committed_at)"


def _time(moment: datetime | None) -> str:
    if moment is None:
        return "null::timestamp"
    return f"timestamp {quoted(moment.astimezone(UTC).strftime('%Y-%m-%d %H:%M:%S.%f'))}"


def _versions(layout: Layout, as_of: datetime | None) -> dict[str, TableVersion]:
    return {
        name: commits.reading(layout.table(name), partial(_version, layout, name, as_of))
        for name in TABLES
    }


def _version(layout: Layout, name: str, as_of: datetime | None) -> TableVersion:
    table = _opened(layout, name)
    if table is None:
        return TableVersion()
    times = _commit_times(table)
    if as_of is not None:
        earlier = [version for version, moment in times.items() if moment <= as_of]
        if not earlier:
            return TableVersion()
        _load(table, name, max(earlier))
    root = layout.tables
    files = tuple(sorted(_relative(uri, root) for uri in table.file_uris()))
    missing = [file for file in files if as_of is not None and not (root / file).exists()]
    if missing:
        raise InputError(
            f"the table {name!r} as of {as_of:%Y-%m-%d} was cleared away",
            "Ask about a later day.",
        )
    if as_of is not None:
        prove(layout.table(name), (Path(file).name for file in files))
    version = table.version()
    return TableVersion(version, times.get(version), files)


def _opened(layout: Layout, name: str) -> DeltaTable | None:
    catalog = Catalog(layout)
    return catalog.open(name) if catalog.exists(name) else None


def _load(table: DeltaTable, name: str, version: int) -> None:
    from deltalake.exceptions import DeltaError

    try:
        table.load_as_version(version)
    except (DeltaError, OSError, ValueError) as error:
        raise InputError(
            f"version {version} of the table {name!r} cannot be read any more",
            "Ask about a later day.",
        ) from error


def _commit_times(table: DeltaTable) -> dict[int, datetime]:
    """When each version that the log still knows was written."""
    return {
        int(entry["version"]): datetime.fromtimestamp(entry["timestamp"] / 1000.0, UTC)
        for entry in table.history()
        if "timestamp" in entry
    }


def _relative(uri: str, root: Path) -> str:
    """A file as `table/part.parquet`; Delta tells absolute paths, spelt as in URIs."""
    path = unquote(uri.removeprefix("file://"))
    return os.path.relpath(path, root)


def _first_commit(layout: Layout) -> str:
    moments = [
        moment
        for name in TABLES
        if (table := _opened(layout, name)) is not None
        for moment in _commit_times(table).values()
    ]
    if not moments:
        return "It is empty: bring pictures in with `toonsearch import`."
    return f"Its first version is of {min(moments):%Y-%m-%d %H:%M} UTC."
