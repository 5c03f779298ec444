"""SQL from strangers: a process of its own that can be killed, and that can do little else.

The worker reads the Parquet files of one snapshot and nothing more. DuckDB runs there with
external access off and its configuration locked, only SELECT statements pass its parser,
and the kernel holds the rest (`search/confinement.py`). Whatever a statement does, the
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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.generations import current_generation_id, era_years_of
from schemas.errors import InputError, ToonsearchError
from schemas.layout import Layout
from schemas.snapshot import Snapshot
from search.complaints import TOO_MUCH

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

    `walls` names what stood around the worker (see `search/confinement.py`).
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[list[Any]]
    truncated: bool
    elapsed_ms: float
    walls: tuple[str, ...]
    snapshot: str


class Sandbox:
    """A worker that answers one statement at a time, replaced when it dies or is outdated.

    May be shared by threads; each waits for its turn.
    """

    def __init__(self, layout: Layout, limits: SandboxLimits | None = None) -> None:
        self.layout = layout
        self.limits = limits or SandboxLimits()
        self._turn = threading.Lock()
        self._worker: _Worker | None = None

    def run(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        pictures: Mapping[str, np.ndarray] | None = None,
    ) -> SandboxResult:
        """Run one SELECT statement.

        `pictures` gives names to unit vectors, for `similar('name', 50)`; otherwise
        `similar` takes a picture_id of the index.

        Shapes:  each of `pictures` (D,)
        Errors:  InputError says what was wrong, or that a limit was reached
        """
        if len(sql) > self.limits.sql_characters:
            raise InputError(
                f"the statement has {len(sql):,} characters,"
                f" at most {self.limits.sql_characters:,} are read"
            )
        request = {
            "sql": sql,
            "parameters": dict(parameters or {}),
            "pictures": {name: np.asarray(v).tolist() for name, v in (pictures or {}).items()},
        }
        try:
            line = json.dumps(request, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"a parameter cannot be used ({error})") from error
        with self._turn:
            name = current_generation_id(self.layout)
            snapshot = Snapshot.take(
                self.layout, generation_id=name, era_years=era_years_of(self.layout, name)
            )
            worker, answer = self._answered(snapshot, line)
        if "error" in answer:
            raise InputError(answer["error"], answer["hint"])
        return SandboxResult(
            columns=tuple(answer["columns"]),
            types=tuple(answer["types"]),
            rows=answer["rows"],
            truncated=answer["truncated"],
            elapsed_ms=answer["elapsed_ms"],
            walls=tuple(worker.walls),
            snapshot=worker.key,
        )

    def close(self) -> None:
        """End the worker; a later statement starts another."""
        with self._turn:
            self._discard()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answered(self, snapshot: Snapshot, line: str) -> tuple[_Worker, dict[str, Any]]:
        """A worker and its answer. One that runs out of memory is replaced; since it keeps
        some of what earlier statements took, the statement is asked again unless it was new."""
        while True:
            worker = self._fitting(snapshot)
            used = worker.uses > 0
            worker.uses += 1
            try:
                answer = worker.ask(line, self.limits.seconds, self.limits.result_bytes * 2)
            except BaseException as error:
                self._discard()
                if not (used and isinstance(error, InputError) and error.message == TOO_MUCH):
                    raise
                continue
            if answer.get("error") != TOO_MUCH:
                return worker, answer
            self._discard()
            if not used:
                return worker, answer

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


def run_untrusted(
    sql: str,
    layout: Layout,
    *,
    parameters: Mapping[str, Any] | None = None,
    pictures: Mapping[str, np.ndarray] | None = None,
    limits: SandboxLimits | None = None,
) -> SandboxResult:
    """Run one SELECT statement in a process of its own.

    A server that answers many keeps a `Sandbox` instead, which saves the start (0.5 s).

    Errors:  InputError says what was wrong, or that a limit was reached
    """
    with Sandbox(layout, limits) as sandbox:
        return sandbox.run(sql, parameters, pictures)


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
            [sys.executable, "-m", "search.sandbox_worker"],
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
            told = self.ask(json.dumps(start), START_SECONDS, 1 << 20)
        except InputError as error:
            self.kill()
            raise ToonsearchError(
                "the process for SQL did not start", "`toonsearch doctor` may say why."
            ) from error
        except BaseException:
            self.kill()
            raise
        if "error" in told:
            self.kill()
            raise InputError(told["error"], told["hint"])
        self.walls: list[str] = told["walls"]

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
                    f"the statement was stopped after {seconds:g} seconds", "Ask for less."
                )
            part = os.read(handle, 1 << 16)
            if not part:
                raise _ended(self.process.wait(timeout=10))
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise InputError("the result is too large", "Ask for fewer rows or columns.")
        told, _, self.pending = b"".join(parts).partition(b"\n")
        try:
            answer = json.loads(told)
        except ValueError as error:  # a worker that was overwritten from inside
            raise ToonsearchError("the SQL worker answered nonsense", "Try again.") from error
        if not isinstance(answer, dict):
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
        return InputError("the statement was stopped by its limits", "Ask for less.")
    return InputError(TOO_MUCH, "Ask for less.")
