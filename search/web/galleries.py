"""Galleries: pictures of the index that somebody put together, for themselves or for all."""

from __future__ import annotations

import secrets
import sqlite3
import time
from typing import Any

from search.web.accounts import Account, clean_text
from search.web.db import Store
from search.web.errors import Refused, not_found

MAX_GALLERIES = 100
MAX_PICTURES = 1000
MAX_NAME = 120
MAX_LISTED = 200


def listed(store: Store, account: Account | None) -> dict[str, list[dict[str, Any]]]:
    """One's own galleries and the public ones of others, the latest first."""
    with store.reading() as connection:
        if connection is None:
            return {"mine": [], "public": []}
        own = account.account_id if account else -1
        select = (
            "select g.id, g.name, a.name, g.public,"
            " (select count(*) from gallery_pictures p where p.gallery_id = g.id),"
            " (select picture_id from gallery_pictures p where p.gallery_id = g.id"
            "  order by added desc limit 1)"
            " from galleries g join accounts a using (account_id) where"
        )
        order = f"order by g.changed desc limit {MAX_LISTED}"
        mine = connection.execute(f"{select} g.account_id = ? {order}", (own,)).fetchall()
        public = connection.execute(
            f"{select} g.public and g.account_id <> ? {order}", (own,)
        ).fetchall()
    return {"mine": [_entry(row) for row in mine], "public": [_entry(row) for row in public]}


def _entry(row: tuple[Any, ...]) -> dict[str, Any]:
    keys = ("id", "name", "owner", "public", "pictures_count", "picture_id")
    return {**dict(zip(keys, row, strict=True)), "public": bool(row[3])}


def created(store: Store, account: Account, name: str, public: bool) -> str:
    """Make an empty gallery; returns its id.

    Errors:  Refused when there are too many (409) or the name cannot be used (422)
    """
    name = clean_text(name, "the name", MAX_NAME)
    key, now = secrets.token_urlsafe(12), time.time()
    with store.writing() as connection:
        (count,) = connection.execute(
            "select count(*) from galleries where account_id = ?", (account.account_id,)
        ).fetchone()
        if count >= MAX_GALLERIES:
            raise Refused(409, "full", f"one account may have {MAX_GALLERIES} galleries")
        connection.execute(
            "insert into galleries values (?, ?, ?, ?, ?, ?)",
            (key, account.account_id, name, int(public), now, now),
        )
    return key


def shown(store: Store, account: Account | None, key: str) -> dict[str, Any]:
    """A gallery with its pictures, the latest first.

    Errors:  Refused (404), also for a private one of somebody else
    """
    with store.reading() as connection:
        row = (
            connection
            and connection.execute(
                "select g.id, g.name, a.name, g.public, g.account_id from galleries g"
                " join accounts a using (account_id) where g.id = ?",
                (key,),
            ).fetchone()
        )
        if not row or not (row[3] or (account and row[4] == account.account_id)):
            raise not_found("there is no such gallery")
        assert connection is not None
        pictures = connection.execute(
            "select picture_id, title_id from gallery_pictures where gallery_id = ?"
            " order by added desc, picture_id",
            (key,),
        ).fetchall()
    return {
        "id": row[0],
        "name": row[1],
        "owner": row[2],
        "public": bool(row[3]),
        "mine": bool(account and row[4] == account.account_id),
        "pictures": [{"picture_id": picture, "title_id": title} for picture, title in pictures],
    }


def changed(
    store: Store, account: Account, key: str, name: str | None, public: bool | None
) -> None:
    """Rename, publish or withdraw one's own gallery."""
    if name is not None:
        name = clean_text(name, "the name", MAX_NAME)
    with store.writing() as connection:
        _own(connection, account, key)
        connection.execute(
            "update galleries set name = coalesce(?, name), public = coalesce(?, public),"
            " changed = ? where id = ?",
            (name, None if public is None else int(public), time.time(), key),
        )


def removed(store: Store, account: Account, key: str) -> None:
    """Delete one's own gallery."""
    with store.writing() as connection:
        _own(connection, account, key)
        connection.execute("delete from galleries where id = ?", (key,))


def put_picture(store: Store, account: Account, key: str, picture_id: str, title_id: str) -> None:
    """Put a picture into one's own gallery; twice is once."""
    with store.writing() as connection:
        _own(connection, account, key)
        (count,) = connection.execute(
            "select count(*) from gallery_pictures where gallery_id = ?", (key,)
        ).fetchone()
        if count >= MAX_PICTURES:
            raise Refused(409, "full", f"one gallery holds {MAX_PICTURES} pictures")
        now = time.time()
        connection.execute(
            "insert or ignore into gallery_pictures values (?, ?, ?, ?)",
            (key, picture_id, title_id, now),
        )
        connection.execute("update galleries set changed = ? where id = ?", (now, key))


def take_picture(store: Store, account: Account, key: str, picture_id: str) -> None:
    """Take a picture out of one's own gallery."""
    with store.writing() as connection:
        _own(connection, account, key)
        connection.execute(
            "delete from gallery_pictures where gallery_id = ? and picture_id = ?",
            (key, picture_id),
        )


def _own(connection: sqlite3.Connection, account: Account, key: str) -> None:
    row = connection.execute("select account_id from galleries where id = ?", (key,)).fetchone()
    if row is None or row[0] != account.account_id:
        raise not_found("there is no such gallery")
