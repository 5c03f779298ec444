"""What goes into an index, and `meta.sqlite`: all that an answer needs besides vectors.

SQLite, not DuckDB: it opens in a millisecond where DuckDB's import alone takes 100 to 200,
it is in the standard library, and its authorizer can hold a user's filter expression.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.labels.calibration import LabelDataset
from indexer.panels.catalog import searched
from indexer.vector_index.ranking import CENTROID, title_centroids
from schemas.names import common_spellings
from schemas.records import LABEL_KINDS, author_names, era_of, era_sql, year_of
from schemas.storage.catalog import Catalog
from schemas.storage.commits import reading

if TYPE_CHECKING:
    import pyarrow as pa


class PictureRows(Sequence[dict[str, Any]]):
    """Rows of pictures, each made as it is asked for: a million at once would take gigabytes."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, at: Any) -> Any:
        return self.table.slice(range(len(self))[at], 1).to_pylist()[0]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches(max_chunksize=ROWS_AT_ONCE):
            yield from batch.to_pylist()

    def only(self, *columns: str) -> PictureRows:
        """The same rows with these columns alone."""
        return PictureRows(self.table.select(columns))


@dataclass(frozen=True)
class IndexRows:
    """Pictures to index, by ascending row id, as the index stores them.

    `left_out` counts stored pictures that are not indexed, by reason.

    Shapes:  vectors (N, D) float16 unit rows; row_ids (N,) int64; ood (N,) float32, NaN where
             unknown; pictures N rows; titles maps title_id to its row
    """

    vectors: np.ndarray
    row_ids: np.ndarray
    ood: np.ndarray
    pictures: PictureRows
    titles: dict[str, dict[str, Any]]
    left_out: dict[str, int] = field(default_factory=dict)

    def title_codes(self) -> tuple[list[str], np.ndarray]:
        """The titles that have a picture, ascending, and which of them each picture is of; (N,)"""
        column = self.pictures.table["title_id"].combine_chunks().dictionary_encode()
        names = column.dictionary.to_pylist()
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        return [names[at] for at in order], rank[column.indices.to_numpy(zero_copy_only=False)]


ROWS_AT_ONCE = 10_000
HELD_BYTES = 1 << 29
"""Vectors of a build that are in memory; the tables are read once for each so many."""
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
    """Join stored pictures, and panels in place of what was cut, with vectors and titles.

    Errors:  InputError when a table cannot be read
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    model = model_id, preprocessing
    place, score = reading(catalog.layout.table("vectors"), lambda: _encoded(catalog, model))
    titles = {row["title_id"]: row for row in catalog.read("titles").to_pylist()}
    authors = [author for row in titles.values() for author in row.get("authors") or ()]
    spellings = common_spellings(author["name"] for author in authors)
    for author in authors:
        author["name"] = spellings[author["name"]]
    stored = searched(catalog, [*PICTURE_COLUMNS, "source", "status"])
    stored = stored.filter(pc.equal(stored["status"], "stored"))
    at = stored.schema.get_field_index("source_path")
    stored = stored.set_column(at, "source_path", _whole_paths(stored))
    stored = stored.drop_columns(["source", "status"])
    has_vector = pc.is_in(stored["picture_id"], place)
    has_title = pc.is_in(stored["title_id"], pa.array(list(titles), pa.string()))
    left_out = {
        "no vector": stored.num_rows - int(pc.sum(has_vector).as_py() or 0),
        "no title": int(pc.sum(pc.and_not(has_vector, has_title)).as_py() or 0),
    }
    stored = stored.filter(pc.and_(has_vector, has_title))
    both = PictureRows(stored.select(["picture_id", "title_id"]))
    ids = (row_id_of(row["picture_id"], row["title_id"]) for row in both)
    row_ids = np.fromiter(ids, np.int64, stored.num_rows)
    order = np.argsort(row_ids, kind="stable")
    stored = stored.take(pa.array(order))
    chosen = np.asarray(pc.index_in(stored["picture_id"], place).combine_chunks(), np.int64)
    stored = stored.append_column("episode_url", _episode_pages(catalog, stored))
    del both, has_vector, has_title, place
    pa.default_memory_pool().release_unused()  # Arrow keeps what it has freed
    vectors = reading(catalog.layout.table("vectors"), lambda: _vectors(catalog, model, chosen))
    pa.default_memory_pool().release_unused()
    return IndexRows(vectors, row_ids[order], score[chosen], PictureRows(stored), titles, left_out)


def of_model(
    catalog: Catalog, model: tuple[str, str], columns: Sequence[str], table: str = "vectors"
) -> Iterator[pa.RecordBatch]:
    """What a model with its preprocessing has encoded, a part at a time."""
    import pyarrow.compute as pc

    names = ("model_id", "preprocessing")
    for batch in catalog.batches(table, [*names, *columns]):
        mine = pc.and_(
            *(pc.equal(batch[name], one) for name, one in zip(names, model, strict=True))
        )
        yield batch.filter(mine)


def _encoded(catalog: Catalog, model: tuple[str, str]) -> tuple[pa.Array, np.ndarray]:
    """Ids of the pictures that have a vector, and their out-of-distribution scores (M,)."""
    import pyarrow as pa

    batches = list(of_model(catalog, model, ["picture_id", "ood"]))
    ids = pa.concat_arrays([pa.array([], pa.string()), *(batch["picture_id"] for batch in batches)])
    ood = [batch["ood"].to_numpy(zero_copy_only=False) for batch in batches]
    return ids, np.concatenate([np.empty(0, np.float32), *ood]).astype(np.float32)


def _vectors(catalog: Catalog, model: tuple[str, str], chosen: np.ndarray) -> np.ndarray:
    """The vectors at these places of `_encoded`, as half floats, to which the catalog rounds them;
    where they are more than HELD_BYTES, as a file without a name, put together a part at a time.

    Shapes:  (N,) -> (N, D) float16
    """
    parts = (batch["vector"] for batch in of_model(catalog, model, ["vector"]) if batch.num_rows)
    first = next(parts, None)
    parts.close()
    width = 1 if first is None else len(first[0])
    rows = max(1, HELD_BYTES // (2 * width))
    if len(chosen) <= rows:
        return _read_vectors(catalog, model, chosen, width)
    staging = catalog.layout.staging
    staging.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=staging) as file:
        found = np.memmap(file, np.float16, "w+", shape=(len(chosen), width))
    for start in range(0, len(chosen), rows):
        part = chosen[start : start + rows]
        found[start : start + rows] = _read_vectors(catalog, model, part, width)
    return np.asarray(found)


def _read_vectors(
    catalog: Catalog, model: tuple[str, str], chosen: np.ndarray, width: int
) -> np.ndarray:
    """Vectors at some places, in memory; (N,) -> (N, width) float16"""
    found = np.empty((len(chosen), width), np.float16)
    order, at = np.argsort(chosen, kind="stable"), 0
    ascending = chosen[order]
    for batch in of_model(catalog, model, ["vector"]):
        if not batch.num_rows:
            continue
        part = batch["vector"].flatten().to_numpy(zero_copy_only=False)
        part = part.astype(np.float16).reshape(batch.num_rows, -1)
        first, end = np.searchsorted(ascending, [at, at + len(part)])
        found[order[first:end]] = part[ascending[first:end] - at]
        at += len(part)
    return found


def _whole_paths(pictures: pa.Table) -> pa.ChunkedArray:
    """Where the files of imported folders and lists lie: the catalog names them from there on.

    A source with a name of its own may lie anywhere, and so its paths stay as they are.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def folder(source: str) -> str | None:
        kind, _, place = source.partition(":")
        if kind not in ("folder", "manifest") or not place.startswith("/"):
            return None
        return place if kind == "folder" else place.rpartition("/")[0]

    sources = pc.unique(pictures["source"])
    folders = pa.array([folder(one or "") for one in sources.to_pylist()], pa.string())
    base = folders.take(pc.index_in(pictures["source"], sources))
    path = pictures["source_path"]
    whole = pc.binary_join_element_wise(base, path, "/")
    return pc.if_else(pc.starts_with(path, "/"), path, pc.coalesce(whole, path))


def _episode_pages(catalog: Catalog, pictures: pa.Table) -> pa.Array:
    """The page of the episode of each panel, which leads to it; null for pictures."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_panel = pc.is_valid(pictures["panel"])
    titles = pc.unique(pictures["title_id"].filter(is_panel))
    if not len(titles):
        return pa.nulls(pictures.num_rows, pa.string())
    table = catalog.read("episodes", ["title_id", "episode_no", "url"])
    known = pc.and_(pc.is_in(table["title_id"], titles), pc.not_equal(table["url"], ""))
    table = table.filter(known).combine_chunks()

    def key(rows: pa.Table) -> pa.Array:
        number = pc.cast(rows["episode_no"], pa.string())
        return pc.binary_join_element_wise(rows["title_id"], number, "\n")

    at = pc.index_in(
        key(pictures), pa.concat_arrays([*key(table).chunks, pa.array([], pa.string())])
    )
    return table["url"].take(pc.if_else(is_panel, at, pa.scalar(None, pa.int32())))


def label_dataset(rows: IndexRows, era_years: int) -> LabelDataset:
    """Index rows with integer labels, in the order of their names.

    Units:   era_years, the width of an era in years
    """
    # Labels depend on the title and the year alone, which many pictures share.
    shared: dict[tuple[Any, ...], int] = {}
    of = np.fromiter(
        (
            shared.setdefault(tuple(row.values()), len(shared))
            for row in rows.pictures.only("title_id", "year", "published")
        ),
        np.int64,
        len(rows.pictures),
    )
    coded = {}
    for kind, label in LABEL_KINDS.items():
        labels = [
            label.of({"year": year, "published": day}, rows.titles[title], era_years)
            for title, year, day in shared
        ]
        codes, names = _codes(labels)
        coded[kind] = codes[of], names
    column = rows.pictures.table["picture_id"].combine_chunks().dictionary_encode()
    return LabelDataset(
        rows.vectors,
        column.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        rows.title_codes()[1],
        {kind: codes for kind, (codes, _) in coded.items()},
        {kind: names for kind, (_, names) in coded.items()},
        rows.ood,
        era_years,
    )


def _codes(labels: Sequence[str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    names = tuple(sorted({label for label in labels if label is not None}))
    number = {name: code for code, name in enumerate(names)}
    codes = [-1 if label is None else number[label] for label in labels]
    return np.asarray(codes, dtype=np.int64), names


# --- The metadata of a generation.

CODES = [f"{kind}_code" for kind in LABEL_KINDS]
"""Columns of `pictures`: a picture's labels as the places of their names in a `LabelSet`, or -1."""
SCHEMA = """
create table titles (
  title_no integer primary key, title_id text unique not null, platform text, name text,
  authors text not null, author text, genres text not null, genre text, tags text not null,
  year integer, era text, star_score real, age_rating text, finished integer,
  first_date text, last_date text, url text);
create table pictures (
  row_id integer primary key, picture_id text not null, title_no integer not null,
  kind text, episode_no integer, file text, source_path text, year integer,
  width_px integer, height_px integer, panel text, episode_url text, ood real, map_x real, map_y real, {codes});
create table centroids (title_no integer primary key, vector blob not null);
create table names (title_no integer not null, kind text not null, name text not null);
create view catalog as select
  p.row_id, p.picture_id, t.title_id, t.platform, t.name as title, t.author,
  (select group_concat(value, ', ') from json_each(t.authors)) as authors,
  t.genre, (select group_concat(value, ', ') from json_each(t.genres)) as genres,
  (select group_concat(value, ', ') from json_each(t.tags)) as tags,
  cast(coalesce(p.year, t.year) as integer) as year,
  case when coalesce(p.year, t.year) is null then t.era
       else {era} end as era,
  t.star_score, t.age_rating, t.finished, t.first_date, t.last_date,
  p.kind, p.episode_no, p.source_path, p.width_px, p.height_px
from pictures p join titles t using (title_no);
"""
INDEXES = """
create index pictures_by_title on pictures (title_no);
create index pictures_by_picture on pictures (picture_id);
create index names_by_name on names (kind, name);
"""
"""Made when all rows are there: sorted once, not a million times."""


def write_meta(
    path: Path, rows: IndexRows, data: LabelDataset, places: np.ndarray | None = None
) -> None:
    """Write the metadata of an index into a new file; `data` are the labels of its rows.

    Shapes:  places (N, 2) on the map of styles, None without one
    Errors:  sqlite3.Error when the disk refuses
    """
    used, title_nos = rows.title_codes()
    number = {title_id: n for n, title_id in enumerate(used)}
    on_map = repeat((None, None)) if places is None else _listed(places)
    centroids = title_centroids(rows.vectors, title_nos)  # (T, D)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # The file is new, private and fsynced by the caller: no journal is needed.
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        era = era_sql("coalesce(p.year, t.year)", data.era_years)
        codes = ", ".join(f"{column} integer not null" for column in CODES)
        connection.executescript(SCHEMA.replace("{era}", era).replace("{codes}", codes))
        connection.execute("begin")
        for title_id in used:
            title = rows.titles[title_id]
            names = author_names(title)
            genres = list(title.get("genres") or [])
            connection.execute(
                "insert into titles values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    number[title_id], title_id, title["platform"], title["name"],
                    _json(names), names[0] if names else None,
                    _json(genres), genres[0] if genres else None,
                    _json(list(title.get("tags") or [])),
                    title["year"], era_of(title["year"], data.era_years), title["star_score"],
                    title["age_rating"], title["finished"],
                    _text(title["first_date"]), _text(title["last_date"]), title["url"],
                ),
            )  # fmt: skip
            connection.executemany(
                "insert into names values (?,?,?)",
                [(number[title_id], "author", name) for name in names]
                + [(number[title_id], "genre", name) for name in genres],
            )
        connection.executemany(
            f"insert into pictures values ({','.join('?' * (15 + len(CODES)))})",
            (
                (
                    row_id, row["picture_id"], number[row["title_id"]], row["kind"],
                    row["episode_no"], row["file"], row["source_path"],
                    year_of(row, rows.titles[row["title_id"]]),
                    row["width_px"], row["height_px"], row["panel"], row["episode_url"],
                    ood if ood == ood else None, *place, *labels,
                )
                for row_id, row, ood, place, labels in zip(
                    _listed(rows.row_ids),
                    rows.pictures,
                    _listed(rows.ood),
                    on_map,
                    _listed(np.stack([data.codes[kind] for kind in LABEL_KINDS], axis=1)),
                    strict=places is not None,
                )
            ),
        )  # fmt: skip
        connection.executemany(
            "insert into centroids values (?,?)",
            ((n, one.tobytes()) for n, one in enumerate(centroids.astype(CENTROID))),
        )
        connection.execute("commit")
        connection.executescript(INDEXES)
    finally:
        connection.close()


def _listed(values: np.ndarray) -> Iterator[Any]:
    """The values as Python's own, a part at a time."""
    for start in range(0, len(values), ROWS_AT_ONCE):
        yield from values[start : start + ROWS_AT_ONCE].tolist()


def _json(value: list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
