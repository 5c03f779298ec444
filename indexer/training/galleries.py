"""Pictures that ask for one another: how each is kept, how it asks, what it becomes in grey.

The evaluation compares pictures as the product does: to who asks with a grey picture, another is
as near as it is or as it becomes in grey (`indexer/questions.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from indexer.expansion import expanded
from indexer.in_grey import InGrey


@dataclass(frozen=True)
class Questions:
    """How pictures ask.

    Shapes:  vectors (Q, D) unit; in_grey (Q, D) unit: the same without what grey pictures lack;
             grey (Q,) bool: which ask in grey as well
    """

    vectors: np.ndarray
    in_grey: np.ndarray
    grey: np.ndarray

    @classmethod
    def plain(cls, vectors: np.ndarray) -> Questions:
        """Those that never ask in grey."""
        rows = unit(vectors)
        return cls(rows, rows, np.zeros(len(rows), bool))

    def part(self, rows: np.ndarray) -> Questions:
        """Some of them."""
        return Questions(self.vectors[rows], self.in_grey[rows], self.grey[rows])


@dataclass(frozen=True)
class Gallery:
    """Pictures that are looked for and ask themselves.

    `map` says what vectors become in grey; None where colours make no difference.

    Shapes:  N questions, of which the vectors are kept
    """

    questions: Questions
    map: InGrey | None = None

    @classmethod
    def plain(cls, vectors: np.ndarray) -> Gallery:
        """One in which colours make no difference."""
        return cls(Questions.plain(vectors))

    @property
    def vectors(self) -> np.ndarray:
        """Of the pictures, as a catalog keeps them; (N, D) unit."""
        return self.questions.vectors

    def part(self, rows: np.ndarray) -> Gallery:
        """Some of the pictures."""
        return Gallery(self.questions.part(rows), self.map)

    @cached_property
    def in_grey(self) -> np.ndarray:
        """What the pictures become; (N, D) unit."""
        return self.vectors if self.map is None else self.map.apply(self.vectors)

    def similarity(self, questions: Questions, among: np.ndarray | None = None) -> np.ndarray:
        """How near all pictures are to questions, or other vectors among them (M, D); (Q, N) or
        (Q, M)."""
        vectors = self.vectors if among is None else among
        found = questions.vectors @ vectors.T
        if self.map is not None and questions.grey.any():
            greyed = self.in_grey if among is None else self.map.apply(among)
            in_grey = questions.in_grey[questions.grey] @ greyed.T
            found[questions.grey] = np.maximum(found[questions.grey], in_grey)
        return np.asarray(found)

    def expanded(self, row: int, nearest: np.ndarray) -> np.ndarray:
        """How near all pictures are to one's question and its nearest (K,) together; (N,)."""
        own = self.questions.part(np.array([row]))
        wider = [expanded(own.vectors[0], self.vectors[nearest])]
        if own.grey[0] and self.map is not None:
            wider.append(expanded(own.in_grey[0], self.in_grey[nearest]))
        asked = Questions(wider[0][None], wider[-1][None], own.grey)
        return np.asarray(self.similarity(asked)[0])


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; (B, D)"""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
