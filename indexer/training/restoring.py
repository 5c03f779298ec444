"""Learns what a model puts back into the vectors of enlarged and of grey pictures, and what the
vectors of a catalog become in grey.

From pictures and their small and grey copies, in the space that the model has already: nothing
else of the space moves, so that what it tells of whole pictures stays as it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.embedding.in_grey import InGrey
from indexer.embedding.linear_maps import with_one
from indexer.embedding.preprocess import Prepared
from indexer.embedding.restoration import RESTORATION_FILE, Restoration, conditions
from indexer.training.augmentation import THUMBNAIL, VIEWS, View
from indexer.training.features import FeatureStore
from indexer.training.grey_parts import GREY_PART, grey_part
from indexer.training.nuisances import NUISANCES, part

Mapped = Callable[[np.ndarray], np.ndarray]
RESTORING_RIDGE = 1.0
"""Chosen on the five splits from 0.5 to 7: the weaker, the less a picture of half the size loses,
and the more one that a part was cut off from (docs/model-card.md)."""

IN_GREY_RIDGE = 0.3
"""Chosen on the five splits from 0.1 to 3 (docs/model-card.md)."""

LIMITS = (1.6, 1.9)
"""Thumbnails of 200 x 120 were doubled up to 1.55 times. On clip art, where icons of one hand
share their size, putting more back costs R@1 (docs/model-card.md)."""


@dataclass(frozen=True)
class Copies:
    """Features of pictures and of their copies.

    Shapes:  whole and small (N, F); grey, part and grey_part (M, F), of the `coloured` rows (M,):
             grey copies, parts, and these in grey; the conditions of whole and small pictures
             (N, 2) as `indexer.embedding.restoration.conditions` tells
    """

    whole: np.ndarray
    small: np.ndarray
    grey: np.ndarray
    part: np.ndarray
    grey_part: np.ndarray
    whole_conditions: np.ndarray
    small_conditions: np.ndarray

    @property
    def coloured(self) -> np.ndarray:
        return coloured_rows(self.whole_conditions)

    @property
    def plain(self) -> np.ndarray:
        return np.flatnonzero(self.whole_conditions[:, 1] == 1)

    def restoration(self, mapped: Mapped) -> Restoration:
        """The maps for a space, which turns features (B, F) into vectors (B, D)."""
        whole, small, grey = (_unit(mapped(rows)) for rows in (self.whole, self.small, self.grey))
        doubled = (self.small_conditions - self.whole_conditions)[:, :1]
        enlarged = _ridge(doubled * with_one(small), whole - small)
        # Pictures that never had colours are there to stay what they are.
        plain = whole[self.plain]
        asked = np.concatenate([with_one(grey), with_one(plain)])
        lost = np.concatenate([whole[self.coloured] - grey, np.zeros_like(plain)])
        return Restoration(enlarged, _ridge(asked, lost), LIMITS)

    def in_grey(self, mapped: Mapped, restoration: Restoration) -> InGrey:
        """What vectors become in grey, in a space and with what is put back there.

        Coloured pictures become their grey copies and so do their parts; what never had colours
        becomes what it was before the lack of colours was made good.
        """
        seen, told = _unit(mapped(self.whole)), self.whole_conditions
        kept, asked = restoration.apply(seen, told), restoration.without_colours(seen, told)
        grey, part, part_in_grey = (
            _unit(mapped(rows)) for rows in (self.grey, self.part, self.grey_part)
        )
        coloured, plain = self.coloured, self.plain
        # A grey copy is as large as its picture, and enlarged as often.
        grey = restoration.without_colours(grey, told[coloured])
        before = np.concatenate([kept[coloured], part, kept[plain]])
        after = np.concatenate([grey, part_in_grey, asked[plain]])
        # The vectors themselves and not what they gain: a weak ridge then makes all of them a
        # little shorter, which their unit length forgives, and turns none of them less.
        become = _ridge(with_one(before), after, IN_GREY_RIDGE)
        become[:-1] -= np.eye(before.shape[1], dtype=np.float32)
        return InGrey(become)


def coloured_rows(conditions: np.ndarray) -> np.ndarray:
    """Pictures that lose something as grey copies; (N, 2) -> (M,) int"""
    return np.flatnonzero(conditions[:, 1] == 0)


def copies_of(store: FeatureStore, used: np.ndarray, columns: Mapped) -> Copies:
    """Some pictures of a store with their copies, by the statistics of which `columns` are taken.

    Shapes:  used (M,) ascending; columns (B, S) -> (B, F)
    """

    def taken(view: tuple[str, View] | None, rows: np.ndarray | None = None) -> np.ndarray:
        return columns(store.get("statistics", view, rows))

    told, small = store.get("conditions"), ("thumbnails", THUMBNAIL)
    coloured = coloured_rows(told)
    among = np.isin(coloured, used)
    whole = taken(None)
    cut = grey = part_in_grey = whole[:0]
    if len(coloured):
        cut = taken(("part", NUISANCES["part"].view))[coloured[among]]
        grey = taken(("grey", VIEWS["grey"]), coloured)[among]
        part_in_grey = taken(GREY_PART, coloured)[among]
    return Copies(
        whole[used], taken(small)[used], grey, cut, part_in_grey,
        told[used], store.get("conditions", small)[used],
    )  # fmt: skip


@dataclass(frozen=True)
class Restored:
    """A network's maps as files, and all pictures' vectors after them; (N, D)."""

    restoration: bytes
    in_grey: bytes
    vectors: np.ndarray


def restored(
    encode: Mapped,
    prepared: Callable[[str, np.ndarray | None, View | None], Iterator[Prepared]],
    train: np.ndarray,
) -> Restored:
    """What training pictures teach of a network's space.

    `prepared` gives pictures: what for, which rows (None: all), in which view.

    Shapes:  encode (1, H, W, 3) -> (1, D) unit, train (M,)
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
    coloured = train[coloured_rows(told[train])]
    changed = {"grey copies": VIEWS["grey"], "parts": part, "grey parts": grey_part}
    grey, parts, grey_parts = (
        embedded(f"embedding {what}", coloured, view)[0] if len(coloured) else vectors[:0]
        for what, view in changed.items()
    )
    copies = Copies(vectors[train], small, grey, parts, grey_parts, told[train], small_told)
    data = copies.restoration(_as_it_is).to_bytes()
    # The file keeps eight bits: what is measured is what the model will do.
    kept = Restoration.from_bytes(data, vectors.shape[1], Path(RESTORATION_FILE))
    in_grey = copies.in_grey(_as_it_is, kept).to_bytes()
    return Restored(data, in_grey, kept.apply(vectors, told))


def _as_it_is(rows: np.ndarray) -> np.ndarray:
    return rows


def _ridge(rows: np.ndarray, wanted: np.ndarray, ridge: float = RESTORING_RIDGE) -> np.ndarray:
    """Least squares, the last column (the constant) without a penalty; (R, D + 1) -> (D + 1, D)."""
    x, y = rows.astype(np.float64), wanted.astype(np.float64)
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-6  # nobody to learn from: nothing is put back
    return np.asarray(np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y), np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
