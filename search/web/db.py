"""What visitors store, in one SQLite file under the data root: shared links, accounts, galleries.

The file is made by the first write, so a server that only answers needs no writable disk. All
methods block for a moment; routes run them on the store's own thread (`Store.run`). Nothing of
the extra [web] is imported with this module: `forget` works without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, TypeVarTuple

import numpy as np

from schemas.storage.fsio import is_disk_full, storage_error
from search.filters import folded
from search.web.errors import ApiError, not_found

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from search.engine import StyleQuery

VERSION = 1
SCHEMA = """
create table if not exists shared_links (
  id text primary key, vector blob not null, ood real, model_id text not null,
  preprocessing text not null, own text not null, expires real not null) without rowid;
create index if not exists shared_links_by_expiry on shared_links (expires);
create table if not exists shared_subjects (
  id text primary key references shared_links on delete cascade, vector blob not null) without rowid;
create table if not exists accounts (
  account_id integer primary key, name text not null, folded text unique not null,
  password_hash text not null, created real not null);
create table if not exists sessions (
  digest blob primary key, account_id integer not null references accounts on delete cascade,
  expires real not null) without rowid;
create table if not exists galleries (
  id text primary key, account_id integer not null references accounts on delete cascade,
  name text not null, public integer not null, created real not null, changed real not null)
  without rowid;
create index if not exists galleries_by_account on galleries (account_id);
create table if not exists gallery_pictures (
  gallery_id text not null references galleries on delete cascade, picture_id text not null,
  title_id text not null, added real not null, primary key (gallery_id, picture_id))
  without rowid;
drop table if exists shares_in_grey; drop table if exists share_deviations;
drop table if exists shares; drop table if exists shared_queries;
"""
"""Accounts and galleries of 0.1.0 stay, its links to vectors of another model do not."""
MAX_FILE_BYTES = 1 << 30
"""The file may not grow beyond it, whatever visitors send."""
PAGE_BYTES = 4096
PRAGMAS = f"""
pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;
pragma trusted_schema = off; pragma max_page_count = {MAX_FILE_BYTES // PAGE_BYTES};
"""
DAY_S = 86_400
SESSION_S = 30 * DAY_S
MIN_PASSWORD, MAX_PASSWORD = 10, 200
MAX_ACCOUNTS = 10_000
MAX_ACCOUNT_NAME = 40
MAX_GALLERIES = 100
MAX_GALLERY_NAME = 120
MAX_GALLERY_PICTURES = 1000
MAX_LISTED = 200
Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


@dataclass(frozen=True)
class EncodedQuery:
    """The style of a query without its pictures, of which model it is, and the ids of those
    pictures that the index itself holds. With a link neither notes nor panels are kept."""

    style: StyleQuery
    model_id: str
    preprocessing: str
    own: tuple[str, ...]


class Account(NamedTuple):
    """Somebody who may have galleries here."""

    account_id: int
    name: str


class Store:
    """The file, opened when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pool = ThreadPoolExecutor(1, "store")
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Do something with the store on its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        """Finish what is running and close the file."""
        self._pool.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The open file in a transaction that is committed at the end.

        Errors:  ApiError when the disk is full (507) or the file cannot be written
        """
        with _explained(), self._opened() as connection:
            connection.execute("begin immediate")
            yield connection

    def _rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a statement; none while nobody has stored anything.

        Errors:  ApiError when the file is damaged or cannot be read
        """
        with _explained():
            if self._connection is None and not self.path.exists():
                return []
            return self._opened().execute(sql, values).fetchall()

    def _row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        return next(iter(self._rows(sql, *values)), None)

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
        connection.row_factory = sqlite3.Row
        connection.executescript(PRAGMAS)
        (version,) = connection.execute("pragma user_version").fetchone()
        if version not in (0, VERSION):
            raise ApiError(
                503,
                "store",
                f"{self.path.name} was written by another release (format {version})",
                "Move it away: a new one is made.",
            )
        mark = "" if version else f"pragma user_version = {VERSION};"
        connection.executescript(f"begin;{SCHEMA}{mark}commit;")  # writes only what is missing

    # --- Shared links: the vector is stored, not the picture.

    def add_share(self, query: EncodedQuery, days: int) -> tuple[str, float]:
        """Store a query for some days; returns its id and when it expires (seconds since 1970).

        Expired ones are removed at the same time.
        """
        key, now = f"s-{secrets.token_urlsafe(16)}", time.time()
        expires = now + days * DAY_S
        style = query.style
        vector = style.vector.astype("<f4").tobytes()
        own = json.dumps(query.own)
        with self.writing() as connection:
            connection.execute("delete from shared_links where expires < ?", (now,))
            connection.execute(  # SQLite stores NaN as null
                "insert into shared_links values (?, ?, ?, ?, ?, ?, ?)",
                (key, vector, style.ood, query.model_id, query.preprocessing, own, expires),
            )
            if style.subject is not None:
                subject = style.subject.astype("<f4").tobytes()
                connection.execute("insert into shared_subjects values (?, ?)", (key, subject))
        return key, expires

    def share(self, key: str) -> EncodedQuery | None:
        """The query behind a link; None when there is none, or no longer."""
        from search.engine import StyleQuery

        row = self._row(
            "select l.vector, ood, model_id, preprocessing, own, s.vector from shared_links l"
            " left join shared_subjects s using (id) where id = ? and expires >= ?",
            key,
            time.time(),
        )
        if row is None:
            return None
        vector, ood, model_id, preprocessing, own, subject = row
        style = StyleQuery(
            np.frombuffer(vector, "<f4"),
            nan if ood is None else ood,
            subject=None if subject is None else np.frombuffer(subject, "<f4"),
        )
        return EncodedQuery(style, model_id, preprocessing, tuple(json.loads(own)))

    # --- Accounts. The store keeps a session's digest only, so a copy of the file opens nothing.

    def create_account(self, name: str, password: str) -> Account:
        """Make an account.

        Errors:  ApiError when the name is taken (409) or something is too short or long (422)
        """
        name = _clean_name(name, MAX_ACCOUNT_NAME)
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise ApiError(
                422, "short", f"the password needs {MIN_PASSWORD} to {MAX_PASSWORD} characters"
            )
        hashed = _hasher().hash(password.encode("utf-8", "surrogatepass"))
        with self.writing() as connection:
            (count,) = connection.execute("select count(*) from accounts").fetchone()
            if count >= MAX_ACCOUNTS:
                raise ApiError(507, "full", "this server takes no more accounts")
            try:
                cursor = connection.execute(
                    "insert into accounts (name, folded, password_hash, created)"
                    " values (?, ?, ?, ?)",
                    (name, folded(name), hashed, time.time()),
                )
            except sqlite3.IntegrityError:
                raise ApiError(409, "taken", f"the name {name!r} is taken") from None
        assert cursor.lastrowid is not None
        return Account(cursor.lastrowid, name)

    def remove_account(self, name: str) -> bool:
        """Remove an account with its sessions and galleries; whether there was one."""
        with self.writing() as connection:
            cursor = connection.execute("delete from accounts where folded = ?", (folded(name),))
            return cursor.rowcount > 0

    def sign_in(self, name: str, password: str) -> str:
        """Check a password; returns a new session's secret.

        Errors:  ApiError (401), which does not say whether the name or the password was wrong
        """
        from argon2.exceptions import InvalidHashError, VerificationError

        row = self._row(
            "select password_hash, account_id from accounts where folded = ?",
            folded(_printable(name)),
        )
        try:
            hashed = row[0] if row else _unused_hash()
            _hasher().verify(hashed, password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            row = None
        if row is None:
            raise ApiError(401, "password", "the name or the password is wrong")
        secret, now = secrets.token_urlsafe(32), time.time()
        with self.writing() as connection:
            connection.execute("delete from sessions where expires < ?", (now,))
            connection.execute(
                "insert into sessions values (?, ?, ?)", (_digest(secret), row[1], now + SESSION_S)
            )
        return secret

    def sign_out(self, secret: str) -> None:
        """End a session."""
        if self.path.exists():
            with self.writing() as connection:
                connection.execute("delete from sessions where digest = ?", (_digest(secret),))

    def account_of(self, secret: str | None) -> Account | None:
        """Whose session this is, None for nobody's."""
        row = secret and self._row(
            "select account_id, name from sessions join accounts using (account_id)"
            " where digest = ? and expires >= ?",
            _digest(secret),
            time.time(),
        )
        return Account(*row) if row else None

    # --- Galleries: private until they are made public; only the owner changes them.

    def galleries(self, account: Account | None) -> dict[str, list[dict[str, Any]]]:
        """One's own galleries and the public ones of others, the latest first."""
        own = account.account_id if account else -1
        select = f"""
            select g.id, g.name, a.name as owner, g.public, count(p.picture_id) as pictures_count,
              (select picture_id from gallery_pictures where gallery_id = g.id
               order by added desc limit 1) as picture_id
            from galleries g join accounts a using (account_id)
              left join gallery_pictures p on p.gallery_id = g.id
            where %s group by g.id order by g.changed desc limit {MAX_LISTED}"""
        mine = self._rows(select % "g.account_id = ?", own)
        public = self._rows(select % "g.public and g.account_id <> ?", own)
        return {"mine": [dict(row) for row in mine], "public": [dict(row) for row in public]}

    def create_gallery(self, account: Account, name: str, public: bool) -> str:
        """Make an empty gallery; returns its id.

        Errors:  ApiError when there are too many (409) or the name cannot be used (422)
        """
        name = _clean_name(name, MAX_GALLERY_NAME)
        key, now = secrets.token_urlsafe(12), time.time()
        with self.writing() as connection:
            (count,) = connection.execute(
                "select count(*) from galleries where account_id = ?", (account.account_id,)
            ).fetchone()
            if count >= MAX_GALLERIES:
                raise ApiError(409, "full", f"one account may have {MAX_GALLERIES} galleries")
            connection.execute(
                "insert into galleries values (?, ?, ?, ?, ?, ?)",
                (key, account.account_id, name, public, now, now),
            )
        return key

    def gallery(self, account: Account | None, key: str) -> dict[str, Any]:
        """A gallery with its pictures, the latest first.

        Errors:  ApiError (404), also for a private one of somebody else
        """
        own = account.account_id if account else -1
        found = self._row(
            "select g.id, g.name, a.name as owner, g.public, g.account_id = ? as mine"
            " from galleries g join accounts a using (account_id)"
            " where g.id = ? and (g.public or mine)",
            own,
            key,
        )
        if found is None:
            raise not_found("there is no such gallery")
        pictures = self._rows(
            "select picture_id, title_id from gallery_pictures where gallery_id = ?"
            " order by added desc, picture_id",
            key,
        )
        return {**dict(found), "pictures": [dict(row) for row in pictures]}

    def change_gallery(
        self, account: Account, key: str, name: str | None, public: bool | None
    ) -> None:
        """Rename, publish or withdraw one's own gallery; None leaves something as it is."""
        name = name if name is None else _clean_name(name, MAX_GALLERY_NAME)
        with self._own_gallery(account, key) as connection:
            connection.execute(
                "update galleries set name = coalesce(?, name), public = coalesce(?, public),"
                " changed = ? where id = ?",
                (name, public, time.time(), key),
            )

    def remove_gallery(self, account: Account, key: str) -> None:
        """Delete one's own gallery."""
        with self._own_gallery(account, key) as connection:
            connection.execute("delete from galleries where id = ?", (key,))

    def add_picture(self, account: Account, key: str, picture_id: str, title_id: str) -> None:
        """Put a picture into one's own gallery; twice is once."""
        with self._own_gallery(account, key) as connection:
            (count,) = connection.execute(
                "select count(*) from gallery_pictures where gallery_id = ?", (key,)
            ).fetchone()
            if count >= MAX_GALLERY_PICTURES:
                raise ApiError(409, "full", f"one gallery holds {MAX_GALLERY_PICTURES} pictures")
            now = time.time()
            connection.execute(
                "insert or ignore into gallery_pictures values (?, ?, ?, ?)",
                (key, picture_id, title_id, now),
            )
            connection.execute("update galleries set changed = ? where id = ?", (now, key))

    def remove_picture(self, account: Account, key: str, picture_id: str) -> None:
        """Take a picture out of one's own gallery."""
        with self._own_gallery(account, key) as connection:
            connection.execute(
                "delete from gallery_pictures where gallery_id = ? and picture_id = ?",
                (key, picture_id),
            )

    @contextlib.contextmanager
    def _own_gallery(self, account: Account, key: str) -> Iterator[sqlite3.Connection]:
        """A transaction for the owner of a gallery alone."""
        with self.writing() as connection:
            own = "select 1 from galleries where id = ? and account_id = ?"
            if connection.execute(own, (key, account.account_id)).fetchone() is None:
                raise not_found("there is no such gallery")
            yield connection


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if is_disk_full(error):
            hint = "What was saved before is safe; try again later."
            message = "the disk of the server is full, nothing was saved"
            raise ApiError(507, "disk_full", message, hint) from error
        message = "what visitors store cannot be read or written now"
        raise ApiError(503, "store", message, "Try again later.") from error


def forget_visitors(path: Path, gone: Iterable[str]) -> int:
    """Remove pictures of galleries and shared links that name these pictures and titles from
    the file, if there is one; returns how many.

    Errors:  InputError when the file cannot be written
    """
    if not path.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as db:
            db.execute("pragma secure_delete = on")
            db.execute("pragma foreign_keys = on")
            db.executescript(SCHEMA)
            with db:
                db.execute("create temp table gone (id text primary key) without rowid")
                db.executemany("insert or ignore into gone values (?)", ((one,) for one in gone))
                count = db.execute(
                    "delete from gallery_pictures where picture_id in (select id from gone)"
                    " or title_id in (select id from gone)"
                ).rowcount
                count += db.execute(
                    "delete from shared_links where exists"
                    " (select 1 from json_each(own) join gone on gone.id = value)"
                ).rowcount
            db.execute("pragma wal_checkpoint(truncate)")
            return count
    except sqlite3.Error as error:
        raise storage_error(error, "what visitors of the page store") from error


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    # OWASP's first choice for servers that have little memory: 19 MiB, two passes.
    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@cache
def _unused_hash() -> str:
    """A hash that is checked when there is no such name, so that both take as long."""
    return _hasher().hash(secrets.token_urlsafe())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _printable(text: str) -> str:
    """Text without control characters, halves of characters and spare spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _clean_name(text: str, longest: int) -> str:
    """A name as it may be stored and shown.

    Errors:  ApiError (422)
    """
    name = _printable(text)
    if not name or len(name) > longest:
        raise ApiError(422, "name", f"the name needs 1 to {longest} characters")
    return name
