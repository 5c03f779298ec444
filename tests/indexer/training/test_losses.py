"""Losses against slow loops."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from torch.nn import functional

from indexer.training.losses import TEMPERATURE, contrastive, hand_loss, label_loss


def test_the_contrastive_loss_equals_its_definition() -> None:
    torch.manual_seed(0)
    vectors = functional.normalize(torch.randn(12, 5), dim=1)
    authors = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1, 0])
    series = torch.tensor([0, 0, 1, 2, 3, 3, 4, 4, 0, 5, 6, 7])  # 0: drawn by two authors
    terms = []
    for a in range(12):
        own = [b for b in range(12) if authors[b] == authors[a] and series[b] == series[a]]
        others = [b for b in range(12) if b not in own and authors[b] >= 0]
        pairs = [b for b in others if authors[b] == authors[a]]
        if authors[a] < 0 or not pairs:
            continue
        low = sum(float(torch.exp(vectors[a] @ vectors[b] / TEMPERATURE)) for b in others)
        terms.append(
            -np.mean([float(vectors[a] @ vectors[b]) / TEMPERATURE - np.log(low) for b in pairs])
        )
    assert float(contrastive(vectors, authors, series)) == pytest.approx(np.mean(terms), rel=1e-4)
    alone = torch.arange(12)
    assert float(contrastive(vectors, alone, alone)) == 0.0


def test_pictures_without_labels_take_no_part() -> None:
    nothing = label_loss(torch.randn(3, 4), torch.zeros(3, 4), torch.ones(4))
    assert float(nothing) == 0.0
    logits, shares = torch.randn(3, 4), torch.zeros(3, 4)
    shares[1, 2] = 1.0
    alone = label_loss(logits[1:2], shares[1:2], torch.ones(4))
    assert float(label_loss(logits, shares, torch.ones(4))) == pytest.approx(float(alone))


def test_hands_that_are_not_known_take_no_part() -> None:
    logits = torch.randn(3, 4)
    assert float(hand_loss(logits, torch.tensor([-1, -1, -1]))) == 0.0
    alone = hand_loss(logits[1:2], torch.tensor([2]))
    assert float(hand_loss(logits, torch.tensor([-1, 2, -1]))) == pytest.approx(float(alone))
    assert float(alone) > float(hand_loss(torch.eye(4)[2:3] * 9, torch.tensor([2])))
