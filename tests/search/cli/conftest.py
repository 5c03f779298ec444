"""Every test of the command line asks the small index, and no settings of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.settings import Settings


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings) -> None:
    """No settings of this machine, and the small index."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("TOONSEARCH_STORE__ROOT", str(settings.store.root))
    monkeypatch.chdir(tmp_path)
