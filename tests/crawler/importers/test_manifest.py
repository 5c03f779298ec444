"""Manifests into a real catalog: which rows make one title, what is kept, what is said."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crawler.importers import ingest
from crawler.importers.ingest import ImportReport, Source
from crawler.importers.manifest import import_manifest
from schemas.errors import InputError
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

SETTINGS = Settings()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the pictures p0.png to p5.png."""
    random = np.random.default_rng(0)
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(6):
        pixels = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made / f"p{number}.png")
    return made


def take(layout: Layout, file: Path, text: str, **options: Any) -> ImportReport:
    """Write a manifest and import it."""
    file.write_text(text, encoding="utf-8")
    return import_manifest(layout, SETTINGS, file, **options)


def rows(layout: Layout) -> dict[str, dict[str, Any]]:
    return {row["source_path"]: row for row in Catalog(layout).read("pictures").to_pylist()}


def titles(layout: Layout) -> list[dict[str, Any]]:
    found = Catalog(layout).read("titles").to_pylist()
    return sorted(found, key=lambda row: str(row["title_id"]))


def authors(title: dict[str, Any]) -> list[str]:
    return [author["name"] for author in title["authors"]]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_manifests(layout: Layout, folder: Path, suffix: str) -> None:
    columns = ("path", "author", "series", "genre", "year")
    lines = [
        ("p0.png", "Kim; Lee", "One", "action", "1999"),
        ("p1.png", "Lee; Kim", "One", "drama", "1998"),
        ("p2.png", "Kim", "Two", "", "soon"),
        ("gone.png", "Kim", "Two", "", ""),
    ]
    file = folder / f"catalog{suffix}"
    if suffix == ".parquet":
        table = [dict(zip(columns, line, strict=True)) for line in lines]
        pq.write_table(pa.Table.from_pylist(table), file)
    else:
        with file.open("w", encoding="utf-8-sig", newline="") as handle:
            mark = "\t" if suffix == ".tsv" else ","
            csv.writer(handle, delimiter=mark).writerows([columns, *lines])
    report = import_manifest(layout, SETTINGS, file, name="catalog")
    assert report.counts["failed"] == 1
    assert "row 4: year 'soon' is not a year" in report.problems
    one, _ = titles(layout)
    assert (one["title_id"], one["name"]) == (
        Source.of("manifest", file, "catalog").title_id("kim; lee", "One"),
        "One",
    )
    assert (authors(one), one["genres"], one["year"]) == (["Kim", "Lee"], ["action", "drama"], 1998)
    found = rows(layout)
    assert found["p0.png"]["year"] == 1999
    assert found["gone.png"]["reason"] == "missing"
    again = import_manifest(layout, SETTINGS, file, name="catalog").counts
    assert (again["unchanged"], again["failed"]) == (3, 1)


def test_a_changed_label_changes_the_title_without_reading_pictures(
    layout: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "path,author,series,genre\np0.png,Kim,One,"
    take(layout, folder / "m.csv", text + "x")
    monkeypatch.setattr(ingest, "read_capped", lambda *_: pytest.fail("read a file"))
    take(layout, folder / "m.csv", text + "y")
    (title,) = titles(layout)
    assert title["genres"] == ["y"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lists no picture"),
        ("file,author\na.png,Kim\n", "no column 'path'"),
        ("path,author\n,Kim\n", "row 2: no path"),
        ('{"path": "p0.png"}', "JSON"),
    ],
)
def test_what_is_no_manifest_changes_nothing(
    layout: Layout, folder: Path, text: str, says: str
) -> None:
    take(layout, folder / "m.csv", "path\np0.png\n")
    with pytest.raises(InputError, match=says):
        take(layout, folder / "m.csv", text)
    assert rows(layout)["p0.png"]["status"] == "stored"


def test_strips_pages_and_episodes(layout: Layout, folder: Path) -> None:
    text = (
        "path,종류,회차\np0.png,Strip,12화\np1.png,strip,012\np2.png,page,\np3.png,cover,x\n"
        "p4.png,,3.0\n"
    )
    report = take(layout, folder / "m.csv", text)
    found = {path: (row["kind"], row["episode_no"]) for path, row in rows(layout).items()}
    assert found == {
        "p0.png": ("strip", 12),
        "p1.png": ("strip", 12),
        "p2.png": ("page", None),
        "p3.png": ("cover", None),
        "p4.png": ("picture", 3),
    }
    assert len([line for line in report.problems if "'x' is not understood" in line]) == 1


def test_a_manifest_in_the_home_of_nobody(layout: Layout) -> None:
    with pytest.raises(InputError, match="no manifest at ~nobody-at-all"):
        import_manifest(layout, SETTINGS, Path("~nobody-at-all/m.csv"))


# --- Sources and titles.


def test_manifests_of_one_name_are_sources_of_their_own(layout: Layout, folder: Path) -> None:
    others = [folder / "two" / "works.csv", folder / "works.tsv"]
    others[0].parent.mkdir()
    take(layout, folder / "works.csv", "path,author,series\np0.png,Kim,One\n")
    for number, file in enumerate(others, 1):
        text = f"path,author,series\n{folder}/p{number}.png,Lee,One\n"
        assert take(layout, file, text).counts["removed"] == 0
    assert len(rows(layout)) == 3
    found = titles(layout)
    assert len(found) == 3
    assert sorted(map(authors, found)) == [["Kim"], ["Lee"], ["Lee"]]
    assert {title["platform"] for title in found} == {"works"}
    assert all(title["title_id"].startswith("works~") for title in found)
    again = take(layout, folder / "works.csv", "path,author,series\np0.png,Kim,One\n")
    assert again.counts["unchanged"] == 1
    assert again.source == f"manifest:{folder / 'works.csv'}"


def test_a_named_source_may_move(layout: Layout, folder: Path) -> None:
    text = f"path,author,series\n{folder}/p0.png,Kim,One\n"
    take(layout, folder / "a.csv", text, name="mine")
    moved = take(layout, folder.parent / "b.csv", text, name="mine")
    assert (moved.source, moved.counts["unchanged"]) == ("manifest:mine", 1)


def test_rows_of_one_title_by_different_people_are_two_titles(layout: Layout, folder: Path) -> None:
    text = "path,author,title\np0.png,Kim,Cover\np1.png,Lee,Cover\np2.png,Kim;Lee,Cover\n"
    take(layout, folder / "m.csv", text + "p3.png,Lee; Kim,COVER\n")
    found = titles(layout)
    assert sorted(map(sorted, map(authors, found))) == [["Kim"], ["Kim", "Lee"], ["Lee"]]
    assert {title["name"] for title in found} == {"Cover"}
    by_path = rows(layout)
    assert by_path["p2.png"]["title_id"] == by_path["p3.png"]["title_id"]


def test_spellings_of_an_author_and_a_title_are_one(layout: Layout, folder: Path) -> None:
    nfd = unicodedata.normalize("NFD", "p2.png,김민 호,신의 탑\n")
    text = (
        "path,author,series\np0.png,Kim Min,Sun\np1.png,ＫＩＭ  min,SUN\np2.png,김민 호,신의 탑\n"
    )
    report = take(
        layout, folder / "m.csv", text + nfd.replace("p2", "p3") + "p4.png,KIM MIN,Other\n"
    )
    assert report.problems == []
    found = titles(layout)
    assert [(title["name"], *authors(title)) for title in found] == [
        ("Other", "Kim Min"), ("Sun", "Kim Min"), ("신의 탑", "김민 호"),
    ]  # fmt: skip


def test_ids_join_rows_within_their_source_or_by_platform(layout: Layout, folder: Path) -> None:
    text = "path,author,series,title_id\np0.png,Kim,A,7\np1.png,Lee,B,7.0\np2.png,Kim,C,naver:7\n"
    take(layout, folder / "m.csv", text, name="m")
    take(layout, folder / "n.csv", text.replace("p0", "p3").replace("p1", "p4"), name="n")
    found = titles(layout)
    assert [title["title_id"] for title in found] == ["m:7", "n:7", "naver:7"]
    assert authors(found[0]) == ["Kim", "Lee"]


def test_titles_without_a_name_or_an_author(layout: Layout, folder: Path) -> None:
    text = "path,author,series\np0.png,One,\np1.png,,One\np2.png,,\np3.png,Kim,One\n"
    report = take(layout, folder / "m.csv", text, name="m")
    assert [title["title_id"] for title in titles(layout)] == [
        "m:-/-", "m:-/one", "m:kim/one", "m:one/-",
    ]  # fmt: skip
    assert report.problems == [
        "row 3: 'One' has an author in other rows, and none here: it is a title of its own"
    ]


# --- Rows.


def test_a_file_that_two_rows_list(layout: Layout, folder: Path) -> None:
    text = "path,author,series\np0.png,Kim,A\n./p0.png,Choi,D\np1.png,Kim,A\np1.png,Kim,A\n"
    report = take(layout, folder / "m.csv", text)
    assert report.problems == [
        "row 3: row 2 lists ./p0.png as well, with another author and series: row 3 counts",
        "row 5: row 4 lists p1.png as well",
    ]
    assert report.counts["failed"] == 0
    assert len(rows(layout)) == 2
    assert [authors(title) for title in titles(layout)] == [["Choi"], ["Kim"]]


def test_rows_that_cannot_be_imported_fail_and_the_others_stay(
    layout: Layout, folder: Path
) -> None:
    text = "path,author\np0.png,Kim\n,Lee\na\0b,Lee\n" + "x" * 5000 + ",Lee\nnan,Lee\n"
    report = take(layout, folder / "m.csv", text)
    assert report.counts["failed"] == 4
    assert rows(layout)["p0.png"]["status"] == "stored"
    assert [line.split(":")[0] for line in report.problems] == [f"row {n}" for n in (3, 4, 5, 6)]


def test_why_a_file_is_not_there(layout: Layout, folder: Path) -> None:
    text = "path\np0.png\nP1.PNG\nC:\\art\\p2.png\nhttps://example.org/p3.png\nnever.png\n"
    report = take(layout, folder / "m.csv", text)
    assert report.counts["failed"] == 4
    assert report.problems[:3] == [
        "row 3: P1.PNG is not there, but p1.png is: upper and lower case differ",
        "row 4: C:\\art\\p2.png is a path of Windows: list files from the manifest's folder on",
        "row 5: https://example.org/p3.png is a web address: get the picture and list its file",
    ]


def test_paths_as_windows_writes_them(layout: Layout, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "p1.png").rename(folder / "sub" / "p1.png")
    report = take(layout, folder / "m.csv", "path,author\n.\\p0.png,Kim\nsub\\p1.png,Kim\n")
    assert (report.counts["new"], report.problems) == (2, [])
    assert {row["status"] for row in rows(layout).values()} == {"stored"}


def test_a_row_with_a_comma_too_many_keeps_its_picture_without_labels(
    layout: Layout, folder: Path
) -> None:
    text = "path,author,series,genre\np0.png,Kim,Sun, moon,action\np1.png,Lee,B,drama\n"
    report = take(layout, folder / "m.csv", text, name="m")
    assert len(report.problems) == 1
    assert report.problems[0].startswith("row 2: 5 cells for 4 columns")
    assert {row["status"] for row in rows(layout).values()} == {"stored"}
    assert [title["title_id"] for title in titles(layout)] == ["m:-/-", "m:lee/b"]
