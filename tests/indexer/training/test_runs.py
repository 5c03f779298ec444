"""`toonsearch train` from a benchmark to a published model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.embedding.encoder import Encoder
from indexer.embedding.models import list_models, shipped_model_dir
from indexer.labels.predict import LabelModel
from indexer.training import runs
from indexer.training.data import Benchmark, benchmark_of_catalog
from indexer.training.features import FeatureStore
from indexer.training.runs import Job, catalog_encoded, train_heads, train_style
from indexer.training.trainer import TrainSettings, load_state
from schemas.errors import InputError, PartlyDoneError
from schemas.settings import Settings
from schemas.storage.layout import Layout
from tests.drawings import draw_folder

SMALL = {"steps": 4, "eval_every": 2, "authors": 3, "pictures_each": 2, "dimension": 8}


def job(bench: Benchmark, root: Path, **more: Any) -> Job:
    settings = TrainSettings(**SMALL)  # type: ignore[arg-type]
    return Job(bench, settings, shipped_model_dir(), root / "models", root / "cache", **more)


def test_heads_alone_share_the_space_of_their_base(bench: Benchmark, tmp_path: Path) -> None:
    report = train_heads(job(bench, tmp_path))
    assert report.folder is not None and report.before == report.after
    encoder, base = Encoder.open(report.folder), Encoder.open(shipped_model_dir())
    assert encoder.model_id == base.model_id and report.folder.name != encoder.model_id
    labels = LabelModel.read(report.folder)
    assert set(labels.heads) == {"author", "genre", "era"}
    assert labels.labels["author"].names == tuple(f"artist {n}" for n in range(8))
    facts = json.loads((report.folder / "model.json").read_bytes())["provenance"]
    assert not {f"artist {n}" for n in range(8)} - {*facts["authors"], *facts["unseen_authors"]}
    shipped = json.loads((shipped_model_dir() / "model.json").read_bytes())["provenance"]
    assert set(shipped["authors"]) < set(facts["authors"])  # the network still knows them
    named = [info for info in list_models(Layout(tmp_path)) if info.name == report.model]
    assert [info.heads for info in named] == [True]

    again = job(bench, tmp_path, force=True)  # worse than itself is impossible
    assert train_heads(again).model == report.model


def test_what_is_worse_is_not_published(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(bench, tmp_path)
    real = runs._labels

    def worse(job_: Job, report: runs.TrainReport, encoded: Any) -> LabelModel:
        report.after = report.before - 0.1
        return real(job_, report, encoded)

    monkeypatch.setattr(runs, "_labels", worse)
    with pytest.raises(PartlyDoneError, match="nothing is published"):
        train_heads(made)
    assert not (tmp_path / "models").exists()
    made.force = True
    assert train_heads(made).folder is not None


def test_a_trained_model_is_exported_with_its_labels(
    bench: Benchmark, tmp_path: Path, tiny: Any
) -> None:
    report = train_style(job(bench, tmp_path, force=True))
    assert report.folder is not None
    assert [row["step"] for row in report.history] == [0, 2, 4, 4]
    encoder = Encoder.open(report.folder)
    assert encoder.dimension == 8 and encoder.model_id.startswith("trained-lite0-")
    vectors, ood = encoder.encode([np.zeros((64, 96, 3), np.uint8)])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4) and ood[0] > 0
    assert LabelModel.read(report.folder).heads["author"].center.shape == (8,)
    runs_ = tmp_path / "models" / ".runs"
    assert not [path for path in runs_.iterdir() if path.is_dir()]  # prepared pictures stay
    facts = json.loads((report.folder / "model.json").read_bytes())["provenance"]
    assert facts["authors"] and not set(facts["authors"]) & set(facts["unseen_authors"])


KILLED = """
import os, signal, sys
from pathlib import Path
from indexer.embedding.preprocess import PixelSpec
from indexer.training import export, features, runs, trainer
from indexer.training.data import benchmark_of_manifest
from tests.indexer.training.test_runs import job
from tests.indexer.training.tiny import tiny_statistics

features.load_statistics = lambda *_: tiny_statistics()
for module in (features, export, runs, trainer):
    module.SHIPPED_SPEC = PixelSpec(96, 0, 32)
real = trainer.Trainer._step

def step(self, *cut):
    if self.state.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *cut)

trainer.Trainer._step = step
bench = benchmark_of_manifest(Path(sys.argv[1]) / "manifest.csv", training=True)
runs.train_style(job(bench, Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_last_measured(
    bench: Benchmark, drawings: Path, tmp_path: Path, tiny: Any
) -> None:
    command = [sys.executable, "-c", KILLED, str(drawings), str(tmp_path)]
    root = Path(__file__).parents[3]
    assert subprocess.run(command, cwd=root, timeout=600).returncode == -signal.SIGKILL
    runs_ = tmp_path / "models" / ".runs"
    states = [load_state(folder) for folder in runs_.iterdir() if folder.is_dir()]
    assert [found and found[0].step for found in states] == [2]
    assert not list((tmp_path / "models").glob("trained-*"))
    report = train_style(job(bench, tmp_path, force=True))
    assert [row["step"] for row in report.history] == [0, 2, 4, 4]


def test_one_class_of_everything_is_nothing_to_learn(bench: Benchmark, tmp_path: Path) -> None:
    alone = bench.part(np.flatnonzero(bench.authors == "artist 1"))
    with pytest.raises(InputError, match="1 authors have"):
        job(alone, tmp_path)


def test_embeddings_of_a_catalog_are_not_computed_again(tmp_path: Path) -> None:
    layout, settings = Layout(tmp_path / "data"), Settings()
    import_folder(layout, settings, draw_folder(tmp_path / "pictures", titles=2, pictures=1))
    bench = benchmark_of_catalog(layout, training=True)
    assert catalog_encoded(layout, bench, shipped_model_dir()) is None
    embed_pending(layout, settings)
    found = catalog_encoded(layout, bench, shipped_model_dir())
    assert found is not None and found.vectors.shape == (len(bench), 256)
    rows = FeatureStore(bench, None, shipped_model_dir()).get("encoded")
    assert np.abs((found.vectors * rows[:, :-1]).sum(1) - 1).max() < 1e-3
    assert found.ood == pytest.approx(rows[:, -1], rel=1e-5)
