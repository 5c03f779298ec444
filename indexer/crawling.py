"""A crawl in a child process, which writes under this job's lock.

The crawler's framework is large, installs signal handlers and cannot be started twice in a
process, so it never gets into this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import (
    InputError,
    NetworkError,
    PartlyDoneError,
    ToonsearchError,
    UsageError,
)
from schemas.storage.layout import Layout
from schemas.storage.locking import handed_on

GRACE_S = 120.0
"""After SIGTERM a crawl commits what it has; then it is killed, which loses nothing either."""
PR_SET_PDEATHSIG = 1
KINDS: dict[int, type[ToonsearchError]] = {
    kind.exit_code: kind for kind in (UsageError, InputError, PartlyDoneError, NetworkError)
}


@dataclass
class CrawlOutcome:
    """What the child reported."""

    counts: dict[str, int] = field(default_factory=dict)
    detail: str = ""
    problems: list[str] = field(default_factory=list)
    was_stopped: bool = False
    error: ToonsearchError | None = None


def crawl_site(layout: Layout, site: str, *, seconds: float | None) -> CrawlOutcome:
    """Run `toonsearch crawl SITE`, for at most so long.

    Units:   seconds
    Errors:  UsageError when the site's options cannot be read
    """
    try:
        words = shlex.split(site)
    except ValueError as error:
        raise UsageError(f"nightly.sites: {site!r} cannot be read ({error})") from error
    program = [sys.executable, "-m", "search.cli.app", "--data", str(layout.root)]
    environ, handles = handed_on()
    with subprocess.Popen(
        [*program, "crawl", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
        pass_fds=handles,
        start_new_session=True,  # Ctrl-C reaches it once, through us
        preexec_fn=_end_with_parent,
    ) as child:
        stopped = False
        try:
            out, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            stopped = True
            out, err = _stop(child)
        except BaseException:
            _stop(child)
            raise
    return _understood(child.returncode, out, err, stopped)


def _stop(child: subprocess.Popen[str]) -> tuple[str, str]:
    child.terminate()
    try:
        return child.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()


def _end_with_parent() -> None:
    """A crawl must not outlive the job that would report it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _understood(code: int, out: str, err: str, stopped: bool) -> CrawlOutcome:
    found = CrawlOutcome(was_stopped=stopped)
    body: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        body = json.loads(out)
    if isinstance(body, dict):
        counts = body.get("counts", {})
        found.counts = {k: v for k, v in counts.items() if isinstance(v, int) and v}
        found.problems = [str(problem) for problem in body.get("problems", [])][:20]
        if "requests" in body:
            found.detail = f"{body['requests']:,} requests, {body.get('bytes', 0):,} bytes"
    if code != 0 and not stopped:
        lines = [line for line in err.splitlines() if line.strip()]
        message = lines[-1].removeprefix("toonsearch: ").removeprefix("error: ") if lines else ""
        if code < 0:
            message = f"the crawl was ended by {signal.Signals(-code).name}"
        found.error = KINDS.get(code, ToonsearchError)(message.rstrip(".") or f"exit code {code}")
    return found
