"""`make gpu-check`, small and on whatever is here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.gpu import agreement, generated, main, np


def test_every_part_runs_small(tmp_path: Path) -> None:
    assert main(["--small", "--without", "encode_torch", "--out", str(tmp_path / "gpu.json")]) == 0
    told = json.loads((tmp_path / "gpu.json").read_text())
    assert not told["failed"] and not told["differ_from_cpu"]
    ran = {"encode_onnxruntime", "lists", "search_3000_faiss", "search_6000_faiss"}
    assert ran <= set(told["figures"])
    searched = [part for name, part in told["figures"].items() if name.startswith("search")]
    assert all(part["same_but_for_ties"] == 1.0 for part in searched)
    assert told["on_gpu"] == [n for n, p in told["figures"].items() if p["device"] == "cuda"]
    assert not told["on_gpu"] or pytest.importorskip("torch").cuda.is_available()


def test_answers_that_differ_are_seen() -> None:
    vectors = generated(10, 8)
    assert np.linalg.norm(vectors.astype(np.float32), axis=1) == pytest.approx(1.0, abs=1e-2)
    score, ids = np.array([[0.9, 0.8, 0.8]]), np.array([[1, 2, 3]])
    assert agreement((score, ids), (score, np.array([[1, 3, 2]]))) == (1 / 3, 1.0)
    other = (np.array([[0.9, 0.8, 0.7]]), np.array([[1, 2, 4]]))
    assert agreement((score, ids), other) == (2 / 3, 2 / 3)
