"""Puts back what enlarging a small picture, or its lack of colour, takes from its vector.

A thumbnail that is brought to the network's size is blurred, and a grey copy has no palette:
both move a vector in much the same way whatever is drawn. Two linear maps, learnt from pictures
and their reduced or grey copies, say what the vector of the whole picture was likely to be. What
was never enlarged and has its colours stays bit for bit as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from indexer.embedding.linear_maps import HINT, packed, tensors_of, unpacked
from indexer.embedding.preprocess import MAX_DOUBLINGS, Prepared
from schemas.errors import NoIndexError

RESTORATION_FILE = "restoration.safetensors"
TENSORS = ("enlarged", "grey")
BLOCK_PX = 8
GREY_BELOW = 6.0
"""Spread of the colour differences, in 256 levels, from which on a picture counts as coloured."""
GREY_FROM = 0.8
"""Greyness from which on a picture is taken for one without colours: what a camera's noise leaves
of a grey page. Of the 4,316 drawings none has 0.8 to 0.99."""


def greyness(pixels: np.ndarray) -> float:
    """1 for a picture without colours, whatever the tone of its paper, 0 for a coloured one.

    Shapes:  (H, W, 3) uint8, sides multiples of BLOCK_PX
    """
    height, width = (side // BLOCK_PX for side in pixels.shape[:2])
    # Blocks forgive the colour noise of JPEG. Rows first, each as one long line, then columns:
    # 0.5 ms where a sum over both at once takes 4. 64 values of 255 fit into 16 bits.
    lines = pixels[: height * BLOCK_PX, : width * BLOCK_PX].reshape(height, BLOCK_PX, -1)
    added = lines.astype(np.uint16).sum(1, dtype=np.uint16).reshape(height, width, BLOCK_PX, 3)
    mean = added.sum(2, dtype=np.uint16) / BLOCK_PX**2
    spread = np.std(mean[..., 0] - mean[..., 1]) + np.std(mean[..., 1] - mean[..., 2])
    return float(np.clip(1.0 - spread / GREY_BELOW, 0.0, 1.0))


def conditions(picture: Prepared) -> tuple[float, float]:
    """How often a picture was doubled in size, and how grey it is."""
    return picture.enlarged, greyness(picture.pixels)


class Restoration(NamedTuple):
    """Two linear maps of a vector with a 1 behind it, each (D + 1, D) float32.

    `enlarged` is what each doubling of a picture's sides takes, `grey` what the lack of colour
    does. `limits` are the doublings up to which thumbnails were there to learn from, and those
    from which on nothing is put back: an icon is meant to be as small as it is.
    """

    enlarged: np.ndarray
    grey: np.ndarray
    limits: tuple[float, float]

    def amounts(self, found: np.ndarray) -> np.ndarray:
        """How much of each map is added; (B, 2) as `conditions` tells -> (B, 2)"""
        learnt, none = self.limits
        doubled = found[:, 0]
        fading = learnt * np.clip((none - doubled) / (none - learnt), 0.0, 1.0)
        return np.stack([np.minimum(doubled, fading), found[:, 1]], axis=1)

    def apply(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Restored vectors.

        Shapes:  vectors (B, D) unit, found (B, 2) as `conditions` tells -> (B, D) unit
        """
        restored = np.array(vectors, np.float32)
        amounts = self.amounts(found)
        for row in np.flatnonzero((amounts > 0).any(1)).tolist():
            one = np.append(restored[row], np.float32(1))
            for amount, matrix in zip(amounts[row].tolist(), self[:2], strict=True):
                if amount > 0:
                    # einsum and not a product: those add up in an order that depends on how
                    # many rows they are given, and a vector must not depend on its batch.
                    restored[row] += np.float32(amount) * np.einsum("d,dk->k", one, matrix)
            length = np.sqrt(np.einsum("k,k->", restored[row], restored[row]))
            restored[row] /= max(length, np.float32(1e-12))
        return restored

    def without_colours(self, vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
        """As `apply`, but what grey pictures lack stays away: for who asks in grey."""
        return self.apply(vectors, found * np.array([1.0, 0.0]))

    def to_bytes(self) -> bytes:
        """The file of a model's folder."""
        from safetensors.numpy import save

        tensors = {"limits": np.array(self.limits, np.float32)}
        for name, matrix in zip(TENSORS, self[:2], strict=True):
            tensors |= packed(name, matrix)
        return bytes(save(tensors))

    @classmethod
    def from_bytes(cls, data: bytes, dimension: int, path: Path) -> Self:
        """Read what `to_bytes` wrote and its caller has proved.

        Errors:  NoIndexError when it is no such file, or is one for another dimension
        """
        tensors = tensors_of(data, path)
        try:
            learnt, none = (float(limit) for limit in tensors["limits"].tolist())
            if not 0 < learnt < none <= 2 * MAX_DOUBLINGS:
                raise ValueError("its limits are out of range")
            enlarged, grey = (unpacked(tensors, name, dimension) for name in TENSORS)
        except (ValueError, KeyError) as error:
            raise NoIndexError(f"{path}: {error}", HINT) from error
        return cls(enlarged, grey, (learnt, none))


class Seen(NamedTuple):
    """What a model's network says of pictures, before anything is put back.

    Shapes:  plain (B, D) unit, found (B, 2) as `conditions` tells, deviation (B,) as
             `indexer.labels.deviation` has it, NaN where the network does not tell it
    """

    plain: np.ndarray
    found: np.ndarray
    restoration: Restoration | None
    deviation: np.ndarray = np.empty(0)

    @property
    def vectors(self) -> np.ndarray:
        """The pictures' vectors; (B, D) unit."""
        if self.restoration is None or not len(self.plain):
            return self.plain
        return self.restoration.apply(self.plain, self.found)

    @property
    def grey(self) -> np.ndarray:
        """Which of them have no colours at all; (B,) bool."""
        return np.asarray(self.found[:, 1] >= GREY_FROM)

    @property
    def without_colours(self) -> np.ndarray:
        """How they ask in grey; (B, D) unit."""
        if self.restoration is None or not len(self.plain):
            return self.plain
        return self.restoration.without_colours(self.plain, self.found)
