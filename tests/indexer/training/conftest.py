"""What tests of training share. Nothing here needs torch until a test asks for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def graphs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every network is exported once in this run; the folder of the graphs."""
    from tests.indexer.training.exporting import export_once

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # what all workers share
    export_once(folder / "graphs", monkeypatch.setattr)
    return folder / "graphs"
