"""The public Python API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import toonsearch

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"numpy", "faiss", "onnxruntime", "duckdb", "pyarrow", "PIL", "torch", "typer", "search"}


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, toonsearch; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_files_and_bytes_are_asked(small_root: Path) -> None:
    file = next((small_root / "drawings").rglob("*.png"))
    with toonsearch.open(small_root / "data") as index:
        answer = index.query(file, k=1)
        assert isinstance(answer, toonsearch.Answer) and len(answer.titles) == 1
        assert index.query(file.read_bytes(), k=1).titles == answer.titles
        one = index.query(str(file), by="picture", filters=toonsearch.Filters(where="1 = 0"))
        assert one.pictures == ()
        with pytest.raises(toonsearch.ToonsearchError, match="does not exist"):
            index.query("nowhere.png")
        with pytest.raises(toonsearch.ToonsearchError, match=r"query\.k"):
            index.query(file, k=0)


def test_no_index_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(toonsearch.ToonsearchError):
        toonsearch.open(tmp_path)
    with pytest.raises(AttributeError):
        _ = toonsearch.nothing
