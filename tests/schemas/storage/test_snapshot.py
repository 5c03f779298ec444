"""A snapshot holds still while others write, and can be of an earlier day."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.records import Title
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.layout import Layout
from schemas.storage.snapshot import Snapshot, all_views, create_views, describe_views, ready_views
from schemas.storage.tables import TABLES


def titles(layout: Layout, snapshot: Snapshot) -> list[str]:
    import duckdb

    with duckdb.connect() as connection:
        create_views(connection, snapshot, folder=f"{layout.tables}/")
        rows = connection.execute("select name from titles order by 1").fetchall()
    return [row[0] for row in rows]


def test_holds_still_while_others_write(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    catalog = Catalog(layout)
    catalog.upsert("titles", rows_of([Title("a:1", "a", "One")]))
    before = Snapshot.take(layout)
    catalog.upsert("titles", rows_of([Title("a:1", "a", "Uno"), Title("a:2", "a", "Two")]))
    after = Snapshot.take(layout)
    assert titles(layout, before) == ["One"]
    assert titles(layout, after) == ["Two", "Uno"]
    assert before.key() != after.key()
    assert after.key() == Snapshot.take(layout).key()


def test_an_earlier_day(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    Catalog(layout).upsert("titles", rows_of([Title("a:1", "a", "One")]))
    time.sleep(0.05)
    between = datetime.now(UTC)
    time.sleep(0.05)
    Catalog(layout).upsert("titles", rows_of([Title("a:2", "a", "Two")]))
    assert titles(layout, Snapshot.take(layout, as_of=between)) == ["One"]
    with pytest.raises(InputError, match="did not exist"):
        Snapshot.take(layout, as_of=between - timedelta(days=1))


def test_an_empty_catalog_has_every_view(tmp_path: Path) -> None:
    import duckdb

    layout = Layout(tmp_path)
    with duckdb.connect() as connection:
        create_views(connection, Snapshot.take(layout), folder=f"{layout.tables}/")
        for name in all_views():
            assert connection.execute(f"from {name}").fetchall() == [], name


def test_every_column_of_every_view_is_described(tmp_path: Path) -> None:
    import duckdb

    layout = Layout(tmp_path)
    with duckdb.connect() as connection:
        create_views(connection, Snapshot.take(layout), folder=f"{layout.tables}/")
        describe_views(connection)
        for name, view in all_views().items():
            found = connection.execute(
                "select column_name, comment from duckdb_columns() where table_name = ?"
                " order by column_index", [name]
            ).fetchall()  # fmt: skip
            assert found == [tuple(column) for column in view.columns], name
            assert view.comment, name
    assert set(TABLES) <= set(all_views())
    assert ready_views()
