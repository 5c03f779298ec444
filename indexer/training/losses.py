"""What training minimises: hands across series, and labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TEMPERATURE = 0.1
SCALE = 16.0
SMOOTHING = 0.1


def contrastive(vectors: Tensor, authors: Tensor, series: Tensor) -> Tensor:
    """Supervised contrastive loss whose positives are the author's pictures of *other* series;
    the author's pictures of the own series are neither positives nor negatives. Other authors'
    pictures of the same series (the same thing drawn by another hand) are negatives. 0 without
    any pair.

    Shapes:  vectors (B, D) unit, authors and series (B,), authors -1 where unknown
    Source:  Khosla et al. 2020, eq. 2
    """
    similarity = vectors @ vectors.T / TEMPERATURE
    known = (authors[:, None] >= 0) & (authors[None] >= 0)
    same = authors[:, None] == authors[None]
    own = same & (series[:, None] == series[None])
    positive, allowed = same & ~own & known, ~own & known
    log = similarity - similarity.masked_fill(~allowed, -1e4).logsumexp(1, keepdim=True)
    count = positive.sum(1)
    asks = count > 0
    if not bool(asks.any()):
        return similarity.sum() * 0.0
    return -((log * positive).sum(1)[asks] / count[asks]).mean()


class CosineHead(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Softmax over cosines to one direction for each class.

    Shapes:  (B, D) unit -> (B, C)
    """

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dimension) / dimension**0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        return SCALE * vectors @ functional.normalize(self.weight, dim=1).T


def hand_loss(logits: Tensor, hands: Tensor) -> Tensor:
    """Cross entropy with one label to a picture, -1 where there is none.

    Shapes:  logits (B, C), hands (B,)
    """
    if not bool((hands >= 0).any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, hands, ignore_index=-1, label_smoothing=SMOOTHING)


def label_loss(logits: Tensor, shares: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy with several labels to a picture; pictures without any take no part.

    Shapes:  logits and shares (B, C), weight (C,)
    """
    has = shares.sum(1) > 0
    if not bool(has.any()) or logits.shape[1] < 2:
        return logits.sum() * 0.0
    target = shares[has] / shares[has].sum(1, keepdim=True)
    target = target * (1 - SMOOTHING) + SMOOTHING / target.shape[1]
    return -(logits[has].log_softmax(1) * target * weight).sum(1).mean()
