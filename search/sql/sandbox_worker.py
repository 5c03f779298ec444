"""The worker of `search/sql/sandbox.py`: answers statements, one JSON line each.

Run as `python -m search.sql.sandbox_worker`. First line: what to read. Then, walled in, one
request a line. Nothing that a request says is used as code but by DuckDB.

Each wall is tried and the ones that stand are listed. A kernel or container that refuses one
still has the others, and DuckDB's own lock stands in any case. Linux only:

    namespace  a user and network namespace of its own: no network at all, no privileges
    chroot     the data root is the whole file system that it can name
    landlock   no path may be written, run or listed, no TCP port may be reached
    limits     memory, processor time, file size 0, no core dump

Source:  landlock(7), user_namespaces(7), setrlimit(2)
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from schemas.errors import InputError, ToonsearchError
from schemas.storage.layout import Layout
from schemas.storage.snapshot import (
    Snapshot,
    TableVersion,
    create_views,
    describe_views,
    ready_views,
)
from schemas.storage.tables import quoted
from search.output.data import plain_value
from search.sql.errors import ASK_FOR_LESS, OUT_OF_MEMORY, explain
from search.sql.sandbox import one_select
from search.sql.session import with_times_as_text

if TYPE_CHECKING:
    import duckdb

    from search.sql.functions import Similarity

WARM_UP_BYTES = 384 * 1024 * 1024
"""Memory beside DuckDB's own: its threads, FAISS and the encoded result."""
WARM_UP = (
    "select similar_pictures_list(null, 1), mean_vector([[1.0::float]])",
    "select json_serialize_sql('select 1')",
    "select 1::decimal(9,2), date '2020-01-01', timestamp '2020-01-01 00:00:00', [1], {'a': 1}",
)


class Worker:
    """The confined connection and what it may read."""

    def __init__(self, start: dict[str, Any]) -> None:
        import duckdb

        self.limits = start["limits"]
        self.walls: list[str] = []
        if leave_network():  # before the first thread
            self.walls.append("namespace")
        die_with_owner()
        layout = Layout(Path(start["root"]))
        tables = {
            name: TableVersion(version, _moment(stamp), tuple(files))
            for name, (version, stamp, files) in start["tables"].items()
        }
        snapshot = Snapshot(layout, tables, start["generation_id"], era_years=start["era_years"])
        self.failure: ToonsearchError | None = None
        self.similarity = self._load_index(snapshot)
        self.connection = duckdb.connect(
            ":memory:",
            config={
                "threads": int(self.limits["threads"]),
                "memory_limit": f"{self.limits['memory_bytes'] // 1_000_000}MB",
                "temp_directory": "",
                "home_directory": "/nowhere",
                "secret_directory": "/nowhere",
                "allow_persistent_secrets": "false",
                "python_enable_replacements": "false",
                "max_temp_directory_size": "0KB",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "allow_unsigned_extensions": "false",
            },
        )
        self._confine(snapshot)

    def _confine(self, snapshot: Snapshot) -> None:
        """Raise the walls; nothing can be opened afterwards but the tables' files."""
        from search.sql.functions import add_functions

        run = self.connection.execute
        add_functions(self.connection, self._ask_index, self._failed)
        ready_views()
        for statement in WARM_UP:  # whatever is imported or loaded late is there now
            run(statement).fetchall()
        cpu = int(self.limits["seconds"] * self.limits["threads"] * 1000) + 60
        limit_resources(self.limits["memory_bytes"] + WARM_UP_BYTES, cpu)
        self.walls.append("limits")
        jailed = enter_chroot(snapshot.layout.root)
        if jailed:
            self.walls.append("chroot")
        root = "/" if jailed else f"{snapshot.layout.root}/"
        create_views(self.connection, snapshot, folder=f"{root}tables/", public=True)
        describe_views(self.connection)
        readable = [f"{root}tables/{file}" for file in snapshot.files]
        if readable:
            run(f"set allowed_paths = [{', '.join(map(quoted, readable))}]")
        run("set enable_external_access = false")
        run("set lock_configuration = true")
        if lock_files(readable):
            self.walls.append("landlock")

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One statement's rows, or what was wrong with it."""
        import duckdb

        started = time.perf_counter()
        self.failure, sql = None, request["sql"]
        try:
            statement = one_select(self.connection, sql)
            parameters = request["parameters"] or None
            cursor = self.connection.execute(statement, parameters)
            columns = cursor.description or []
            told = with_times_as_text(statement.query, [str(column[1]) for column in columns])
            if told is not None:
                self.connection.abort()
                cursor = self.connection.execute(told, parameters)
            rows = self._rows(cursor, columns)
            return {**rows, "elapsed_ms": 1e3 * (time.perf_counter() - started)}
        except ToonsearchError as error:
            return _as_json(error)
        except (duckdb.Error, RuntimeError, ValueError, TypeError, KeyError) as error:
            return _as_json(explain(error, sql, self.failure))
        except MemoryError:
            return _as_json(InputError(OUT_OF_MEMORY, ASK_FOR_LESS))

    def _rows(self, cursor: duckdb.DuckDBPyConnection, columns: Sequence[Any]) -> dict[str, Any]:
        rows: list[list[Any]] = []
        size, truncated = 0, False
        while not truncated and (part := cursor.fetchmany(256)):
            for row in part:
                plain = [plain_value(value) for value in row]
                size += len(json.dumps(plain))
                if len(rows) >= self.limits["rows"] or size > self.limits["result_bytes"]:
                    truncated = True
                    break
                rows.append(plain)
        names, types = ([str(column[place]) for column in columns] for place in (0, 1))
        return {"columns": names, "types": types, "rows": rows, "truncated": truncated}

    def _failed(self, error: ToonsearchError) -> None:
        self.failure = error

    def _ask_index(self) -> Similarity:
        if self.similarity is None:
            raise InputError("similar: there is no index", "Run `toonsearch index build`.")
        return self.similarity

    def _load_index(self, snapshot: Snapshot) -> Similarity | None:
        """The index, verified and open: later nothing can be opened any more."""
        from indexer.vector_index.generations import Generation
        from search.sql.functions import Similarity

        if snapshot.generation_id is None:
            return None
        generation = Generation.open(snapshot.layout, snapshot.generation_id)
        similarity = Similarity(generation, _no_file)
        one = generation.meta.execute("select picture_id from pictures limit 1").fetchone()
        if one is not None:
            similarity.pictures(one[0], 1)
        return similarity


def _no_file(name: str) -> NoReturn:
    raise InputError(
        f"similar: the index has no picture {name[:80]!r}",
        "Here it takes a picture_id, not a file.",
    )


def _moment(stamp: float | None) -> datetime | None:
    return None if stamp is None else datetime.fromtimestamp(stamp, UTC)


# --- The walls.

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # rights that each ABI version knows
_TCP_RIGHTS = 0b11  # bind, connect; since ABI 4


def die_with_owner() -> None:
    """A worker whose owner was killed must not live on, not even in a long statement.

    (PR_SET_PDEATHSIG would also strike when only the thread that started it ends.)
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no debugger, no /proc/<pid>/mem
    owner = os.getppid()

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def leave_network() -> bool:
    """Move into a namespace without network and privileges; before the first thread starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def limit_resources(memory_bytes: int, cpu_s: int) -> None:
    """Hard limits that the kernel holds.

    `memory_bytes` counts what the process writes to beyond what it holds already.
    """
    held = _data_bytes()
    for what, most in (
        (resource.RLIMIT_DATA, held + memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        bounded = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bounded, bounded))


def _data_bytes() -> int:
    """Private writable memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def enter_chroot(folder: Path) -> bool:
    """Make a folder the root of the file system."""
    try:
        os.chroot(folder)
    except OSError:
        return False
    os.chdir("/")
    return True


def lock_files(readable: list[str]) -> bool:
    """Forbid every access to the file system but reading these files, and all TCP."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = (1 << _FS_RIGHTS.get(version, 16)) - 1
    attributes = (ctypes.c_uint64 * 2)(rights, _TCP_RIGHTS if version >= 4 else 0)
    rules = libc.syscall(_LANDLOCK_CREATE, attributes, 16 if version >= 4 else 8, 0)
    if rules < 0:
        return False
    try:
        for file in readable:
            handle = os.open(file, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = ctypes.create_string_buffer(
                    _READ_FILE.to_bytes(8, "little") + handle.to_bytes(4, "little"), 12
                )
                if libc.syscall(_LANDLOCK_ADD, rules, _RULE_PATH_BENEATH, rule, 0) != 0:
                    return False
            finally:
                os.close(handle)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _as_json(error: ToonsearchError) -> dict[str, Any]:
    return {"error": error.message, "hint": error.hint}


def main() -> None:
    """Answer until the other end closes."""
    lines = iter(sys.stdin.readline, "")
    try:
        worker = Worker(json.loads(next(lines)))
    except ToonsearchError as error:
        print(json.dumps(_as_json(error)), flush=True)
        return
    print(json.dumps({"walls": worker.walls}), flush=True)
    for line in lines:
        print(json.dumps(worker.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
