"""A small real index: three hands that draw differently, two titles each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.importers import import_folder
from indexer.build import build_generation
from indexer.embed import embed_pending
from indexer.generations import publish
from schemas.settings import Settings, load_settings
from search.engine import Engine
from tests.search.hands import draw, draw_folder


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawings")
    draw_folder(root)
    return root


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, drawings: Path) -> Settings:
    made = load_settings(
        {"store.root": str(tmp_path_factory.mktemp("root"))}, environ={}, cwd=drawings
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


@pytest.fixture
def new_picture(tmp_path: Path) -> Path:
    """A picture by hand 0 that the index does not hold."""
    file = tmp_path / "new.png"
    draw(0, 99).save(file)
    return file
