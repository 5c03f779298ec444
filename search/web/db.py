"""What visitors keep, in one SQLite file under the data root: shared links, accounts,
galleries.

The file is made by the first write, so a page that only answers needs no writable disk. All
calls block for a moment; routes run them on the store's own thread (`Store.run`).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from schemas.storage.fsio import is_disk_full, storage_error

VERSION = 1
SCHEMA = """
create table shares (
  id text primary key, vector blob not null, model_id text not null, preprocessing text not null,
  own text not null, pictures_count integer not null, created real not null,
  expires real not null) without rowid;
create index shares_by_expiry on shares (expires);
create table accounts (
  account_id integer primary key, name text not null, folded text unique not null,
  password_hash text not null, created real not null);
create table sessions (
  digest blob primary key, account_id integer not null references accounts on delete cascade,
  expires real not null) without rowid;
create table galleries (
  id text primary key, account_id integer not null references accounts on delete cascade,
  name text not null, public integer not null, created real not null, changed real not null)
  without rowid;
create index galleries_by_account on galleries (account_id);
create table gallery_pictures (
  gallery_id text not null references galleries on delete cascade, picture_id text not null,
  title_id text not null, added real not null, primary key (gallery_id, picture_id))
  without rowid;
"""
ADDED = """
create table if not exists shares_in_grey (
  id text primary key references shares on delete cascade, vector blob not null) without rowid;
create table if not exists share_deviations (
  id text primary key references shares on delete cascade, deviation real not null) without rowid;
"""
"""What came later, made in files of older releases too, which go on reading them."""
MAX_FILE_BYTES = 1 << 30
"""The file may not grow beyond it, whatever strangers send: 500,000 shares take 0.7 GB."""
PAGE_BYTES = 4096
T = TypeVar("T")


class Store:
    """The file, opened when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pool = ThreadPoolExecutor(1, "store")
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Do something with the store on its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Finish what is running and close the file."""

        def closing() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        self._pool.submit(closing)
        self._pool.shutdown(wait=True)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """The open file, or None while nobody has kept anything.

        Errors:  Refused when the file is damaged or cannot be read
        """
        with _explained():
            if self._connection is None and not self.path.exists():
                yield None
            else:
                yield self._opened()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The open file in a transaction that is committed at the end.

        Errors:  Refused when the disk is full (507) or the file cannot be written
        """
        with _explained():
            connection = self._opened()
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("rollback")
                raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=5.0, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self.path.chmod(0o600)  # password hashes are nobody else's business
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma trusted_schema = off")
        connection.execute(f"pragma max_page_count = {MAX_FILE_BYTES // PAGE_BYTES}")
        (version,) = connection.execute("pragma user_version").fetchone()
        if version == 0:
            connection.executescript(f"begin;{SCHEMA}pragma user_version = {VERSION};commit;")
        elif version != VERSION:
            from search.web.errors import Refused

            raise Refused(
                503, "store", f"{self.path.name} was written by another release (format {version})"
            )
        connection.executescript(ADDED)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        from search.web.errors import Refused  # FastAPI, which `forget` may go without

        if is_disk_full(error):
            raise Refused(
                507, "disk_full", "the disk of the server is full, nothing was saved",
                "What was saved before is kept; try again later.",
            ) from error  # fmt: skip
        raise Refused(
            503, "store", "what visitors keep cannot be read or written now", "Try again later."
        ) from error


def forget_visitors(path: Path, gone: Iterable[str]) -> int:
    """Remove pictures of galleries and shared links that name these pictures and titles from
    the file, if there is one; returns how many.

    Errors:  InputError when the file cannot be written
    """
    if not path.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as db:
            if not db.execute("select 1 from sqlite_schema where name = 'shares'").fetchone():
                return 0
            db.execute("pragma secure_delete = on")
            db.execute("pragma foreign_keys = on")
            with db:
                db.execute("create temp table gone (id text primary key) without rowid")
                db.executemany("insert or ignore into gone values (?)", ((one,) for one in gone))
                count = db.execute(
                    "delete from gallery_pictures where picture_id in (select id from gone)"
                    " or title_id in (select id from gone)"
                ).rowcount
                count += db.execute(
                    "delete from shares where exists"
                    " (select 1 from json_each(own) join gone on gone.id = value)"
                ).rowcount
            db.execute("pragma wal_checkpoint(truncate)")
            return count
    except sqlite3.Error as error:
        raise storage_error(error, "what visitors of the page keep") from error
