"""Forgetting: gone from answers, tables, files and older generations; blocked afterwards."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.forget import clean_up, find, forget
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation, generation_ids, publish, rollback
from schemas.blocklist import BlockList
from schemas.errors import NoIndexError, UsageError
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from search.web.db import SCHEMA, forget_visitors
from tests.drawings import draw_folder, drawing
from tests.small_model import ENVIRON

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with two generations, made once and copied."""
    place = tmp_path_factory.mktemp("forget")
    draw_folder(place / "drawings", titles=2, pictures=2, side_px=64)
    night(place)
    drawing(0, 99, 64).save(place / "drawings/hand 0/title 0.0/9.png")
    night(place)
    return place


def settings_of(place: Path) -> Settings:
    return load_settings({"store.root": str(place / "data")}, environ=ENVIRON, cwd=place)


def night(place: Path) -> None:
    settings = settings_of(place)
    layout = settings.layout
    import_folder(layout, settings, place / "drawings", name="d", prune=True)
    embed_pending(layout, settings)
    report = build_generation(layout, settings, accept=("all",))
    assert report.generation_id is not None
    publish(layout, report.generation_id)


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def traces(root: Path, *needles: str) -> list[str]:
    """Files below a folder that hold one of these texts, or are named by one."""
    found = []
    for path in root.rglob("*"):
        for needle in needles:
            held = path.is_file() and needle.encode() in path.read_bytes()
            if needle in path.name or held:
                found.append(f"{path.relative_to(root)}: {needle}")
    return found


def authors(layout: Layout) -> set[str]:
    with Generation.open(layout) as generation:
        return {row[0] for row in generation.meta.execute("select author from titles")}


def test_an_author_leaves_every_file_and_stays_out(place: Path) -> None:
    settings = settings_of(place)
    layout = settings.layout
    wanted = {"author": ("Hand  2",)}
    found = find(layout, wanted)
    assert len(found.titles) == 2
    assert len(found.pictures) == 4
    needles = ("hand 2", "hand-2", *found.pictures)
    assert traces(layout.root, *needles)
    report = forget(layout, settings, wanted, forget_visitors)
    assert traces(layout.root, *needles) == []
    assert (len(report.files), report.pending, len(report.generations)) == (4, False, 2)
    assert authors(layout) == {"hand 0", "hand 1", "hand 3"}
    assert generation_ids(layout) == [report.generation_id]
    night(place)  # the folder still has them
    assert traces(layout.root, *needles) == []
    assert authors(layout) == {"hand 0", "hand 1", "hand 3"}


def test_a_title_and_a_picture(place: Path) -> None:
    settings = settings_of(place)
    layout = settings.layout
    rows = Catalog(layout).read("pictures", ["picture_id", "title_id"]).to_pylist()
    title = rows[0]["title_id"]
    single = next(row["picture_id"] for row in rows if row["title_id"] != title)
    gone = {row["picture_id"] for row in rows if row["title_id"] == title} | {single}
    forget(layout, settings, {"title": (title,), "picture": (single,)}, forget_visitors)
    assert traces(layout.root, title, *gone) == []
    night(place)
    assert traces(layout.root, title, *gone) == []
    left = Catalog(layout).read("pictures", ["picture_id"])["picture_id"].to_pylist()
    assert sorted(left) == sorted(
        row["picture_id"] for row in rows if row["picture_id"] not in gone
    )


def test_a_generation_that_is_read_goes_later_and_is_refused_meanwhile(place: Path) -> None:
    settings = settings_of(place)
    layout = settings.layout
    old = generation_ids(layout)[-1]
    with Generation.open(layout, old) as reader:
        report = forget(layout, settings, {"author": ("hand 1",)}, forget_visitors)
        assert report.pending
        assert BlockList.read(layout).pending
        assert reader.meta.execute("select count(*) from titles").fetchone()[0] == 8
        assert "hand 1" not in authors(layout)
        with pytest.raises(NoIndexError, match="forgotten"):
            publish(layout, old)
        with pytest.raises(NoIndexError):
            rollback(layout)
        assert not clean_up(layout, settings, forget_visitors)
    assert clean_up(layout, settings, forget_visitors)
    assert old not in generation_ids(layout)
    assert traces(layout.root, "hand 1") == []


def test_what_visitors_of_the_page_keep(place: Path) -> None:
    settings = settings_of(place)
    rows = Catalog(settings.layout).read("pictures", ["picture_id", "title_id"]).to_pylist()
    (settings.layout.cache / "views").mkdir(parents=True)
    (settings.layout.cache / "views/cached").write_text(rows[0]["title_id"])
    with closing(sqlite3.connect(settings.layout.web)) as db:
        db.executescript(SCHEMA + "insert into accounts values (1, 'me', 'me', 'x', 0);")
        db.execute("insert into galleries values ('g', 1, 'mine', 0, 0, 0)")
        for row in rows:
            values = ("g", row["picture_id"], row["title_id"], 0)
            db.execute("insert into gallery_pictures values (?, ?, ?, ?)", values)
            own = json.dumps([row["picture_id"]])
            values = (row["picture_id"][:8], b"", 0.0, "m", "p", own, 9)
            db.execute("insert into shared_links values (?, ?, ?, ?, ?, ?, ?)", values)
        db.commit()
    found = forget(settings.layout, settings, {"author": ("hand 2",)}, forget_visitors)
    assert traces(settings.layout.root, *found.pictures, *(t[0] for t in found.titles)) == []
    with closing(sqlite3.connect(settings.layout.web)) as db:
        for table in ("gallery_pictures", "shared_links"):
            assert db.execute(f"select count(*) from {table}").fetchone() == (len(rows) - 4,)


def test_everything_forgotten_answers_nothing(place: Path) -> None:
    settings = settings_of(place)
    everybody = tuple(f"hand {n}" for n in range(4))
    report = forget(settings.layout, settings, {"author": everybody}, forget_visitors)
    assert report.generation_id is None
    with pytest.raises(NoIndexError, match="no index yet"):
        Generation.open(settings.layout)
    assert traces(settings.layout.root, "hand") == []


def test_the_generation_that_is_left_is_of_the_catalog_as_it_is(place: Path) -> None:
    settings = settings_of(place)
    for wanted in ({"author": ("hand 0",)}, {"title": ("nobody:1",)}):
        forget(settings.layout, settings, wanted, forget_visitors)
        assert build_generation(settings.layout, settings).unchanged


def test_forgetting_before_it_ever_came(place: Path) -> None:
    settings = settings_of(place)
    report = forget(settings.layout, settings, {"author": ("Newcomer",)}, forget_visitors)
    assert (report.titles, report.pictures) == ([], [])
    assert len(generation_ids(settings.layout)) == 2
    folder = place / "drawings/newcomer/first"
    folder.mkdir(parents=True)
    drawing(3, 7, 64).save(folder / "0.png")
    night(place)
    assert traces(settings.layout.root, "newcomer") == []


def test_wishes_that_make_no_sense(place: Path) -> None:
    with pytest.raises(UsageError):
        find(settings_of(place).layout, {})
    with pytest.raises(UsageError):
        find(settings_of(place).layout, {"author": (" ",)})
