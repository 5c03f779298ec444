"""A crawl in a process of its own, for callers that go on after it: the nightly job.

A crawl ends with its event loop, which cannot be started twice; a process also gives back
its memory, and takes nobody with it when it dies. Plan and report travel as JSON.

    report = crawl_in_child(settings, Plan("naver"), max_seconds=3600)
    report.counts["pictures_stored"], report.error
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from crawler.plan import CrawlReport, Plan
from schemas import errors
from schemas.errors import ToonsearchError
from schemas.settings import Settings, flatten, load_settings
from schemas.storage.fsio import is_disk_full

GRACE_S = 180.0
"""What a crawl gets to end in order after its time is over: requests in flight, commits."""


def crawl_in_child(
    settings: Settings,
    plan: Plan,
    *,
    version: str = "0",
    max_seconds: float | None = None,
    accept_fewer: bool = False,
) -> CrawlReport:
    """`crawler.crawl.crawl` in a child process; the caller holds the lock of the data root.

    Units:   seconds; None waits until there is nothing left to fetch
    Errors:  those of `crawl`; ToonsearchError when the child dies
    """
    task = {
        "settings": {key: _plain(value) for key, value in flatten(settings).items()},
        "plan": plan.as_json(),
        "options": {"version": version, "max_seconds": max_seconds, "accept_fewer": accept_fewer},
    }
    # A session of its own, so that Ctrl-C reaches the child once, through us; our end of its
    # standard input tells it, by closing, that we are gone and that nobody holds the lock.
    with subprocess.Popen(
        [sys.executable, "-m", "crawler.process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = threading.Timer((max_seconds or 0.0) + GRACE_S, process.kill)
        try:
            if max_seconds is not None:
                alarm.start()
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
            out = process.stdout.read()
            process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            alarm.cancel()
    try:
        return report_of(json.loads(out))
    except ValueError:
        raise ToonsearchError(
            f"the crawl of {plan.site} died (exit code {process.returncode})",
            "What was fetched is kept; run it again to go on.",
        ) from None


def report_of(answer: dict[str, Any]) -> CrawlReport:
    """What `perform` answered, as the caller of `crawl` would have it."""
    if "raised" in answer:
        raise _error(answer["raised"])
    error = None if answer["error"] is None else _error(answer["error"])
    return CrawlReport(**{**answer, "error": error})


def _error(parts: list[str]) -> ToonsearchError:
    kind, message, hint = parts
    found: ToonsearchError = getattr(errors, kind, ToonsearchError)(message, hint)
    return found


def _parts(error: Exception) -> list[str]:
    if isinstance(error, ToonsearchError):
        names = [
            kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__
        ]
        return [names[0], error.message, error.hint]
    if is_disk_full(error):
        return ["InputError", "the disk is full", "Free some space and run the command again."]
    return ["ToonsearchError", f"this is a bug in toonsearch ({type(error).__name__}: {error})", ""]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _watch_parent() -> None:
    """End in order when the parent has gone, however it went."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def perform(task: dict[str, Any]) -> dict[str, Any]:
    """Run a task; the answer says what came of it, an error included."""
    from crawler.crawl import crawl

    try:
        settings = load_settings(task["settings"])
        report = crawl(settings.layout, settings, Plan.of_json(task["plan"]), **task["options"])
    except Exception as error:  # told to the parent, which raises it again
        return {"raised": _parts(error)}
    answer = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return answer | {"error": None if report.error is None else _parts(report.error)}


def main() -> None:
    """The child: a task on standard input, a report on standard output."""
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_watch_parent, daemon=True).start()
    json.dump(perform(task), sys.stdout)


if __name__ == "__main__":
    main()
