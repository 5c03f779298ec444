"""Backbones by name, as networks from pixels to raw statistics.

`lite0` is the default: EfficientNet-Lite0 with the statistics of the shipped model. Any other
name is a convolutional network of timm; `open_clip:RN50` and its like are CLIP's convolutional
towers, which timm carries too. Weights come from a local file, or from timm's hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from indexer.training.lite import load_backbone
from indexer.training.model import StatisticsNetwork, spatial_statistics, statistics_weights
from schemas.errors import InputError, nearest

DEFAULT = "lite0"
OPEN_CLIP = {
    "RN50": "resnet50_clip.openai",
    "RN101": "resnet101_clip.openai",
    "RN50x4": "resnet50x4_clip.openai",
    "RN50x16": "resnet50x16_clip.openai",
    "RN50x64": "resnet50x64_clip.openai",
    "convnext_base": "convnext_base.clip_laion2b",
    "convnext_base_w": "convnext_base.clip_laiona",
    "convnext_large_d": "convnext_large_mlp.clip_laion2b_augreg",
}
"""open_clip's name -> the same tower in timm."""


class TimmStatistics(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Mean and deviation of each channel after each stage of a timm network.

    Shapes:  (B, H, W, 3) uint8 -> (B, S)
    """

    def __init__(self, stages: nn.Module, mean: Any, std: Any) -> None:
        super().__init__()
        self.backbone = stages
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None] * 255.0)
        self.register_buffer("std", torch.tensor(std)[None, :, None, None] * 255.0)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return torch.cat([spatial_statistics(stage) for stage in self.backbone(x)], 1)


def load_statistics(
    name: str, weights: Path | None = None, random: bool = False
) -> tuple[nn.Module, np.ndarray]:
    """A network of statistics, and what each standardised statistic is multiplied by.

    Shapes:  -> module (B, H, W, 3) uint8 -> (B, S); (S,)
    Errors:  InputError for an unknown name (with the nearest one), a network that is not
             convolutional, weights that are missing or do not fit
    """
    if weights is not None and not weights.is_file():
        raise InputError(f"there are no weights at {weights}")
    if name == DEFAULT:
        return StatisticsNetwork(load_backbone(weights) if weights else None), statistics_weights()
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"the backbone {name!r} needs timm", "make train-env, or pip install timm."
        ) from error
    chosen = _timm_name(name, timm)
    options: dict[str, Any] = {"features_only": True}
    if weights is not None:
        options["pretrained_cfg_overlay"] = {"file": str(weights)}
    torch.manual_seed(0)
    try:
        stages = timm.create_model(chosen, pretrained=not random, **options)
    except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise InputError(f"the backbone {name!r} cannot be used ({_line(error)})", HINT) from error
    except Exception as error:  # the hub's client has error types of its own
        raise InputError(
            f"the weights of {name!r} cannot be had ({_line(error)})",
            "Give them with --weights FILE, or start from --random-weights.",
        ) from error
    with torch.inference_mode():
        shapes = [stage.shape for stage in stages.eval()(torch.zeros(1, 3, 64, 64))]
    if any(len(shape) != 4 for shape in shapes):
        raise InputError(f"{name!r} is not a convolutional network", HINT)
    about = stages.pretrained_cfg if hasattr(stages, "pretrained_cfg") else {}
    network = TimmStatistics(
        stages, about.get("mean", (0.5, 0.5, 0.5)), about.get("std", (0.5, 0.5, 0.5))
    )
    # Every stage counts by its width, as the outputs of the default do.
    return network.eval(), np.ones(2 * sum(shape[1] for shape in shapes))


HINT = "Any convolutional network of timm will do, such as resnet18 or convnext_tiny."


def _timm_name(name: str, timm: Any) -> str:
    if name.startswith("open_clip:"):
        wanted = name.removeprefix("open_clip:")
        if wanted not in OPEN_CLIP:
            raise InputError(f"unknown open_clip network {wanted!r}", nearest(wanted, OPEN_CLIP))
        return OPEN_CLIP[wanted]
    if not timm.is_model(name):
        import difflib

        known = [DEFAULT, *timm.list_models()]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else HINT
        raise InputError(f"unknown backbone {name!r}", hint)
    return name


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
