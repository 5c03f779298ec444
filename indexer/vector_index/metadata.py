"""What goes into an index, and `meta.sqlite`: all that an answer needs besides vectors.

SQLite, not DuckDB: it opens in a millisecond where DuckDB's import alone takes 100 to 200,
it is in the standard library, and its authorizer can hold a user's filter expression.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.labels.calibration import LabelDataset
from indexer.panels.catalog import searched
from indexer.vector_index.ranking import CENTROID, title_centroids
from schemas.names import common_spellings
from schemas.records import LABEL_KINDS, author_names, era_of, era_sql, year_of
from schemas.storage.catalog import Catalog


@dataclass(frozen=True)
class IndexRows:
    """Pictures to index, ordered by (title_id, picture_id).

    `left_out` counts stored pictures that are not indexed, by reason.

    Shapes:  vectors (N, D) float32 unit rows; row_ids (N,) int64; ood (N,) float32, NaN where
             unknown; pictures N rows; titles maps title_id to its row
    """

    vectors: np.ndarray
    row_ids: np.ndarray
    ood: np.ndarray
    pictures: list[dict[str, Any]]
    titles: dict[str, dict[str, Any]]
    left_out: dict[str, int] = field(default_factory=dict)


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
    authors = [author for row in titles.values() for author in row.get("authors") or ()]
    spellings = common_spellings(author["name"] for author in authors)
    for author in authors:
        author["name"] = spellings[author["name"]]
    stored = searched(catalog, [*PICTURE_COLUMNS, "status"])
    stored = stored.filter(pc.equal(stored["status"], "stored")).drop_columns("status")
    has_vector = pc.is_in(stored["picture_id"], pa.array(list(place), pa.string()))
    has_title = pc.is_in(stored["title_id"], pa.array(list(titles), pa.string()))
    left_out = {
        "no vector": stored.num_rows - int(pc.sum(has_vector).as_py() or 0),
        "no title": int(pc.sum(pc.and_not(has_vector, has_title)).as_py() or 0),
    }
    stored = stored.filter(pc.and_(has_vector, has_title))
    pictures = stored.sort_by([("title_id", "ascending"), ("picture_id", "ascending")]).to_pylist()
    pages = _episode_pages(catalog, {row["title_id"] for row in pictures if row["panel"]})
    for row in pictures:
        row["episode_url"] = pages.get((row["title_id"], row["episode_no"]))
    chosen = np.asarray([place[row["picture_id"]] for row in pictures], dtype=np.int64)
    vectors = np.ascontiguousarray(matrix[chosen]) if len(chosen) else matrix[:0]
    ids = [row_id_of(row["picture_id"], row["title_id"]) for row in pictures]
    ood = table["ood"].to_numpy().astype(np.float32)[chosen]
    row_ids = np.asarray(ids, dtype=np.int64)
    return IndexRows(vectors, row_ids, ood, pictures, titles, left_out)


def _episode_pages(catalog: Catalog, titles: set[str]) -> dict[tuple[str, int], str]:
    """The page of each episode of these titles, whose panels lead to it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not titles:
        return {}
    table = catalog.read("episodes", ["title_id", "episode_no", "url"])
    table = table.filter(pc.is_in(table["title_id"], pa.array(sorted(titles), pa.string())))
    return {
        (row["title_id"], row["episode_no"]): row["url"] for row in table.to_pylist() if row["url"]
    }


def label_dataset(rows: IndexRows, era_years: int) -> LabelDataset:
    """Index rows with integer labels, in the order of their names.

    Units:   era_years, the width of an era in years
    """
    coded = {
        kind: _codes([label.of(p, rows.titles[p["title_id"]], era_years) for p in rows.pictures])
        for kind, label in LABEL_KINDS.items()
    }
    return LabelDataset(
        rows.vectors,
        _codes([row["picture_id"] for row in rows.pictures])[0],
        _codes([row["title_id"] for row in rows.pictures])[0],
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
create index pictures_by_title on pictures (title_no);
create index pictures_by_picture on pictures (picture_id);
create table names (title_no integer not null, kind text not null, name text not null);
create index names_by_name on names (kind, name);
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


def write_meta(
    path: Path, rows: IndexRows, data: LabelDataset, places: np.ndarray | None = None
) -> None:
    """Write the metadata of an index into a new file; `data` are the labels of its rows.

    Shapes:  places (N, 2) on the map of styles, None without one
    Errors:  sqlite3.Error when the disk refuses
    """
    used = sorted({row["title_id"] for row in rows.pictures})
    number = {title_id: n for n, title_id in enumerate(used)}
    on_map = [(None, None)] * len(rows.pictures) if places is None else places.tolist()
    centroids = title_centroids(rows.vectors, [row["title_id"] for row in rows.pictures])  # (T, D)
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
                    int(row_id), row["picture_id"], number[row["title_id"]], row["kind"],
                    row["episode_no"], row["file"], row["source_path"],
                    year_of(row, rows.titles[row["title_id"]]),
                    row["width_px"], row["height_px"], row["panel"], row["episode_url"],
                    ood if ood == ood else None, *place, *labels,
                )
                for row_id, row, ood, place, labels in zip(
                    rows.row_ids,
                    rows.pictures,
                    rows.ood.tolist(),
                    on_map,
                    np.stack([data.codes[kind] for kind in LABEL_KINDS], axis=1).tolist(),
                    strict=True,
                )
            ),
        )  # fmt: skip
        connection.executemany(
            "insert into centroids values (?,?)",
            ((n, one.tobytes()) for n, one in enumerate(centroids.astype(CENTROID))),
        )
        connection.execute("commit")
    finally:
        connection.close()


def _json(value: list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
