"""Subject vectors of a generation: what its pictures show, mixed with style where a query asks.

    subjects.faiss   row ids -> subject vectors, of the pictures that have one
    subjects.npy     the style and the subject cosine of pairs by different authors

Both kinds of cosine spread differently, so a mixture first brings that of the subject to the mean
and the deviation that style has among those pairs:

    (1 - weight) * style + weight * (mean of style + (subject - mean) / deviation * deviation of style)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.vector_index.faiss_index import VectorIndex, write_index
from indexer.vector_index.metadata import IndexRows, of_model
from schemas.errors import NoIndexError
from schemas.storage.catalog import Catalog
from schemas.storage.commits import reading
from schemas.storage.fsio import fsync_file

if TYPE_CHECKING:
    import pyarrow as pa

SUBJECTS, BACKGROUND = "subjects.faiss", "subjects.npy"
FILES = (SUBJECTS, BACKGROUND)
PAIRS = 10_000
DEPTH = 2000
"""Pictures that are taken from each of the two lists, at least, before they are mixed: what is
far down both of a larger catalog's is not looked at."""


@dataclass(frozen=True)
class Mixture:
    """Style and subject as one number, on the scale of style's cosine; `weight` is the subject's.

    Shapes:  background (B, 2), see SubjectIndex
    """

    weight: float
    background: np.ndarray

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        if not len(self.background):
            return np.zeros(2), np.ones(2)
        spread = np.maximum(self.background.std(axis=0, dtype=np.float64), 1e-3)
        return self.background.mean(axis=0, dtype=np.float64), spread

    def similarity(self, style: np.ndarray, subject: np.ndarray) -> np.ndarray:
        """Cosines of style and subject as one; a subject that is not known, NaN, is an average
        one. Shapes:  (...), (...) -> (...) float32
        """
        (style_mean, subject_mean), (style_spread, subject_spread) = self._moments
        scaled = style_mean + (subject - subject_mean) / subject_spread * style_spread
        scaled = np.where(np.isnan(scaled), style_mean, scaled)
        mixed = (1.0 - self.weight) * style + self.weight * scaled
        return np.asarray(np.clip(mixed, -1.0, 1.0), np.float32)

    @cached_property
    def _sorted(self) -> np.ndarray:
        return np.sort(self.similarity(self.background[:, 0], self.background[:, 1]))

    def percentile(self, similarity: np.ndarray) -> np.ndarray:
        """Share of pairs by different authors that are less similar, in percent; (...) -> (...)"""
        count = len(self._sorted)
        levels = 100.0 * (np.arange(count) + 0.5) / max(1, count)
        found = (
            np.interp(similarity, self._sorted, levels) if count else np.zeros(np.shape(similarity))
        )
        return np.asarray(found)


@dataclass(frozen=True)
class SubjectIndex:
    """The subject vectors of a generation, mapped.

    Shapes:  background (B, 2) float32, style and subject cosine of each pair
    """

    index: VectorIndex
    background: np.ndarray

    @classmethod
    def open(cls, directory: Path) -> SubjectIndex:
        """Those of a generation's folder, whose digests the caller has checked.

        Errors:  NoIndexError when the pairs are not what they should be
        """
        background = np.load(directory / BACKGROUND, allow_pickle=False)
        if background.ndim != 2 or background.shape[1] != 2 or background.dtype != np.float32:
            raise NoIndexError(f"{directory.name}: {BACKGROUND} has another shape")
        return cls(VectorIndex.open(directory / SUBJECTS), background)

    def background_of(self, text: np.ndarray) -> np.ndarray:
        """The background with cosines of a text and pictures in the place of the subjects': those
        of text and picture are of another size. Shapes:  text (S,) -> (B, 2)"""
        some = np.random.default_rng(0).choice(self.index.row_ids, len(self.background))
        distinct, at = np.unique(some, return_inverse=True)
        cosines = (self.index.vectors(distinct) @ text)[at]
        return np.stack([self.background[:, 0], cosines], axis=1).astype(np.float32)

    def vectors(self, row_ids: np.ndarray) -> np.ndarray:
        """The subject vectors of those pictures that have one; (N,) -> (M, S)"""
        return self.index.vectors(row_ids[np.isin(row_ids, self.index.row_ids)])

    def cosines(self, vector: np.ndarray, row_ids: np.ndarray) -> np.ndarray:
        """How near the subjects of pictures are, NaN of those without a subject vector.

        Shapes:  vector (S,) or (P, S), row_ids (N,) -> (N,) or (P, N)
        """
        known = np.isin(row_ids, self.index.row_ids)
        found = np.full((*vector.shape[:-1], len(row_ids)), np.nan, np.float32)
        found[..., known] = vector @ self.index.vectors(row_ids[known]).T
        return found

    def nearest(
        self,
        style: VectorIndex,
        mixture: Mixture,
        vectors: tuple[np.ndarray, np.ndarray],
        k: int,
        row_ids: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pictures nearest by style and subject together, of all or of these row ids.

        Shapes:  vectors (D,) and (S,) -> similarity (K,), greatest first, and row ids (K,)
        """
        depth = max(DEPTH, 4 * k)
        lists = [
            index.search(vector[None], depth, row_ids)[1][0]
            for index, vector in zip((style, self.index), vectors, strict=True)
        ]
        found = np.unique(np.concatenate(lists))
        found = found[found >= 0]
        cosines = style.vectors(found) @ vectors[0]
        similarity = mixture.similarity(cosines, self.cosines(vectors[1], found))
        order = np.argsort(-similarity, kind="stable")[:k]
        return similarity[order], found[order]


def write_subjects(
    folder: Path,
    catalog: Catalog,
    rows: IndexRows,
    author: np.ndarray,
    model: tuple[str, str],
    seed: int,
) -> None:
    """Write both files for a generation; nothing where no picture has a subject vector.

    `author` (N,) are numbers of authors, -1 where unknown; `model` is the id of what made the
    vectors, and the preprocessing.

    Errors:  OSError
    """
    import pyarrow.compute as pc

    known, subjects = reading(catalog.layout.table("subjects"), lambda: _collected(catalog, model))
    at = pc.fill_null(pc.index_in(rows.pictures.table["picture_id"], known), -1)
    place = np.asarray(at.combine_chunks(), np.int64)  # (N,)
    has = np.flatnonzero(place >= 0)
    if not len(has):
        return
    write_index(folder / SUBJECTS, subjects[place[has]], rows.row_ids[has])
    pairs = has[_pairs(author[has], np.random.default_rng(seed))]  # (B, 2)
    cosines = [
        np.einsum("nd,nd->n", some[at[:, 0]], some[at[:, 1]], dtype=np.float32)
        for some, at in ((rows.vectors, pairs), (subjects, place[pairs]))
    ]
    np.save(folder / BACKGROUND, np.stack(cosines, axis=1), allow_pickle=False)
    fsync_file(folder / BACKGROUND)


def _collected(catalog: Catalog, model: tuple[str, str]) -> tuple[pa.Array, np.ndarray]:
    """Ids of the pictures that have a subject vector, and those vectors; (M, S) float16"""
    import pyarrow as pa

    ids, parts = [pa.array([], pa.string())], []
    for batch in of_model(catalog, model, ["picture_id", "vector"], "subjects"):
        if batch.num_rows:
            flat = batch["vector"].flatten().to_numpy(zero_copy_only=False)
            ids.append(batch["picture_id"])
            parts.append(flat.astype(np.float16).reshape(batch.num_rows, -1))
    found = np.concatenate(parts) if parts else np.empty((0, 1), np.float16)
    return pa.concat_arrays(ids), found


def _pairs(author: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pairs of pictures that are not by one author; two whose authors are not known may be.

    Shapes:  (N,) -> (B, 2)
    """
    pairs = rng.integers(0, len(author), (2 * PAIRS, 2))
    one, other = author[pairs].T
    same = np.where((one < 0) | (other < 0), pairs[:, 0] == pairs[:, 1], one == other)
    return np.asarray(pairs[~same][:PAIRS])
