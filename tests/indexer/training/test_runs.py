"""`toonsearch train` from a benchmark to a published model."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")

import toonsearch
from crawler.importers.folder import import_folder
from crawler.importers.manifest import import_manifest
from indexer.embedding.embed import embed_pending
from indexer.embedding.encoder import Encoded, Encoder
from indexer.embedding.models import list_models, shipped_model_dir
from indexer.embedding.preprocess import PixelSpec
from indexer.labels.predict import LabelModel
from indexer.training import export, features, runs, trainer
from indexer.training.data import (
    Benchmark,
    LabelRules,
    Samples,
    apply_rules,
    benchmark_of_catalog,
    unseen_authors,
)
from indexer.training.features import FeatureStore
from indexer.training.runs import Job, catalog_encoded, train_heads, train_style
from indexer.training.trainer import TrainSettings, load_state
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.errors import InputError, PartlyDoneError
from schemas.images import picture_id_of
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
    vectors, ood, _ = encoder.encode([np.zeros((64, 96, 3), np.uint8)])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4) and ood[0] > 0
    assert LabelModel.read(report.folder).heads["author"].center.shape == (8,)
    runs_ = tmp_path / "models" / ".runs"
    assert not list(runs_.iterdir())  # gigabytes of prepared pictures among them
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


@pytest.mark.slow
def test_a_network_of_open_clip_is_trained_and_answers(
    drawings: Path,
    tiny_clip: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = "vit"  # both are exported in test_backbones.py
    for module in (export, features, runs, trainer):
        monkeypatch.setattr(module, "SHIPPED_SPEC", PixelSpec(96, 0, 32))
    layout, settings = Layout(tmp_path / "data"), Settings()
    import_manifest(layout, settings, drawings / "manifest.csv")
    bench = benchmark_of_catalog(layout, training=True)
    chosen = replace(
        TrainSettings(**SMALL),  # type: ignore[arg-type]
        backbone=f"open_clip:tiny-{kind}",
        weights=str(tiny_clip[kind]),
    )
    base = shipped_model_dir()
    report = train_style(Job(bench, chosen, base, layout.models, None, force=True, log="csv"))
    assert report.folder is not None and report.model.startswith(f"trained-open-clip-tiny-{kind}-")
    with (report.folder / "log" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["r_at_1"]) for row in rows] == [False, True, False, True]
    parts = [float(rows[0][name]) for name in ("contrast", "hand", "genre", "era")]
    assert sum(parts) == pytest.approx(float(rows[0]["loss"]), rel=1e-3)

    settings = replace(settings, encoder=replace(settings.encoder, model=str(report.folder)))
    embed_pending(layout, settings)
    built = build_generation(layout, settings).generation_id
    assert built is not None
    publish(layout, built)
    with toonsearch.open(layout.root) as index:
        answer = index.query(drawings / "0-0-0.png").answer
    assert answer.model_id in report.model and answer.titles[0].similarity > 0.99


def test_what_cannot_be_exported_is_not_trained(
    bench: Benchmark, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(network: Any) -> bytes:
        raise RuntimeError("no such operator\nand a long trace")

    monkeypatch.setattr(runs, "export_graph", refuse)
    with pytest.raises(InputError, match=r"lite0 cannot be exported .* \(no such operator\)"):
        train_style(job(bench, tmp_path))


def test_softmax_heads_know_only_what_was_trained_on(bench: Benchmark) -> None:
    classes = apply_rules(bench, LabelRules())
    samples = Samples(bench, classes, unseen_authors(bench, 0))
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((9, 16))[classes.author] + 0.3 * rng.standard_normal(
        (len(bench), 16)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    softmax = runs.fit_softmax(samples, vectors, 0)
    assert softmax is not None
    learnt = samples.train[classes.author[samples.train] >= 0]
    assert set(softmax.names["author"]) == set(bench.authors[learnt].tolist())
    said = softmax.log_probabilities(vectors[learnt], classes.names)["author"]
    assert (said.argmax(1) == classes.author[learnt]).mean() > 0.9
    ids = [picture_id_of((bench.root / path).read_bytes()) for path in bench.paths]
    assert np.flatnonzero(softmax.has_learnt(ids)).tolist() == samples.train.tolist()


def test_two_genres_alone_are_learnt_and_their_confusion_told(
    bench: Benchmark, tmp_path: Path
) -> None:
    rows = np.flatnonzero(bench.authors != "")
    known = FeatureStore(bench, tmp_path / "cache", shipped_model_dir()).get("encoded")
    made = job(
        bench.part(rows),
        tmp_path,
        known=Encoded(known[rows, :-1], known[rows, -1]),
        genres=("myth", "epic"),
    )
    assert made.known is not None and len(made.known.vectors) == len(made.bench)
    report = train_heads(made)
    assert report.classes["genre"] == 2 and report.confusion is not None
    assert report.confusion.genres == ("epic", "myth")
    assert report.confusion.matrix.sum() == len(made.bench)
    (pair,) = report.confusion.to_json()["pairs"]
    assert sum(pair["pictures"]) == len(made.bench) and 0 <= pair["told_apart"] <= 1


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
    assert found is not None and found.vectors.shape == (len(bench), 512)
    rows = FeatureStore(bench, None, shipped_model_dir()).get("encoded")
    assert np.abs((found.vectors * rows[:, :-1]).sum(1) - 1).max() < 1e-3
    assert found.ood == pytest.approx(rows[:, -1], rel=1e-5)
