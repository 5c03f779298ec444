"""The manner of a title: what all its pictures have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MANNER = np.dtype("<f2")
"""As the index keeps vectors: half floats, little-endian."""


def manners(vectors: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """The unit vector of the mean of each title's pictures, in the order of the titles' ids.

    Shapes:  vectors (N, D), a title for each in ascending order -> (T, D)
    """
    _, first = np.unique(np.asarray(titles, dtype=np.str_), return_index=True)
    if not len(first):
        return vectors[:0]
    total = np.add.reduceat(vectors, first, axis=0)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-6))
