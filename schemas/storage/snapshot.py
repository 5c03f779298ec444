"""Snapshots: one version of each table, all of the same instant, without locks.

Versions are read twice: when nothing was committed in between, they belong together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import InputError
from schemas.records import DECADE, era_sql
from schemas.storage import commits
from schemas.storage.catalog import Catalog, data_files
from schemas.storage.layout import Layout
from schemas.storage.mirrors import plain_path
from schemas.storage.tables import TABLES, quoted, table_sql

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

ATTEMPTS = 5


# --- The documented views: the tables, and those of `views.sql`.

_HEAD = re.compile(r"^-- view: (\w+)$", re.MULTILINE)
_COLUMN = re.compile(r"-- (\w+): (.+)")


@dataclass(frozen=True)
class View:
    """A view: its columns with their comments, in order."""

    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    sql: str = ""


@cache
def ready_views() -> dict[str, View]:
    """The views of `views.sql`, in the order in which they can be created."""
    text = (Path(__file__).parent.parent / "views.sql").read_text("utf-8")
    _, *parts = _HEAD.split(text)  # name, text, name, text, ...
    return {name: _view(name, part) for name, part in zip(parts[::2], parts[1::2], strict=True)}


def _view(name: str, text: str) -> View:
    lines = text.strip().splitlines()
    comments = [line for line in lines if line.startswith("-- ")]
    columns = tuple((found[1], found[2]) for found in map(_COLUMN.fullmatch, comments) if found)
    about = " ".join(line[3:] for line in comments if not _COLUMN.fullmatch(line))
    sql = "\n".join(line for line in lines if not line.startswith("--"))
    return View(name, about, columns, sql.strip().rstrip(";"))


SNAPSHOT_VIEW = View(
    "snapshot",
    "The version of each table that this session reads, and the index that `similar` asks.",
    (
        ("name", "a table, or index"),
        ("version", "version of the table, or id of the index generation"),
        ("committed_at", "when it was written (UTC)"),
    ),
)


@cache
def all_views() -> dict[str, View]:
    """Tables first, then the ready-made views."""
    tables = {
        name: View(name, spec.comment, tuple((c.name, c.comment) for c in spec.columns))
        for name, spec in TABLES.items()
    }
    return {**tables, SNAPSHOT_VIEW.name: SNAPSHOT_VIEW, **ready_views()}


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
    folder: str | None = None,
    public: bool = False,
) -> None:
    """Create every documented view, without comments (see `describe_views`).

    `folder` is where the connection finds the tables, by default where they lie; `public`
    hides where on this machine a picture came from.
    """
    connection.execute("set timezone = 'UTC'")
    for name, table in snapshot.tables.items():
        if folder is None:
            place = plain_path(snapshot.layout.table(name)) if table.files else Path()
            files = [str(place / Path(file).name) for file in table.files]
        else:
            files = [f"{folder}{file}" for file in table.files]
        connection.execute(f"create view {name} as {table_sql(name, files, public)}")
    connection.execute(f"create view {SNAPSHOT_VIEW.name} as {_snapshot_sql(snapshot)}")
    # What the views call for the label of a year.
    connection.execute(f"create macro era_of(y) as {era_sql('y', snapshot.era_years)}")
    for name, view in ready_views().items():
        connection.execute(f"create view {name} as {view.sql}")


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
    rows = ["(null::varchar, null::varchar, null::timestamp)"]
    for name, table in snapshot.tables.items():
        if table.version is not None:
            time = table.committed_at and table.committed_at.astimezone(UTC).replace(tzinfo=None)
            moment = quoted(str(time)) if time else "null"
            rows.append(f"({quoted(name)}, {quoted(str(table.version))}, {moment}::timestamp)")
    if snapshot.generation_id is not None:
        rows.append(f"('index', {quoted(snapshot.generation_id)}, null)")
    values = ", ".join(rows)
    return f"select * from (values {values}) v(name, version, committed_at) where name is not null"


def _versions(layout: Layout, as_of: datetime | None) -> dict[str, TableVersion]:
    return {
        name: commits.reading(layout.table(name), partial(_version, layout, name, as_of))
        for name in TABLES
    }


def _version(layout: Layout, name: str, as_of: datetime | None) -> TableVersion:
    from deltalake.exceptions import DeltaError

    catalog = Catalog(layout)
    if not catalog.exists(name):
        return TableVersion()
    table = catalog.open(name)
    times = _commit_times(table)
    if as_of is not None:
        earlier = [version for version, moment in times.items() if moment <= as_of]
        if not earlier:
            return TableVersion()
        try:
            table.load_as_version(max(earlier))
        except (DeltaError, OSError, ValueError) as error:
            raise _cleared(name, as_of) from error
    names = sorted(data_files(table))
    if as_of is not None:
        if not all((layout.table(name) / file).exists() for file in names):
            raise _cleared(name, as_of)
        commits.verify(layout.table(name), names)
    version = table.version()
    return TableVersion(version, times.get(version), tuple(f"{name}/{file}" for file in names))


def _cleared(name: str, as_of: datetime) -> InputError:
    return InputError(
        f"the table {name!r} as of {as_of:%Y-%m-%d} was cleared away", "Ask about a later day."
    )


def _commit_times(table: DeltaTable) -> dict[int, datetime]:
    """When each version that the log still knows was written."""
    return {
        int(entry["version"]): datetime.fromtimestamp(entry["timestamp"] / 1000.0, UTC)
        for entry in table.history()
        if "timestamp" in entry
    }


def _first_commit(layout: Layout) -> str:
    catalog = Catalog(layout)
    tables = [catalog.open(name) for name in TABLES if catalog.exists(name)]
    moments = [moment for table in tables for moment in _commit_times(table).values()]
    if not moments:
        return "It is empty: bring pictures in with `toonsearch import`."
    return f"Its first version is of {min(moments):%Y-%m-%d %H:%M} UTC."
