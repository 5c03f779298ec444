"""Similarity as a part of SQL: `similar`, `similar_titles`, `cosine` and `mean_vector`.

`similar('picture.jpg', 200)` is a table: a macro over a function that returns a list.
Both may be joined laterally, so that "the nearest title of each title" is one statement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.vector_index.generations import Generation
from indexer.vector_index.ranking import top_titles, unit
from schemas.errors import InputError, ToonsearchError
from search.results import PictureRow, centroid_similarity, picture_rows

if TYPE_CHECKING:
    import duckdb

MAX_K = 100_000
DEFAULT_K = 20
TITLE_NEIGHBOURS = 400  # pictures searched at first for a list of titles

MACROS = """
create macro cosine(a, b) as list_cosine_similarity(a, b);
create macro "similar"(picture, k := 20) as table
  select u.picture_id, u.title_id, u.similarity, u.percentile, u.rank
  from (select unnest(similar_pictures_list(picture, k)) as u);
create macro similar_titles(title, k := 20) as table
  select u.title_id, u.similarity, u.percentile, u.picture_id, u.rank
  from (select unnest(similar_titles_list(title, k)) as u);
create macro mean_vector(vectors) as mean_of_vectors(vectors);
"""
FUNCTIONS = (
    ("similar(picture, k)", "table", "pictures nearest to a file, or to a picture_id"),
    ("similar_titles(title_id, k)", "table", "titles drawn most like a title"),
    ("cosine(a, b)", "number", "cosine of two vectors"),
    ("mean_vector(list(vector))", "vector", "unit vector of the mean of vectors"),
    ("era_of(year)", "text", "the era of a year, as wide as those of the index"),
)
"""Signature, result and meaning, as `toonsearch sql --schema` prints them."""


@dataclass(frozen=True)
class Similarity:
    """Searches one generation of the index.

    `vector_of` gives the vector (D,) of a text given to `similar` that is no picture_id; it
    raises InputError for what it refuses.
    """

    generation: Generation
    vector_of: Callable[[str], np.ndarray]

    def pictures(self, picture: str, k: int | None) -> list[dict[str, Any]]:
        """Pictures nearest to one, nearest first; rows of the function `similar`."""
        k = _checked_k(k)
        own = self.generation.meta.execute(
            "select row_id from pictures where picture_id = ?", (picture,)
        ).fetchone()
        vector = self.generation.vectors(own)[0] if own else self.vector_of(picture)
        similarity, found = self._nearest(vector, k)
        percentile = self.generation.calibration.percentile(similarity)
        return [
            {
                "picture_id": row.picture_id,
                "title_id": row.title_id,
                "similarity": float(similarity[place]),
                "percentile": float(percentile[place]),
                "rank": place + 1,
            }
            for place, row in enumerate(found)
        ]

    def titles(self, title_id: str, k: int | None) -> list[dict[str, Any]]:
        """Titles nearest to a title, itself left out; rows of `similar_titles`."""
        k = _checked_k(k)
        own = self.generation.meta.execute(
            "select row_id from pictures join titles using (title_no) where title_id = ?",
            (title_id,),
        ).fetchall()
        if not own:
            return []
        vector = unit_mean(self.generation.vectors([row[0] for row in own]))
        most = self.generation.pictures_count
        size = min(most, max(TITLE_NEIGHBOURS, 4 * k) + len(own))
        while True:
            similarity, found = self._nearest(vector, size)
            names = np.asarray([row.title_id for row in found])
            centroids = centroid_similarity(self.generation, vector, names)
            ranked = top_titles(similarity, names, names != title_id, centroids)
            if len(ranked) >= k or size >= most:
                break
            size = min(most, size * 4)
        shown = ranked[:k]
        percentile = self.generation.calibration.percentile(
            np.asarray([one.score for one in shown])
        )
        return [
            {
                "title_id": title.title_id,
                "similarity": float(title.score),
                "percentile": float(percentile[rank - 1]),
                "picture_id": found[title.places[0]].picture_id,
                "rank": rank,
            }
            for rank, title in enumerate(shown, 1)
        ]

    def _nearest(self, vector: np.ndarray, k: int) -> tuple[np.ndarray, list[PictureRow]]:
        similarity, ids = self.generation.index.search(vector[None], k)
        return similarity[0], picture_rows(self.generation.meta, ids[0])


def _checked_k(k: int | None) -> int:
    if k is None:
        return DEFAULT_K
    if not 1 <= k <= MAX_K:
        raise InputError(f"similar: k is {k}", f"Allowed is 1 to {MAX_K:,}.")
    return k


def unit_mean(vectors: np.ndarray) -> np.ndarray:
    """The unit vector of a mean; (N, D) -> (D,) float32"""
    return np.asarray(unit(vectors.mean(axis=0)), np.float32)


def add_functions(
    connection: duckdb.DuckDBPyConnection,
    similarity: Callable[[], Similarity],
    failed: Callable[[ToonsearchError], None],
) -> None:
    """Add the functions to a connection; the index is opened when one of them is first used.

    DuckDB passes errors of a function on as text only: `failed` gets the error itself.
    """
    import duckdb
    from duckdb.func import ARROW, SPECIAL
    from duckdb.sqltypes import BIGINT, DOUBLE, FLOAT, VARCHAR

    Rows = Callable[[Similarity, str, int | None], list[dict[str, Any]]]

    def function(rows: Rows) -> Callable[[str | None, int | None], list[dict[str, Any]]]:
        def answer(name: str | None, k: int | None) -> list[dict[str, Any]]:
            try:
                return [] if name is None else rows(similarity(), name, k)
            except ToonsearchError as error:
                failed(error)
                raise

        return answer

    ids = {"picture_id": VARCHAR, "title_id": VARCHAR}
    row = duckdb.struct_type({**ids, "similarity": DOUBLE, "percentile": DOUBLE, "rank": BIGINT})
    for name, rows in (
        ("similar_pictures_list", Similarity.pictures),
        ("similar_titles_list", Similarity.titles),
    ):
        connection.create_function(
            name, function(rows), [VARCHAR, BIGINT], duckdb.list_type(row), null_handling=SPECIAL
        )
    vector = duckdb.list_type(FLOAT)
    connection.create_function(
        "mean_of_vectors", _mean_of_vectors, [duckdb.list_type(vector)], vector, type=ARROW
    )
    connection.execute(MACROS)


def _mean_of_vectors(lists: Any) -> Any:
    """Arrow in, Arrow out: lists of unit vectors to the unit vectors of their means."""
    import pyarrow as pa

    chunk = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    found: list[np.ndarray | None] = []
    for one in chunk:
        values = one.values
        if values is None or len(values) == 0:
            found.append(None)
        else:
            flat = values.flatten().to_numpy(zero_copy_only=False)
            found.append(unit_mean(flat.reshape(len(values), -1)))
    return pa.array(found, pa.list_(pa.float32()))
