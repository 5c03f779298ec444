"""The worker of `search/sql/sandbox.py`: answers statements, one JSON line each.

Run as `python -m search.sql.sandbox_worker`. First line: what to read. Then, walled in, one
request a line. Nothing that a request says is used as code but by DuckDB.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from search.sql import confinement
from search.sql.errors import TOO_MUCH, explain
from search.sql.sandbox import one_select

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
    """The confined connection and what it may look at."""

    def __init__(self, start: dict[str, Any]) -> None:
        import duckdb

        self.limits = start["limits"]
        self.walls: list[str] = []
        if confinement.leave_network():  # before the first thread
            self.walls.append("namespace")
        confinement.die_with_owner()
        layout = Layout(Path(start["root"]))
        tables = {
            name: TableVersion(version, _moment(stamp), tuple(files))
            for name, (version, stamp, files) in start["tables"].items()
        }
        snapshot = Snapshot(layout, tables, start["generation_id"], era_years=start["era_years"])
        self.vectors: dict[str, Any] = {}
        self.failure: ToonsearchError | None = None
        self.similarity = _similarity(snapshot, self.vectors)
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
        self._open(snapshot)

    def _open(self, snapshot: Snapshot) -> None:
        from search.sql.functions import add_functions

        run = self.connection.execute
        add_functions(self.connection, self._ask_index, self._failed)
        ready_views()
        for statement in WARM_UP:  # whatever is imported or loaded late is there now
            run(statement).fetchall()
        cpu = int(self.limits["seconds"] * self.limits["threads"] * 1000) + 60
        confinement.limit_resources(self.limits["memory_bytes"] + WARM_UP_BYTES, cpu)
        self.walls.append("limits")
        jailed = confinement.enter_chroot(snapshot.layout.root)
        if jailed:
            self.walls.append("chroot")
        root = "/" if jailed else f"{snapshot.layout.root}/"
        create_views(self.connection, snapshot, folder=f"{root}tables/", public=True)
        describe_views(self.connection)
        readable = [f"{root}tables/{file}" for file in snapshot.files]
        listed = ", ".join(quoted(file) for file in readable)
        if readable:
            run(f"set allowed_paths = [{listed}]")
        run("set enable_external_access = false")
        run("set lock_configuration = true")
        if confinement.lock_files(readable):
            self.walls.append("landlock")

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One statement's rows, or what was wrong with it."""
        import duckdb

        started = time.perf_counter()
        self.failure = None
        self.vectors.clear()
        self.vectors.update(request["pictures"])
        sql = request["sql"]
        try:
            statement = one_select(self.connection, sql)
            cursor = self.connection.execute(statement, request["parameters"] or None)
            return {**self._rows(cursor), "elapsed_ms": 1e3 * (time.perf_counter() - started)}
        except ToonsearchError as error:
            return {"error": error.message, "hint": error.hint}
        except (duckdb.Error, RuntimeError, ValueError, TypeError, KeyError) as error:
            said = explain(error, sql, self.failure)
            return {"error": said.message, "hint": said.hint}
        except MemoryError:
            said = InputError(TOO_MUCH, "Ask for less.")
            return {"error": said.message, "hint": said.hint}

    def _rows(self, cursor: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        columns = [str(column[0]) for column in cursor.description or ()]
        types = [str(column[1]) for column in cursor.description or ()]
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
        return {"columns": columns, "types": types, "rows": rows, "truncated": truncated}

    def _failed(self, error: ToonsearchError) -> None:
        self.failure = error

    def _ask_index(self) -> Similarity:
        if self.similarity is None:
            raise InputError("similar: there is no index", "Run `toonsearch index build`.")
        return self.similarity


def _similarity(snapshot: Snapshot, vectors: dict[str, Any]) -> Similarity | None:
    """The index, verified and open: later nothing can be opened any more."""
    from indexer.vector_index.generations import Generation
    from search.sql.functions import Similarity, named_vectors

    if snapshot.generation_id is None:
        return None
    generation = Generation.open(snapshot.layout, snapshot.generation_id)
    similarity = Similarity(generation, named_vectors(vectors))
    one = generation.meta.execute("select picture_id from pictures limit 1").fetchone()
    if one is not None:
        similarity.pictures(one[0], 1)
    return similarity


def _moment(stamp: float | None) -> datetime | None:
    return None if stamp is None else datetime.fromtimestamp(stamp, UTC)


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer until the other end closes."""
    lines = iter(sys.stdin.readline, "")
    try:
        worker = Worker(json.loads(next(lines)))
    except ToonsearchError as error:
        _say({"error": error.message, "hint": error.hint})
        return
    _say({"walls": worker.walls})
    for line in lines:
        _say(worker.answer(json.loads(line)))


if __name__ == "__main__":
    main()
