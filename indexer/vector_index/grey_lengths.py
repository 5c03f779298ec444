"""How long each vector of a generation becomes in grey: what a product is divided by there."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from indexer.embedding.in_grey import InGrey
from indexer.vector_index.rows import IndexRows
from schemas.errors import NoIndexError
from schemas.storage.fsio import write_file

REBUILD = "Run `toonsearch index build`."
GREY_LENGTHS = "grey_lengths.f32"


class CatalogInGrey:
    """What an index's vectors become in grey.

    Shapes:  lengths (N,) by the places of the index; row ids ascending and their places, (N,)
    """

    def __init__(
        self, map_: InGrey, lengths: np.ndarray, places: tuple[np.ndarray, np.ndarray]
    ) -> None:
        self.map, self.lengths = map_, lengths
        self._known, self._order = places

    @classmethod
    def read(cls, directory: Path, places: tuple[np.ndarray, np.ndarray]) -> CatalogInGrey:
        """Of a generation that has proved its files.

        Errors:  NoIndexError when they do not belong together
        """
        map_ = _map_of(directory)
        lengths = np.fromfile(directory / GREY_LENGTHS, "<f4")
        if map_ is None or len(lengths) != len(places[0]):
            raise NoIndexError(
                f"generation {directory.name} is damaged: {GREY_LENGTHS} is not of it", REBUILD
            )
        return cls(map_, lengths, places)

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the greatest length."""
        return float(self.lengths.min()), float(self.lengths.max())

    def of(self, row_ids: np.ndarray) -> np.ndarray:
        """The lengths of pictures of the index; (N,) -> (N,) float32"""
        return np.asarray(self.lengths[self._order[np.searchsorted(self._known, row_ids)]])


def grey_inputs(model_dir: Path) -> dict[str, str]:
    """What the lengths depend on beside the vectors; nothing where the model knows none."""
    return {}


def write_grey_lengths(directory: Path, rows: IndexRows) -> CatalogInGrey | None:
    """Write those of a new generation that has its model, in the order of its rows; None when
    the model knows none."""
    map_ = _map_of(directory)
    if map_ is None:
        return None
    lengths = map_.lengths(rows.vectors.astype(np.float16))  # as the index keeps them
    write_file(directory / GREY_LENGTHS, lengths.astype("<f4").tobytes())
    order = np.argsort(rows.row_ids, kind="stable")
    return CatalogInGrey.read(directory, (rows.row_ids[order], order))


def _map_of(directory: Path) -> InGrey | None:
    return None
