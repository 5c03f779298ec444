"""Similarity as a part of SQL: `similar`, `similar_titles`, `cosine` and `mean_vector`.

`similar('picture.jpg', 200)` is a table: a macro over a function that returns a list.
Both may be joined laterally, so that "the nearest title of each title" is one statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.vector_index.generations import Generation
from indexer.vector_index.ranking import top_titles, unit
from schemas.errors import InputError, ToonsearchError
from search.results import centroid_similarity, picture_rows

if TYPE_CHECKING:
    import duckdb

MAX_K = 100_000
TITLE_NEIGHBOURS = 400  # pictures looked at first for a list of titles
DEFAULT_K = 20

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


@dataclass
class Similarity:
    """Answers from one generation of the index.

    `vector_of` is the vector of the text given to `similar` when it is no picture_id; it raises
    InputError for what it refuses.
    """

    generation: Generation
    vector_of: Callable[[str], np.ndarray]

    def pictures(self, picture: str, k: int | None) -> list[dict[str, Any]]:
        """Pictures nearest to one, nearest first; rows of the function `similar`."""
        k = _checked_k(k)
        rows = self.generation.meta.execute(
            "select row_id from pictures where picture_id = ?", (picture,)
        ).fetchall()
        vector = self.generation.vectors([rows[0][0]])[0] if rows else self.vector_of(picture)
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
        mean = self.generation.vectors([row[0] for row in own]).mean(axis=0)
        vector = np.asarray(unit(mean), np.float32)
        size = min(self.generation.pictures_count, max(TITLE_NEIGHBOURS, 4 * k) + len(own))
        while True:
            similarity, found = self._nearest(vector, size)
            names = np.asarray([row.title_id for row in found])
            centroids = centroid_similarity(self.generation, vector, names)
            ranked = top_titles(similarity, names, names != title_id, centroids)
            if len(ranked) >= k or size >= self.generation.pictures_count:
                break
            size = min(self.generation.pictures_count, size * 4)
        percentile = self.generation.calibration.percentile(similarity)
        return [
            {
                "title_id": title.title_id,
                "similarity": float(similarity[title.places[0]]),
                "percentile": float(percentile[title.places[0]]),
                "picture_id": found[title.places[0]].picture_id,
                "rank": rank,
            }
            for rank, title in enumerate(ranked[:k], 1)
        ]

    def _nearest(self, vector: np.ndarray, k: int) -> tuple[np.ndarray, list[Any]]:
        similarity, ids = self.generation.index.search(vector[None], k)
        return similarity[0], picture_rows(self.generation.meta, ids[0])


def _checked_k(k: int | None) -> int:
    if k is None:
        return DEFAULT_K
    if not 1 <= k <= MAX_K:
        raise InputError(f"similar: k is {k}", f"Allowed is 1 to {MAX_K:,}.")
    return k


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

    def answered(ask: Callable[[], list[dict[str, Any]]], about: str | None) -> Any:
        if about is None:
            return []
        try:
            return ask()
        except ToonsearchError as error:
            failed(error)
            raise

    near = {"similarity": DOUBLE, "percentile": DOUBLE}
    connection.create_function(
        "similar_pictures_list",
        lambda picture, k: answered(lambda: similarity().pictures(picture, k), picture),
        [VARCHAR, BIGINT],
        duckdb.list_type(
            duckdb.struct_type({"picture_id": VARCHAR, "title_id": VARCHAR, **near, "rank": BIGINT})
        ),
        null_handling=SPECIAL,
    )
    connection.create_function(
        "similar_titles_list",
        lambda title, k: answered(lambda: similarity().titles(title, k), title),
        [VARCHAR, BIGINT],
        duckdb.list_type(
            duckdb.struct_type({"title_id": VARCHAR, **near, "picture_id": VARCHAR, "rank": BIGINT})
        ),
        null_handling=SPECIAL,
    )
    connection.create_function(
        "mean_of_vectors",
        _mean_of_vectors,
        [duckdb.list_type(duckdb.list_type(FLOAT))],
        duckdb.list_type(FLOAT),
        type=ARROW,
    )
    for statement in MACROS.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _mean_of_vectors(lists: Any) -> Any:
    """Arrow in, Arrow out: lists of unit vectors to the unit vectors of their means."""
    import pyarrow as pa

    chunk = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    found: list[Any] = []
    for one in chunk:
        values = one.values
        if values is None or len(values) == 0:
            found.append(None)
            continue
        flat = values.flatten().to_numpy(zero_copy_only=False)
        mean = flat.reshape(len(values), -1).mean(axis=0)
        found.append(mean / max(float(np.linalg.norm(mean)), 1e-6))
    return pa.array(found, pa.list_(pa.float32()))


def named_vectors(vectors: Mapping[str, np.ndarray]) -> Callable[[str], np.ndarray]:
    """A `vector_of` that knows a few names and no files: the one for SQL from strangers."""

    def vector_of(name: str) -> np.ndarray:
        if name not in vectors:
            raise InputError(
                f"similar: the index has no picture {name[:80]!r}",
                "Here it takes a picture_id, not a file.",
            )
        return np.asarray(vectors[name], dtype=np.float32)

    return vector_of
