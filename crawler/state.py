"""From the catalog into a new frontier, and from its outbox into the catalog.

A crawl begins by copying what the catalog knows of the site into the frontier's tables, batch
by batch, so that each answer is found by key and no number of titles has to fit into memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from crawler.images import size_of
from crawler.scheduler import Frontier, Waiting
from crawler.sites.base import PageRequest
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import sync_files
from schemas.storage.layout import Layout
from schemas.storage.tables import TABLES

BATCH_ROWS = 10_000
DRAIN_ROWS = 5_000
"""At the end few large commits are quicker than many small ones."""
ORDER = ("titles", "episodes", "pictures", "crawl_state")
"""A title is called done after everything else of it is committed."""


def episode_digest(row: dict[str, Any]) -> str:
    """What is compared to tell whether an episode's row has to be written again."""
    parts = (row["name"], row["published"], row["star_score"], row["url"])
    return hashlib.blake2b(repr(parts).encode(), digest_size=9).hexdigest()


def as_json(row: dict[str, Any]) -> str:
    """A row in one spelling, to compare it with what was stored."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True, default=str)


def load(frontier: Frontier, catalog: Catalog, site: str) -> None:
    """Copy what the catalog knows of a site.

    Errors:  InputError when a table cannot be read
    """
    if not any(catalog.exists(table) for table in ORDER):
        return
    with contextlib.closing(catalog.connect()) as connection, frontier.transaction():
        connection.execute("set memory_limit = '256MB'")
        connection.execute("set threads = 2")

        def copy(query: str, insert: str, values: Callable[[dict[str, Any]], Any]) -> None:
            found: Any = connection.sql(query, params=[site])
            for batch in found.to_arrow_reader(BATCH_ROWS):
                frontier.db.executemany(insert, [values(row) for row in batch.to_pylist()])

        copy(
            "select * exclude (crawled_at) from titles where platform = ?",
            "insert into titles (title_id, name, stored, draft)"
            " values (:title_id, :name, :json, :json)",
            lambda row: {**row, "json": as_json(row)},
        )
        copy(
            "select * exclude (checked_at) from crawl_state where site = ?",
            "insert into titles (title_id, name, about, count, etag, modified, finished, state)"
            " values (:title_id, :name, :about, :episodes_count, :etag, :last_modified, :finished,"
            " :json) on conflict do update set about = excluded.about, count = excluded.count,"
            " etag = excluded.etag, modified = excluded.modified, finished = excluded.finished,"
            " state = excluded.state",
            lambda row: {**row, "json": as_json(row)},
        )
        copy(
            "select * replace (published::varchar as published) from episodes"
            " where starts_with(title_id, ? || ':')",
            "insert into episodes values (:title_id, :episode_no, :published, :digest)",
            lambda row: {**row, "digest": episode_digest(row)},
        )
        copy(
            "select * replace (published::varchar as published) from pictures where source = ?",
            "insert or replace into pictures values (:title_id, :source_path, :picture_id, :kind,"
            " :episode_no, :published, :year, :source_stamp, :status, :bytes_count)",
            lambda row: row,
        )


def commit(catalog: Catalog, rows: list[Waiting]) -> None:
    """Write a batch of the outbox, table by table; keys that are new are appended.

    Errors:  InputError when the disk refuses
    """
    if any(row.name == "pictures" for row in rows):
        sync_files(catalog.layout.root)  # no row names a file that a power cut could take
    for table in ORDER:
        mine = [row for row in rows if row.name == table]
        gone = [row.key.split(" ", 1)[0] for row in mine if row.row is None]
        catalog.delete(table, TABLES[table].key[0], gone)
        catalog.append(table, [_typed(table, w.row) for w in mine if w.row and w.fresh])
        catalog.upsert(table, [_typed(table, w.row) for w in mine if w.row and not w.fresh])


def drain(frontier: Frontier, catalog: Catalog) -> None:
    """Commit everything that waits."""
    while rows := frontier.begin_flush(DRAIN_ROWS):
        commit(catalog, rows)
        frontier.end_flush(rows)


def recheck(frontier: Frontier, layout: Layout) -> None:
    """Queue again the pictures whose rows wait, but whose files a power cut has taken.

    Their titles are not done then, whatever waits to say so.
    """
    lost = []
    waiting = "select key, row from outbox where name = 'pictures' and row is not null"
    for key, text in frontier.db.execute(waiting):
        row = json.loads(text)
        if row["status"] == "stored" and size_of(layout.picture(row["file"])) != row["bytes_count"]:
            lost.append((key, row))
    with frontier.transaction():
        for key, row in lost:
            title_id, url = row["title_id"], row["source_path"]
            execute = frontier.db.execute
            execute("delete from outbox where name = 'pictures' and key = ?", (key,))
            execute("delete from outbox where name = 'crawl_state' and key = ?", (title_id,))
            execute("delete from pictures where title_id = ? and url = ?", (title_id, url))
            execute("update titles set state = '{}' where title_id = ?", (title_id,))
            about = {name: row[name] for name in ("kind", "episode_no", "published", "year")}
            frontier.add([PageRequest(url, "picture", title_id, about)])


_PARSE: dict[str, Any] = {"date": date.fromisoformat, "timestamp": datetime.fromisoformat}


def _typed(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """JSON back into the types of the table."""
    typed = dict(row)
    for column in TABLES[table].columns:
        parse = _PARSE.get(column.type)
        value = typed.get(column.name)
        if parse is not None and isinstance(value, str):
            typed[column.name] = parse(value)
    return typed
