"""What spaces that have learnt say of pictures, as one array that the cache keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.embedding.in_grey import InGrey
from indexer.training.evaluation.metrics import Gallery, Questions


@dataclass(frozen=True)
class Learnt:
    """A space that has learnt on some pictures.

    `questions` says how all pictures ask as they are or in a whole view, or the sampled ones in
    another; `in_grey` what vectors become without colours.
    """

    questions: Callable[[str | None], Questions]
    in_grey: InGrey | None = None


@dataclass(frozen=True)
class Kept:
    """Galleries of whole views, and how sampled pictures ask in others."""

    galleries: Sequence[Gallery]
    views: dict[str, Questions]


def stacked(learnt: Learnt, views: Sequence[str | None]) -> np.ndarray:
    """Vectors of each view, which of them ask in grey and how, and the map to grey, below one
    another: (R, D + 1), the last column marks those in grey."""
    parts = []
    for view in views:
        asked = learnt.questions(view)
        parts.append(np.column_stack([asked.vectors, asked.grey]))
        if learnt.in_grey is not None:
            parts.append(np.column_stack([asked.in_grey, asked.grey]))
    if learnt.in_grey is not None:
        parts.append(np.pad(learnt.in_grey.change, ((0, 0), (0, 1))))
    return np.concatenate(parts).astype(np.float32)


def unstacked(
    rows: np.ndarray, count: int, sampled: int, whole: Sequence[str | None], views: Sequence[str]
) -> Kept:
    """Undo `stacked` of `count` pictures, some of them `sampled`, in whole and other views."""
    sizes = [count] * len(whole) + [sampled] * len(views)
    greyed = len(rows) > sum(sizes)
    ends = np.cumsum(np.repeat(sizes, 2) if greyed else sizes)
    *parts, change = np.split(rows, ends)
    in_grey = InGrey(change[:, :-1]) if greyed else None
    step = 2 if greyed else 1
    asked = [
        Questions(part[:, :-1], parts[n * step + step - 1][:, :-1], part[:, -1] > 0)
        for n, part in enumerate(parts[::step])
    ]
    galleries = [Gallery(each, in_grey) for each in asked[: len(whole)]]
    return Kept(galleries, dict(zip(views, asked[len(whole) :], strict=True)))
