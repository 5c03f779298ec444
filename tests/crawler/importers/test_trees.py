"""Many odd trees: an import ends in order, accounts for every file, and a second one is idle."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from crawler.importers.folder import import_folder
from crawler.importers.walk import walk
from schemas.settings import Settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.fuzz.trees import random_tree


@pytest.mark.parametrize("seed", range(12))
def test_every_file_of_a_tree_is_accounted_for(tmp_path: Path, seed: int) -> None:
    tree = random_tree(random.Random(seed), tmp_path / "tree")
    layout = Layout(tmp_path / "data")
    try:
        first = import_folder(layout, Settings(), tree.root)
        second = import_folder(layout, Settings(), tree.root)
        assert import_folder(layout, Settings(), tree.root, dry_run=True).counts == second.counts
    finally:
        tree.open()
    rows = Catalog(layout).read("pictures").to_pylist()
    assert first.files == second.files == len(rows) == len(tree.files)
    assert len({row["source_path"] for row in rows}) == len(rows)
    good = [row for row in rows if row["status"] == "stored" or row["reason"] == "duplicate"]
    assert len(good) == len(tree.sound)
    counts = Counter(row["status"] for row in rows)
    assert counts == {
        status: first.counts[name]
        for status, name in (("stored", "new"), ("skipped", "skipped"), ("failed", "failed"))
        if first.counts[name]
    }
    assert all(row["reason"] for row in rows if row["status"] != "stored")
    assert first.counts["unread_folders"] == len(tree.closed)
    idle = {"new", "changed", "removed", "titles", "kept"}
    assert not idle & {name for name, count in second.counts.items() if count}
    names = {author["name"] for row in Catalog(layout).read("titles").to_pylist()
             for author in row["authors"]}  # fmt: skip
    assert not names & {"@eaDir", "#recycle", "kim/thumb"}


@pytest.mark.slow
def test_walks_of_many_trees(tmp_path: Path) -> None:
    for seed in range(500):
        tree = random_tree(random.Random(1000 + seed), tmp_path / str(seed))
        try:
            found = walk(tree.root)
        finally:
            tree.open()
        assert sorted(path for path, _, _ in found.files) == sorted(tree.files)
        texts = [text for _, text, _ in found.files]
        assert len(set(texts)) == len(texts)
        assert all(text.encode() for text in texts)
        assert len(found.unseen) == len(tree.closed)
