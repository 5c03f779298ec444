"""Untrusted SQL: a process of its own that can be killed, and that can do little else.

The worker reads the Parquet files of one snapshot and nothing more. DuckDB runs there with
external access off and its configuration locked, only SELECT statements pass its parser,
and the kernel holds the rest (`search/sql/sandbox_worker.py`). Whatever a statement does, the
owner ends it on time, and the next statement gets a fresh worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.vector_index.generations import current_generation_id, era_years_of
from schemas.errors import InputError, ToonsearchError
from schemas.storage.layout import Layout
from schemas.storage.snapshot import Snapshot, all_views
from search.sql.errors import ASK_FOR_LESS, OUT_OF_MEMORY, nearest_name

if TYPE_CHECKING:
    import duckdb


# --- What an untrusted statement may name: the documented views, and a few harmless functions.
#
# The check reads DuckDB's own syntax tree of the statement, so that nothing can hide behind
# quotes, comments or brackets. Views are expanded only later: what they read is not the
# statement's own doing.

TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "similar", "similar_titles", "unnest"}
)
"""Functions that a statement may read like tables; none of them opens anything."""

REFUSED_FUNCTIONS = frozenset({"current_setting", "getenv", "query", "query_table", "write_log"})
"""Scalar functions that tell of, or write to, what is not the catalog."""


def one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one SELECT that a text holds, checked.

    Errors:  InputError when it is anything else, or names what it may not
             duckdb.ParserException when it is no SQL at all
    """
    import duckdb

    found = connection.extract_statements(sql)
    if len(found) != 1:
        raise InputError(
            "there is no statement" if not found else "only one statement is run at a time"
        )
    if found[0].type != duckdb.StatementType.SELECT:
        kind = found[0].type.name.lower().replace("_", " ")
        raise InputError(f"{kind} statements are not allowed here", "Only SELECT is.")
    row = connection.execute("select json_serialize_sql(?)", [found[0].query]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        raise InputError("the statement is not a plain SELECT")
    _check(tree)
    return found[0]


def _check(tree: dict[str, Any]) -> None:
    nodes = list(_nodes(tree))
    known = {name.lower() for name in all_views()}
    for node in nodes:  # the names that `with` gives
        parts = node.get("cte_map")
        if isinstance(parts, dict):
            known |= {str(entry.get("key", "")).lower() for entry in parts.get("map", [])}
    for node in nodes:
        kind = node.get("type")
        if kind == "BASE_TABLE":
            _check_table(node, known)
        elif kind == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name")).lower()
            if name not in TABLE_FUNCTIONS:
                raise InputError(
                    f"the table function {name!r} is not available here",
                    f"Available are {', '.join(sorted(TABLE_FUNCTIONS))}.",
                )
        elif kind == "SHOW_REF" and node.get("query") is None and node.get("table_name"):
            _check_table({**node, "schema_name": ""}, known | {'"tables"', "tables"})
        elif str(node.get("function_name", "")).lower() in REFUSED_FUNCTIONS:
            raise InputError(f"the function {node['function_name']!r} is not available here")


def _check_table(node: dict[str, Any], known: set[str]) -> None:
    name = str(node.get("table_name"))
    outside = node.get("schema_name") not in ("", "main") or node.get("catalog_name")
    if outside or name.lower() not in known:
        raise InputError(f"there is no view {name!r}", nearest_name(name, known))


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree; without recursion, which a deep statement would exhaust."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


START_SECONDS = 60.0
REUSES = 1000  # statements before a worker is replaced anyway


@dataclass(frozen=True)
class SandboxLimits:
    """What one statement may cost.

    Units:   seconds of wall clock; bytes of DuckDB's memory and of the encoded result
    """

    seconds: float = 5.0
    memory_bytes: int = 512 * 1024 * 1024
    rows: int = 10_000
    result_bytes: int = 8 * 1024 * 1024
    sql_characters: int = 20_000
    threads: int = 2


@dataclass(frozen=True)
class SandboxResult:
    """Rows as plain JSON values; `truncated` when there were more than the limits allow.

    `walls` names what stood around the worker (see `search/sql/sandbox_worker.py`).
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[list[Any]]
    truncated: bool
    elapsed_ms: float
    walls: tuple[str, ...]


class Sandbox:
    """A worker that answers one statement at a time, replaced when it dies or is outdated.

    May be shared by threads; each waits for its turn.
    """

    def __init__(self, layout: Layout, limits: SandboxLimits | None = None) -> None:
        self.layout = layout
        self.limits = limits or SandboxLimits()
        self._turn = threading.Lock()
        self._worker: _Worker | None = None

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> SandboxResult:
        """Run one SELECT statement; `similar` takes a picture_id here and reads no file.

        Errors:  InputError says what was wrong, or that a limit was reached
        """
        if len(sql) > self.limits.sql_characters:
            raise InputError(
                f"the statement has {len(sql):,} characters,"
                f" at most {self.limits.sql_characters:,} are read"
            )
        try:
            request = {"sql": sql, "parameters": dict(parameters or {})}
            line = json.dumps(request, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"a parameter cannot be used ({error})") from error
        with self._turn:
            name = current_generation_id(self.layout)
            snapshot = Snapshot.take(
                self.layout, generation_id=name, era_years=era_years_of(self.layout, name)
            )
            return self._answered(snapshot, line)

    def close(self) -> None:
        """End the worker; a later statement starts another."""
        with self._turn:
            self._discard()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answered(self, snapshot: Snapshot, line: str) -> SandboxResult:
        """What a worker says. One that runs out of memory is replaced; since it may hold on to
        what earlier statements took, the statement is then run again by a new one."""
        while True:
            worker = self._fitting(snapshot)
            new = worker.uses == 0
            worker.uses += 1
            try:
                answer = worker.ask(line, self.limits.seconds, self.limits.result_bytes * 2)
            except InputError as error:
                self._discard()
                answer = {"error": error.message, "hint": error.hint}
            except BaseException:
                self._discard()
                raise
            if answer.get("error") == OUT_OF_MEMORY:
                self._discard()
                if not new:
                    continue
            if "error" in answer:
                raise InputError(answer["error"], answer["hint"])
            return SandboxResult(
                columns=tuple(answer["columns"]),
                types=tuple(answer["types"]),
                rows=answer["rows"],
                truncated=answer["truncated"],
                elapsed_ms=answer["elapsed_ms"],
                walls=tuple(worker.walls),
            )

    def _fitting(self, snapshot: Snapshot) -> _Worker:
        key = f"{snapshot.key()} {snapshot.generation_id}"
        worker = self._worker
        if worker is not None and (worker.key != key or worker.uses >= REUSES or not worker.alive):
            self._discard()
            worker = None
        if worker is None:
            worker = self._worker = _Worker(snapshot, key, self.limits)
        return worker

    def _discard(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


class _Worker:
    """One child process and the pipes to it."""

    def __init__(self, snapshot: Snapshot, key: str, limits: SandboxLimits) -> None:
        self.key, self.uses = key, 0
        self.pending = b""
        environ = {
            name: os.environ[name]
            for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
            if name in os.environ
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "search.sql.sandbox_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            close_fds=True,
        )
        start = {
            "root": str(snapshot.layout.root.absolute()),
            "generation_id": snapshot.generation_id,
            "era_years": snapshot.era_years,
            "tables": {
                name: [t.version, t.committed_at.timestamp() if t.committed_at else None, t.files]
                for name, t in snapshot.tables.items()
            },
            "limits": vars(limits),
        }
        try:
            answer = self._started(start)
        except BaseException:
            self.kill()
            raise
        self.walls: list[str] = answer["walls"]

    def _started(self, start: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self.ask(json.dumps(start), START_SECONDS, 1 << 20)
        except InputError as error:
            raise ToonsearchError(
                "the process for SQL did not start", "`toonsearch doctor` may say why."
            ) from error
        if "error" in answer:
            raise InputError(answer["error"], answer["hint"])
        return answer

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, line: str, seconds: float, most_bytes: int) -> dict[str, Any]:
        """Send one line, wait for one line.

        Errors:  InputError when the worker takes too long, dies or says too much
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        deadline = time.monotonic() + seconds
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise _ended(self.process.poll()) from error
        handle = self.process.stdout.fileno()
        parts, size = [self.pending], len(self.pending)
        while b"\n" not in parts[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                raise InputError(
                    f"the statement was stopped after {seconds:g} seconds", ASK_FOR_LESS
                )
            part = os.read(handle, 1 << 16)
            if not part:
                raise _ended(self.process.wait(timeout=10))
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise InputError("the result is too large", "Ask for fewer rows or columns.")
        said, _, self.pending = b"".join(parts).partition(b"\n")
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):  # a worker that was overwritten from inside
            raise ToonsearchError("the SQL worker answered nonsense", "Try again.")
        return answer

    def kill(self) -> None:
        """End the worker and whatever it started; safe to call twice."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _ended(code: int | None) -> InputError:
    """Why a worker is gone: the kernel tells by the signal."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return InputError("the statement was stopped by its limits", ASK_FOR_LESS)
    return InputError(OUT_OF_MEMORY, ASK_FOR_LESS)
