"""Linear maps of vectors as a model's folder keeps them.

A map is a matrix (D + 1, D) for a vector with a 1 behind it. It is kept in int8 with a scale for
each column, half the size that float16 would have; what rounding changes is a hundredth of what
the map adds to a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import NoIndexError

LEVELS = 127
HINT = "Reinstall toonsearch, or publish the index again."


def packed(name: str, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """A map as tensors of a file; (D + 1, D)."""
    scale = np.maximum(np.abs(matrix).max(0) / LEVELS, 1e-12).astype(np.float32)
    return {name: np.rint(matrix / scale).astype(np.int8), f"{name}.scale": scale}


def unpacked(tensors: Mapping[str, Any], name: str, dimension: int) -> np.ndarray:
    """A map out of a file's tensors; (D + 1, D) float32.

    Errors:  ValueError or KeyError when there is none for this dimension
    """
    scale = np.asarray(tensors[f"{name}.scale"], np.float32)
    if (tensors[name].shape, scale.shape) != ((dimension + 1, dimension), (dimension,)):
        raise ValueError("its maps have the wrong shape")
    if tensors[name].dtype != np.int8:
        raise ValueError("its maps have the wrong type")
    if not (np.isfinite(scale).all() and np.abs(scale).max() <= 1.0):
        raise ValueError("its maps are out of range")
    return np.asarray(tensors[name].astype(np.float32) * scale)


def tensors_of(data: bytes, path: Path) -> Mapping[str, Any]:
    """The tensors of a file that its caller has proved.

    Errors:  NoIndexError when it is no such file
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found: Mapping[str, Any] = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise NoIndexError(f"{path}: {error}", HINT) from error
    return found


def with_one(rows: np.ndarray) -> np.ndarray:
    """Rows with a 1 behind each; (B, D) -> (B, D + 1)"""
    return np.concatenate([rows, np.ones_like(rows[:, :1])], axis=1)
