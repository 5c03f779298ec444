"""What lies below a folder: names in any encoding, what is left out, and what cannot be seen."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from crawler.importers.folder import import_folder, notes_on
from crawler.importers.ingest import MANY_GONE, ImportReport, Source, slug
from crawler.importers.manifest import import_manifest
from crawler.importers.walk import SYSTEM_FOLDERS, readable, unique, walk
from indexer.backup import back_up
from schemas.errors import InputError
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.fuzz.trees import FAR_NS, picture

SETTINGS = Settings()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


def fill(root: Path, *names: str) -> Path:
    """Pictures, each different, at these places; the bytes of names may be anything."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(hash(name) % 100_000))
    return root


def rows(layout: Layout) -> dict[str, dict[str, Any]]:
    return {row["source_path"]: row for row in Catalog(layout).read("pictures").to_pylist()}


def stored(layout: Layout) -> set[str]:
    return {path for path, row in rows(layout).items() if row["status"] == "stored"}


def authors(layout: Layout) -> set[str]:
    titles = Catalog(layout).read("titles").to_pylist()
    return {author["name"] for title in titles for author in title["authors"]}


def told(report: ImportReport) -> str:
    return "\n".join((*report.problems, *report.notes))


# --- Names.


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("신의 탑", "cp949"),
        ("똠방각하", "cp949"),
        ("그림(1) ★", "cp949"),
        ("ベルサイユのばら", "shift_jis"),
        ("進撃の巨人", "shift_jis"),
        ("Álvarez", "latin-1"),
        ("Müller & Søn", "latin-1"),
    ],
)
def test_code_pages_are_read_where_that_is_sure(text: str, codec: str) -> None:
    assert readable(os.fsdecode(text.encode(codec))) == text
    assert readable(text) == unique(text) == text


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b"a\x96b", "漫画".encode("shift_jis"), b"\xed\xa0\x80"]
)
def test_what_is_not_sure_keeps_its_bytes(raw: bytes) -> None:
    text = readable(os.fsdecode(raw))
    assert f"\\x{max(raw):02x}" in text
    assert text.encode()


def test_names_in_any_encoding_are_imported(layout: Layout, tmp_path: Path) -> None:
    odd = ["김".encode("cp949"), "ベル".encode("shift_jis"), b"M\xfcller", b"\xff\xfe", b"\xb1"]
    names = [os.fsdecode(name) for name in odd]
    root = tmp_path / os.fsdecode("그림".encode("cp949"))
    fill(root, *(f"{name}/one/a.png" for name in names), *(f"Kim/one/{n}.png" for n in names))
    fill(root, "김/one/a.png", "Kim/one/김.png", "Kim/new\nline\x1b/b.png")
    for _ in range(2):
        report = import_folder(layout, SETTINGS, root)
        assert report.files == len(stored(layout)) == 13
    assert report.counts["unchanged"] == 13
    assert {"김", "ベル", "Müller", "\\xff\\xfe", "Kim"} <= authors(layout)
    assert "그림" in report.source
    assert Source.of("folder", root).title_id("a").startswith("그림~")
    (root / names[0] / "one" / "a.png").unlink()
    assert import_folder(layout, SETTINGS, root).counts["removed"] == 1
    assert "김/one/a.png" in stored(layout)  # that one is another folder


def test_two_sources_of_one_name_are_two(layout: Layout, tmp_path: Path) -> None:
    for place in ("webtoon/images", "books/images", "My Art", "my-art"):
        import_folder(layout, SETTINGS, fill(tmp_path / place, "Kim/one/a.png"))
    assert len({row["title_id"] for row in rows(layout).values()}) == 1  # by path: the last
    titles = Catalog(layout).read("pictures", ["title_id"])["title_id"].to_pylist()
    assert len(set(titles)) == 4
    assert Source.of("folder", tmp_path / "a", "x").prefix == "x"


def test_spellings_are_one_author_and_punctuation_is_not(layout: Layout, tmp_path: Path) -> None:
    nfd = unicodedata.normalize("NFD", "다른 탑")
    fill(tmp_path / "in", "김/다른 탑/a.png", f"{unicodedata.normalize('NFD', '김')}/{nfd}/b.png")
    fill(tmp_path / "in", "Kim/One/a.png", "ＫＩＭ/one/b.png", "kim/ONE/c.png", "kim/Two/d.png")
    fill(tmp_path / "in", "My Art/x/a.png", "my-art/x/b.png", "A!/x/a.png", "A?/x/a.png")
    import_folder(layout, SETTINGS, tmp_path / "in")
    assert authors(layout) == {"김", "Kim", "My Art", "my-art", "A!", "A?"}
    titles = Catalog(layout).read("titles").to_pylist()
    assert [title["name"] for title in titles].count("다른 탑") == 1
    assert len(titles) == 7
    assert len({slug(name) for name in ("a b", "a-b", "a_b", "a  b", "A B")}) == 3
    # Another source spells it as the catalog does.
    import_folder(layout, SETTINGS, fill(tmp_path / "other", "KIM/three/z.png"))
    assert authors(layout) == {"김", "Kim", "My Art", "my-art", "A!", "A?"}


# --- What is left out.


def test_folders_of_systems_are_left_out(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", "Kim/one/a.png", "Kim/._a.png", ".thumbnails/x/b.png")
    for name in SYSTEM_FOLDERS:
        fill(root, f"{name.upper()}/Kim/t.png", f"Kim/one/{name}/a.png/thumb.jpg")
    report = import_folder(layout, SETTINGS, root)
    assert stored(layout) == {"Kim/one/a.png"}
    assert authors(layout) == {"Kim"}
    assert (report.files, report.counts["failed"]) == (1, 0)
    assert "left out:" in told(report)
    import_folder(layout, SETTINGS, fill(root, "@artist/one/b.png"))
    assert "@artist" in authors(layout)


def test_what_toonsearch_wrote_is_left_out(tmp_path: Path) -> None:
    root = fill(tmp_path / "in", "Kim/one/a.png")
    own = Layout(root / "store")
    import_folder(own, SETTINGS, root)
    back_up(own, root / "safe")
    other = Layout(root / "Kim" / "old data")
    import_folder(other, SETTINGS, root)
    loose = root / "rest"  # a store whose tables are lost
    own.pictures.joinpath(next(iter(rows(own).values()))["file"])
    loose.mkdir()
    for path in own.pictures.rglob("*.png"):
        fill(loose, str(path.relative_to(own.pictures)))
    for name in ("summary.json", "catalog.csv", "queries.csv", "unknown.csv"):
        fill(root, f"demo/{name}")
    fill(root, "demo/clipart/png/x.png", "store/Lee/one/mine.png")
    report = import_folder(own, SETTINGS, root)
    assert stored(own) == {"Kim/one/a.png", "store/Lee/one/mine.png"}
    assert "pictures" in told(report)


def test_the_data_root_may_be_the_folder_itself(tmp_path: Path) -> None:
    layout = Layout(fill(tmp_path / "in", "Kim/one/a.png"))
    for _ in range(2):
        report = import_folder(layout, SETTINGS, layout.root)
        assert report.files == 1


# --- What cannot be seen.


def break_listing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    real = os.scandir

    def scandir(path: Any) -> Any:
        if os.path.basename(path) == name:  # noqa: PTH119
            raise OSError(number, os.strerror(number))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
@pytest.mark.parametrize("prune", [False, True])
def test_what_cannot_be_listed_stays(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, prune: bool
) -> None:
    root = fill(tmp_path / "in", *(f"Kim/one/{n}.png" for n in range(30)), "Lee/two/a.png")
    import_folder(layout, SETTINGS, root)
    (root / "Lee/two/a.png").unlink()
    fill(root, "Lee/two/b.png")
    with monkeypatch.context() as broken:
        break_listing(broken, "Kim", number)
        report = import_folder(layout, SETTINGS, root, prune=prune)
    assert len(stored(layout)) == 31
    counts = report.counts
    assert (counts["kept"], counts["removed"], counts["unread_folders"]) == (30, 1, 1)
    assert report.is_partial
    assert report.files == 31
    assert "Kim: cannot be listed" in told(report)
    assert import_folder(layout, SETTINGS, root).counts["unchanged"] == 31


def test_a_source_that_cannot_be_listed_is_said(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "in", "Kim/one/a.png")
    import_folder(layout, SETTINGS, root)
    for name in ("in", "Kim"):
        with monkeypatch.context() as broken, pytest.raises(InputError, match="cannot be listed"):
            break_listing(broken, name, errno.EIO)
            import_folder(layout, SETTINGS, root)
    assert len(stored(layout)) == 1


def test_a_folder_that_became_a_link_is_named_and_stays(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", *(f"Kim/one/{n}.png" for n in range(4)), "Lee/two/a.png")
    fill(root, *(f"Lee/two/{n}.png" for n in range(9)))
    import_folder(layout, SETTINGS, root)
    (root / "Kim").rename(tmp_path / "elsewhere")
    for end in (tmp_path / "elsewhere", tmp_path / "unmounted"):
        (root / "Kim").symlink_to(end)
        report = import_folder(layout, SETTINGS, root)
        assert (report.counts["kept"], report.counts["removed"]) == (4, 0)
        assert "Kim: is a link now" in told(report)
        (root / "Kim").unlink()
    (root / "Kim").symlink_to(root)  # a loop
    assert import_folder(layout, SETTINGS, root, prune=True).counts["removed"] == 4
    report = import_folder(layout, SETTINGS, root)
    assert not report.is_partial
    assert "links are not followed: Kim" in told(report)


def test_an_empty_folder_may_be_an_unmounted_disk(layout: Layout, tmp_path: Path) -> None:
    many = MANY_GONE + 1
    root = fill(tmp_path / "in", *(f"Kim/one/{n}.png" for n in range(many)), "Few/one/a.png")
    fill(root, *(f"Lee/two/{n}.png" for n in range(3 * many)))
    import_folder(layout, SETTINGS, root)
    (root / "Few/one/a.png").unlink()  # a folder that was cleared out
    (root / "Kim/one").rename(tmp_path / "disk")
    report = import_folder(layout, SETTINGS, root)
    assert (report.counts["kept"], report.counts["removed"]) == (many, 1)
    assert "Kim: is empty now" in told(report)
    assert report.is_partial
    (root / "Kim").rmdir()
    assert import_folder(layout, SETTINGS, root).counts["removed"] == many


def test_few_pictures_of_an_unmounted_disk_stay_as_well(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", "Kim/one/a.png", "Kim/two/b.png", "Lee/one/a.png")
    import_folder(layout, SETTINGS, root)
    (root / "Kim").rename(tmp_path / "disk")
    (root / "Kim").mkdir()
    assert import_folder(layout, SETTINGS, root).counts["kept"] == 2
    assert import_folder(layout, SETTINGS, root, prune=True).counts["removed"] == 2


def manifest(tmp_path: Path, count: int) -> Path:
    fill(tmp_path / "disk", *(f"{n}.png" for n in range(count)))
    lines = [f"disk/{n}.png,Kim{n % 3}" for n in range(count)]
    (tmp_path / "works.csv").write_text("\n".join(["path,author", *lines]))
    return tmp_path / "works.csv"


def test_pictures_of_a_list_that_vanished_stay(layout: Layout, tmp_path: Path) -> None:
    listed = manifest(tmp_path, 24)
    first = import_manifest(layout, SETTINGS, listed)
    assert first.counts["new"] == 24, told(first)
    (tmp_path / "disk").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"24 of 24 pictures .* are gone"):
        import_manifest(layout, SETTINGS, listed)
    (tmp_path / "away").rename(tmp_path / "disk")
    for n in range(10):
        (tmp_path / f"disk/{n}.png").rename(tmp_path / f"{n}.png")
    report = import_manifest(layout, SETTINGS, listed)
    assert (report.counts["kept"], report.counts["unchanged"]) == (10, 14)
    assert report.is_partial
    assert "disk/0.png: cannot be found" in told(report)
    assert len(stored(layout)) == 24
    assert import_manifest(layout, SETTINGS, listed, prune=True).counts["failed"] == 10
    assert len(stored(layout)) == 14
    for n in range(10):
        (tmp_path / f"{n}.png").rename(tmp_path / f"disk/{n}.png")
    assert import_manifest(layout, SETTINGS, listed).counts["changed"] == 10
    assert len(stored(layout)) == 24


def test_a_stored_picture_outlives_a_file_that_cannot_be_read(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "in", "Kim/one/a.png", "Kim/one/b.png")
    import_folder(layout, SETTINGS, root)
    fill(root, "Kim/one/new.png")
    os.utime(root / "Kim/one/a.png", (0, 0))
    real = Path.open

    def closed(path: Path, *how: Any, **more: Any) -> Any:
        if path.name in ("a.png", "new.png"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *how, **more)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", closed)
        for _ in range(2):
            report = import_folder(layout, SETTINGS, root)
            assert (report.counts["kept"], report.counts["failed"], report.files) == (1, 1, 3)
        version = Catalog(layout).version("pictures")
        import_folder(layout, SETTINGS, root)
        assert Catalog(layout).version("pictures") == version
    assert rows(layout)["Kim/one/new.png"]["reason"] == "unreadable"
    assert len(stored(layout)) == 2
    report = import_folder(layout, SETTINGS, root)  # nothing changed but that it can be read
    assert (report.counts["changed"], report.counts["unchanged"]) == (2, 1)
    assert len(stored(layout)) == 3


def test_files_that_change_while_they_are_read(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crawler.importers import ingest

    root = fill(tmp_path / "in", *(f"Kim/one/{n}.png" for n in range(6)))
    real = ingest.read_capped

    def read(path: Path, limits: Any) -> bytes:
        if path.name == "0.png":
            path.unlink()
        if path.name == "1.png":
            with path.open("ab") as handle:
                handle.write(b"more")
        if path.name == "2.png":
            raise RuntimeError("nobody foresaw this")
        return real(path, limits)

    with monkeypatch.context() as broken:
        broken.setattr(ingest, "read_capped", read)
        report = import_folder(layout, SETTINGS, root)
    assert (report.counts["new"], report.counts["failed"], report.files) == (4, 2, 6)
    assert "nobody foresaw this" in told(report)
    report = import_folder(layout, SETTINGS, root)
    assert (report.counts["changed"], report.counts["removed"]) == (1, 1)


def test_pipes_and_far_times(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", *(f"Kim/one/{n}.png" for n in range(len(FAR_NS))))
    for n, moment in enumerate(FAR_NS):
        with contextlib.suppress(OSError, OverflowError):  # not on every file system
            os.utime(root / f"Kim/one/{n}.png", ns=(moment, moment))
    os.mkfifo(root / "Kim/one/pipe.png")  # would be read for ever
    (root / "Kim/one/zero.png").symlink_to("/dev/zero")
    for _ in range(2):
        report = import_folder(layout, SETTINGS, root)
    assert (report.counts["unchanged"], report.files) == (len(FAR_NS) + 2, len(FAR_NS) + 2)
    assert {rows(layout)[f"Kim/one/{n}.png"]["reason"] for n in ("pipe", "zero")} == {"not_a_file"}


def test_paths_longer_than_the_system_takes(layout: Layout, tmp_path: Path) -> None:
    root = fill(tmp_path / "in", "Kim/one/a.png")
    here = os.open(root, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    report = import_folder(layout, SETTINGS, root)
    assert report.counts["new"] == report.counts["unread_folders"] == 1
    assert len(json.dumps(report.problems)) < 20_000


# --- One name for two places, and trees that are not what they seem.


def test_a_name_that_stands_for_another_folder_is_refused(layout: Layout, tmp_path: Path) -> None:
    one = fill(tmp_path / "one", "Kim/one/a.png", "Kim/one/b.png")
    import_folder(layout, SETTINGS, one, name="mine")
    with pytest.raises(InputError, match="--name"):
        import_folder(layout, SETTINGS, fill(tmp_path / "two", "Lee/x/a.png"), name="mine")
    assert stored(layout) == {"Kim/one/a.png", "Kim/one/b.png"}
    one.rename(tmp_path / "moved")
    report = import_folder(layout, SETTINGS, tmp_path / "moved", name="mine")
    assert report.counts["unchanged"] == 2
    assert f"was imported from {one} before" in told(report)


def notes(root: Path, pattern: str = "{author}/{title}") -> str:
    from crawler.importers.folder import parse_pattern

    return "\n".join(notes_on(walk(root), parse_pattern(pattern)))


def test_trees_that_do_not_look_like_authors_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fill(tmp_path / "plain", "Kim/One/a.png", "Kim/One/01/b.png", "Lee/c.png")
    fill(plain, *(f"Kim/Two/ep {n}/{m}.png" for n in range(3) for m in range(3)))
    assert notes(plain) == ""
    assert "no author above" in notes(fill(tmp_path / "loose", "a.png", "b.png", "Kim/c.png"))
    deep = fill(tmp_path / "deep", *(f"action/Kim/One{n}/a.png" for n in range(3)))
    fill(deep, "drama/Lee/Best/a.png", "drama/Lee/Worst/a.png", "drama/Lee/Last/a.png")
    assert "{genre}/{author}/{title}" in notes(fill(deep, "drama/Lee/More/a.png"))
    assert notes(deep, "{genre}/{author}/{title}") == ""
    home = fill(tmp_path / "home", "Downloads/a.png", "Pictures/2020/b.png")
    assert "Downloads, Pictures would be authors" in notes(home)
    many = fill(tmp_path / "many", *(f"{n}/one.png" for n in range(30)))
    assert "30 of 30 authors have one picture" in notes(many)
    monkeypatch.setenv("HOME", str(plain))
    assert "all that you have" in notes(plain)
