"""Learns what a model puts back into the vectors of enlarged and of grey pictures.

From pictures and their small and grey copies, in the space that the model has already: nothing
else of the space moves, so that what it tells of whole pictures stays as it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.pixels import Prepared
from indexer.restoration import RESTORATION_FILE, Restoration, conditions
from indexer.training.views import THUMBNAIL, VIEWS, View

RESTORING_RIDGE = 1.0
"""Chosen on the five splits from 0.5 to 7: the weaker, the less a picture of half the size loses,
and the more one that a part was cut off from (docs/model-card.md)."""

LIMITS = (1.6, 1.9)
"""Thumbnails of 200 x 120 were doubled up to 1.55 times. On clip art, where icons of one hand
share their size, putting more back costs R@1 (docs/model-card.md)."""


@dataclass(frozen=True)
class Copies:
    """Features of pictures and of their copies.

    Shapes:  whole and small (N, F), grey (M, F) of the `coloured` rows (M,); the conditions of
             whole and small pictures (N, 2) as `indexer.restoration.conditions` tells
    """

    whole: np.ndarray
    small: np.ndarray
    grey: np.ndarray
    whole_conditions: np.ndarray
    small_conditions: np.ndarray

    @property
    def coloured(self) -> np.ndarray:
        return coloured_rows(self.whole_conditions)

    def restoration(self, mapped: Callable[[np.ndarray], np.ndarray]) -> Restoration:
        """The maps for a space, which turns features (B, F) into vectors (B, D)."""
        whole, small, grey = (_unit(mapped(part)) for part in (self.whole, self.small, self.grey))
        doubled = (self.small_conditions - self.whole_conditions)[:, :1]
        enlarged = _ridge(doubled * _with_one(small), whole - small)
        # Pictures that never had colours are there to stay what they are.
        plain = whole[self.whole_conditions[:, 1] == 1]
        asked = np.concatenate([_with_one(grey), _with_one(plain)])
        lost = np.concatenate([whole[self.coloured] - grey, np.zeros_like(plain)])
        return Restoration(enlarged, _ridge(asked, lost), LIMITS)


def coloured_rows(conditions: np.ndarray) -> np.ndarray:
    """Pictures that lose something as grey copies; (N, 2) -> (M,) int"""
    return np.flatnonzero(conditions[:, 1] == 0)


def restored(
    encode: Callable[[np.ndarray], np.ndarray],
    prepared: Callable[[str, np.ndarray | None, View | None], Iterator[Prepared]],
    train: np.ndarray,
) -> tuple[bytes, np.ndarray]:
    """A network's restoration, learnt on training pictures, as a file; all pictures' vectors
    after it.

    `prepared` gives pictures: what for, which rows (None: all), in which view.

    Shapes:  encode (1, H, W, 3) -> (1, D) unit, train (M,) -> (N, D)
    """

    def embedded(
        what: str, rows: np.ndarray | None = None, view: View | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        found = [
            (encode(picture.pixels[None])[0], conditions(picture))
            for picture in prepared(what, rows, view)
        ]
        vectors, told = zip(*found, strict=True)
        return np.stack(vectors), np.array(told)

    vectors, told = embedded("embedding")
    small, small_told = embedded("embedding small copies", train, THUMBNAIL)
    coloured = coloured_rows(told[train])
    grey = vectors[:0]
    if len(coloured):
        grey, _ = embedded("embedding grey copies", train[coloured], VIEWS["grey"])
    copies = Copies(vectors[train], small, grey, told[train], small_told)
    data = copies.restoration(lambda rows: rows).to_bytes()
    # The file keeps eight bits: what is measured is what the model will do.
    kept = Restoration.from_bytes(data, vectors.shape[1], Path(RESTORATION_FILE))
    return data, kept.apply(vectors, told)


def _with_one(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.ones_like(rows[:, :1])], 1)


def _ridge(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares, the last column (the constant) without a penalty; (R, D + 1) -> (D + 1, D)."""
    x, y = rows.astype(np.float64), wanted.astype(np.float64)
    penalty = np.full(x.shape[1], RESTORING_RIDGE)
    penalty[-1] = 1e-6  # nobody to learn from: nothing is put back
    return np.asarray(np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y), np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
