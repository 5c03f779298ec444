"""A small real index: three artists who draw differently, two titles each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from search.engine import Engine
from tests.search.artists import draw, draw_folder
from tests.small_model import ENVIRON


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawings")
    draw_folder(root)
    return root


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, drawings: Path) -> Settings:
    made = load_settings(
        {"store.root": str(tmp_path_factory.mktemp("root"))}, environ=ENVIRON, cwd=drawings
    )
    import_folder(made.layout, made, drawings)
    embed_pending(made.layout, made)
    report = build_generation(made.layout, made)
    assert report.generation_id is not None
    publish(made.layout, report.generation_id)
    return made


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    with Engine.open(settings.layout, settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def dated(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The small index with a year for each title, 2004 to 2019, and eras of five years."""
    root = tmp_path_factory.mktemp("dated")
    made = load_settings(
        {"store.root": str(root / "root"), "index.era_years": 5}, environ=ENVIRON, cwd=root
    )
    for part in ("tables", "pictures"):
        shutil.copytree(settings.store.root / part, made.store.root / part)
    catalog = Catalog(made.layout)
    titles = sorted(catalog.read("titles").to_pylist(), key=lambda row: str(row["title_id"]))
    for number, row in enumerate(titles):
        row["year"] = 2004 + 3 * number
    catalog.upsert("titles", titles)
    report = build_generation(made.layout, made)
    assert report.generation_id is not None
    publish(made.layout, report.generation_id)
    return made


@pytest.fixture
def new_picture(tmp_path: Path) -> Path:
    """A picture by hand 0 that the index does not hold."""
    file = tmp_path / "new.png"
    draw(0, 99).save(file)
    return file
