"""Generations: built, checked, damaged in every way, published, rolled back, collected."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.embed import open_encoder
from indexer.monitoring import coverage
from indexer.vector_index import build as building
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import (
    Generation,
    collect_garbage,
    current_generation_id,
    era_years_of,
    generation_ids,
    list_generations,
    publish,
    read_manifest,
    rollback,
    verify_generation,
)
from indexer.vector_index.metadata import IndexRows, collect_rows, row_id_of
from schemas.errors import InputError, NoIndexError, PartlyDoneError
from schemas.records import era_of
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import signed_bytes
from schemas.storage.layout import Layout
from tests.catalogs import SETTINGS, fill_catalog


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "root")
    fill_catalog(layout)
    return layout


def build(layout: Layout) -> str:
    report = build_generation(layout, SETTINGS)
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    return report.generation_id


def grow(layout: Layout, seed: int) -> None:
    fill_catalog(layout, authors=2, titles=1, pictures=2, seed=seed)


def test_every_indexed_picture_finds_itself_first(layout: Layout) -> None:
    build(layout)
    encoder = open_encoder(SETTINGS)
    rows = collect_rows(Catalog(layout), encoder.model_id, encoder.preprocessing_digest)
    with Generation.open(layout) as generation:
        assert generation.pictures_count == len(rows.row_ids) == 90
        scores, ids = generation.index.search(rows.vectors, 3)
        assert (ids[:, 0] == rows.row_ids).all()
        assert np.abs(scores[:, 0] - 1.0).max() < 2e-3
        found = generation.meta.execute("select row_id, picture_id, title_id from catalog")
        for row_id, picture_id, title_id in found:
            assert row_id == row_id_of(picture_id, title_id)


def test_metadata_view(layout: Layout) -> None:
    build(layout)
    with Generation.open(layout) as generation:
        row = generation.meta.execute(
            "select title, author, authors, genre, genres, tags, year, era, platform"
            " from catalog where title_id = 'test:2-1' limit 1"
        ).fetchone()
        assert row == (
            "Title 2.1",
            "Author 2",
            "Author 2",
            "food",
            "food",
            None,
            2001,
            "2000s",
            "test",
        )
        with pytest.raises(Exception, match="readonly"):
            generation.meta.execute("delete from titles")


def test_years_compare_as_numbers_even_when_quoted(layout: Layout) -> None:
    build(layout)
    with Generation.open(layout) as generation:
        count = "select count(*) from catalog where year < "
        plain = generation.meta.execute(count + "2000").fetchone()
        assert generation.meta.execute(count + "'2000'").fetchone() == plain
        assert 0 < plain[0] < generation.pictures_count


def test_nothing_changed_builds_nothing(layout: Layout) -> None:
    name = build(layout)
    report = build_generation(layout, SETTINGS)
    assert (report.generation_id, report.unchanged) == (name, True)
    assert generation_ids(layout) == [name]
    grow(layout, 9)
    assert not build_generation(layout, SETTINGS, dry_run=True).unchanged
    assert generation_ids(layout) == [name]
    assert build(layout) != name


def with_eras(years: int) -> Settings:
    return dataclasses.replace(SETTINGS, index=dataclasses.replace(SETTINGS.index, era_years=years))


def test_other_eras_are_another_generation(layout: Layout) -> None:
    """To and fro, each with labels of its own."""
    names, last = [], None
    for years, label in ((10, "2000s"), (5, "2000-2004"), (10, "2000s")):
        assert not build_generation(layout, with_eras(years), dry_run=True).unchanged
        report = build_generation(layout, with_eras(years))
        assert report.generation_id is not None and report.drift == 0.0
        publish(layout, report.generation_id)
        assert build_generation(layout, with_eras(years)).unchanged
        names.append(report.generation_id)
        assert era_years_of(layout, report.generation_id) == years
        with Generation.open(layout) as generation:
            assert generation.calibration.era_years == years
            assert generation.calibration.measured != last
            last = generation.calibration.measured
            meta = generation.meta
            rows = meta.execute("select year, era from catalog").fetchall()
            assert all(era_of(year, years) == era for year, era in rows)
            title = "select era from titles where title_id = 'test:2-1'"  # of 2001
            assert meta.execute(title).fetchone() == (label,)
            sizes = Counter(era for _, era in rows)
            labels = generation.labels.labels["era"]
            assert dict(zip(labels.names, labels.counts, strict=True)) == sizes
    assert len(set(names)) == 3
    assert not coverage(layout, with_eras(10)).stale and coverage(layout, with_eras(5)).stale
    assert era_years_of(layout, None) == era_years_of(layout, "g0") == 10


def test_a_calibration_is_not_carried_over_to_other_eras(layout: Layout) -> None:
    build(layout)
    catalog = Catalog(layout)
    ids = catalog.read("pictures", ["picture_id"])["picture_id"].to_pylist()
    catalog.delete("pictures", "picture_id", ids[:1])
    report = build_generation(layout, with_eras(5))
    assert report.calibration is not None
    assert (report.drift, report.calibration.era_years) == (0.0, 5)
    assert build_generation(layout, SETTINGS).drift > 0.0  # as wide as before: carried over


@pytest.mark.slow
def test_every_byte_matters(layout: Layout) -> None:
    """Each byte of the manifest, and places all over every other file."""
    name = build(layout)
    directory = layout.generation(name)
    rng = np.random.default_rng(0)
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        data = path.read_bytes()
        places = (
            range(len(data))
            if path.name == "manifest.json"
            else {0, len(data) - 1, *rng.integers(0, len(data), 12).tolist()}
        )
        for place in places:
            mutant = bytearray(data)
            mutant[place] ^= 1 << int(rng.integers(0, 8))
            path.write_bytes(mutant)
            with pytest.raises(NoIndexError) as caught:
                Generation.open(layout)
            assert "\n" not in str(caught.value)
        for cut in (data[:-1], data + b"\0", b""):
            path.write_bytes(cut)
            with pytest.raises(NoIndexError):
                Generation.open(layout)
        path.unlink()
        with pytest.raises(NoIndexError):
            Generation.open(layout)
        path.write_bytes(data)
    verify_generation(layout)


@pytest.mark.parametrize("text", ["", "x", "../../etc", "g20200101T000000000000-00000000 00\n"])
def test_a_damaged_pointer(layout: Layout, text: str) -> None:
    build(layout)
    layout.current.write_text(text)
    with pytest.raises(NoIndexError):
        Generation.open(layout)


def test_every_byte_of_the_pointer_matters(layout: Layout) -> None:
    build(layout)
    data = layout.current.read_bytes()
    for place in range(len(data)):
        for bit in range(8):
            mutant = bytearray(data)
            mutant[place] ^= 1 << bit
            layout.current.write_bytes(mutant)
            with pytest.raises(NoIndexError):
                Generation.open(layout)


@pytest.mark.slow
def test_files_swapped_between_generations_are_noticed(layout: Layout) -> None:
    one = build(layout)
    grow(layout, 9)
    two = build(layout)
    for name in ("vectors.faiss", "meta.sqlite", "checks.json", "manifest.json"):
        kept = (layout.generation(two) / name).read_bytes()
        shutil.copyfile(layout.generation(one) / name, layout.generation(two) / name)
        with pytest.raises(NoIndexError):
            Generation.open(layout)
        (layout.generation(two) / name).write_bytes(kept)
    verify_generation(layout)


def test_another_format_is_named(layout: Layout) -> None:
    name = build(layout)
    manifest = read_manifest(layout.generation(name))
    path = layout.generation(name) / "manifest.json"
    path.write_bytes(signed_bytes({**manifest, "format": 99}))
    with pytest.raises(NoIndexError, match="format 99"):
        Generation.open(layout)


def test_debris_is_ignored(layout: Layout) -> None:
    name = build(layout)
    (layout.index / "g20200101T000000000000-00000000").mkdir()
    (layout.index / ".CURRENT.1234.tmp").write_text("half")
    (layout.generation(name) / "notes.txt").write_text("mine")
    with Generation.open(layout) as generation:
        assert generation.id == name
    states = {info.id: info.state for info in list_generations(layout)}
    assert states[name] == "ok"
    assert "manifest" in states["g20200101T000000000000-00000000"]


def test_rollback_and_forward(layout: Layout) -> None:
    one = build(layout)
    with pytest.raises(NoIndexError, match="no older"):
        rollback(layout)
    assert current_generation_id(layout) == one
    grow(layout, 9)
    two = build(layout)
    assert rollback(layout) == one == current_generation_id(layout)
    publish(layout, two)
    assert current_generation_id(layout) == two
    (layout.generation(one) / "vectors.faiss").write_bytes(b"")
    with pytest.raises(NoIndexError):
        rollback(layout)
    assert current_generation_id(layout) == two


def test_publishing_a_damaged_generation_leaves_the_pointer(layout: Layout) -> None:
    one = build(layout)
    grow(layout, 9)
    two = build_generation(layout, SETTINGS).generation_id
    assert two is not None
    (layout.generation(two) / "meta.sqlite").write_bytes(b"SQLite format 3\0")
    with pytest.raises(NoIndexError):
        publish(layout, two)
    assert current_generation_id(layout) == one


HOLD = """
import sys
from pathlib import Path
from indexer.vector_index.generations import Generation
from schemas.storage.layout import Layout
with Generation.open(Layout(Path(sys.argv[1])), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_garbage_keeps_what_is_precious_or_held(layout: Layout) -> None:
    names = [build(layout)]
    for seed in range(10, 14):
        grow(layout, seed)
        names.append(build(layout))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(layout.root), names[0]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "held\n"
        assert collect_garbage(layout, 2, dry_run=True) == names[1:3]
        assert generation_ids(layout) == names
        assert collect_garbage(layout, 2) == names[1:3]
        assert generation_ids(layout) == [names[0], *names[3:]]
        reader.communicate("")
    assert collect_garbage(layout, 2) == [names[0]]
    assert collect_garbage(layout, 1) == []  # the parent stays for a rollback
    assert rollback(layout) == names[3]


def test_ids_stay_in_order_when_the_clock_goes_back(layout: Layout) -> None:
    late = layout.generation("g20990101T000000000000-00000000")
    late.mkdir(parents=True)
    assert build(layout) > late.name


def test_an_empty_catalog(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to index"):
        build_generation(Layout(tmp_path), SETTINGS)
    with pytest.raises(NoIndexError, match="no index yet"):
        Generation.open(Layout(tmp_path))


def test_a_failed_check_leaves_nothing_behind(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = build(layout)
    grow(layout, 9)
    real = collect_rows

    def broken(*arguments: object) -> IndexRows:
        rows = real(*arguments)  # type: ignore[arg-type]
        rows.vectors[3] *= 0.5
        return rows

    monkeypatch.setattr(building, "collect_rows", broken)
    with pytest.raises(PartlyDoneError, match="unit_vectors"):
        build_generation(layout, SETTINGS)
    assert generation_ids(layout) == [name]
    assert not list(layout.staging.iterdir())


def test_a_full_disk_is_one_line(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    name = build(layout)
    grow(layout, 9)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(building, "write_meta", full)
    with pytest.raises(InputError, match="disk is full"):
        build_generation(layout, SETTINGS)
    assert generation_ids(layout) == [name]
    assert not list(layout.staging.iterdir())


def test_the_checks_stay_in_the_generation(layout: Layout) -> None:
    name = build(layout)
    checks = json.loads((layout.generation(name) / "checks.json").read_text())
    assert {check["name"] for check in checks["checks"]} == {
        "count",
        "ids",
        "adds_up",
        "unit_vectors",
        "finds_itself",
        "recall",
        "min_recall",
        "encoder",
    }
    assert all(check["passed"] for check in checks["checks"])
