"""Backups: whole while others write, cheap the second time, proven when they come back."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from crawler.importers.folder import import_folder
from indexer.backup import back_up, restore
from indexer.embedding.embed import embed_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation, publish
from schemas.errors import InputError, UsageError
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog, maintain
from schemas.storage.layout import Layout
from tests.drawings import draw_folder, drawing
from tests.small_model import ENVIRON

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Path:
    draw_folder(tmp_path / "drawings", titles=1, pictures=2, side_px=64)
    night(tmp_path)
    return tmp_path


def settings_of(place: Path) -> Settings:
    return load_settings({"store.root": str(place / "data")}, environ=ENVIRON, cwd=place)


def night(place: Path) -> None:
    settings = settings_of(place)
    import_folder(settings.layout, settings, place / "drawings", name="d")
    embed_pending(settings.layout, settings)
    report = build_generation(settings.layout, settings, accept=("all",))
    assert report.generation_id is not None
    publish(settings.layout, report.generation_id)


def contents(layout: Layout) -> tuple[object, ...]:
    catalog = Catalog(layout)
    tables = {name: sorted(map(str, catalog.read(name).to_pylist())) for name in
              ("titles", "pictures", "vectors")}  # fmt: skip
    files = {str(p.relative_to(layout.pictures)): p.read_bytes() for p in
             layout.pictures.rglob("*") if p.is_file()}  # fmt: skip
    with Generation.open(layout) as generation:
        return tables, files, generation.manifest


def test_there_and_back(place: Path) -> None:
    layout = settings_of(place).layout
    first = back_up(layout, place / "backups")
    assert first.pictures == 8
    drawing(1, 50, 64).save(place / "drawings/hand 1/title 1.0/7.png")
    night(place)
    second = back_up(layout, place / "backups")
    assert second.pictures == 9
    assert len(list((place / "backups/pictures").rglob("*.png"))) == 9
    restored = Layout(place / "elsewhere" / "data")
    restore(place / "backups", restored)
    assert contents(restored) == contents(layout)
    old = Layout(place / "old")
    restore(Path(first.path), old)
    assert Catalog(old).read("pictures").num_rows == 8
    Catalog(old).delete("pictures", "kind", ["picture"])  # it can be written on
    assert Catalog(old).read("pictures").num_rows == 0


def test_what_visitors_keep_comes_along(place: Path) -> None:
    layout = settings_of(place).layout
    writer = sqlite3.connect(layout.web)
    writer.execute("pragma journal_mode = wal")
    writer.execute("create table shares (id text)")
    writer.execute("insert into shares values ('stays')")
    writer.commit()
    writer.execute("insert into shares values ('not yet')")  # still being written
    back_up(layout, place / "backups")
    writer.rollback()
    writer.close()
    restored = Layout(place / "elsewhere")
    restore(place / "backups", restored)
    with contextlib.closing(sqlite3.connect(restored.web)) as found:
        assert found.execute("select id from shares").fetchall() == [("stays",)]
    layout.web.write_bytes(b"not a database, by any means" * 100)
    with pytest.raises(InputError, match=r"web\.sqlite cannot be copied"):
        back_up(layout, place / "backups")


def test_after_maintenance_the_log_is_a_checkpoint(place: Path) -> None:
    layout = settings_of(place).layout
    maintain(layout, keep_history=False)
    night(place)
    back_up(layout, place / "backups")
    restored = Layout(place / "restored")
    restore(place / "backups", restored)
    assert contents(restored) == contents(layout)


def test_taken_while_others_write(place: Path) -> None:
    layout = settings_of(place).layout
    stop = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        number = 100
        try:
            while not stop.is_set():
                number += 1
                drawing(0, number, 64).save(place / f"drawings/hand 0/title 0.0/{number}.png")
                night(place)
                maintain(layout, keep_history=number % 2 == 0)
        except BaseException as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(6):
            report = back_up(layout, place / "backups")
            restored = Layout(place / f"restored {turn}")
            restore(Path(report.path), restored)
            catalog = Catalog(restored)
            rows = catalog.read("pictures", ["picture_id", "file"]).to_pylist()
            assert all(restored.picture(row["file"]).is_file() for row in rows)
            with Generation.open(restored) as generation:
                assert generation.pictures_count >= 8
    finally:
        stop.set()
        writer.join()
    assert not failed


def test_keep(place: Path) -> None:
    layout = settings_of(place).layout
    added = layout.models / "clip-1" / "pictures.onnx"
    added.parent.mkdir(parents=True)
    added.write_bytes(b"a network")
    (layout.models / ".model-x").mkdir()
    (layout.models / ".model-x" / "half").touch()  # being added
    for _ in range(3):
        back_up(layout, place / "backups", keep=2)
    held = list((place / "backups").glob("*/models/clip-1/pictures.onnx"))
    assert len(held) == 2 and len({path.stat().st_ino for path in held}) == 1  # stored once
    restore(place / "backups", Layout(place / "elsewhere"))
    assert (place / "elsewhere/models/clip-1/pictures.onnx").read_bytes() == b"a network"
    assert not list((place / "elsewhere/models").glob(".*"))
    assert len([p for p in (place / "backups").iterdir() if p.name != "pictures"]) == 2
    assert len(list((place / "backups/pictures").rglob("*.png"))) == 8


def test_what_systems_leave_in_a_folder_of_backups_stays(place: Path) -> None:
    layout, target = settings_of(place).layout, place / "backups"
    back_up(layout, target)
    left = [target / "@eaDir/x", target / ".own.tmp/x", target / "pictures/ab/cd/@eaDir"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    copy = target / "pictures" / "ab/cd" / f".{'0' * 64}.png.tmp"
    copy.write_bytes(b"")
    back_up(layout, target, keep=1)
    assert all(path.exists() for path in left) and not copy.exists()


def test_every_file_of_a_backup_matters(place: Path) -> None:
    report = back_up(settings_of(place).layout, place / "backups")
    files = [p for p in Path(report.path).rglob("*") if p.is_file()]
    files += list((place / "backups/pictures").rglob("*.png"))[:2]
    for path in files:
        data = path.read_bytes()
        mutant = bytearray(data)
        mutant[len(data) // 2] ^= 4
        path.write_bytes(mutant)
        with pytest.raises(InputError, match="damaged"):
            restore(place / "backups", Layout(place / "restored"))
        assert not (place / "restored").exists()
        assert not [p for p in place.iterdir() if p.name.startswith(".")]
        path.write_bytes(data)
    restore(place / "backups", Layout(place / "restored"))


def test_places_that_will_not_do(place: Path) -> None:
    layout = settings_of(place).layout
    (place / "full").mkdir()
    (place / "full/letter.txt").write_text("mine")
    (place / "link").symlink_to(layout.root)
    (place / "album/pictures/2019/summer").mkdir(parents=True)
    (place / "album/pictures/2019/summer/a.jpg").write_bytes(b"mine")
    inside = layout.root / "backups"
    for name in ("full", "link", "link/backups", "full/letter.txt", "album"):
        with pytest.raises(UsageError):
            back_up(layout, place / name, keep=1)
    for target in (layout.root, inside, place):
        with pytest.raises(UsageError):
            back_up(layout, target)
    assert (place / "album/pictures/2019/summer/a.jpg").read_bytes() == b"mine"
    with pytest.raises(InputError, match="no backup"):
        restore(place / "full", Layout(place / "new"))
    back_up(layout, place / "backups")
    with pytest.raises(InputError, match="not empty"):
        restore(place / "backups", layout)
    with pytest.raises(InputError, match="no catalog"):
        back_up(Layout(place / "nothing"), place / "backups")
