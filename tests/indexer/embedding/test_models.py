"""How a model's folder takes its name: whole, once, and never by removing an equal one first."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.embedding.models import new_model_folder
from schemas.errors import StorageError


def written(target: Path, text: str) -> None:
    with new_model_folder(target) as aside:
        (aside / "labels").mkdir()
        (aside / "labels" / "heads").write_text(text)


def test_an_equal_model_stays_and_another_takes_its_place(tmp_path: Path) -> None:
    target = tmp_path / "models" / "style-1"
    written(target, "a")
    before = target.stat().st_ino
    written(target, "a")
    assert target.stat().st_ino == before  # whoever has it open reads on
    written(target, "b")
    assert (target / "labels" / "heads").read_text() == "b"
    assert [path.name for path in target.parent.iterdir()] == ["style-1"]


def test_the_old_model_is_there_again_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "style-1"
    written(target, "a")
    rename = Path.rename

    def refused(self: Path, to: Path) -> Path:
        if to == target and not self.name.endswith("-old"):
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(StorageError):
        written(target, "b")
    assert (target / "labels" / "heads").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["style-1"]
