"""The style network: statistics of a backbone's middle, made comparable by one matrix.

How often and how unevenly each filter answers over a picture says how it is drawn, and not
what it shows; the matrix then shrinks what varies within a hand and keeps 256 directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from indexer.training.lite import LiteBackbone, load_backbone

PIXEL_CENTER = 127.5
PIXEL_SCALE = 127.5
"""To -1..1, the range that the published weights were trained with (with ImageNet's mean and
deviation instead, R@1 falls from 0.563 to 0.525)."""

CLIP = 6.0
"""Standardised statistics are cut at six deviations: flat drawings have a few wild ones."""


Kind = Literal["output", "filters", "correlations"]


@dataclass(frozen=True)
class StatisticsGroup:
    """Some statistics of a stage, and how much they count together.

    output        mean and deviation of the channels that the stage hands on
    filters       the same of the channels inside its blocks, before they are projected
    correlations  between any two channels that it hands on
    weight        sum of the squared weights, however many statistics there are
    """

    kind: Kind
    stage: int
    weight: float

    @property
    def name(self) -> str:
        return f"{self.kind} {self.stage}"


GROUPS = (
    *(
        StatisticsGroup("output", stage, weight)
        for stage, weight in ((1, 24.0), (2, 40.0), (3, 80.0), (4, 112.0), (5, 192.0))
    ),
    StatisticsGroup("filters", 3, 300.0),
    StatisticsGroup("filters", 4, 300.0),
    StatisticsGroup("filters", 5, 900.0),
    StatisticsGroup("correlations", 2, 400.0),
)
"""Weights were chosen on the five splits, on a coarse grid (docs/model-card.md)."""

STAGES_NEEDED = 6
FLAT_DEVIATION = 1e-4
"""Added to deviations before dividing by them; those of drawn pictures are above 0.01."""


class Projection(NamedTuple):
    """Standardises statistics and multiplies them: clip((x - center) * scale) @ matrix."""

    center: np.ndarray  # (S,)
    scale: np.ndarray  # (S,)
    matrix: np.ndarray  # (S, D)

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Project statistics; the result is not scaled to unit length.

        Shapes:  (N, S) -> (N, D)
        """
        return np.asarray(np.clip((rows - self.center) * self.scale, -CLIP, CLIP) @ self.matrix)


def _root(variance: Tensor) -> Tensor:
    """The root; while learning, with a finite slope at 0, where flat channels are."""
    if torch.is_grad_enabled():
        variance = variance.clamp(min=FLAT_DEVIATION**2)
    return variance.sqrt()


def spatial_statistics(features: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the whole picture.

    Shapes:  (B, C, H, W) -> (B, 2 C), means first
    """
    mean = features.mean((2, 3), keepdim=True)
    # Two passes: E[x^2] - E[x]^2 loses the small deviations of flat drawings in float32. A
    # product and not a power: runtimes compute the latter number by number.
    difference = features - mean
    deviation = _root((difference * difference).mean((2, 3)))
    return torch.cat([mean.flatten(1), deviation], 1)


def channel_correlations(features: Tensor) -> Tensor:
    """Correlation over the picture of any two channels; 0 for a channel that is flat.

    Shapes:  (B, C, H, W) -> (B, C (C - 1) / 2)
    """
    count = features.shape[1]
    deviation = (features - features.mean((2, 3), keepdim=True)).flatten(2)
    covariance = deviation @ deviation.transpose(1, 2) / deviation.shape[2]
    spread = _root(torch.diagonal(covariance, dim1=1, dim2=2)) + FLAT_DEVIATION
    correlation = covariance / (spread[:, :, None] * spread[:, None, :])
    row, column = torch.triu_indices(count, count, 1)
    return correlation.flatten(1)[:, row * count + column]


class StatisticsNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to raw statistics, group after group.

    Shapes:  (B, H, W, 3) uint8, H and W multiples of 32 -> (B, S) float32
    """

    def __init__(self, backbone: LiteBackbone | None = None) -> None:
        super().__init__()
        self.backbone = backbone or load_backbone(stages=STAGES_NEEDED)

    def parts(self, pixels: Tensor) -> list[Tensor]:
        """The statistics of each group.

        Shapes:  as of the network; [(B, S_g), ...]
        """
        x = (pixels.permute(0, 3, 1, 2).float() - PIXEL_CENTER) / PIXEL_SCALE
        features = self.backbone(x)
        parts: list[Tensor] = []
        for group in GROUPS:
            if group.kind == "output":
                parts.append(spatial_statistics(features.stages[group.stage]))
            elif group.kind == "filters":
                maps = features.filtered[group.stage]
                parts.append(torch.cat([spatial_statistics(each) for each in maps], 1))
            else:
                parts.append(channel_correlations(features.stages[group.stage]))
        return parts

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.cat(self.parts(pixels), 1)


def group_sizes() -> list[int]:
    """How many statistics each group has."""
    network = StatisticsNetwork(LiteBackbone(STAGES_NEEDED).eval())
    with torch.inference_mode():
        return [part.shape[1] for part in network.parts(torch.zeros(1, 32, 32, 3))]


def statistics_weights(groups: tuple[StatisticsGroup, ...] = GROUPS) -> np.ndarray:
    """What each standardised statistic is multiplied by; a group that is left out has zeros.

    Shapes:  -> (S,)
    """
    chosen = {group.name: group.weight for group in groups}
    sizes = zip(GROUPS, group_sizes(), strict=True)
    return np.concatenate(
        [np.full(size, np.sqrt(chosen.get(group.name, 0.0) / size)) for group, size in sizes]
    )


class StyleNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to unit vectors: what is exported and shipped.

    Shapes:  (B, H, W, 3) uint8, H and W multiples of 32 -> (B, D) float32, unit rows
    """

    def __init__(self, statistics: StatisticsNetwork, projection: Projection) -> None:
        super().__init__()
        self.statistics = statistics
        for name, value in projection._asdict().items():
            self.register_buffer(name, torch.from_numpy(np.asarray(value, np.float32)))

    def forward(self, pixels: Tensor) -> Tensor:
        z = ((self.statistics(pixels) - self.center) * self.scale).clamp(-CLIP, CLIP)
        return functional.normalize(z @ self.matrix, dim=1)
