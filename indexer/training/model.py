"""The style network: statistics of a backbone's middle, made comparable by one matrix.

How often and how unevenly each filter answers where something is drawn says how it is drawn,
and not what it shows; the matrix then shrinks what varies within a hand and what scanning
changes, and keeps the strongest directions.
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

INK_FROM, INK_TO = 0.15, 0.5
"""Differences of brightness, of the 2 from black to white, between which a place fills with
ink."""

INK_FLOOR = 0.3
"""What empty paper counts beside 1 for ink. R@1 of the five splits at 256 directions, margins
cut off: 0.577 when all places count alike, 0.585 with 0.3, 0.582 with 0.08."""

STATISTICS_VERSION = 4
"""Raise it when the same weights give other statistics."""

CLIP = 6.0
"""Standardised statistics are cut at six deviations: flat drawings have a few wild ones."""


LEVELS = 4
"""Levels of tone, and as many of colourfulness. With 3 or 5 of each AP@100 is within a quarter of
a point (docs/model-card.md)."""

COLOURFUL = 0.625
"""The largest difference of red, green and blue, of the range of 1, that is told apart."""


Kind = Literal["output", "filters", "correlations", "colours"]


@dataclass(frozen=True)
class StatisticsGroup:
    """Some statistics of a stage, and how much they count together.

    output        mean and deviation of the channels that the stage hands on
    filters       the same of the channels inside its blocks, before they are projected
    correlations  between any two channels that it hands on
    colours       how much of what is drawn has each tone and colourfulness: of the pixels, so
                  that it belongs to no stage
    weight        sum of the squared weights, however many statistics there are
    """

    kind: Kind
    stage: int | None
    weight: float

    @property
    def name(self) -> str:
        return self.kind if self.stage is None else f"{self.kind} {self.stage}"


GROUPS = (
    *(
        StatisticsGroup("output", stage, weight)
        for stage, weight in ((1, 24.0), (2, 40.0), (3, 80.0), (4, 112.0), (5, 192.0))
    ),
    StatisticsGroup("filters", 3, 600.0),
    StatisticsGroup("filters", 4, 300.0),
    StatisticsGroup("filters", 5, 900.0),
    StatisticsGroup("correlations", 2, 400.0),
    StatisticsGroup("colours", None, 80.0),
)
"""Weights were chosen on the five splits, on a coarse grid (docs/model-card.md)."""

STAGES_NEEDED = 6
STAGE_STRIDES = (2, 4, 8, 16, 16, 32)
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
        return np.asarray(self.standardized(rows) @ self.matrix)

    def standardized(self, rows: np.ndarray) -> np.ndarray:
        """Statistics in standard deviations of the pictures that were learnt from.

        Shapes:  (N, S) -> (N, S)
        """
        return np.asarray(np.clip((rows - self.center) * self.scale, -CLIP, CLIP))


def _root(variance: Tensor) -> Tensor:
    """The root; while learning, with a finite slope at 0, where flat channels are."""
    if torch.is_grad_enabled():
        variance = variance.clamp(min=FLAT_DEVIATION**2)
    return variance.sqrt()


def ink_maps(x: Tensor) -> dict[int, Tensor]:
    """How much is drawn at each place of a picture, by the stride of the maps that want it.

    Where brightness changes by a quarter of its range within nine pixels there is a line, a
    hatching or an edge (1); where it changes by less than a thirteenth there is paper, sky or
    a flat wash (0).

    Shapes:  x (B, 3, H, W) in -1..1 -> stride s: (B, 1, H / s, W / s) in 0..1
    """
    # A convolution and not a mean, rows before columns: runtimes take a mean over channels and the
    # 81 places of a square number by number, which cost a twentieth of the whole network.
    grey = functional.conv2d(x, x.new_full((1, x.shape[1], 1, 1), 1.0 / x.shape[1]))
    grey = functional.pad(grey, (2, 3, 2, 3), mode="replicate")
    spread = _pooled(grey) + _pooled(-grey)
    maps = {4: ((spread - INK_FROM) / (INK_TO - INK_FROM)).clamp(0.0, 1.0)}
    for stride in (8, 16, 32):
        maps[stride] = functional.avg_pool2d(maps[stride // 2], 2)
    return maps


def _pooled(grey: Tensor) -> Tensor:
    """The brightest of each nine by nine pixels, every fourth place; (B, 1, H, W)."""
    rows = functional.max_pool2d(grey, (9, 1), (4, 1))
    return functional.max_pool2d(rows, (1, 9), (1, 4))


def ink_weights(ink: Tensor) -> Tensor:
    """What each place of a picture counts in its statistics: little where nothing is drawn.

    Shapes:  (B, 1, H, W) -> (B, H W, 1), sums of 1
    """
    counts = ink.flatten(2) + INK_FLOOR
    # A product and not a sum: runtimes add up the numbers of one picture in another order than
    # those of several, or of one that is not aligned in memory, and a vector would depend on
    # what shares its batch.
    total = counts @ torch.ones_like(counts).transpose(1, 2)
    return (counts / total).transpose(1, 2)


def spatial_statistics(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean and standard deviation of each channel over the picture.

    Shapes:  features (B, C, H, W), weights (B, H W, 1) or None for all alike -> (B, 2 C),
             means first
    """
    flat = features.flatten(2)
    mean = flat.mean(2, keepdim=True) if weights is None else flat @ weights
    # Two passes: E[x^2] - E[x]^2 loses the small deviations of flat drawings in float32. A
    # product and not a power: runtimes compute the latter number by number.
    difference = flat - mean
    square = difference * difference
    variance = square.mean(2) if weights is None else (square @ weights).flatten(1)
    return torch.cat([mean.flatten(1), _root(variance)], 1)


def channel_correlations(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Correlation over the picture of any two channels; 0 for a channel that is flat.

    Shapes:  features (B, C, H, W), weights (B, H W, 1) or None -> (B, C (C - 1) / 2)
    """
    count = features.shape[1]
    flat = features.flatten(2)
    if weights is None:
        weights = torch.full_like(flat[:, :1].transpose(1, 2), 1.0 / flat.shape[2])
    deviation = flat - flat @ weights
    covariance = deviation @ (deviation * weights.transpose(1, 2)).transpose(1, 2)
    spread = _root(torch.diagonal(covariance, dim1=1, dim2=2)) + FLAT_DEVIATION
    correlation = covariance / (spread[:, :, None] * spread[:, None, :])
    row, column = torch.triu_indices(count, count, 1)
    return correlation.flatten(1)[:, row * count + column]


def colour_shares(x: Tensor, weights: Tensor) -> Tensor:
    """Square roots of the shares of a picture that have each tone and colourfulness.

    Colourfulness is the largest of red, green and blue less the smallest, both measured of four
    by four pixels together, so that a screen's dots are a tone. A place between two levels counts
    for both, so that nothing jumps. Which colour it is tells nothing of the hand that the filters
    do not tell; how much is coloured, and how dark that is, does (docs/model-card.md).

    Shapes:  x (B, 3, H, W) in -1..1, weights (B, H W / 16, 1) -> (B, LEVELS * LEVELS)
    """
    red, green, blue = (functional.avg_pool2d(x, 4) / 2 + 0.5).flatten(2).split(1, 1)
    most = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    colourful = _memberships((most - least) / COLOURFUL)
    tone = _memberships((red + green + blue) / 3)
    shares = (colourful * weights.transpose(1, 2)) @ tone.transpose(1, 2)
    return _root(shares.flatten(1))


def _memberships(values: Tensor) -> Tensor:
    """How much each value of 0..1 belongs to each of the levels: two neighbours share it.

    Shapes:  (B, 1, N) -> (B, LEVELS, N), sums of 1
    """
    levels = torch.arange(LEVELS, dtype=values.dtype, device=values.device)[:, None]
    distance = (values.clamp(0.0, 1.0) * (LEVELS - 1) - levels).abs()
    return (1.0 - distance).clamp(min=0.0)


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
        weights = {stride: ink_weights(ink) for stride, ink in ink_maps(x).items()}
        parts: list[Tensor] = []
        for group in GROUPS:
            if group.stage is None:
                parts.append(colour_shares(x, weights[4]))
                continue
            where = weights[STAGE_STRIDES[group.stage]]
            if group.kind == "output":
                parts.append(spatial_statistics(features.stages[group.stage], where))
            elif group.kind == "filters":
                maps = features.filtered[group.stage]
                parts.append(torch.cat([spatial_statistics(each, where) for each in maps], 1))
            else:
                parts.append(channel_correlations(features.stages[group.stage], where))
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
