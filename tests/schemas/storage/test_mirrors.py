"""Tables in folders with names that no library takes."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.errors import InputError, StorageError
from schemas.records import Title
from schemas.storage import catalog as tables
from schemas.storage import mirrors
from schemas.storage.catalog import Catalog, maintain, rows_of
from schemas.storage.layout import Layout
from schemas.storage.mirrors import utf8_path
from schemas.storage.snapshot import Snapshot, create_views

NAMES = [
    b"a[1]",
    b"x|y",
    b"c^d",
    b"e%20f",
    b"g\\h",
    b"tab\there",
    b"two\nlines",
    b"*?",
    b"\xb1\xff",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_table_lives_in_a_folder_of_any_name(
    tmp_path: Path, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MANY_FILES", 2)
    layout = Layout(tmp_path / os.fsdecode(name))
    catalog = Catalog(layout)
    for number in range(3):
        catalog.append("titles", rows_of([Title(f"a:{number}", "a", f"T{number}")]))
    catalog.upsert("titles", rows_of([Title("a:1", "a", "New")]), gone=[("a:2",)])
    assert catalog.delete("titles", "title_id", ["a:0"]) == 1
    assert maintain(layout, keep_history=False) == ["titles"]
    assert catalog.read("titles", ["name"]).to_pylist() == [{"name": "New"}]

    import duckdb

    with duckdb.connect() as connection:
        create_views(connection, Snapshot.take(layout))
        assert connection.execute("select name from titles").fetchall() == [("New",)]
    folder = layout.table("titles")
    assert len(list(folder.glob("*.parquet"))) == 1, "what was cleared away is gone from the table"
    for path in folder.rglob("*"):
        assert not path.is_symlink() and not path.name.endswith(".tmp"), path
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("inner", ["", mirrors.LOG])
def test_a_commit_that_failed_does_not_come_with_the_next(
    tmp_path: Path, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "a[1]")
    catalog = Catalog(layout)
    catalog.append("titles", rows_of([Title("a:1", "a", "one")]))

    def full(source: Path, target: Path) -> None:
        if target.parent.name == (inner or "titles"):
            target.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        shutil.copyfile(source, target)

    with monkeypatch.context() as broken, pytest.raises(StorageError, match="full"):
        broken.setattr(mirrors, "shutil", SimpleNamespace(copyfile=full, rmtree=shutil.rmtree))
        catalog.append("titles", rows_of([Title("a:2", "a", "two")]))
    catalog.append("titles", rows_of([Title("a:3", "a", "three")]))
    assert {row["name"] for row in catalog.read("titles").to_pylist()} == {"one", "three"}
    assert not list(layout.root.rglob("*.tmp"))


def test_files_of_a_table_beside_one_of_a_similar_name_are_not_read(tmp_path: Path) -> None:
    for name in ("data[1]", "data1", "data*"):
        Catalog(Layout(tmp_path / name)).append("titles", rows_of([Title("a:1", "a", name)]))
    for name in ("data[1]", "data1", "data*"):
        with Catalog(Layout(tmp_path / name)).connect() as connection:
            assert connection.execute("select name from titles").fetchall() == [(name,)]


def test_paths_for_libraries_that_want_utf8(tmp_path: Path) -> None:
    assert utf8_path(tmp_path / "웹툰") == tmp_path / "웹툰"
    odd = tmp_path / os.fsdecode(b"\xb1\xff")
    odd.mkdir()
    str(utf8_path(odd / "new")).encode()
    utf8_path(odd / "new").write_text("x")
    assert (odd / "new").read_text() == "x"


def test_a_temporary_folder_that_will_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="tmp[1]", dir=tmp_path) as folder:
        monkeypatch.setattr(mirrors, "_mirrors", lambda: SimpleNamespace(name=folder))
        with pytest.raises(InputError, match="TMPDIR"):
            Catalog(Layout(tmp_path / "a|b")).append("titles", rows_of([Title("a:1", "a", "x")]))
