"""The training loop: early stopping, mixtures, states that survive a kill."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("timm", reason="training needs timm")

import torch

from indexer.embedding.preprocess import PixelSpec
from indexer.training.branches import Branches, in_bfloat16
from indexer.training.data import Benchmark, LabelRules, Samples, apply_rules, unseen_authors
from indexer.training.model import fit_projection
from indexer.training.pixels import PreparedPictures
from indexer.training.trainer import (
    RunState,
    Trainer,
    TrainSettings,
    load_state,
    save_state,
)
from schemas.errors import InputError
from tests.indexer.training.tiny import tiny_statistics

SPEC = PixelSpec(96, 0, 32)
SETTINGS = TrainSettings(steps=4, eval_every=2, authors=3, pictures_each=2, dimension=8)


def trainer(
    bench: Benchmark,
    folder: Path,
    settings: TrainSettings = SETTINGS,
    unseen: frozenset[str] | None = None,
) -> Trainer:
    rng = np.random.default_rng(0)
    projection = fit_projection(rng.standard_normal((60, 40)), np.arange(60) % 6, (), 8)
    if unseen is None:
        unseen = unseen_authors(bench, 0)
    samples = Samples(bench, apply_rules(bench, LabelRules()), unseen)
    pictures = PreparedPictures(bench, SPEC, folder.parent, "bench")
    branches = Branches(tiny_statistics())
    return Trainer(branches, projection, projection, samples, pictures, settings, folder)


def stopping(run: Trainer, step: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, but Ctrl-C when the run is at a step."""

    def stopped(*arguments: Any) -> Any:
        if run.state.step == step:
            raise KeyboardInterrupt
        return call(*arguments)

    return stopped


def test_a_run_that_was_stopped_ends_where_an_undisturbed_one_does(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer(bench, tmp_path / "a")
    history = whole.run()
    assert [row["step"] for row in history] == [0, 2, 4, 4]
    assert history[-1]["r_at_1"] == max(row["r_at_1"] for row in history)

    for name, last in (("_step", 3), ("unseen_r_at_1", 4)):  # in a step, and while it measures
        broken = trainer(bench, tmp_path / "b")
        monkeypatch.setattr(broken, name, stopping(broken, last, getattr(broken, name)))
        with pytest.raises(KeyboardInterrupt):
            broken.run()
        found = load_state(tmp_path / "b")
        assert found is not None and found[0].step == last  # Ctrl-C keeps the last step
    resumed = trainer(bench, tmp_path / "b")
    for one, other in zip(history, resumed.run(), strict=True):
        assert one.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-3)
    for name, value in whole.style.state_dict().items():
        assert torch.allclose(value, resumed.style.state_dict()[name], atol=1e-5), name


def test_a_run_stops_early_and_falls_back_to_its_start(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(bench, tmp_path, replace(SETTINGS, steps=40, eval_every=1, patience=2))
    figures = iter([0.5, 0.4, 0.3])
    monkeypatch.setattr(run, "unseen_r_at_1", lambda network: next(figures))
    history = run.run()
    assert [row["step"] for row in history] == [0, 1, 2, 2]
    assert history[-1] == {"step": 2.0, "mixture": 0.0, "r_at_1": 0.5}
    for name, value in run.style.state_dict().items():
        assert torch.equal(value, run.start[name]), name


def test_the_best_mixture_with_the_start_wins(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(bench, tmp_path, replace(SETTINGS, steps=1))
    figures = iter([0.1, 0.6, 0.2, 0.9, 0.3, 0.4])  # start, average, then four mixtures
    monkeypatch.setattr(run, "unseen_r_at_1", lambda network: next(figures))
    assert run.run()[-1]["mixture"] == 0.5
    for name, value in run.style.named_parameters():
        assert torch.allclose(value, (run.start[name] + run.best[name]) / 2, atol=1e-6), name
    changed = run.style.statistics.trained.first.weight
    assert not torch.equal(changed, run.start["statistics.trained.first.weight"])
    frozen = run.style.statistics.frozen.stages.first.weight
    assert torch.equal(frozen, run.start["statistics.frozen.stages.first.weight"])


def test_without_authors_to_measure_on_the_last_average_is_taken(
    bench: Benchmark, tmp_path: Path
) -> None:
    run = trainer(bench, tmp_path / "run", unseen=frozenset())
    assert [row["r_at_1"] for row in run.run()] == [0.0, 0.0, 0.0]
    average = run.average.module.state_dict()
    for name, value in run.style.state_dict().items():
        assert torch.equal(value, average[name]), name
    assert not torch.equal(run.style.matrix, run.start["matrix"])


def test_losses_that_are_no_numbers_end_the_run(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(bench, tmp_path)
    monkeypatch.setattr(run, "_step", lambda *cut: float("nan"))
    with pytest.raises(InputError, match="diverged at step 1"):
        run.run()


def test_memory_that_runs_out_is_said(
    bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(bench, tmp_path)

    def full(*cut: Any) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(run, "_step", full)
    with pytest.raises(InputError, match="no memory for 6 pictures"):
        run.run()


def test_a_state_comes_back_whole_or_says_what_is_wrong(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    for step in (1, 2):
        numbers = {"style.a": torch.full((3,), float(step))}
        save_state(tmp_path, RunState(step, [{"step": 1.0}], 1, 0.5), numbers)
    found = load_state(tmp_path)
    assert found is not None and found[0] == RunState(2, [{"step": 1.0}], 1, 0.5)
    assert found[1]["style.a"].tolist() == [2, 2, 2]
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match="digest differs"):
        load_state(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="--fresh"):
        load_state(tmp_path)


def test_a_state_of_another_network_is_refused(bench: Benchmark, tmp_path: Path) -> None:
    save_state(tmp_path, RunState(1), {"style.other": torch.zeros(1)})
    with pytest.raises(InputError, match="does not fit"):
        trainer(bench, tmp_path).run()


def test_statistics_of_training_are_those_of_the_start(bench: Benchmark, tmp_path: Path) -> None:
    """Batch norm keeps its running statistics: the network stays in evaluation mode."""
    run = trainer(bench, tmp_path / "run")
    assert not any(module.training for module in run.style.modules())
    run.run()
    assert not any(module.training for module in run.style.modules())


def test_precision_is_chosen_or_as_the_machine_is_fastest() -> None:
    cpu = torch.device("cpu")
    assert in_bfloat16("bfloat16", cpu) and not in_bfloat16("float32", cpu)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    assert in_bfloat16("auto", cpu) == bool(re.search(r"\b(avx512_)?bf16\b", flags))
