"""`toonsearch open`: a folder of pictures becomes a page in one line, and stays up to date."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from schemas.errors import InputError, LockedError, PartlyDoneError, UsageError
from search.cli.commands.index import build_and_publish, embed_new
from search.cli.context import Session
from search.cli.options import LEVELS_HELP, Host, Port, counted, examples, new_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.settings import Settings

app = new_app()
WATCH_S = 3.0
"""Between two looks at a folder: what is being copied is taken in a look after it has stopped
changing."""
LOOK_SHARE = 0.05
"""Of the time may go into looking: a folder that takes long to list is looked at less often."""
GRACE_S = 3.0
"""For an update to end by itself, before it is told to."""


@app.command(
    "open",
    epilog=examples(
        "toonsearch open drawings",
        "toonsearch open drawings --watch",
        "toonsearch open covers --pattern {genre}/{author}/{title} --no-serve",
    ),
)
def open_(
    ctx: typer.Context,
    directory: Annotated[Path, Argument(metavar="DIR", help="The folder.")],
    pattern: Annotated[str, Option(metavar="LEVELS", help=LEVELS_HELP)] = "{author}/{title}",
    watch: Annotated[
        bool, Option("--watch", help="Go on taking in files that are new or changed.")
    ] = False,
    no_serve: Annotated[
        bool, Option("--no-serve", help="Only bring the index up to date.")
    ] = False,
    no_browser: Annotated[
        bool, Option("--no-browser", help="Say where the page is, do not open it.")
    ] = False,
    host: Host = None,
    port: Port = None,
) -> int:
    """Import a folder, build the index and open the page.

    The same as `import folder`, `index build` and `serve` one after another: only what is new or
    changed costs anything, and what the catalog holds besides stays. --watch looks at the folder
    every few seconds; nothing is taken out because the folder is gone.
    """
    session: Session = ctx.obj
    settings = session.settings({"web.host": host, "web.port": port})
    listener = None
    if not no_serve:
        try:
            from search.web import server
        except ImportError as error:
            raise UsageError(
                f"the page needs the package {error.name}",
                "Install toonsearch[web], or add --no-serve.",
            ) from error
        listener = server.listen(settings.web.host, settings.web.port)  # a taken port costs no work
    seen = fingerprint(directory) if watch else None  # before it is read: nothing comes in between
    code = _take_in(session, settings, directory, pattern)
    if listener is not None:
        from search.web import server

        with _watching(session, settings, directory, pattern, seen if watch else None):
            server.serve(
                settings, listener, note=session.note, open_page=not no_browser and _has_desktop()
            )
        return 0
    if watch:
        watcher = _watcher(session, settings, directory, pattern, seen)
        watcher.run(threading.Event())  # until Ctrl-C
    return code


def _take_in(session: Session, settings: Settings, directory: Path, pattern: str) -> int:
    """Import, embed, build, publish; the exit code."""
    from crawler.importers.folder import import_folder

    with session.writing("open", dry_run=False):
        with session.progress("Importing") as progress:
            report = import_folder(
                settings.layout, settings, directory, pattern=pattern, progress=progress
            )
        counts = counted({what: n for what, n in report.counts.items() if n})
        session.note(f"imported {report.source}: {counts or 'nothing'}")
        for remark in (*report.problems, *report.notes):
            session.note(remark)
        embed_new(session, settings)
        built, _ = build_and_publish(session, settings)
    session.note(f"the index holds {counted(built.counts)}")
    return PartlyDoneError.exit_code if report.is_partial else 0


def _has_desktop() -> bool:
    """Whether a browser has a screen of its own: one in the terminal would cover it."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform == "darwin" or bool(named)


# --- Watching.


def fingerprint(directory: Path) -> str | None:
    """What tells whether anything in a folder has changed, None while it cannot be listed."""
    from crawler.importers.walk import walk

    try:
        found = walk(directory)
    except InputError:
        return None
    facts = hashlib.sha256(repr(sorted(found.unseen)).encode())
    for path, text, _ in found.files:
        try:
            stat = path.stat()
            facts.update(f"{text}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "replace"))
        except OSError as error:
            facts.update(f"{text}\0{error.errno}\n".encode("utf-8", "replace"))
    return facts.hexdigest()


class Watcher:
    """Calls `update` whenever a folder has changed and then stayed the same for one look.

    `update` takes the stop signal and returns an exit code; after LockedError's it is called
    again at the next look.
    """

    def __init__(
        self,
        directory: Path,
        seen: str | None,
        update: Callable[[threading.Event], int],
        note: Callable[[str], None],
    ) -> None:
        self.directory, self.update, self.note = directory, update, note
        self.done = self.before = seen
        self.is_gone = False
        self.look_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Look and update until `stop` is set."""
        wait_s = WATCH_S
        while not stop.wait(wait_s):
            self.look(stop)
            wait_s = max(WATCH_S, self.look_s / LOOK_SHARE)

    def look(self, stop: threading.Event) -> None:
        """One look."""
        started = time.monotonic()
        now = fingerprint(self.directory)
        self.look_s = time.monotonic() - started
        if now is None and not self.is_gone:
            self.note(
                f"{self.directory} is gone: its pictures stay in the index, and are looked for"
                " again when it is back"
            )
        elif now is not None and self.is_gone:
            self.note(f"{self.directory} is back")
        self.is_gone = now is None
        if now is not None and now != self.done and now == self.before:
            if self.update(stop) == LockedError.exit_code:
                return
            self.done = now
        self.before = now


def _watcher(
    session: Session, settings: Settings, directory: Path, pattern: str, seen: str | None
) -> Watcher:
    """A watcher whose updates are processes of their own: a build beside the page would share
    its interpreter lock, and every query would wait."""
    root = str(settings.store.root.absolute())
    command = [sys.executable, "-m", "search.cli.app", "--data", root, "open", str(directory)]
    command += ["--no-serve", "--pattern", pattern, *(["--quiet"] if session.quiet else [])]

    def update(stop: threading.Event) -> int:
        session.note(f"{directory} has changed")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            while process.poll() is None and not stop.wait(0.2):
                pass
        finally:
            try:  # a terminal's Ctrl-C has told it already: what it has done is kept
                code = process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                code = process.wait()
        return code

    session.note(f"watching {directory}")
    return Watcher(directory, seen, update, session.note)


@contextmanager
def _watching(
    session: Session, settings: Settings, directory: Path, pattern: str, seen: str | None
) -> Iterator[None]:
    """Watch beside whatever is done inside; nothing without a first look."""
    if seen is None:
        yield
        return
    stop = threading.Event()
    watcher = _watcher(session, settings, directory, pattern, seen)
    thread = threading.Thread(target=watcher.run, args=(stop,), name="watch")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
