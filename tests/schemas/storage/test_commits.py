"""Recorded commits: what a torn one means before and after it was acknowledged."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.records import Picture
from schemas.storage import commits
from schemas.storage.catalog import Catalog, maintain, rows_of
from schemas.storage.layout import Layout
from schemas.storage.locking import writing
from schemas.storage.snapshot import Snapshot


def picture(number: int) -> Picture:
    return Picture(f"p{number}", "t", "picture", "s", f"{number}.png", "1-1", "stored")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "root")
    for number in range(3):
        Catalog(layout).append("pictures", rows_of([picture(number)]))
    return layout


def ids(layout: Layout) -> list[str]:
    return sorted(Catalog(layout).read("pictures", ["picture_id"])["picture_id"].to_pylist())


def last_entry(table: Path) -> Path:
    return sorted((table / "_delta_log").glob("*.json"))[-1]


def forget_last(table: Path) -> None:
    """As if the power was cut before the last commit was recorded."""
    found = commits.read_checksums(table)
    assert found is not None
    entry = json.loads(last_entry(table).read_text().splitlines()[-1])
    files = {name: digest for name, digest in found.files.items()
             if name not in (f"_delta_log/{last_entry(table).name}", entry["add"]["path"])}  # fmt: skip
    commits.write_checksums(table, commits.TableChecksums(found.version - 1, files))


@pytest.mark.parametrize(
    "damage", ["empty log", "torn log", "empty data", "zeroed data", "short", "gone"]
)
def test_an_unrecorded_torn_commit_never_happened(layout: Layout, damage: str) -> None:
    table = layout.table("pictures")
    entry = last_entry(table)
    added = [json.loads(line) for line in entry.read_text().splitlines()]
    data = table / next(line["add"]["path"] for line in added if "add" in line)
    forget_last(table)
    if damage == "empty log":
        entry.write_text("")
    elif damage == "torn log":
        entry.write_text(entry.read_text()[:200])
    elif damage == "empty data":
        data.write_bytes(b"")
    elif damage == "zeroed data":
        data.write_bytes(bytes(data.stat().st_size))
    elif damage == "short":
        data.write_bytes(data.read_bytes()[40:])  # the end is right, the length is not
    else:
        data.unlink()
    assert ids(layout) == ["p0", "p1"]
    with writing(layout, "test"):
        Catalog(layout).append("pictures", rows_of([picture(9)]))
    assert ids(layout) == ["p0", "p1", "p9"]
    assert not data.exists()


def test_of_two_unrecorded_commits_the_first_was_lost(layout: Layout) -> None:
    table = layout.table("pictures")
    recorded = (table / "_checksums.json").read_bytes()
    first = commits.versions(table)[-1] + 1
    for number in (3, 4):
        Catalog(layout).append("pictures", rows_of([picture(number)]))
    (table / "_checksums.json").write_bytes(recorded)
    (table / "_delta_log" / f"{first:020d}.json").unlink()
    assert ids(layout) == ["p0", "p1", "p2"]
    assert Snapshot.take(layout).tables["pictures"].version == first - 1
    with writing(layout, "test"):
        Catalog(layout).append("pictures", rows_of([picture(9)]))
    assert ids(layout) == ["p0", "p1", "p2", "p9"]


def test_an_unrecorded_whole_commit_is_kept_and_recorded(layout: Layout) -> None:
    table = layout.table("pictures")
    forget_last(table)
    assert ids(layout) == ["p0", "p1", "p2"]
    with writing(layout, "test"):
        pass
    found = commits.read_checksums(table)
    assert found is not None and found.version == commits.versions(table)[-1]
    assert set(found.files) == {
        str(p.relative_to(table)) for p in table.rglob("*0*") if p.is_file()
    }
    assert ids(layout) == ["p0", "p1", "p2"]


def test_a_recorded_commit_that_is_damaged_is_never_passed_over(layout: Layout) -> None:
    table = layout.table("pictures")
    added = [json.loads(line) for line in last_entry(table).read_text().splitlines()]
    (table / next(line["add"]["path"] for line in added if "add" in line)).unlink()
    with writing(layout, "test"):
        pass
    with pytest.raises(InputError, match="pictures"):
        ids(layout)


def test_a_dead_writers_leavings_are_cleared_away(layout: Layout) -> None:
    table = layout.table("pictures")
    debris = [
        table / "part-00000-dead-c000.zstd.parquet",
        table / "part-00000-dead-c000.zstd.parquet#1",
        table / "_delta_log" / "00000000000000000099.json#1",
        table / "._checksums.json.12345678.tmp",
        layout.root / ".forgotten.json.12345678.tmp",
        layout.staging / "picture-dead",
        layout.staging / "generation-1" / "vectors.faiss",
    ]
    for path in debris:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    layout.lock.write_text('{"pid": 1}')  # it never came to its end
    with writing(layout, "test"):
        assert not [path for path in debris if path.exists()]
    assert ids(layout) == ["p0", "p1", "p2"]


def test_a_table_without_checksums_is_damaged(layout: Layout) -> None:
    (layout.table("pictures") / "_checksums.json").unlink()
    with pytest.raises(InputError, match="is gone"):
        ids(layout)
    with pytest.raises(InputError, match="is gone"):
        Catalog(layout).append("pictures", rows_of([picture(3)]))


def test_maintenance_leaves_the_rows_of_now_and_nothing_else(layout: Layout) -> None:
    catalog = Catalog(layout)
    catalog.upsert("pictures", rows_of([picture(5)]), gone=[("p1", "t")])
    assert ids(layout) == ["p0", "p2", "p5"]
    assert maintain(layout) == []  # few files and commits: nothing to tidy up
    assert maintain(layout, keep_history=False) == ["pictures"]
    assert ids(layout) == ["p0", "p2", "p5"]
    table = layout.table("pictures")
    assert len(list(table.glob("*.parquet"))) == 1
    assert len(list((table / "_delta_log").glob("*.json"))) == 1
    for path in table.rglob("*"):
        assert not path.is_file() or b"p1" not in path.read_bytes().replace(b"p10", b"")
    catalog.append("pictures", rows_of([picture(6)]))
    assert ids(layout) == ["p0", "p2", "p5", "p6"]


def test_many_small_commits_become_few_files(layout: Layout) -> None:
    catalog = Catalog(layout)
    for number in range(10, 26):
        catalog.append("pictures", rows_of([picture(number)]))
    before = ids(layout)
    reader = catalog.connect()
    assert maintain(layout) == ["pictures"]
    assert len(catalog.files("pictures")) < 3
    assert ids(layout) == before
    with reader:  # an older version's files stay for a week
        assert reader.execute("select count(*) from pictures").fetchone() == (len(before),)


def test_maintenance_of_what_was_maintained_already(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "other")
    Catalog(layout).append("pictures", rows_of([picture(0)]))
    for _ in range(3):  # nothing to remove and nothing to compact, so no new version
        assert maintain(layout, keep_history=False) == ["pictures"]
        assert ids(layout) == ["p0"]
    assert Catalog(layout).version("pictures") == 1
    Catalog(layout).append("pictures", rows_of([picture(1)]))
    assert ids(layout) == ["p0", "p1"]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def test_nothing_is_removed_on_the_word_of_a_damaged_log(layout: Layout) -> None:
    table = layout.table("pictures")
    entry = last_entry(table)
    files = {path: path.read_bytes() for path in table.glob("*.parquet")}
    name = next(one["add"]["path"] for one in map(json.loads, entry.read_text().splitlines())
                if "add" in one)  # fmt: skip
    flip(entry, entry.read_bytes().index(name.encode()) + 12)  # it names another file now
    layout.lock.write_text('{"pid": 1}')  # a thorough repair
    with writing(layout, "test"):
        pass
    assert {path: path.read_bytes() for path in table.glob("*.parquet")} == files
    with pytest.raises(InputError, match=f"{entry.name} is damaged"):
        ids(layout)


@pytest.mark.parametrize("what", ["last entry", "whole log"])
def test_a_log_that_ends_before_the_record_is_damage(layout: Layout, what: str) -> None:
    table = layout.table("pictures")
    entries = sorted((table / "_delta_log").glob("*.json"))
    for entry in entries[-1:] if what == "last entry" else entries:
        entry.unlink()
    with writing(layout, "test"), pytest.raises(InputError, match="is gone from _delta_log"):
        ids(layout)


@pytest.mark.slow
def test_readers_while_the_log_is_shortened(layout: Layout) -> None:
    done = threading.Event()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                assert {"p0", "p1", "p2"} <= set(ids(layout))
                assert Snapshot.take(layout).files
        except BaseException as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(10, 30):
            Catalog(layout).append("pictures", rows_of([picture(number)]))
            maintain(layout, keep_history=False)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not failed
