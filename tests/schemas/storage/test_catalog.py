"""The catalog against plain Python: append, upsert, delete, read, and DuckDB's view of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.records import Author, Picture, Title
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.layout import Layout
from schemas.storage.tables import TABLES, arrow_schema


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(Layout(tmp_path))


def picture(number: int, title: str = "t", status: str = "stored") -> Picture:
    return Picture(f"p{number}", title, "picture", "s", f"it's {number}.png", "1-1", status)


def test_a_catalog_that_does_not_exist_is_empty(catalog: Catalog) -> None:
    assert catalog.read("pictures").num_rows == 0
    assert catalog.version("pictures") is None
    assert catalog.read("pictures").num_rows == 0
    assert catalog.read("pictures").schema == arrow_schema("pictures")
    with catalog.connect() as connection:
        for name in TABLES:
            assert connection.execute(f"select count(*) from {name}").fetchone() == (0,)


def test_upsert_replaces_by_key_and_keeps_the_last_of_one_batch(catalog: Catalog) -> None:
    catalog.upsert("pictures", rows_of([picture(1), picture(2)]))
    catalog.upsert(
        "pictures", rows_of([picture(2, status="failed"), picture(3), picture(3, status="skipped")])
    )
    found = catalog.read("pictures", ["picture_id", "status"]).to_pylist()
    assert {row["picture_id"]: row["status"] for row in found} == {
        "p1": "stored",
        "p2": "failed",
        "p3": "skipped",
    }


def test_the_same_picture_in_two_titles_is_two_rows(catalog: Catalog) -> None:
    catalog.upsert("pictures", rows_of([picture(1, "a"), picture(1, "b")]))
    assert catalog.read("pictures").num_rows == 2


def test_nothing_to_write_commits_nothing(catalog: Catalog) -> None:
    catalog.upsert("pictures", [])
    assert not catalog.exists()
    catalog.upsert("pictures", rows_of([picture(1)]))
    version = catalog.version("pictures")
    catalog.upsert("pictures", [])
    assert catalog.version("pictures") == version


def test_nested_columns_and_unicode_round_trip(catalog: Catalog) -> None:
    title = Title(
        "naver:183559",
        "naver",
        "신의 탑 \u202b שלום 🐉",
        (Author("SIU", "painter"),),
        ("판타지",),
        year=2010,
    )
    catalog.upsert("titles", rows_of([title]))
    row = catalog.read("titles").to_pylist()[0]
    assert row["name"] == title.name
    assert row["authors"] == [{"name": "SIU", "role": "painter"}]
    with catalog.connect() as connection:
        sql = "select name, authors[1].name, genres from titles"
        assert connection.execute(sql).fetchone() == (title.name, "SIU", ["판타지"])


def test_delete_by_values(catalog: Catalog) -> None:
    catalog.upsert("pictures", rows_of([picture(n) for n in range(5)]))
    names = ["it's 1.png", "it's 2.png", "nobody's.png"]
    assert catalog.delete("pictures", "source_path", names) == 2
    assert catalog.read("pictures").num_rows == 3


def test_a_reader_keeps_its_version_while_a_writer_goes_on(catalog: Catalog) -> None:
    catalog.upsert("pictures", rows_of([picture(1)]))
    with catalog.connect() as connection:
        catalog.upsert("pictures", rows_of([picture(1, status="failed"), picture(2)]))
        assert connection.execute("select status from pictures").fetchall() == [("stored",)]
    assert catalog.read("pictures").num_rows == 2


def test_a_damaged_table_is_one_clear_line(catalog: Catalog) -> None:
    catalog.upsert("pictures", rows_of([picture(1)]))
    for log in (catalog.layout.table("pictures") / "_delta_log").glob("*.json"):
        log.write_text("{ not json")
    with pytest.raises(InputError) as caught:
        catalog.read("pictures")
    assert "pictures" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_data_file_is_one_clear_line(catalog: Catalog) -> None:
    catalog.upsert("pictures", rows_of([picture(1)]))
    for file in catalog.layout.table("pictures").glob("*.parquet"):
        file.unlink()
    with pytest.raises(InputError):
        catalog.read("pictures")


@pytest.mark.parametrize("name", ["my data", "웹툰 100%", "a#b?c", "quo'te"])
def test_odd_names_of_the_data_root(tmp_path: Path, name: str) -> None:
    catalog = Catalog(Layout(tmp_path / name))
    catalog.upsert("pictures", rows_of([picture(1)]))
    catalog.upsert("pictures", rows_of([picture(2)]), gone=[("p1", "t")])
    assert catalog.read("pictures", ["picture_id"]).to_pylist() == [{"picture_id": "p2"}]
    with catalog.connect() as connection:
        assert connection.execute("select picture_id from pictures").fetchall() == [("p2",)]
