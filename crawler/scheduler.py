"""What a crawl still has to fetch, and what it has not committed yet: one SQLite file.

Every response is acknowledged in one transaction that removes its job, adds the jobs that it
named and puts its rows into an outbox, which Delta commits empty in batches. A kill therefore
loses nothing but the requests in flight, and rows that were being committed are merged by key
the next time. Deleting the file costs requests, never data.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from crawler.sites.base import PageRequest
from schemas.errors import InputError

FORMAT = "2"
RANKS = {"list": 4, "chart": 4, "picture": 3, "strip": 3, "episodes": 2, "title": 1}
"""Lists first, because they show what there is; then what has been begun is finished before
the next title, so that few titles are open at any time."""

SCHEMA = """
create table if not exists meta (key text primary key, value text) without rowid;
create table if not exists jobs (
  id integer primary key autoincrement, mark text unique not null, host text not null,
  rank integer not null, kind text not null, url text not null, title_id text, about text not null
);
create index if not exists jobs_by_host on jobs (host, rank desc, id);
create index if not exists jobs_by_title on jobs (title_id);
create table if not exists titles (
  title_id text primary key, name text, about text, star_score real, phase integer default 0,
  whole integer default 0, count integer, etag text, modified text, fail text, partial text,
  finished integer, draft text, stored text, state text
) without rowid;
create table if not exists episodes (
  title_id text, episode_no integer, published text, digest text,
  primary key (title_id, episode_no)
) without rowid;
create table if not exists pictures (
  title_id text, url text, picture_id text, kind text, episode_no integer, published text,
  year integer, stamp text, status text, bytes_count integer, primary key (title_id, url)
) without rowid;
create index if not exists pictures_by_id on pictures (title_id, picture_id);
create table if not exists outbox (
  name text, key text, row text, fresh integer, seq integer, primary key (name, key)
) without rowid;
create index if not exists outbox_by_seq on outbox (seq);
"""


@dataclass(frozen=True)
class Job(PageRequest):
    """One request that has to be made, with its row's number and its host."""

    id: int = 0
    host: str = ""


class Waiting(NamedTuple):
    """One row on its way to the catalog; `row` is None where the key is to be deleted."""

    name: str
    key: str
    row: dict[str, Any] | None
    fresh: bool
    seq: int


class Frontier:
    """The file, open. All methods belong to one thread.

    Errors:  InputError when the file cannot be written
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # NORMAL: a kill loses nothing; a power cut may lose the last moments, not the file.
            self.db.execute("pragma journal_mode = wal")
            self.db.execute("pragma synchronous = normal")
            self.db.executescript(SCHEMA)
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(f"{path} cannot be written ({error})") from error
        self.db.row_factory = sqlite3.Row
        self._claimed: set[int] = set()
        self._flushing = False
        self._seq: int = self.scalar("select max(seq) from outbox") or 0
        # Queued jobs by host, those in flight included.
        self.hosts = dict(self.db.execute("select host, count(*) from jobs group by host"))
        self.counts: dict[str, int] = json.loads(self.get("counts") or "{}")
        if flushed := int(self.get("flushing") or 0):  # killed in a commit: it may have happened
            self.db.execute("update outbox set fresh = 0 where seq <= ?", (flushed,))
            self.put("flushing", "0")

    def close(self) -> None:
        self.db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, also for a kill."""
        hosts, counts = dict(self.hosts), dict(self.counts)
        self.db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self.db.execute("rollback")
            self.hosts, self.counts = hosts, counts
            raise
        if counts != self.counts:
            self.put("counts", json.dumps(self.counts))
        self.db.execute("commit")

    def scalar(self, query: str, *values: Any) -> Any:
        """The first value of the first row, None when there is no row."""
        row = self.db.execute(query, values).fetchone()
        return None if row is None else row[0]

    def get(self, key: str) -> str | None:
        value: str | None = self.scalar("select value from meta where key = ?", key)
        return value

    def put(self, key: str, value: str) -> None:
        self.db.execute("insert or replace into meta values (?, ?)", (key, value))

    def count(self, name: str, by: int = 1) -> None:
        """Count something; written with the transaction that it happens in."""
        self.counts[name] = self.counts.get(name, 0) + by

    # Jobs

    def add(self, requests: Iterable[PageRequest]) -> int:
        """Queue requests; one that is already queued is not queued twice."""
        added = 0
        for request in requests:
            host = urlsplit(request.url).hostname or ""
            about = json.dumps(dict(request.about), ensure_ascii=False)
            rank, mark = RANKS.get(request.kind, 2), f"{request.title_id} {request.url}"
            cursor = self.db.execute(
                "insert or ignore into jobs (mark, host, rank, kind, url, title_id, about)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                (mark, host, rank, request.kind, request.url, request.title_id, about),
            )
            if cursor.rowcount > 0:
                added += 1
                self.hosts[host] = self.hosts.get(host, 0) + 1
        return added

    def claim(self, host: str, limit: int) -> list[Job]:
        """The next jobs of one host; they stay in the file until they are done."""
        rows = self.db.execute(
            "select id, host, kind, url, title_id, about from jobs where host = ?"
            " order by rank desc, id limit ?",
            (host, limit + len(self._claimed)),
        )
        jobs = [
            Job(url, kind, title_id, json.loads(about), number, host)
            for number, host, kind, url, title_id, about in rows
            if number not in self._claimed
        ][:limit]
        self._claimed.update(job.id for job in jobs)
        return jobs

    def done(self, job: Job) -> None:
        """Forget a job; call it in the transaction that holds its outcome."""
        if self.db.execute("delete from jobs where id = ?", (job.id,)).rowcount:
            self.hosts[job.host] -= 1

    def release(self, job: Job) -> None:
        """After the transaction: the job's number may be used again."""
        self._claimed.discard(job.id)

    def cancel(self, title_id: str) -> None:
        """Forget what is queued for a title."""
        for host, count in self.db.execute(
            "select host, count(*) from jobs where title_id = ? group by host", (title_id,)
        ).fetchall():
            self.hosts[host] -= count
        self.db.execute("delete from jobs where title_id = ?", (title_id,))

    def exists(self, job: Job) -> bool:
        return self.scalar("select 1 from jobs where id = ?", job.id) is not None

    @property
    def pending(self) -> int:
        return sum(self.hosts.values())

    # Rows on their way to the catalog

    def send(self, name: str, key: str, row: Mapping[str, Any] | None, *, fresh: bool) -> None:
        """Put a row into the outbox; a later one with the same key replaces it.

        `fresh` says that the catalog has no such key, so that it can be appended.
        """
        self._seq += 1
        text = None if row is None else json.dumps(row, ensure_ascii=False, default=str)
        # A row that is being committed right now may be in the catalog afterwards.
        self.db.execute(
            "insert into outbox values (?, ?, ?, ?, ?) on conflict do update set"
            " row = excluded.row, seq = excluded.seq, fresh = fresh and ?",
            (name, key, text, int(fresh), self._seq, int(not self._flushing)),
        )

    @property
    def waiting_count(self) -> int:
        return int(self.scalar("select count(*) from outbox"))

    def begin_flush(self, limit: int) -> list[Waiting]:
        """The oldest rows of the outbox; from now on they may be in the catalog."""
        rows = self.db.execute("select * from outbox order by seq limit ?", (limit,)).fetchall()
        if rows:
            self._flushing = True
            # Before the catalog can know of these rows, the disk must know that it may: after
            # a power cut they are merged by key then, not appended twice.
            self.db.execute("pragma synchronous = full")
            self.put("flushing", str(rows[-1]["seq"]))
            self.db.execute("pragma synchronous = normal")
        return [
            Waiting(name, key, row and json.loads(row), bool(fresh), seq)
            for name, key, row, fresh, seq in rows
        ]

    def end_flush(self, rows: list[Waiting]) -> None:
        """These rows are in the catalog; those that changed meanwhile stay."""
        self._flushing = False
        with self.transaction():
            self.db.executemany(
                "delete from outbox where name = ? and key = ? and seq = ?",
                [(row.name, row.key, row.seq) for row in rows],
            )
            self.put("flushing", "0")
