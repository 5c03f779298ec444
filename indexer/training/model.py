"""The style network: statistics of a backbone's middle, made comparable by one matrix.

How often and how unevenly each filter answers over a picture says how it is drawn, and not
what it shows; the matrix then shrinks what varies within a hand and keeps 256 directions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from indexer.training.lite import STAGES, LiteBackbone, load_backbone

STATISTICS_STAGES = (1, 2, 3, 4, 5)
"""Stages whose channels are summed up: stage 0 adds nothing (R@1 -0.002), and the last one is
about subjects (both measured, docs/model-card.md)."""

PIXEL_CENTER = 127.5
PIXEL_SCALE = 127.5
"""To -1..1, the range that the published weights were trained with."""


class Projection(NamedTuple):
    """Centres statistics and multiplies them: (x - center) @ matrix, a cosine space."""

    center: np.ndarray  # (S,)
    matrix: np.ndarray  # (S, D)


def spatial_statistics(features: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the whole picture.

    Shapes:  (B, C, H, W) -> (B, 2 C), means first
    """
    mean = features.mean((2, 3), keepdim=True)
    # Two passes: E[x^2] - E[x]^2 loses the small deviations of flat drawings in float32.
    deviation = ((features - mean) ** 2).mean((2, 3)).sqrt()
    return torch.cat([mean.flatten(1), deviation], 1)


class StatisticsNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to raw statistics of the chosen stages.

    Shapes:  (B, H, W, 3) uint8, H and W multiples of 32 -> (B, S) float32
    """

    def __init__(self, backbone: LiteBackbone | None = None) -> None:
        super().__init__()
        self.backbone = backbone or load_backbone(stages=max(STATISTICS_STAGES) + 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - PIXEL_CENTER) / PIXEL_SCALE
        outputs = self.backbone(x)
        return torch.cat([spatial_statistics(outputs[stage]) for stage in STATISTICS_STAGES], 1)


def statistics_count() -> int:
    """S: how many statistics a picture has."""
    return sum(2 * STAGES[stage].channels for stage in STATISTICS_STAGES)


class StyleNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to unit vectors: what is exported and shipped.

    Shapes:  (B, H, W, 3) uint8, H and W multiples of 32 -> (B, D) float32, unit rows
    """

    def __init__(self, statistics: StatisticsNetwork, projection: Projection) -> None:
        super().__init__()
        self.statistics = statistics
        # One affine map: the centre is folded into the offset, in double precision.
        matrix = projection.matrix.astype(np.float64)
        offset = -projection.center.astype(np.float64) @ matrix
        self.project = nn.Linear(matrix.shape[0], matrix.shape[1])
        with torch.no_grad():
            self.project.weight.copy_(torch.from_numpy(matrix.T.astype(np.float32)))
            self.project.bias.copy_(torch.from_numpy(offset.astype(np.float32)))

    def forward(self, pixels: Tensor) -> Tensor:
        return functional.normalize(self.project(self.statistics(pixels)), dim=1)
