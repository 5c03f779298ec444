"""`meta.sqlite`: all that an answer needs besides vectors, so that a query never opens the
catalog.

SQLite, not DuckDB: it opens in a millisecond where DuckDB's import alone takes 100 to 200,
it is in the standard library, and its authorizer can hold a user's filter expression.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from indexer.vector_index.ranking import MANNER, manners
from indexer.vector_index.rows import IndexRows
from schemas.records import era_of, era_sql

SCHEMA = """
create table titles (
  title_no integer primary key, title_id text unique not null, platform text, name text,
  authors text not null, author text, genres text not null, genre text, tags text not null,
  year integer, era text, star_score real, age_rating text, finished integer,
  first_date text, last_date text, url text);
create table pictures (
  row_id integer primary key, picture_id text not null, title_no integer not null,
  kind text, episode_no integer, file text, source_path text, year integer,
  width_px integer, height_px integer, map_x real, map_y real);
create table manners (title_no integer primary key, vector blob not null);
create index pictures_by_title on pictures (title_no);
create index pictures_by_picture on pictures (picture_id);
create table names (title_no integer not null, kind text not null, name text not null);
create index names_by_name on names (kind, name);
create table labels (
  kind text not null, name text not null, pictures_count integer not null,
  primary key (kind, name)) without rowid;
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


def author_names(title: dict[str, Any]) -> list[str]:
    """Names of a title's authors without repetition, the main one (the painter) first."""
    authors = title.get("authors") or []
    first = [a["name"] for a in authors if a.get("role") == "painter"]
    return list(dict.fromkeys(first + [a["name"] for a in authors]))


def year_of(picture: dict[str, Any], title: dict[str, Any]) -> int | None:
    """The year of a picture: its own, else its title's."""
    for value in (picture.get("year"), picture.get("published"), title.get("year")):
        if value is not None:
            return int(getattr(value, "year", value))
    return None


def write_meta(
    path: Path, rows: IndexRows, era_years: int, places: np.ndarray | None = None
) -> None:
    """Write the metadata of an index into a new file.

    Shapes:  places (N, 2) on the map of styles, None without one
    Units:   era_years, the width of an era in years
    Errors:  sqlite3.Error when the disk refuses
    """
    used = sorted({row["title_id"] for row in rows.pictures})
    number = {title_id: n for n, title_id in enumerate(used)}
    of_titles = manners(rows.vectors, [row["title_id"] for row in rows.pictures])  # (T, D)
    on_map = [(None, None)] * len(rows.pictures) if places is None else places.tolist()
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # The file is new, private and fsynced by the caller: no journal is needed.
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        era = era_sql("coalesce(p.year, t.year)", era_years)
        connection.executescript(SCHEMA.replace("{era}", era))
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
                    title["year"], era_of(title["year"], era_years), title["star_score"],
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
            "insert into pictures values (?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                (
                    int(row_id), row["picture_id"], number[row["title_id"]], row["kind"],
                    row["episode_no"], row["file"], row["source_path"],
                    year_of(row, rows.titles[row["title_id"]]),
                    row["width_px"], row["height_px"], *place,
                )
                for row_id, row, place in zip(rows.row_ids, rows.pictures, on_map, strict=True)
            ),
        )  # fmt: skip
        connection.executemany(
            "insert into manners values (?,?)",
            ((n, one.tobytes()) for n, one in enumerate(of_titles.astype(MANNER))),
        )
        for kind, column in (("author", "author"), ("genre", "genre"), ("era", "era")):
            connection.execute(
                f"insert into labels select '{kind}', {column}, count(*) from catalog"
                f" where {column} is not null group by {column}"
            )
        connection.execute("commit")
    finally:
        connection.close()


def _json(value: list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
