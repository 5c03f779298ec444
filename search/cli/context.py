"""One run of the command line: its settings, what it may say, and where.

Data goes to standard output and nothing else does. Notes, warnings and progress go to
standard error; progress bars only when that is a terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError, UsageError
from schemas.progress import Progress

if TYPE_CHECKING:
    from schemas.settings import Settings


DEMO = Path("demo/data")
"""Where `make demo` and `toonsearch demo` put their index, in the current folder."""


@dataclass
class Session:
    """What the options before and after a command's name said."""

    data: str | None = None
    quiet: bool = False
    verbose: bool = False
    debug: bool = False

    def settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """The settings tree with this run's flags on top.

        Errors:  UsageError names the key and its origin
        """
        from schemas.settings import MAX_ROOT_BYTES, load_settings

        settings = load_settings({"store.root": self.data, **(flags or {})})
        root = settings.store.root
        if root.is_file():
            raise UsageError(f"the data root {root} is a file", "Choose a folder with --data DIR.")
        if (length := len(os.fsencode(os.path.realpath(root)))) > MAX_ROOT_BYTES:
            raise UsageError(
                f"the path of the data root has {length:,} bytes, {MAX_ROOT_BYTES} are the most",
                "Choose a folder nearer to the top with --data DIR.",
            )
        return settings

    def note(self, text: str) -> None:
        """Say something that is not data."""
        if not self.quiet:
            with contextlib.suppress(OSError):  # work goes on when nobody listens
                print(f"toonsearch: {plain(self.with_data(text))}", file=sys.stderr)

    def with_data(self, text: str) -> str:
        """Text whose commands in backticks are about this run's data root, ready to be copied."""
        if self.data is None:
            return text
        chosen = f"`toonsearch --data {shlex.quote(self.data)} "
        return re.sub(r"`toonsearch (?!--|[^`]*--help`)", lambda _: chosen, text)

    def detail(self, text: str) -> None:
        """Say something that only `-v` wants to hear."""
        if self.verbose:
            self.note(text)

    def offer(self) -> str:
        """Where there is an index, for whoever has made the demo and asks without naming it."""
        from schemas.storage.layout import Layout

        if self.data is not None:
            return ""
        if Layout(DEMO).current.is_file():
            return f"The demo has one: `toonsearch --data {DEMO} ...`."
        return "To try it on drawings: `toonsearch demo`."

    def writing(self, what: str, dry_run: bool) -> AbstractContextManager[object]:
        """Hold the lock of the data root, unless nothing is to be done.

        Errors:  LockedError when another run holds it
        """
        from schemas.storage.locking import writing

        return contextlib.nullcontext() if dry_run else writing(self.settings().layout, what)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Progress | None]:
        """A progress bar on standard error, or None when nobody watches."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total, part="": bar.update(
                task, completed=done, total=total or None, description=part or what
            )


def program() -> str:
    """How this program was started, to be typed again in the same folder."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m {started.parent.name}"
    found = shutil.which(started.name)
    if found is not None and os.path.realpath(found) == os.path.realpath(started):
        return started.name
    near = os.path.relpath(started)
    return shlex.quote(str(started) if near.startswith("..") else near)


def plain(text: str) -> str:
    """Text that cannot move the cursor or recolour a terminal: names may hold anything."""
    return "".join(c if c.isprintable() else " " for c in text)


def colour_wanted(stream: Any) -> bool:
    """Whether a stream should get colours: a terminal, and neither NO_COLOR nor TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


LEAST_MEMORY_BYTES = 750_000_000
MUCH_MEMORY_BYTES = 1_500_000_000
"""Address space that commands which only read get by with, and all others: with less, libraries
crash instead of saying so."""
READING = frozenset({"query", "sql", "status", "config"})
THRIFT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TOKIO_WORKER_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""What keeps libraries from reserving gigabytes that they never use."""


def fit_memory(command: str) -> None:
    """Where the address space is limited (`ulimit -v`), have libraries reserve less of it.

    Errors:  InputError when it is too small for the command to start at all
    """
    import resource

    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    given = min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)
    if given is None:
        return
    least = LEAST_MEMORY_BYTES if command in READING else MUCH_MEMORY_BYTES
    if given < least:
        raise InputError(
            f"there is not enough memory: this shell allows {given / 1e6:,.0f} MB of address space,"
            f" {least / 1e6:,.0f} MB are needed",
            "Raise the limit, as with `ulimit -v 2000000`.",
        )
    for name, value in THRIFT.items():
        os.environ.setdefault(name, value)
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX: else each thread reserves 64 MiB


def prepare_streams() -> None:
    """Stand in for standard streams that are closed, and write UTF-8 whatever the locale says;
    file names keep their odd bytes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free descriptor is the closed one: no file of ours may get its number.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
