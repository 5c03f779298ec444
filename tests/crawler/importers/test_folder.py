"""Importers against a real catalog: what a second run costs, what is noticed, what is kept."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crawler.importers import ingest
from crawler.importers.folder import import_folder, parse_pattern
from crawler.importers.ingest import Source, slug
from schemas.errors import InputError, UsageError
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout

SETTINGS = Settings()


def draw(path: Path, seed: int, side: int = 48) -> Path:
    """A small picture that differs by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(
        ("Kim/One/a.png", "Kim/One/b.png", "Kim/Two/c.png", "신의 탑/탑/d.png")
    ):
        draw(tmp_path / "pictures" / name, number)
    return tmp_path / "pictures"


def rows(layout: Layout) -> dict[str, dict[str, Any]]:
    return {row["source_path"]: row for row in Catalog(layout).read("pictures").to_pylist()}


def titles(layout: Layout) -> dict[str, dict[str, Any]]:
    return {row["title_id"]: row for row in Catalog(layout).read("titles").to_pylist()}


def test_levels_become_authors_and_titles(layout: Layout, folder: Path) -> None:
    report = import_folder(layout, SETTINGS, folder)
    assert report.counts["new"] == 4
    found = titles(layout)
    prefix = Source.of("folder", folder).prefix
    assert re.fullmatch("pictures~[0-9a-f]{6}", prefix)
    assert found[f"{prefix}:kim/one"]["authors"] == [{"name": "Kim", "role": "author"}]
    assert found[f"{prefix}:신의-탑/탑"]["name"] == "탑"
    for row in rows(layout).values():
        stored = layout.picture(row["file"])
        assert stored.read_bytes() == (folder / row["source_path"]).read_bytes()
        assert stored.stem == row["picture_id"]


def test_pictures_above_and_below_the_levels(layout: Layout, folder: Path) -> None:
    draw(folder / "loose.png", 20)
    draw(folder / "Kim" / "sketch.png", 21)
    draw(folder / "Kim" / "One" / "deep" / "er" / "x.png", 22)
    import_folder(layout, SETTINGS, folder, name="Mine")
    found = rows(layout)
    assert found["loose.png"]["title_id"] == "mine:-"
    assert found["Kim/sketch.png"]["title_id"] == "mine:kim"
    assert found["Kim/One/deep/er/x.png"]["title_id"] == "mine:kim/one"


def test_a_second_import_reads_and_commits_nothing(
    layout: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_folder(layout, SETTINGS, folder)
    catalog = Catalog(layout)
    versions = [catalog.version(name) for name in ("titles", "pictures")]
    monkeypatch.setattr(ingest, "read_capped", lambda *_: pytest.fail("read a file"))
    report = import_folder(layout, SETTINGS, folder)
    assert report.counts["unchanged"] == 4
    assert sum(report.counts.values()) == 4
    assert [catalog.version(name) for name in ("titles", "pictures")] == versions


def test_changed_new_and_removed_files(layout: Layout, folder: Path) -> None:
    import_folder(layout, SETTINGS, folder)
    before = rows(layout)
    draw(folder / "Kim/One/a.png", 99)
    draw(folder / "Kim/One/new.png", 98)
    (folder / "Kim/Two/c.png").unlink()
    report = import_folder(layout, SETTINGS, folder)
    assert {key: report.counts[key] for key in ("new", "changed", "unchanged", "removed")} == {
        "new": 1,
        "changed": 1,
        "unchanged": 2,
        "removed": 1,
    }
    after = rows(layout)
    assert set(after) == {"Kim/One/a.png", "Kim/One/b.png", "Kim/One/new.png", "신의 탑/탑/d.png"}
    assert after["Kim/One/a.png"]["picture_id"] != before["Kim/One/a.png"]["picture_id"]


def test_copies_stay_accounted_for_and_take_over(layout: Layout, folder: Path) -> None:
    (folder / "Kim/One/z copy.png").write_bytes((folder / "Kim/One/a.png").read_bytes())
    counts = import_folder(layout, SETTINGS, folder).counts
    assert (counts["new"], counts["skipped"]) == (4, 1)
    found = rows(layout)
    assert found["Kim/One/a.png"]["status"] == "stored"
    assert (found["Kim/One/z copy.png"]["status"], found["Kim/One/z copy.png"]["reason"]) == (
        "skipped",
        "duplicate",
    )
    assert import_folder(layout, SETTINGS, folder).counts["unchanged"] == 5
    (folder / "Kim/One/a.png").unlink()
    counts = import_folder(layout, SETTINGS, folder).counts
    assert (counts["changed"], counts["removed"], counts["unchanged"]) == (1, 1, 3)
    found = rows(layout)
    assert found["Kim/One/z copy.png"]["status"] == "stored"
    assert len(found) == 4


def test_the_same_bytes_in_two_titles_are_two_rows(layout: Layout, folder: Path) -> None:
    (folder / "Kim/Two/same.png").write_bytes((folder / "Kim/One/a.png").read_bytes())
    import_folder(layout, SETTINGS, folder)
    found = rows(layout)
    assert found["Kim/Two/same.png"]["picture_id"] == found["Kim/One/a.png"]["picture_id"]
    assert found["Kim/Two/same.png"]["status"] == "stored"


def test_bad_files_are_rows_with_a_reason(layout: Layout, folder: Path) -> None:
    (folder / "Kim/text.jpg").write_text("hello")
    (folder / "Kim/zero.png").touch()
    (folder / "Kim/folder.png").mkdir()
    (folder / "Kim/cut.png").write_bytes((folder / "Kim/One/a.png").read_bytes()[:500])
    Image.new("RGB", (50, 50), "white").save(folder / "Kim/blank.png")
    Image.new("RGB", (50, 50), "red").save(folder / "Kim/old.bmp")
    (folder / "Kim/loop.png").symlink_to(folder / "Kim/loop.png")
    (folder / "notes.txt").write_text("not a picture and not claimed to be one")
    report = import_folder(layout, SETTINGS, folder)
    reasons = {path: row["reason"] for path, row in rows(layout).items() if row["reason"]}
    assert reasons == {
        "Kim/text.jpg": "format",
        "Kim/zero.png": "empty",
        "Kim/folder.png": "not_a_file",
        "Kim/cut.png": "truncated",
        "Kim/blank.png": "blank",
        "Kim/old.bmp": "format",
        "Kim/loop.png": "missing",
    }
    assert (report.counts["skipped"], report.counts["failed"]) == (3, 4)
    assert (report.counts["new"], report.files) == (4, 11)
    assert len(report.problems) == 7


def test_a_failed_file_is_tried_again_when_asked_or_changed(layout: Layout, folder: Path) -> None:
    (folder / "Kim/zero.png").touch()
    import_folder(layout, SETTINGS, folder)
    assert import_folder(layout, SETTINGS, folder).counts["changed"] == 0
    assert import_folder(layout, SETTINGS, folder, retry_failed=True).counts["failed"] == 1
    draw(folder / "Kim/zero.png", 50)
    import_folder(layout, SETTINGS, folder)
    found = rows(layout)
    assert found["Kim/zero.png"]["status"] == "stored"
    assert len(found) == 5


def test_an_empty_or_unmounted_folder_removes_nothing(layout: Layout, folder: Path) -> None:
    for number in range(30):
        draw(folder / f"Lee/Many/{number}.png", 100 + number)
    import_folder(layout, SETTINGS, folder)
    for path in (folder / "Lee/Many").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="--prune"):
        import_folder(layout, SETTINGS, folder)
    assert len(rows(layout)) == 34
    assert import_folder(layout, SETTINGS, folder, prune=True).counts["removed"] == 30
    assert len(rows(layout)) == 4
    for path in sorted(folder.rglob("*.png")):
        path.unlink()
    with pytest.raises(InputError, match="no picture"):
        import_folder(layout, SETTINGS, folder)
    assert len(rows(layout)) == 4


def test_dry_run_writes_nothing(layout: Layout, folder: Path) -> None:
    report = import_folder(layout, SETTINGS, folder, dry_run=True)
    assert report.counts["new"] == 4
    assert not layout.root.exists()


def test_two_sources_do_not_fight_over_one_file(layout: Layout, folder: Path) -> None:
    import_folder(layout, SETTINGS, folder, name="same")
    other = folder.parent / "other"
    draw(other / "Kim/One/a.png", 0)
    import_folder(layout, SETTINGS, other, name="same2")
    for _ in range(2):
        assert import_folder(layout, SETTINGS, folder, name="same").counts["unchanged"] == 4
        assert import_folder(layout, SETTINGS, other, name="same2").counts["unchanged"] == 1


def test_patterns() -> None:
    assert parse_pattern("{genre}/{author}/{title}/") == ["genre", "author", "title"]
    with pytest.raises(UsageError, match="author"):
        parse_pattern("{autor}/{title}")
    with pytest.raises(UsageError):
        parse_pattern("author/title")


def test_slugs_keep_different_names_apart() -> None:
    assert slug("Tower of God") == "tower-of-god"
    assert slug("신의 탑") == "신의-탑"
    names = ["A!", "A?", "a", "..", "/", "", "a b"]
    assert slug(" a\t b") == slug("a b")
    assert len({slug(name) for name in names}) == len(names)
    assert slug("A B") == slug("Ａ  b") != slug("a-b")  # width, case and spaces are spelling
    assert all(part and "/" not in part and part not in (".", "..") for part in map(slug, names))


def test_a_full_disk_is_one_line_and_keeps_what_was_done(
    layout: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_folder(layout, SETTINGS, folder)
    draw(folder / "Kim/One/new.png", 70)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        import_folder(layout, SETTINGS, folder)
    monkeypatch.undo()
    assert len(rows(layout)) == 4
    assert not list(layout.staging.iterdir())
    assert import_folder(layout, SETTINGS, folder).counts["new"] == 1


def test_many_files_with_the_same_bytes_at_once(layout: Layout, tmp_path: Path) -> None:
    source = draw(tmp_path / "one.png", 5, side=400)
    for number in range(40):
        target = tmp_path / f"pictures/Kim/title {number}/copy.png"
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
    assert import_folder(layout, SETTINGS, tmp_path / "pictures").counts["new"] == 40
    assert {row["status"] for row in rows(layout).values()} == {"stored"}
    assert len(list(layout.pictures.rglob("*.png"))) == 1
