"""What others did, as rows of the same table.

Gram matrices of VGG (Gatys, Ecker and Bethge 2016), made short by a sketch; and networks that
learn authors with a softmax: a small one from scratch on small pictures, and one that ImageNet
has taught, fine-tuned. A softmax network retrieves by its last layer before the softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from indexer.training.backbones import fold_batch_norms, lite0, pad_statically
from indexer.training.branches import in_bfloat16, keep_depthwise_in_float32
from schemas.errors import InputError
from schemas.progress import Progress

# --- VGG's Gram matrices.

WIDTHS = (64, 128, 256, 512, 512)
SKETCH = 2048
SKETCH_SEED = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VGG_HINT = (
    "A state dict of torchvision's vgg16 or vgg19 is needed, in a .safetensors or .pth file,"
    " at least of the convolutions `features.*`."
)


class Gram(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Products of the channels after the first convolution of each of VGG's five blocks.

    Shapes:  (B, H, W, 3) uint8 -> (B, sum of C^2)
    """

    def __init__(self, convolutions: Sequence[int] = (2, 2, 3, 3), widths: Any = WIDTHS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[None, :, None, None] * 255.0)
        self.register_buffer("std", torch.tensor(STD)[None, :, None, None] * 255.0)
        blocks, channels = [], 3
        for width, count in zip(widths, (*convolutions, 1), strict=True):
            layers = []
            for _ in range(count):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
            blocks.append(nn.ModuleList(layers))
        self.blocks = nn.ModuleList(blocks)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        found = []
        for number, block in enumerate(self.blocks):
            x = functional.max_pool2d(x, 2) if number else x
            for place, layer in enumerate(block):
                x = functional.relu(layer(x))
                if not place:
                    flat = x.flatten(2)
                    found.append((flat @ flat.transpose(1, 2) / flat.shape[2]).flatten(1))
        return torch.cat(found, 1)


def load_gram(weights: Path) -> Gram:
    """VGG16 or VGG19 from a file of weights with torchvision's names.

    Errors:  InputError when the file cannot be read or is of another network
    """
    try:
        if weights.suffix == ".safetensors":
            entries = load_file(weights)
        else:  # `weights_only` keeps the archive's pickle from running code
            entries = torch.load(weights, map_location="cpu", weights_only=True)
        names = [n for n in entries if n.startswith("features.") and n.endswith(".weight")]
        names.sort(key=lambda name: int(name.split(".")[1]))
        four = "features.16.weight" in entries  # of VGG19's third block
        network = Gram((2, 2, 4, 4) if four else (2, 2, 3, 3))
        own = [layer for block in network.blocks for layer in block]
        for layer, name in zip(own, names[: len(own)], strict=True):
            bias = entries[name.removesuffix("weight") + "bias"]
            layer.load_state_dict({"weight": entries[name], "bias": bias})
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{weights} has no weights of VGG ({said})", VGG_HINT) from error
    except Exception as error:  # torch.load has error types of its own, pickle's among them
        raise InputError(f"{weights} cannot be read", VGG_HINT) from error
    return network


def sketch(gram: np.ndarray, widths: Sequence[int] = WIDTHS) -> np.ndarray:
    """A short vector whose products are, but for chance, those of Gram matrices of unit length:
    each number is added with a random sign to one of SKETCH places.

    Shapes:  (sum of C^2,) -> (len(widths) SKETCH,) float32
    Source:  Charikar, Chen and Farach-Colton 2002 (count sketch)
    """
    rng = np.random.default_rng(SKETCH_SEED)
    parts, start = [], 0
    for width in widths:
        place = rng.integers(0, SKETCH, width * width)
        sign = 2.0 * rng.integers(0, 2, width * width) - 1.0
        own = gram[start : start + width * width].astype(np.float64)
        own /= max(float(np.linalg.norm(own)), 1e-12)
        parts.append(np.bincount(place, sign * own, SKETCH))
        start += width * width
    return np.concatenate(parts).astype(np.float32)


# --- Softmax networks.

BASELINES_VERSION = 2
"""Raise it when the code below would train other networks."""
SIDE_PX = 112
DENSE = 512
BATCH = 32
TURN_RADIANS, SHIFT, ZOOM = 0.26, 0.05, 0.05


def letterboxed(image: Image.Image) -> np.ndarray:
    """A picture reduced to SIDE_PX on its longer side, in the middle of a black square.

    Shapes:  -> (SIDE_PX SIDE_PX 3,) uint8
    """
    scale = SIDE_PX / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.convert("RGB").resize((width, height), Image.Resampling.BOX)
    square = Image.new("RGB", (SIDE_PX, SIDE_PX))
    square.paste(small, ((SIDE_PX - width) // 2, (SIDE_PX - height) // 2))
    return np.asarray(square).ravel()


class Recipe(NamedTuple):
    """How one network is trained. `body` makes what goes from pixels (B, 3, S, S) in -1..1 to
    features (B, width), S being SIDE_PX / `reduced`; a picture is seen `epochs` times, and
    more often where that is less than `least` steps."""

    name: str
    body: Callable[[], nn.Module]
    width: int
    reduced: int
    epochs: int
    least: int
    lr: float

    def steps(self, pictures: int) -> int:
        """Of BATCH pictures each."""
        return max(self.least, round(self.epochs * pictures / BATCH))


def _small() -> nn.Module:
    """3 x 3 convolutions with batch normalisation, pooling and dropout, 96 filters first."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (96, 96, 128, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Dropout(0.2)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten())


class _Pooled(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    def __init__(self) -> None:
        super().__init__()
        self.network = lite0()
        fold_batch_norms(self.network)  # its batch statistics stay ImageNet's
        pad_statically(self.network)
        keep_depthwise_in_float32(self.network)

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_features(x).mean((2, 3))


SMALL = Recipe("small CNN from scratch, softmax", _small, 128 * 3 * 3, 2, 8, 300, 1e-3)
FINE_TUNED = Recipe("ImageNet network fine-tuned, softmax", _Pooled, 1280, 1, 3, 150, 3e-4)
RECIPES = (SMALL, FINE_TUNED)


class SoftmaxNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """A body, a dense layer, a softmax over classes."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__()
        self.reduced = recipe.reduced
        self.body, self.dense = recipe.body(), nn.Linear(recipe.width, DENSE)
        self.last = nn.Linear(DENSE, classes)

    def features(self, pixels: Tensor) -> Tensor:
        """(B, SIDE_PX, SIDE_PX, 3) -> (B, DENSE)"""
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        if self.reduced > 1:
            x = functional.avg_pool2d(x, self.reduced)
        return functional.relu(self.dense(self.body(x)))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(functional.dropout(self.features(pixels), 0.5, self.training))


@dataclass(frozen=True)
class Softmax:
    """A trained network and the authors that it names (C,)."""

    network: SoftmaxNetwork
    names: np.ndarray

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Letterboxed pictures (N, F) -> (N, DENSE)"""
        return self._run(rows, self.network.features)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Letterboxed pictures (N, F) -> (N, C)"""
        return self._run(rows, lambda pixels: self.network(pixels).softmax(1))

    def _run(self, rows: np.ndarray, what: Callable[[Tensor], Tensor]) -> np.ndarray:
        with torch.inference_mode():
            parts = [what(_pixels(rows[at : at + BATCH])) for at in range(0, len(rows), BATCH)]
        return np.asarray(torch.cat(parts).numpy())


def _pixels(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.reshape(-1, SIDE_PX, SIDE_PX, 3).copy())


def train_softmax(
    recipe: Recipe,
    rows: np.ndarray,
    authors: np.ndarray,
    keep: Callable[[Callable[[], np.ndarray]], np.ndarray] = lambda compute: compute(),
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Softmax:
    """Train a network to name authors. `keep` may return the weights of an equal run instead of
    computing them.

    Shapes:  rows (N, F) of letterboxed pictures, authors (N,)
    """
    names, classes = np.unique(authors, return_inverse=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = SoftmaxNetwork(recipe, len(names))
        network.load_state_dict(
            _unpacked(
                network,
                keep(
                    lambda: _trained(
                        network, rows, classes, recipe, steps or recipe.steps(len(rows)), progress
                    )
                ),
            )
        )
    return Softmax(network.eval(), names)


def _trained(
    network: SoftmaxNetwork,
    rows: np.ndarray,
    classes: np.ndarray,
    recipe: Recipe,
    steps: int,
    progress: Progress | None,
) -> np.ndarray:
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps)
    rng = np.random.default_rng(len(rows))
    network.train().to(memory_format=torch.channels_last)
    half = in_bfloat16("auto", torch.device("cpu"))
    for step in range(steps):
        chosen = rng.integers(0, len(rows), BATCH)
        pixels = _changed(_pixels(rows[chosen]))
        with torch.autocast("cpu", torch.bfloat16, half):
            found = network(pixels)
        loss = functional.cross_entropy(found.float(), torch.from_numpy(classes[chosen]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress(step + 1, steps, f"{recipe.name}, loss {float(loss.detach()):.2f}")
    return np.asarray(
        torch.cat([value.flatten().float() for value in network.state_dict().values()]).numpy()
    )


def _changed(pixels: Tensor) -> Tensor:
    """Each picture mirrored or not, turned, moved and scaled a little."""
    count = len(pixels)
    angle = (2 * torch.rand(count) - 1) * TURN_RADIANS
    zoom = 1 + (2 * torch.rand(count) - 1) * ZOOM
    mirror = 1.0 - 2.0 * torch.randint(0, 2, (count,))
    shift = (2 * torch.rand(count, 2) - 1) * 2 * SHIFT
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    theta = torch.stack(
        [
            torch.stack([mirror * cos, -sin, shift[:, 0]], 1),
            torch.stack([mirror * sin, cos, shift[:, 1]], 1),
        ],
        1,
    )
    images = pixels.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False).permute(0, 2, 3, 1)


def _unpacked(network: nn.Module, weights: np.ndarray) -> dict[str, Tensor]:
    entries, start = {}, 0
    for name, value in network.state_dict().items():
        part = torch.from_numpy(np.array(weights[start : start + value.numel()]))
        entries[name] = part.reshape(value.shape).to(value.dtype)
        start += value.numel()
    return entries
