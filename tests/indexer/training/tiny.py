"""A backbone that exports and trains in seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from indexer.training.backbones import Statistics


class TinyStages(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Two convolutions, each halving the picture's sides."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 4, 2, 1)
        self.second = nn.Conv2d(8, 12, 4, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.first(x).relu()
        return [first, self.second(first).relu()]


def tiny_statistics() -> Statistics:
    """The same weights at every call."""
    torch.manual_seed(1)
    half = (0.5, 0.5, 0.5)
    return Statistics(TinyStages(), half, half).eval()


def eager(network: nn.Module, threads: int = 1) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A network in torch, as a graph is run."""

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [network.eval()(torch.from_numpy(batch.copy())).numpy()]

    return run
