"""The cache of features: what it depends on, and what is done with damaged files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")

from PIL import Image

from indexer.training import features
from indexer.training.data import Benchmark, benchmark_of_manifest
from indexer.training.features import FeatureStore
from schemas.errors import InputError


def test_features_are_cached_by_pictures_kind_view_and_version(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(bench, tmp_path)
    first = store.get("colors")
    assert first.shape == (len(bench), 64) and len(list(tmp_path.iterdir())) == 1
    calls: list[tuple[str, str | None]] = []
    real = FeatureStore._compute

    def counted(self: FeatureStore, kind: str, view: str | None) -> np.ndarray:
        calls.append((kind, view))
        return real(self, kind, view)

    monkeypatch.setattr(FeatureStore, "_compute", counted)
    assert np.array_equal(store.get("colors"), first) and not calls
    part = store.part(np.arange(3))
    assert np.array_equal(part.get("colors"), first[:3])
    assert not np.array_equal(store.get("colors", "grey"), first)
    assert calls == [("colors", None), ("colors", "grey")]
    monkeypatch.setattr(features, "FEATURES_VERSION", features.FEATURES_VERSION + 1)
    store.get("colors")
    assert len(calls) == 3
    for file in tmp_path.glob("colors-*"):
        file.write_bytes(b"no array")
    assert np.array_equal(store.get("colors"), first) and len(calls) == 4


def test_a_changed_picture_is_another_benchmark(drawings: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(drawings, tmp_path / "copied"))
    before = FeatureStore(benchmark_of_manifest(copied / "manifest.csv")).digest()
    Image.new("RGB", (60, 60), "red").save(copied / "0-0-0.png")
    store = FeatureStore(benchmark_of_manifest(copied / "manifest.csv"))
    assert store.digest() != before
    row = store.bench.paths.index("0-0-0.png")
    assert np.flatnonzero(store.blank()).tolist() == [row]
    (copied / "0-0-1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"0-0-1\.png"):
        store.get("colors")


def test_pixels_have_no_brightness_and_statistics_come_from_the_graph(
    bench: Benchmark, tiny: Any
) -> None:
    store = FeatureStore(bench.part(np.arange(4)))
    assert np.abs(store.get("pixels").mean(1)).max() < 1e-4
    assert store.get("statistics").shape == (4, 40)
