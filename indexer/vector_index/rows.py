"""What goes into an index: catalog rows joined with their vectors, in a fixed order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.storage.catalog import Catalog


@dataclass(frozen=True)
class IndexRows:
    """Pictures to index, ordered by (title_id, picture_id).

    Shapes:  vectors (N, D) float32 unit rows; row_ids (N,) int64; pictures N rows;
             titles maps title_id to its row; `left_out` counts stored pictures that are not
             indexed, by reason
    """

    vectors: np.ndarray
    row_ids: np.ndarray
    pictures: list[dict[str, Any]]
    titles: dict[str, dict[str, Any]]
    left_out: dict[str, int] = field(default_factory=dict)

    def subset(self, chosen: np.ndarray) -> IndexRows:
        """Some of the rows. Shapes:  chosen (M,) int positions"""
        pictures = [self.pictures[row] for row in chosen.tolist()]
        return IndexRows(self.vectors[chosen], self.row_ids[chosen], pictures, self.titles)


PICTURE_COLUMNS = (
    "picture_id", "title_id", "kind", "episode_no", "file", "source_path", "year", "published",
    "width_px", "height_px",
)  # fmt: skip


def row_id_of(picture_id: str, title_id: str) -> int:
    """A stable 62-bit id of a picture in a title: never a position, so that adding or
    removing others cannot shift it. Non-negative, because FAISS uses -1 for "none"."""
    data = f"{picture_id}\n{title_id}".encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 2


def collect_rows(catalog: Catalog, model_id: str, preprocessing: str) -> IndexRows:
    """Join stored pictures with their vectors and titles.

    Errors:  InputError when a table cannot be read
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = catalog.read("vectors")
    mine = pc.and_(
        pc.equal(table["model_id"], model_id), pc.equal(table["preprocessing"], preprocessing)
    )
    table = table.filter(mine).combine_chunks()
    place = {picture: n for n, picture in enumerate(table["picture_id"].to_pylist())}
    flat = (
        table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        if table.num_rows
        else np.empty(0, np.float32)
    )
    matrix = flat.reshape(table.num_rows, -1) if table.num_rows else flat.reshape(0, 1)

    titles = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    stored = catalog.read("pictures", [*PICTURE_COLUMNS, "status"])
    stored = stored.filter(pc.equal(stored["status"], "stored")).select(PICTURE_COLUMNS)
    has_vector = pc.is_in(stored["picture_id"], pa.array(list(place), pa.string()))
    has_title = pc.is_in(stored["title_id"], pa.array(list(titles), pa.string()))
    left_out = {
        "no vector": stored.num_rows - int(pc.sum(has_vector).as_py() or 0),
        "no title": int(pc.sum(pc.and_not(has_vector, has_title)).as_py() or 0),
    }
    stored = stored.filter(pc.and_(has_vector, has_title))
    pictures = stored.sort_by([("title_id", "ascending"), ("picture_id", "ascending")]).to_pylist()
    chosen = np.asarray([place[row["picture_id"]] for row in pictures], dtype=np.int64)
    vectors = np.ascontiguousarray(matrix[chosen]) if len(chosen) else matrix[:0]
    ids = [row_id_of(row["picture_id"], row["title_id"]) for row in pictures]
    return IndexRows(vectors, np.asarray(ids, dtype=np.int64), pictures, titles, left_out)
