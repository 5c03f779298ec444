"""The edge between one input and the run: whatever is raised about one input stays its own.

Every loop over pictures goes through `attempt`, so that no file, however odd, costs the others;
`in_order` is that loop on threads, and `WorkReport` what came of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from schemas.errors import InputError, StorageError, ToonsearchError
from schemas.images import PictureError, Reason
from schemas.storage.fsio import is_disk_full

P = ParamSpec("P")
T = TypeVar("T")
Job = TypeVar("Job")
Done = TypeVar("Done")
WORKERS = 2  # decoding keeps up with the network on two cores; more threads only take turns
MAX_PROBLEMS = 20


def attempt(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | PictureError:
    """What a piece of work on one picture gives, or what is wrong with that picture.

    An exception that nobody foresaw becomes the reason `unexpected`, with its type in the
    message and itself as the cause.

    Errors:  whatever `concerns_all`
    """
    try:
        return work(*args, **options)
    except PictureError as error:
        return error
    except BaseException as error:
        if concerns_all(error):
            raise
        return unexpected(error)


def concerns_all(error: BaseException) -> bool:
    """Whether an exception is about the run and not about one input: the next input would fail
    as well, or somebody wants the run to end."""
    if isinstance(error, ToonsearchError):
        return isinstance(error, StorageError) or not isinstance(error, InputError)
    if not isinstance(error, Exception):  # Ctrl-C and exits, but not a panic of a Rust library
        return type(error).__name__ != "PanicException"
    return is_disk_full(error)


def unexpected(error: BaseException) -> PictureError:
    """An exception about one picture as its reason; `--debug` shows where it arose."""
    import logging

    if isinstance(error, OSError) and error.strerror:
        found = PictureError(Reason.UNREADABLE, f"cannot be read ({error.strerror})")
    elif isinstance(error, InputError):
        found = PictureError(Reason.UNEXPECTED, error.message, error.hint)
    else:
        line = (str(error).splitlines() or [""])[0][:200]
        what = f"{type(error).__name__}: {line}".rstrip(": ")
        found = PictureError(Reason.UNEXPECTED, f"an error that nobody foresaw ({what})")
    found.__cause__ = error
    logging.getLogger("toonsearch").debug(found.message, exc_info=error)
    return found


def in_order(
    work: Callable[[Job], Done], jobs: Iterable[Job], window: int, workers: int = WORKERS
) -> Iterator[tuple[Job, Done | PictureError]]:
    """Each job with its outcome, or with what is wrong with its picture; else as `at_once`.

    Errors:  whatever `concerns_all`
    """
    return at_once(lambda job: attempt(work, job), jobs, window, workers)


def at_once(
    work: Callable[[Job], Done], jobs: Iterable[Job], window: int, workers: int
) -> Iterator[tuple[Job, Done]]:
    """Each job with its outcome, in order, at most `window` jobs ahead of the reader, on so many
    threads; the first that fails ends all.

    Errors:  those of the work
    """
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="ahead") as pool:
        ahead: deque[tuple[Job, Future[Done]]] = deque()
        remaining = iter(jobs)
        try:
            while True:
                for job in remaining:
                    ahead.append((job, pool.submit(work, job)))
                    if len(ahead) >= window:
                        break
                if not ahead:
                    return
                job, future = ahead.popleft()
                yield job, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


@dataclass
class WorkReport:
    """What a run over many pictures did: how many came out in each way (a dry run: how many are
    pending), and the first few failures in words."""

    counts: dict[str, int]
    model_id: str = ""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def fail(self, name: str, why: object, count: int = 1) -> None:
        """Count pictures that failed and say why."""
        self.counts["failed"] = self.counts.get("failed", 0) + count
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{name}: {why}")
