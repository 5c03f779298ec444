"""A measured figure, how it is printed, and how processes are timed."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


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
    """One process: wall time from its start to its last output byte, and its peak memory."""

    seconds: float
    peak_mb: float
    output: str


def run_process(command: Sequence[str], environ: dict[str, str] | None = None) -> Run:
    """Run a process to its end.

    Units:   seconds; megabytes of 10**6 bytes
    Errors:  RuntimeError when it fails
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
        while part := os.read(process.stdout.fileno(), 1 << 16):
            seconds = time.perf_counter() - started
            parts.append(part)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Run(seconds, usage.ru_maxrss * 1024 / 1e6, b"".join(parts).decode())


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
