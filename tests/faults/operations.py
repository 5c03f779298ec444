"""What is killed and what must hold afterwards: operations on a small data root, and its oracle.

Runs inside `worker.py`'s children; nothing here is ever patched or faked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from schemas.blocklist import BlockList
from schemas.images import picture_id_of
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from schemas.storage.locking import writing
from tests.small_model import ENVIRON

PROBES = 50
BATCH = 3  # pictures of one commit, so that a small import has several


def settings_of(root: Path) -> Settings:
    flags = {"store.root": str(root), "encoder.threads": 1, "index.sample": 40, "index.keep": 1}
    flags["index.kind"] = "ivf"  # which writes what the others write, and more
    return load_settings(flags, environ=ENVIRON, cwd=root.parent)


def do_import(root: Path) -> None:
    from crawler.importers import ingest as intake
    from crawler.importers.folder import import_folder

    intake.COMMIT_ROWS = BATCH
    settings = settings_of(root)
    with writing(settings.layout, "import"):
        # A source with a name is the same wherever its folder lies.
        import_folder(settings.layout, settings, root.parent / "drawings", name="drawings")


def do_undo(root: Path) -> None:
    from crawler.importers.history import find_import, undo_import

    layout = settings_of(root).layout
    with writing(layout, "undo"):
        undo_import(layout, find_import(Catalog(layout), None))


def do_embed(root: Path) -> None:
    from indexer.embedding import embed

    embed.COMMIT_ROWS = BATCH
    settings = settings_of(root)
    with writing(settings.layout, "embed"):
        embed.embed_pending(settings.layout, settings)


def do_build(root: Path) -> None:
    from indexer.vector_index.build import build_generation

    settings = settings_of(root)
    with writing(settings.layout, "build"):
        build_generation(settings.layout, settings)


def do_publish(root: Path) -> None:
    from indexer.vector_index.generations import generation_ids, publish

    layout = settings_of(root).layout
    with writing(layout, "publish"):
        publish(layout, generation_ids(layout)[-1])


def do_renew(root: Path) -> None:
    """Build and publish in one go, so that a power cut may undo both."""
    do_build(root)
    do_publish(root)


def do_gc(root: Path) -> None:
    from indexer.vector_index.generations import collect_garbage

    layout = settings_of(root).layout
    with writing(layout, "gc"):
        collect_garbage(layout, 1)


def do_forget(root: Path) -> None:
    from indexer.forget import forget
    from search.web.db import forget_visitors

    settings = settings_of(root)
    with writing(settings.layout, "forget"):
        forget(settings.layout, settings, {"author": ("hand 1",)}, forget_visitors)


def do_maintain(root: Path) -> None:
    from schemas.storage.catalog import maintain

    layout = settings_of(root).layout
    with writing(layout, "maintain"):
        maintain(layout, keep_history=False)


OPERATIONS: dict[str, Callable[[Path], None]] = {
    "import": do_import,
    "awkward": do_import,
    "undo": do_undo,
    "embed": do_embed,
    "build": do_build,
    "publish": do_publish,
    "renew": do_renew,
    "gc": do_gc,
    "forget": do_forget,
    "maintain": do_maintain,
}


AWKWARD = "a[1]"


def root_of(place: Path, operation: str) -> Path:
    """Where an operation finds its data root: one has a name that libraries stumble over."""
    return place / (AWKWARD if operation == "awkward" else "data")


def finish(root: Path, operation: str = "") -> dict[str, Any]:
    """What the next night does, whatever happened before; first whoever was asked to take
    something away does so again. Returns what an undo leaves."""
    left: dict[str, Any] = {}
    if operation == "forget":
        do_forget(root)
    if operation == "undo":
        if "undone" not in _outcomes(root):
            do_undo(root)
        rows = {
            name: Catalog(Layout(root)).read(name).to_pylist() for name in ("pictures", "titles")
        }
        left = {name: sorted(map(str, found)) for name, found in rows.items()}
    do_import(root)
    do_embed(root)
    do_build(root)
    do_publish(root)
    do_gc(root)
    return left


def _outcomes(root: Path) -> list[str]:
    return list(Catalog(Layout(root)).read("runs", ["outcome"])["outcome"].to_pylist())


def acknowledge(to: int) -> None:
    """Tell the parent of every commit that the catalog calls done, the moment it does."""
    for name in ("append", "upsert"):
        real = getattr(Catalog, name)

        def acknowledging(
            self: Catalog, table: str, rows: Any, _real: Any = real, **more: Any
        ) -> None:
            _real(self, table, rows, **more)
            if table in ("pictures", "vectors"):
                ids = (
                    rows["picture_id"].to_pylist()
                    if hasattr(rows, "to_pylist") and not isinstance(rows, list)
                    else [row["picture_id"] for row in rows]
                )
                gone = [key[0] for key in more.get("gone", ())]
                os.write(to, json.dumps([table, ids, gone]).encode() + b"\n")

        setattr(Catalog, name, acknowledging)


def stored(root: Path) -> dict[str, list[str]]:
    """Ids that the catalog answers with now; a picture without its bytes is none."""
    layout = Layout(root)
    catalog = Catalog(layout)
    pictures = catalog.read("pictures", ["picture_id", "file"]).to_pylist()
    return {
        "pictures": sorted(row["picture_id"] for row in pictures if _is_whole(layout, **row)),
        "vectors": sorted(catalog.read("vectors", ["picture_id"])["picture_id"].to_pylist()),
    }


def _is_whole(layout: Layout, picture_id: str, file: str | None) -> bool:
    if file is None:
        return True  # a refused picture is a row alone
    path = layout.picture(file)
    return path.is_file() and picture_id_of(path.read_bytes()) == picture_id


def answers(root: Path) -> dict[str, Any] | None:
    """What readers get from the published generation; None while there never was one."""
    from indexer.vector_index.generations import Generation
    from schemas.errors import NoIndexError

    try:
        with Generation.open(Layout(root)) as generation:
            rng = np.random.default_rng(7)
            probes = rng.standard_normal((PROBES, generation.dimension), dtype=np.float32)
            scores, ids = generation.index.search(probes, 10)
            rows = generation.meta.execute("select row_id, title_id, author from catalog")
            known = {row[0]: row[1:] for row in rows}
            assert set(ids[ids >= 0].tolist()) <= set(known), "vectors and metadata differ"
            assert len(known) == generation.pictures_count == generation.index.count
            return {
                "ids": ids.tolist(),
                "scores": scores.round(5).tolist(),
                "known": sorted(map(str, known.items())),
            }
    except NoIndexError as error:
        if "no index yet" in error.message:
            return None
        raise


def contents(root: Path) -> dict[str, Any]:
    """Everything that must be the same as after an undisturbed run."""
    catalog = Catalog(Layout(root))
    pictures = catalog.read("pictures").drop_columns(["fetched_at"]).to_pylist()
    vectors = catalog.read("vectors").to_pylist()
    live = {row["picture_id"] for row in pictures}
    digests = {
        row["picture_id"]: hashlib.sha256(np.asarray(row["vector"], np.float32)).hexdigest()
        for row in vectors
    }
    assert len(digests) == len(vectors), "a picture has two vectors"
    return {
        "pictures": sorted(map(str, pictures)),
        "titles": sorted(row["title_id"] for row in catalog.read("titles").to_pylist()),
        "vectors": {key: value for key, value in sorted(digests.items()) if key in live},
        "answers": answers(root),
        "blocked": bool(BlockList.read(Layout(root))),
        "interrupted": _outcomes(root).count("interrupted"),
    }


def debris(root: Path) -> list[str]:
    """Files that nothing refers to."""
    layout = Layout(root)
    found = [str(p.relative_to(root)) for p in layout.staging.glob("*")]
    found += [
        str(p.relative_to(root)) for p in root.rglob("*") if ".tmp" in p.name or "#" in p.name
    ]
    for table in layout.tables.iterdir():
        named = table / "_delta_log"
        text = "".join(entry.read_text() for entry in named.glob("*.json"))
        checkpoints = list(named.glob("*.checkpoint.parquet"))
        for file in table.glob("*.parquet*"):
            if file.name not in text and not any(
                file.name.encode() in c.read_bytes() for c in checkpoints
            ):
                found.append(str(file.relative_to(root)))
    for generation in layout.index.glob("g*"):
        if not (generation / "manifest.json").exists():
            found.append(str(generation.relative_to(root)))
    return found
