"""What differs between two generations, against what was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.vector_index.build import build_generation
from indexer.vector_index.diff import compare_generations
from indexer.vector_index.generations import publish
from schemas.errors import NoIndexError
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from search.cli.commands.index import difference_lines
from tests.catalogs import SETTINGS, fill_catalog


def build(layout: Layout) -> str:
    report = build_generation(layout, SETTINGS, accept=("all",))
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    return report.generation_id


@pytest.mark.slow
def test_everything_that_can_differ(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout)
    one = build(layout)
    catalog = Catalog(layout)
    pictures = catalog.read("pictures").to_pylist()
    titles = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    gone, moved = pictures[0], pictures[7]
    new_home = pictures[60]["title_id"]
    catalog.upsert(
        "pictures",
        [{**moved, "title_id": new_home}],
        gone=[(row["picture_id"], row["title_id"]) for row in (gone, moved)],
    )
    renamed = titles[pictures[30]["title_id"]]
    catalog.upsert("titles", [{**renamed, "year": 1977}])
    fill_catalog(layout, authors=1, titles=1, pictures=2, seed=5)  # two more in a known title
    two = build(layout)
    found = compare_generations(layout, one, two)
    assert found.gone == [(gone["title_id"], gone["picture_id"])]
    assert found.moved == [(moved["picture_id"], moved["title_id"], new_home)]
    assert len(found.appeared) == 2
    assert (found.titles_appeared, found.titles_gone) == ([], [])
    assert {change.title_id for change in found.relabelled} >= {renamed["title_id"]}
    assert found.reembedded == 0
    assert found.pictures == (90, 91)
    lines = list(difference_lines(found, 1))
    assert lines[0] == f"{one} -> {two}"
    assert any("1977" in line for line in difference_lines(found, None))
    back = compare_generations(layout, two, one)
    assert (len(back.gone), len(back.appeared)) == (2, 1)
    assert compare_generations(layout, one, one).is_empty


def test_a_generation_that_does_not_exist(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout)
    one = build(layout)
    with pytest.raises(NoIndexError):
        compare_generations(layout, one, "g20200101T000000000000-00000000")
