"""Earlier practice, trained on the same splits: what student and published work has used.

Small networks on thumbnails of 71 x 42 and 35 x 21 pixels with heavy augmentation, a fine-tuned
ResNet-50 on letterboxed zero-centred pictures of 112 px, a trained head on VGG16 over grey
pictures of 48 px. Each is trained to tell the training authors; its last hidden layer describes
the others. All start from random weights: no ImageNet weights of these two networks can be had
from a package registry, and the notes say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional

from indexer.training.spaces import Fit, Mapped, Space
from indexer.training.whitening import Changed

BATCH = 64
RATE = 1e-3
START = "random weights"


@dataclass(frozen=True)
class Thumbnail:
    """How a picture is brought to size."""

    width_px: int
    height_px: int
    grey: bool = False
    letterbox: bool = False

    @property
    def feature(self) -> str:
        """The name of the feature that holds these pixels."""
        marks = ("-grey" if self.grey else "") + ("-letterbox" if self.letterbox else "")
        return f"thumbnail-{self.width_px}x{self.height_px}{marks}"

    @property
    def channels(self) -> int:
        return 1 if self.grey else 3

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Shapes:  -> (H * W * C,) uint8"""
        size = (self.width_px, self.height_px)
        if self.letterbox:
            image = ImageOps.pad(image, size, Image.Resampling.BILINEAR, color=(127, 127, 127))
        else:
            image = image.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(image.convert("L") if self.grey else image).ravel()

    def batch(self, rows: np.ndarray) -> Tensor:
        """Zero-centred pictures; (B, F) -> (B, C, H, W)."""
        shape = (-1, self.height_px, self.width_px, self.channels)
        x = torch.from_numpy(np.ascontiguousarray(rows.reshape(shape)))
        return x.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _small(channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 128)]
    return nn.Sequential(*layers, nn.ReLU())


def _resnet(_: int) -> nn.Module:
    return timm.create_model("resnet50", num_classes=0)


def _vgg(channels: int) -> nn.Module:
    tower = timm.create_model("vgg16", in_chans=channels, num_classes=0).features
    for parameter in tower.parameters():
        parameter.requires_grad_(False)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 256), nn.ReLU()]
    return nn.Sequential(tower, *head)


def _moved(x: Tensor, random: torch.Generator) -> Tensor:
    """Heavy augmentation: mirrored, shifted, lighter or darker, noisy."""
    if torch.rand(1, generator=random).item() < 0.5:
        x = x.flip(3)
    rows, columns = (int(torch.randint(-4, 5, (1,), generator=random)) for _ in range(2))
    x = x.roll((rows, columns), (2, 3))
    size = (len(x), 1, 1, 1)
    x = x * (0.8 + 0.4 * torch.rand(size, generator=random))
    return (
        x
        + 0.2 * (torch.rand(size, generator=random) - 0.5)
        + 0.05 * torch.randn(x.shape, generator=random)
    )


def trained(thumbnail: Thumbnail, build: Callable[[int], nn.Module], epochs: int) -> Fit:
    """A fit that trains a network on the training half and describes by its last layer."""

    def fit(rows: np.ndarray, authors: np.ndarray, changed: Sequence[Changed]) -> Mapped:
        torch.manual_seed(0)
        random = torch.Generator().manual_seed(0)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        names, codes = np.unique(authors, return_inverse=True)
        target = torch.from_numpy(codes.reshape(-1))
        network = build(thumbnail.channels).to(device, memory_format=torch.channels_last).train()
        with torch.inference_mode():
            width = network.eval()(thumbnail.batch(rows[:1]).to(device)).shape[1]
        network.train()
        head = nn.Linear(width, len(names)).to(device)
        moving = [p for p in network.parameters() if p.requires_grad]
        solver = torch.optim.AdamW([*moving, *head.parameters()], RATE, weight_decay=1e-2)
        steps = max(1, len(rows) // BATCH)
        plan = torch.optim.lr_scheduler.OneCycleLR(solver, RATE, total_steps=epochs * steps + 1)
        for _ in range(epochs):
            order = torch.randperm(len(rows), generator=random)
            for part in order.tensor_split(steps):
                if len(part) < 2:  # batch statistics of one picture say nothing
                    continue
                x = _moved(thumbnail.batch(rows[part.numpy()]), random).to(device)
                loss = functional.cross_entropy(
                    head(network(x)), target[part].to(device), label_smoothing=0.1
                )
                solver.zero_grad(set_to_none=True)
                loss.backward()
                solver.step()
                plan.step()
        network.eval()

        def mapped(some: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                parts = [
                    network(thumbnail.batch(some[start : start + BATCH]).to(device)).cpu().numpy()
                    for start in range(0, len(some), BATCH)
                ]
            return np.concatenate(parts).astype(np.float32)

        return mapped

    return fit


PRACTICE = (
    ("small CNN on 35 x 21", Thumbnail(35, 21), _small, 30),
    ("small CNN on 71 x 42", Thumbnail(71, 42), _small, 30),
    ("VGG16 head on 48 x 48 grey", Thumbnail(48, 48, grey=True), _vgg, 5),
    ("ResNet-50 on 112 px, letterboxed", Thumbnail(112, 112, letterbox=True), _resnet, 4),
)
THUMBNAILS = {thumbnail.feature: thumbnail for _, thumbnail, _, _ in PRACTICE}


def earlier_spaces(epochs: int | None = None) -> list[Space]:
    """Rows of the table; `epochs` overrides how long each is trained.

    The name says how long, because kept vectors are told apart by it.
    """
    return [
        Space(
            f"{name}, {epochs or own} epochs",
            thumbnail.feature,
            trained(thumbnail, build, epochs or own),
            note=START,
        )
        for name, thumbnail, build, own in PRACTICE
    ]
