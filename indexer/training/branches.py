"""Two branches of one backbone: frozen, and a copy of its later stages that training moves.

What a network has learnt from millions of photographs is more than a few hundred hands can
teach: trained statistics alone are worse on unseen authors than frozen ones, both together are
better than either. The first stages are computed once for both.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from indexer.training.backbones import Statistics, joined_statistics
from schemas.errors import InputError
from schemas.storage.fsio import replace_file, storage_error

BRANCH = "branch."


class FloatConv2d(nn.Conv2d):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """A convolution that stays in float32 under autocast: for depthwise ones the gradient in
    bfloat16 takes twenty times as long on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def keep_depthwise_in_float32(network: nn.Module) -> None:
    """Make the depthwise convolutions of a network those of `FloatConv2d`."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups > 1:
            module.__class__ = FloatConv2d


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether convolutions are computed in bfloat16. With `auto` they are where the machine has
    instructions for it: elsewhere it takes longer than float32."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return "avx512_bf16" in cpu_features() or "bf16" in cpu_features()


def cpu_features() -> frozenset[str]:
    """What Linux says that the processor can do; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return frozenset(next(lines, "").split())


class Branches(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Statistics of a frozen backbone and of the trained copy of its later stages.

    Shapes:  (B, H, W, 3) uint8 -> (B, S + T), the S frozen ones first. At the start the T
             trained ones equal the last T frozen ones
    """

    def __init__(self, frozen: Statistics) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.trained = copy.deepcopy(getattr(frozen.stages, "late", frozen.stages))
        self.trained.requires_grad_(True)
        keep_depthwise_in_float32(self.trained)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        frozen, start = self._frozen(pixels)
        return torch.cat([joined_statistics(frozen), joined_statistics(self.trained(start))], 1)

    def with_subject(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Statistics, and what is shown: pooled features of the frozen network; (B, K)"""
        frozen, start = self._frozen(pixels)
        last = getattr(self.frozen.stages, "subject", nn.Identity())(frozen[-1])
        both = [joined_statistics(frozen), joined_statistics(self.trained(start))]
        return torch.cat(both, 1), last.mean((2, 3))

    def _frozen(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps of the frozen stages, and what the trained ones start from."""
        x, stages = self.frozen.normalized(pixels), self.frozen.stages
        if not hasattr(stages, "late"):
            return stages(x), x
        x = stages.early(x)
        return [x, *stages.late(x)], x


class TrainedStatistics(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Statistics of the trained branch alone, as training sees them.

    Shapes:  (B, H, W, 3) uint8 -> (B, T)
    """

    def __init__(self, branches: Branches) -> None:
        super().__init__()
        self.frozen, self.trained = branches.frozen, branches.trained

    def forward(self, pixels: Tensor) -> Tensor:
        x: Any = self.frozen.normalized(pixels)
        with torch.no_grad():
            x = getattr(self.frozen.stages, "early", nn.Identity())(x)
        return joined_statistics([one.float() for one in self.trained(x)])


def save_trained(branches: Branches, others: Mapping[str, Tensor], file: Path) -> None:
    """Write the weights of the trained branch and others by name, replaced as one.

    Errors:  StorageError when the disk refuses
    """
    weights = {BRANCH + name: value for name, value in branches.trained.state_dict().items()}
    weights |= others
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        data = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        replace_file(file, save(data))
    except OSError as error:
        raise storage_error(error, f"the trained weights {file}") from error


def read_trained(file: Path) -> dict[str, Tensor]:
    """What `save_trained` has written, by name.

    Errors:  InputError when it cannot be read
    """
    try:
        found: dict[str, Tensor] = load(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise InputError(f"the trained weights {file} cannot be read ({error})") from error
    return found


def load_trained(branches: Branches, file: Path) -> Branches:
    """Put the weights of a file into the trained branch.

    Errors:  InputError when they cannot be read or do not fit
    """
    found = read_trained(file)
    own = {name.removeprefix(BRANCH): v for name, v in found.items() if name.startswith(BRANCH)}
    try:
        branches.trained.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"the trained weights {file} do not fit the backbone") from error
    branches.eval()
    return branches
