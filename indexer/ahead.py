"""Work done a bounded window ahead on threads, handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from schemas.attempt import attempt
from schemas.images import PictureError

Job = TypeVar("Job")
Done = TypeVar("Done")

WORKERS = 2  # decoding keeps up with the network on two cores; more threads only take turns


def in_order(
    work: Callable[[Job], Done], jobs: Iterable[Job], window: int, workers: int = WORKERS
) -> Iterator[tuple[Job, Done | PictureError]]:
    """Each job with its outcome, or with what is wrong with its picture, in order, at most
    `window` jobs ahead of the reader, on so many threads.

    Errors:  what concerns all jobs and not one (`schemas.attempt`)
    """
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="ahead") as pool:
        ahead: deque[tuple[Job, Future[Done | PictureError]]] = deque()
        remaining = iter(jobs)
        try:
            while True:
                for job in remaining:
                    ahead.append((job, pool.submit(attempt, work, job)))
                    if len(ahead) >= window:
                        break
                if not ahead:
                    return
                job, future = ahead.popleft()
                yield job, future.result()
        finally:
            for _, future in ahead:
                future.cancel()
