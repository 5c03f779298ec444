"""`make model`: fitted, exported, written, opened, the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")

from indexer.embedding.encoder import Encoder
from indexer.embedding.models import list_models
from indexer.labels.predict import LabelModel
from indexer.training import export as export_module
from indexer.training import features
from indexer.training.export import main, shipped, write_model
from indexer.training.features import FeatureStore
from schemas.storage.layout import Layout
from tests.drawings import drawing


@pytest.fixture
def narrow(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module.closed_form, "__defaults__", (8,))


def test_a_model_is_fitted_exported_written_and_opened(
    drawings: Path, tmp_path: Path, narrow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "default_cache", lambda: tmp_path / "cache")
    hands = tmp_path / "hands"
    hands.mkdir()
    rows = ["path,author,series"]
    for number in range(8):
        drawing(2 + number % 2, number, 96).save(hands / f"{number}.png")
        rows.append(f"{number}.png,icons:{number % 2},{number}")
    (hands / "manifest.csv").write_text("\n".join(rows))
    out = tmp_path / "models"
    (out / "style-lite0-00000000").mkdir(parents=True)
    (out / "notes").mkdir()
    options = [
        "--drawings",
        str(drawings),
        "--hands",
        str(hands),
        "--out",
        str(out),
        "--steps",
        "2",
    ]
    assert main(options) == 0
    folder = next(out.glob("style-lite0-*"))  # the one before is gone
    assert {path.name for path in out.iterdir()} == {folder.name, "notes"}
    encoder = Encoder.open(folder)
    assert (encoder.model_id, encoder.dimension) == (folder.name, 49)  # pictures less one
    vectors, ood, _ = encoder.encode([np.zeros((64, 96, 3), np.uint8)])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5) and ood[0] > 0
    assert "artist 0" in LabelModel.read(folder).labels["author"].names

    # What is cached gives the same model, and is not computed again.
    bench = export_module.benchmark_of_manifest(drawings / "manifest.csv", training=True)
    store = FeatureStore(bench, tmp_path / "cache")
    monkeypatch.setattr(features.FeatureStore, "_compute", lambda *_: pytest.fail("computed twice"))
    network = (folder / "model.onnx").read_bytes()
    monkeypatch.setattr(export_module, "export_style", lambda *_: (network, 1.0))
    others = export_module.benchmark_of_manifest(hands / "manifest.csv", training=True)
    again = shipped(store, others, tmp_path / "runs", steps=2)
    assert again.description["provenance"]["other_hands"] == ["icons:0", "icons:1"]
    assert again.model_id == folder.name
    assert write_model(again, out) == folder  # repeatable
    named = write_model(again, tmp_path / "data" / "models", "my-model")
    assert named.name in {info.name for info in list_models(Layout(tmp_path / "data"))}


def test_the_out_of_distribution_score_is_one_for_what_was_learnt_from(
    drawings: Path, narrow: None
) -> None:
    bench = export_module.benchmark_of_manifest(drawings / "manifest.csv", training=True)
    store = FeatureStore(bench)
    rows = store.get("statistics")
    z = export_module.closed_form(store, np.arange(len(bench))).standardized(rows)
    assert np.sqrt(np.square(z).mean()) == pytest.approx(1.0, abs=0.05)


def test_the_command_line_answers_bad_input_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--drawings", str(tmp_path), "--out", str(tmp_path / "out")])
    captured = capsys.readouterr()
    assert code == 3 and captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "out").exists()
