"""A measured figure, how it is printed, and how processes are timed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measurement; `what` is its row in docs/benchmarks.md, `how` a remark for the terminal."""

    name: str
    what: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["less", "more"] = "less"
    how: str = ""

    @property
    def reached(self) -> bool:
        if self.target is None:
            return True
        return self.value <= self.target if self.better == "less" else self.value >= self.target

    @property
    def wanted(self) -> str:
        """The target as people read it; empty when there is none."""
        sign = "≤" if self.better == "less" else "≥"
        return "" if self.target is None else f"{sign} {self.target:,g} {self.unit}".strip()

    def line(self) -> str:
        missed = "" if self.reached else "  MISSED"
        measured = f"{self.value:>12,.3f} {self.unit:<6}"
        return f"{self.name:<28} {measured} {self.wanted:<14}{missed}  {self.how}"


@dataclass(frozen=True)
class Run:
    """One process and its children: wall time from its start to its last output byte (to its
    end where it prints nothing), processor time, peak memory, and how much of that was its own and not pages of mapped files, which the
    system takes back when memory is short (sampled; the largest process of them)."""

    seconds: float
    peak_mb: float
    output: str
    cpu_s: float = 0.0
    own_mb: float = 0.0


def run_process(
    command: Sequence[str], environ: dict[str, str] | None = None, ok: Collection[int] = (0,)
) -> Run:
    """Run a process to its end.

    Units:   seconds; megabytes of 10**6 bytes
    Errors:  RuntimeError when it ends with another exit code
    """
    started = time.perf_counter()
    seconds = 0.0
    parts: list[bytes] = []
    with subprocess.Popen(
        list(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environ or {})},
    ) as process:
        assert process.stdout is not None
        with _own_memory(process.pid) as own:
            while part := os.read(process.stdout.fileno(), 1 << 16):
                seconds = time.perf_counter() - started
                parts.append(part)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = seconds or time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(seconds, usage.ru_maxrss * 1024 / 1e6, b"".join(parts).decode(), cpu_s, own[0])


@contextlib.contextmanager
def _own_memory(pid: int) -> Iterator[list[float]]:
    """The most memory of a process that no file lies behind, in MB, looked at as it runs."""
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            try:
                said = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                return
            found = re.search(r"RssAnon:\s+(\d+) kB", said)
            most[0] = max(most[0], int(found[1]) * 1024 / 1e6 if found else 0.0)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()


class Steps:
    """The steps of a long measurement, each a process, whose results stay in a file of the folder:
    what has run there is not run again. After so many `minutes` no other step is begun."""

    def __init__(self, folder: Path, minutes: float | None = None) -> None:
        self.folder, self._file = folder, folder / "steps.json"
        self._until = math.inf if minutes is None else time.monotonic() + 60 * minutes
        folder.mkdir(parents=True, exist_ok=True)
        self.done: dict[str, dict[str, Any]] = {}
        if self._file.exists():
            self.done = json.loads(self._file.read_text())

    def run(
        self,
        name: str,
        command: Sequence[str],
        environ: dict[str, str] | None = None,
        ok: Collection[int] = (0,),
    ) -> None:
        """Run a step, unless it has run or time is up; `done` then says what the process took, with
        the JSON that it printed, if any, under `said`."""
        if name not in self.done and time.monotonic() < self._until:
            print(f"bench: {name} ...", file=sys.stderr, flush=True)
            load = os.getloadavg()[0]
            run = run_process(command, environ, ok)
            said = json.loads(run.output) if run.output.startswith(("{", "[")) else None
            took = {key: value for key, value in asdict(run).items() if key != "output"}
            self.done[name] = {**took, "load": load, "said": said}
            aside = self._file.with_suffix(".tmp")
            aside.write_text(json.dumps(self.done, indent=1) + "\n")
            aside.replace(self._file)


def interleaved(commands: dict[str, Callable[[], Run]], runs: int) -> dict[str, list[Run]]:
    """Run commands in turn, so that a slow minute of the machine hits all of them.

    The first round warms the page cache and does not count.
    """
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            run = command()
            if turn:
                found[name].append(run)
    return found


def median_s(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}


def write_json(path: Path, figures: Sequence[Figure]) -> None:
    """Write figures with the machine that they belong to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(body, indent=1) + "\n")
