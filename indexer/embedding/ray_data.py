"""Embedding on a Ray cluster: its workers read, decode and encode; this process commits.

Workers do what `embed.encode_rows` does, with the same model and one thread for each, so that
vectors are those of this machine. Rows go out and vectors come back by Ray Data in blocks of a few
pictures. A worker that dies is replaced and its blocks are done again; the tables are written
by this process alone, which holds the lock.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import threading
import uuid
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.embedding.embed import (
    EncodedPicture,
    Outcome,
    encode_rows,
    model_dir_of,
    open_clip_model,
    open_encoder,
)
from indexer.embedding.encoder import Encoder
from schemas import errors
from schemas.errors import InputError, NetworkError, NoIndexError, ToonsearchError, UsageError
from schemas.images import PictureError, Reason
from schemas.progress import Progress
from schemas.records import Row
from schemas.settings import Settings
from schemas.storage.fsio import fsync_directory, storage_errors, write_file
from schemas.storage.layout import Layout

if TYPE_CHECKING:
    import pyarrow as pa

    from indexer.embedding.clip import ClipModel

LOCAL = "local"
PIECE_ROWS = 1 << 16
"""Rows that Ray is given at once: it keeps a record of each block until all are done."""
DEATHS = 3
"""So often a worker may die at a block before the block is left out; then each of its pictures is
tried by itself."""
MOST_LOST = 16
"""More blocks than these are not left out: then it is not the pictures."""
OBJECTS_BYTES = 256 << 20
"""Shared memory of a local cluster; only rows and vectors pass through it."""
LEFT_AS_IT_WAS = "What was encoded is stored; run the same command again for the rest."


@dataclass(frozen=True)
class Task:
    """What a worker needs to know: the settings, with the data root as an absolute path; the
    model, and a file of the data root that only this run has, with what it holds."""

    settings: Settings
    model: Path
    model_id: str
    preprocessing: str
    probe: Path
    token: bytes


class Worker:
    """Encodes blocks of rows, in a process of Ray. It opens what it needs with the first block, so
    that whatever is wrong comes back as an answer."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._opened: tuple[Encoder, Any] | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        """Outcomes of a block (number, picture_id, file, panel) in the columns of `outcomes_table`,
        or one row with what concerns all pictures."""
        try:
            encoder, clip = self._opened = self._opened or self._open()
            rows = block.to_pylist()
            settings = self.task.settings
            batches = encode_rows(settings.layout, settings, encoder, clip, rows)
            found = [outcome for batch in batches for outcome in batch]
            return outcomes_table(found)
        except Exception as error:
            return failure_table(error)

    def _open(self) -> tuple[Encoder, Any]:
        task, here = self.task, socket.gethostname()
        try:
            same = task.probe.read_bytes() == task.token
        except OSError:
            same = False
        if not same:
            raise InputError(
                f"a worker on {here} does not see the data folder {task.settings.layout.root}",
                "Every machine of the cluster needs it under the same path, on a shared file system.",
            )
        folder = task.model if task.model.is_dir() else model_dir_of(task.settings)
        encoder = open_encoder(task.settings, bulk=True, folder=folder)
        if (encoder.model_id, encoder.preprocessing_digest) != (task.model_id, task.preprocessing):
            raise NoIndexError(
                f"a worker on {here} has the model {encoder.model_id}, and not {task.model_id}",
                "Install the same version of toonsearch on every machine of the cluster.",
            )
        return encoder, open_clip_model(task.settings, bulk=True)


# --- What workers answer, as columns.


def outcomes_table(outcomes: Sequence[tuple[Row, Any]]) -> pa.Table:
    """Outcomes with the number of each row."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in _schema().names}
    for row, found in outcomes:
        is_bad = isinstance(found, PictureError)
        subject = None if is_bad or found.subject is None else found.subject.tobytes()
        columns["number"].append(row["number"])
        columns["vector"].append(None if is_bad else found.vector.tobytes())
        columns["ood"].append(None if is_bad else found.ood)
        columns["subject"].append(subject)
        columns["reason"].append(str(found.reason) if is_bad else None)
        columns["message"].append(found.message if is_bad else None)
        columns["hint"].append(None)
    return pa.table(columns, _schema())


def failure_table(error: Exception) -> pa.Table:
    """One row for what concerns all pictures: `number` is -1, `reason` names the class."""
    import pyarrow as pa

    line = (str(error).splitlines() or [""])[0]
    told = (
        error
        if isinstance(error, ToonsearchError)
        else ToonsearchError(f"a worker failed ({type(error).__name__}: {line})")
    )
    row = {
        "number": -1,
        "reason": type(told).__name__,
        "message": told.message,
        "hint": told.hint,
    }
    return pa.Table.from_pylist([row], _schema())


def outcomes_of(rows: Sequence[Row], table: pa.Table) -> list[Outcome]:
    """The rows that a table of outcomes is about, each with what was found.

    Errors:  what concerned all pictures, as the class that it was
    """
    found: list[Outcome] = []
    for one in table.to_pylist():
        if one["number"] < 0:
            kind = getattr(errors, one["reason"], ToonsearchError)
            raise kind(one["message"], one["hint"])
        row = rows[one["number"]]
        if one["reason"] is not None:
            found.append((row, PictureError(Reason(one["reason"]), one["message"])))
            continue
        subject = one["subject"]
        vector = np.frombuffer(one["vector"], np.float32)
        told = None if subject is None else np.frombuffer(subject, np.float32)
        found.append((row, EncodedPicture(vector, one["ood"], told)))
    return found


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("number", pa.int64()),
            ("vector", pa.binary()),
            ("ood", pa.float32()),
            ("subject", pa.binary()),
            ("reason", pa.string()),
            ("message", pa.string()),
            ("hint", pa.string()),
        ]
    )


# --- The side that holds the catalog.


def encoded_by_ray(
    address: str,
    layout: Layout,
    settings: Settings,
    encoder: Encoder,
    clip: ClipModel | None,
    rows: Sequence[Row],
    progress: Progress | None = None,
) -> Generator[list[Outcome]]:
    """Outcomes of rows as `encode_rows` gives them, in any order, from the workers of a cluster;
    `local` is one of this machine. `encoder` says which model workers must have; what shows the
    subject they open by the settings.

    A picture at which workers die again and again is a bad picture.

    Errors:  UsageError without Ray or for an address that cannot be used; NetworkError when the
             cluster fails; InputError and NoIndexError when a worker lacks the data folder or the
             model
    """
    if not rows:
        return
    with _connected(address, settings) as ray, _task(layout, settings, encoder) as task:
        done = 0
        for start in range(0, len(rows), PIECE_ROWS):
            left = dict(enumerate(rows[start : start + PIECE_ROWS], start))
            for block_rows in (settings.encoder.batch, 1):
                for table in _answers(ray, task, left, block_rows):
                    found = outcomes_of(rows, table)
                    for number in table["number"].to_pylist():
                        left.pop(number, None)
                    done += len(found)
                    yield found
                    if progress:
                        progress(done, len(rows))
            died = PictureError(Reason.UNEXPECTED, "every process that read it died")
            yield [(row, died) for row in left.values()]
            done += len(left)


def _answers(ray: Any, task: Task, rows: dict[int, Row], block_rows: int) -> Iterator[pa.Table]:
    """Tables of outcomes as workers finish them; rows whose block is left out are missing."""
    import pyarrow as pa
    from ray.data import ActorPoolStrategy, DataContext

    if not rows:
        return
    data = pa.table(
        {
            "number": pa.array(rows, pa.int64()),
            **{
                name: pa.array([row[name] for row in rows.values()], pa.string())
                for name in ("picture_id", "file", "panel")
            },
        }
    )
    blocks = [data.slice(at, block_rows) for at in range(0, len(rows), block_rows)]
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = MOST_LOST
    most, resources = _pool(ray, task.settings)
    workers = min(most, len(blocks))
    with _told(), warnings.catch_warnings():
        # Retries have no other name yet; the extra [ray] leaves out the version that drops this one.
        warnings.simplefilter("ignore", DeprecationWarning)
        made = ray.data.from_arrow(blocks).map_batches(
            Worker,
            fn_constructor_args=(task,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
            max_restarts=-1,
            max_task_retries=DEATHS - 1,
            **resources,
        )
    found = iter(made.iter_batches(batch_size=None, batch_format="pyarrow"))
    while True:
        with _told():  # not around `yield`: what the reader of this meets is no failure of Ray
            table = next(found, None)
        if table is None:
            return
        yield table


def _pool(ray: Any, settings: Settings) -> tuple[int, dict[str, float]]:
    """How many workers there may be, and what each takes: a GPU where the cluster has some and
    the settings allow it, else a core."""
    has = ray.cluster_resources()
    cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if settings.encoder.device == "cuda" and not gpus:
        raise UsageError(
            "encoder.device is cuda, and the Ray cluster has no GPU",
            "Set encoder.device = 'auto'.",
        )
    if gpus and settings.encoder.device != "cpu":
        return gpus, {"num_gpus": 1, "num_cpus": max(1, cores // gpus)}
    if not cores:
        raise NetworkError("the Ray cluster has no cores", "Start workers with `ray start`.")
    return cores, {"num_cpus": 1}


@contextlib.contextmanager
def _task(layout: Layout, settings: Settings, encoder: Encoder) -> Iterator[Task]:
    root = layout.root.resolve()
    store = replace(settings.store, root=root)
    # A worker has a core: with more threads it would take those of others.
    mine = replace(settings, store=store, encoder=replace(settings.encoder, threads=1))
    probe, token = Layout(root).staging / f"ray-{uuid.uuid4().hex}", uuid.uuid4().hex.encode()
    model = model_dir_of(settings).resolve()
    with storage_errors(f"the data root {root}"):
        probe.parent.mkdir(exist_ok=True)
        write_file(probe, token)
        fsync_directory(probe.parent)
    try:
        yield Task(mine, model, encoder.model_id, encoder.preprocessing_digest, probe, token)
    finally:
        probe.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(address: str, settings: Settings) -> Iterator[Any]:
    """Ray, connected to a cluster, or with one of its own that ends with the block.

    Errors:  UsageError, NetworkError
    """
    import tempfile

    if "://" in address:
        raise UsageError(
            f"{address!r} is an address for Ray's client, which Ray Data does not work with",
            "Run the command on a machine of the cluster with --ray auto.",
        )
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "ray is not installed", "Install the extra: pip install 'toonsearch[ray]'."
        )
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # sends nothing to its maker
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else lines of its own between ours
    import ray
    import ray.data

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with tempfile.TemporaryDirectory(prefix="toonsearch-", ignore_cleanup_errors=True) as folder:
        if address == LOCAL:
            options |= {
                "num_cpus": settings.encoder.threads or len(os.sched_getaffinity(0)),
                "num_gpus": None if settings.encoder.device != "cpu" else 0,
                "object_store_memory": OBJECTS_BYTES,
                "include_dashboard": False,
                "_temp_dir": folder,
                "_node_ip_address": "127.0.0.1",
            }
        try:
            with _told(address), _own_signals():
                ray.init(address=address, **options)
            for name in ("ray", "ray.data"):
                logging.getLogger(name).disabled = True
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # errors are raised as well
            yield ray
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Give back what SIGTERM did before Ray took it, and take its exit for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _told(address: str | None = None) -> Iterator[None]:
    """Whatever Ray raises, as one line. Errors:  NetworkError"""
    try:
        yield
    except Exception as error:  # Ray has no class that all its errors share
        said = " ".join(str(error).split())[:200] or type(error).__name__
        if address is not None:
            raise NetworkError(
                f"Ray at {address} cannot be reached ({said})",
                "Run it again when this machine is less busy."
                if address == LOCAL
                else "Start it with `ray start --head`; one that asks for a token needs RAY_AUTH_MODE=token.",
            ) from error
        raise NetworkError(f"the Ray cluster failed ({said})", LEFT_AS_IT_WAS) from error
