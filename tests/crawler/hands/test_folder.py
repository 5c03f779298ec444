"""The folder: pictures, manifest, a second run, and what an odd picture costs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crawler.hands.folder import (
    ASKED,
    COLUMNS,
    draw_all,
    licence_table,
    path_of,
    write_manifest,
)
from crawler.hands.sources import Sketch
from indexer.training.data import benchmark_of_manifest
from schemas.errors import InputError
from schemas.manifest import read_manifest

pytest.importorskip("resvg_py", reason="drawing SVG files needs resvg-py")

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4" cy="4" r="3"/></svg>'
)


def quiet(done: int, total: int, what: str = "", /) -> None:
    """Progress that nobody sees."""


def sketch(name: str, hand: str = "icons:a", svg: str = SVG, **facts: Any) -> Sketch:
    return Sketch(
        hand=hand,
        name=name,
        series=f"{hand}/{name}",
        license="MIT (Ann)",
        source=f"npm:@iconify/json@{facts.pop('version', '1.0.0')}/json/a.json#{name}",
        content=name,
        svg=lambda: svg,
        **facts,
    )


def test_a_benchmark_with_what_is_shown(tmp_path: Path) -> None:
    wanted = [sketch(name, hand) for hand in ("icons:a", "icons:b") for name in ("ant", "bee, 'x'")]
    drawn = draw_all(wanted, tmp_path, quiet)
    write_manifest(drawn.sketches, tmp_path)
    bench = benchmark_of_manifest(tmp_path / "manifest.csv", training=True)
    assert bench.notes == ()
    assert bench.authors.tolist() == ["icons:a"] * 2 + ["icons:b"] * 2
    assert len(set(bench.series.tolist())) == 4
    for path in bench.paths:
        with Image.open(tmp_path / path) as image:
            assert (image.size, image.mode) == ((384, 384), "RGB")
    with (tmp_path / "manifest.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == COLUMNS
    assert [row["content"] for row in rows] == ["ant", "bee, 'x'"] * 2


def test_a_second_run_draws_what_is_missing(tmp_path: Path) -> None:
    wanted = [sketch("ant"), sketch("bee")]
    draw_all(wanted, tmp_path, quiet)
    first, second = (tmp_path / path_of(one) for one in wanted)
    before, data = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    drawn = draw_all(wanted, tmp_path, quiet)
    assert (len(drawn.sketches), drawn.reused) == (2, 1)
    assert first.stat().st_mtime_ns == before
    assert second.read_bytes() == data  # the same package gives the same file
    assert not list(tmp_path.rglob("*.part"))


def test_another_version_is_drawn_anew(tmp_path: Path) -> None:
    draw_all([sketch("ant"), sketch("bee")], tmp_path, quiet)
    draw_all([sketch("ant", hand="emoji:a")], tmp_path, quiet)
    drawn = draw_all([sketch("ant", version="1.0.1")], tmp_path, quiet)
    assert drawn.reused == 0
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert left == ["images/emoji/a/ant.png", "images/icons/a/ant.png"]


def test_an_odd_one_costs_itself_only(tmp_path: Path) -> None:
    def broken() -> str:
        raise RuntimeError("odd")

    odd = Sketch("icons:a", "dog", "d", "MIT", "npm:a@1.0.0/a.json#dog", svg=broken)
    gone = Sketch("icons:a", "cow", "c", "MIT", "a", file=tmp_path / "missing.png")
    drawn = draw_all([odd, sketch("ant"), gone, sketch("bee", svg="<svg")], tmp_path, quiet)
    assert [one.name for one in drawn.sketches] == ["ant"]
    assert drawn.dropped.total() == 3
    assert "1 pictures by 1 hands" in str(drawn)


def test_pictures_of_files_are_reduced_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (800, 400)).save(tmp_path / "big.png")
    one = Sketch(
        "clipart:Zoë /x", "big", "s", "public domain", "debian:a/b.svg", file=tmp_path / "big.png"
    )
    draw_all([one], tmp_path / "out", quiet)
    path = path_of(one)
    assert path.isascii()
    assert path.count("/") == 3
    with Image.open(tmp_path / "out" / path) as image:
        assert image.size == (384, 192)


def test_hands_whose_names_differ_in_signs_lie_apart() -> None:
    assert path_of(sketch("a", "icons:x y")) != path_of(sketch("a", "icons:x-y"))
    assert ".." not in path_of(sketch("..", "icons:../.."))


def test_licences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.csv"):
        licence_table(tmp_path)
    many = [
        Sketch(f"clipart:{number}", "a", "s", "public domain", "debian:clip/a/b.svg")
        for number in range(9)
    ]
    write_manifest([sketch("ant"), sketch("bee"), *many], tmp_path)
    write_manifest([sketch("ant", "emoji:b", asked=True)], tmp_path / ASKED)
    assert licence_table(tmp_path).splitlines()[2:] == [
        "| debian:clip | public domain | 9 hands | 9 | trained on |",
        "| npm:@iconify/json@1.0.0, a | MIT (Ann) | icons:a | 2 | trained on |",
        "| npm:@iconify/json@1.0.0, a | MIT (Ann) | emoji:b | 1 | asked only |",
    ]
    assert read_manifest(tmp_path / "manifest.csv").notes.lines() == []
