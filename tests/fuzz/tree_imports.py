"""Trees of folders: each file is found once, and an import accounts for it."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

from crawler.importers.walk import walk
from schemas.storage.catalog import Catalog
from tests.fuzz import commands
from tests.fuzz.commands import check_import, settings_of
from tests.fuzz.samples import Rng
from tests.fuzz.trees import random_tree


def make(rng: Rng, folder: Path) -> None:
    """Write a tree, and what must be found in it."""
    tree = random_tree(random.Random(int(rng.integers(2**62))), folder / "tree")
    tree.open()

    def names(paths: list[Path]) -> list[str]:
        return sorted(os.fsencode(path.relative_to(folder)).decode("latin-1") for path in paths)

    facts = {"files": names(tree.files), "sound": names(tree.sound), "closed": names(tree.closed),
             "is_imported": not rng.integers(commands.IMPORTED)}  # fmt: skip
    (folder / "case.json").write_text(json.dumps(facts), "utf-8")


def check(folder: Path) -> None:
    """List the tree, and import it."""
    facts = json.loads((folder / "case.json").read_text("utf-8"))

    def paths(kind: str) -> list[Path]:
        return [folder / os.fsdecode(name.encode("latin-1")) for name in facts[kind]]

    closed, data = paths("closed"), folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    for path in closed:
        path.chmod(0)
    try:
        found = walk(folder / "tree")
        assert sorted(path for path, _, _ in found.files) == sorted(paths("files"))
        texts = [text for _, text, _ in found.files]
        assert len(set(texts)) == len(texts) and all(text.encode() for text in texts)
        assert len(found.unseen) == len(closed)
        if facts["is_imported"]:
            said = check_import(data, "folder", str(folder / "tree"))
            assert said["files"] == len(facts["files"])
            rows = Catalog(settings_of(data).layout).read("pictures").to_pylist()
            stored = sum(row["status"] == "stored" for row in rows)
            copies = sum(row["reason"] == "duplicate" for row in rows)  # also of empty files
            assert stored <= len(facts["sound"]) <= stored + copies, (stored, copies)
    finally:
        for path in closed:
            path.chmod(0o755)
