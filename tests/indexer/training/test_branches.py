"""The two branches: one start, only one of them moves, weights come back."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("timm", reason="training needs timm")

import torch

from indexer.training.backbones import Lite0Stages, Statistics, lite0
from indexer.training.branches import (
    Branches,
    TrainedStatistics,
    load_trained,
    read_trained,
    save_trained,
)
from schemas.errors import InputError
from tests.indexer.training.tiny import tiny_statistics


def pixels(side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (2, side, side, 3), generator=generator, dtype=torch.uint8)


def lite0_branches() -> Branches:
    half = (0.5, 0.5, 0.5)
    return Branches(Statistics(Lite0Stages(lite0(random=True)), half, half))


def test_both_branches_start_as_one() -> None:
    branches = lite0_branches()
    with torch.inference_mode():
        both, pooled = branches.with_subject(pixels())
        frozen = branches.frozen(pixels())
        alone = TrainedStatistics(branches)(pixels())
    assert both.shape == (2, 896 + 848) and pooled.shape == (2, 1280)
    assert torch.equal(both[:, :896], frozen)
    assert torch.equal(both[:, 896:], frozen[:, -848:])  # the first stage is shared
    assert torch.equal(alone, both[:, 896:])
    assert torch.equal(both, branches(pixels()))


def test_only_the_copy_is_trained() -> None:
    branches = lite0_branches()
    alone = TrainedStatistics(branches)
    moving = {name for name, value in alone.named_parameters() if value.requires_grad}
    assert moving and all(name.startswith("trained.") for name in moving)
    with torch.autocast("cpu", torch.bfloat16):
        alone(pixels()).sum().backward()
    assert all(value.grad is None for value in branches.frozen.parameters())
    assert all(value.grad is not None for value in branches.trained.parameters())
    with torch.no_grad():
        for value in branches.trained.parameters():
            value.mul_(1.5)
        before, both = branches.frozen(pixels()), branches(pixels())
    assert torch.equal(both[:, :896], before) and not torch.allclose(both[:, 896:], before[:, 48:])


def test_networks_without_a_shared_start_are_copied_whole() -> None:
    branches = Branches(tiny_statistics())
    with torch.inference_mode():
        both, pooled = branches.with_subject(pixels())
    assert both.shape == (2, 80) and torch.equal(both[:, :40], both[:, 40:])
    assert pooled.shape == (2, 12)


def test_weights_come_back_or_are_refused(tmp_path: Path) -> None:
    moved = Branches(tiny_statistics())
    with torch.no_grad():
        moved.trained.first.weight.mul_(2)
    save_trained(moved, {"matrix": torch.eye(3)}, tmp_path / "run" / "trained.safetensors")
    found = load_trained(Branches(tiny_statistics()), tmp_path / "run" / "trained.safetensors")
    assert torch.equal(
        read_trained(tmp_path / "run" / "trained.safetensors")["matrix"], torch.eye(3)
    )
    with torch.inference_mode():
        assert torch.equal(found(pixels()), moved(pixels()))
    with pytest.raises(InputError, match="do not fit"):
        load_trained(lite0_branches(), tmp_path / "run" / "trained.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        load_trained(found, tmp_path / "gone")
