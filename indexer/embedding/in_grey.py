"""What the vectors of a catalog become without colours: grey pictures are looked for among those.

A grey copy cannot tell which colours a drawing had, but a coloured drawing can tell what it is
in grey. A linear map, learnt from drawings, their parts and the grey copies of both, says so of
vectors alone; a drawing without colours stays what it is. The catalog keeps its vectors, and
only who asks with a grey picture compares it with what they become.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from indexer.embedding.linear_maps import HINT, packed, tensors_of, unpacked, with_one
from schemas.errors import NoIndexError

IN_GREY_FILE = "in_grey.safetensors"
BLOCK_ROWS = 4096


class InGrey(NamedTuple):
    """What a vector with a 1 behind it gains in grey: `change` is (D + 1, D) float32."""

    change: np.ndarray

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """What vectors become; (B, D) unit -> (B, D) unit"""
        moved = self._moved(vectors)
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12))

    def lengths(self, vectors: np.ndarray) -> np.ndarray:
        """How long they become before they are unit vectors again.

        Shapes:  (N, D) unit -> (N,) float32, above 0
        """
        found = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), BLOCK_ROWS):
            moved = self._moved(vectors[start : start + BLOCK_ROWS])
            found[start : start + BLOCK_ROWS] = np.linalg.norm(moved, axis=1)
        return np.maximum(found, np.float32(1e-6))

    def asked(self, vector: np.ndarray) -> tuple[np.ndarray, float]:
        """A question to the vectors as they are that stands for one in grey: the product with it
        and the number added, divided by the length in grey, is the cosine in grey.

        Shapes:  (D,) -> (D,) and a number
        """
        return vector + self.change[:-1] @ vector, float(self.change[-1] @ vector)

    def _moved(self, vectors: np.ndarray) -> np.ndarray:
        rows = np.asarray(vectors, np.float32)
        return np.asarray(rows + with_one(rows) @ self.change)

    def to_bytes(self) -> bytes:
        """The file of a model's folder."""
        from safetensors.numpy import save

        return bytes(save(packed("change", self.change)))

    @classmethod
    def from_bytes(cls, data: bytes, dimension: int, path: Path) -> Self:
        """Read what `to_bytes` wrote and its caller has proved.

        Errors:  NoIndexError when it is no such file, or is one for another dimension
        """
        tensors = tensors_of(data, path)
        try:
            return cls(unpacked(tensors, "change", dimension))
        except (ValueError, KeyError) as error:
            raise NoIndexError(f"{path}: {error}", HINT) from error
