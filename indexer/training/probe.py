"""A linear probe: how much of a label a straight cut through features tells."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

STEPS = 60
PENALTY = 1e-2


def linear_probe(rows: np.ndarray, codes: np.ndarray, count: int, asked: np.ndarray) -> np.ndarray:
    """Multinomial logistic regression with class balance, by L-BFGS.

    Shapes:  rows (N, F) standardised, codes (N,), asked (Q, F) -> probabilities (Q, count)
    """
    x, y = torch.from_numpy(rows.astype(np.float32)), torch.from_numpy(codes)
    number = torch.bincount(y, minlength=count).clamp(min=1).float()
    weight = number.rsqrt() / (number.rsqrt()[y]).mean()
    matrix = torch.zeros(x.shape[1], count, requires_grad=True)
    offset = torch.zeros(count, requires_grad=True)
    solver = torch.optim.LBFGS([matrix, offset], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = functional.cross_entropy(x @ matrix + offset, y, weight)
        loss = loss + PENALTY * matrix.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    with torch.inference_mode():
        scores = torch.from_numpy(asked.astype(np.float32)) @ matrix + offset
        return np.asarray(scores.softmax(1).numpy())
