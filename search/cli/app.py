"""The command line: mounts every command lazily, turns errors into one line and an exit code.

`toonsearch --help` imports no command, and a command imports only what it uses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from schemas.errors import (
    InputError,
    InterruptedRun,
    MissingIndexError,
    ToonsearchError,
    UnreachableError,
    UsageError,
    nearest,
)
from schemas.storage.fsio import is_disk_full, is_out_of_memory, refusal, unreachable
from search.cli.context import Session, fit_memory, plain, prepare_streams
from search.cli.options import anywhere, examples

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter

VERSION = "0.2.0"
"""Equal to pyproject.toml (a test compares them); reading it from the installed package
would cost a scan of the environment at every start."""

COMMANDS: dict[str, tuple[str, str]] = {
    "query": ("query", "Find the titles drawn most like a picture, and by whom."),
    "open": ("open", "Import a folder, build the index and open the page."),
    "crawl": ("crawl", "Fetch titles and pictures from a site, politely."),
    "serve": ("serve", "Open a page where a picture is dropped, and an API for programs."),
    "import": ("imports", "Bring pictures into the catalog."),
    "panels": ("panels", "Cut strips and pages into panels."),
    "embed": ("pictures", "Turn new pictures into vectors."),
    "predict": ("pictures", "Predict author, genre and era of listed pictures."),
    "train": ("train", "Fine-tune a network on your own drawings."),
    "evaluate": ("train", "Measure retrieval, labels and calibration."),
    "models": ("models", "Add models that say what a picture shows."),
    "index": ("index", "Build, publish and check index generations."),
    "colors": ("pictures", "Find the dominant colours of new pictures."),
    "nightly": ("nightly", "Crawl, import, embed, build, check, publish, prune and report."),
    "forget": ("forget", "Remove authors, titles or pictures for good, and keep them out."),
    "backup": ("backup", "Copy catalog, pictures and the index in use into a folder of backups."),
    "restore": (
        "backup",
        "Restore the newest backup of a folder (or a named one) into an empty data root.",
    ),
    "catalog": ("backup", "Keep a copy of the catalog on object storage."),
    "judge": ("pictures", "Predict the labels of the index's own pictures."),
    "sql": ("sql", "Ask the catalog in SQL, with similarity."),
    "report": ("report", "Show how style, colour and genre move, on one page."),
    "duplicates": ("report", "List equal, near-equal and copied drawings."),
    "export": ("report", "Write the catalog as plain Parquet."),
    "status": ("status", "Show what the catalog and the index hold."),
    "doctor": ("status", "Check the installation and say how to mend it."),
    "config": ("status", "Show the settings in use."),
    "demo": ("demo", "Try everything on real public-domain drawings."),
}
"""Name -> module in search/cli/commands/ and summary. The summaries are repeated here so that
`--help` can list them without importing the modules; a test compares both."""


NUMBER = re.compile("int|float")
"""Names of types that a help page would show as `<int range>`."""


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command is asked for."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.params.extend(anywhere())

    def list_commands(self, ctx: Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module = import_module(f"search.cli.commands.{COMMANDS[cmd_name][0]}")
            command = typer.main.get_group(module.app).commands[cmd_name]
            for one in (command, *getattr(command, "commands", {}).values()):
                one.params.extend(anywhere())
                for param in one.params:
                    if param.metavar is None and NUMBER.match(param.type.name):
                        param.metavar = "N"
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            hint = nearest(args[0], COMMANDS)
            if Path(args[0]).is_file():
                hint = f"To search with a picture: `toonsearch query {args[0]}`."
            raise UsageError(f"no such command {args[0]!r}", hint)
        if "--help" not in args:
            fit_memory(args[0])
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Context) -> Any:
        """Run the command; what Typer would turn into its own words is passed on as it is."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            raise InterruptedRun("interrupted", "What was done is kept.") from None
        except BrokenPipeError:
            return 0

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


app = typer.Typer(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=examples("toonsearch query picture.jpg", "toonsearch query --help"),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        print(f"toonsearch {VERSION}")
        raise typer.Exit


@app.callback()
def toonsearch(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """Given a picture, find the titles drawn in the most similar style, and say who may have
    drawn it."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    prepare_streams()
    session = Session()
    with _ended_like_interrupted():
        code = _run(session, arguments)
    for stream in (sys.stdout, sys.stderr):
        _leave(stream)
    return code


def _run(session: Session, arguments: Sequence[str] | None) -> int:
    try:
        code = typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments),
            prog_name="toonsearch",
            standalone_mode=False,
            obj=session,
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _complain(session, InterruptedRun("interrupted", "What was done is kept."))
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough (`| head`): that is success
    except typer.TyperException as error:
        return _complain(session, _usage_error(error))
    except ToonsearchError as error:
        return _complain(session, error)
    except SystemExit as stop:  # shell completion ends this way
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:  # a panic in a library is no Exception
        return _complain(session, _foreseen(error) or _bug(error))


@contextlib.contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """SIGTERM and a closed terminal end a run as Ctrl-C does: through the `finally` blocks,
    keeping what is done. Who ignores them (`nohup`) goes on doing so."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(session: Session, error: ToonsearchError) -> int:
    """Say in one line what happened and what to do; returns the exit code."""
    with contextlib.suppress(OSError):  # nobody listens, or the disk is full
        if session.debug:
            traceback.print_exception(error.__cause__ or error)
        word = "" if isinstance(error, InterruptedRun) else "error: "
        offer = session.offer() if isinstance(error, MissingIndexError) else ""
        said = session.with_data(f"{error} {offer}")
        print(f"toonsearch: {word}{plain(' '.join(said.split()))}", file=sys.stderr)
    return error.exit_code


def _leave(stream: TextIO) -> None:
    """Drop what a stream could not write, so that Python does not try again at its end."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # replaced streams have no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _usage_error(error: typer.TyperException) -> ToonsearchError:
    """A mistake on the command line, with the help page that explains the right one."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "toonsearch"
    message, _, guess = error.format_message().rstrip(".").partition(". Did you mean")
    if closed := re.fullmatch(r".*: \w+ '(.*)' is not readable", message, re.DOTALL):
        return InputError(f"{closed[1]} cannot be read by this user (Permission denied)")
    message = re.sub(r"is not a valid int( range)?$", "is not a whole number", message)
    message = re.sub(r"is not a valid float( range)?$", "is not a number", message)
    hint = f"Did you mean{guess} See `{path} --help`." if guess else f"See `{path} --help`."
    return UsageError(message[:1].lower() + message[1:], hint)


def _foreseen(error: BaseException) -> ToonsearchError | None:
    """What this user or machine has to mend, wherever it came up, as one line."""
    found: ToonsearchError | None = None
    if is_out_of_memory(error):
        found = InputError("there is not enough memory", "Close other programs, or ask less.")
    elif is_disk_full(error):
        found = InputError("the disk is full", "Free some space and run the command again.")
    elif isinstance(error, RuntimeError) and "home directory" in str(error):
        found = UsageError("there is no such user's home folder", "Name the folder itself.")
    elif isinstance(error, FileNotFoundError) and error.filename is None and _is_lost():
        found = InputError("the current folder is gone", "Change to another, or name it whole.")
    elif isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        what = os.fsdecode(error.filename)
        found = unreachable(error, what) or InputError(f"{what}: {error.strerror}")
    elif refused := refusal(error):
        found = UnreachableError(str(error), refused[1])
    elif isinstance(error, OSError) and error.errno not in (None, errno.EBADF, errno.EINVAL):
        found = InputError(str(error.strerror))
    if found is not None:
        found.__cause__ = error
    return found


def _is_lost() -> bool:
    try:
        return not Path.cwd()
    except FileNotFoundError:
        return True


def _bug(error: BaseException) -> ToonsearchError:
    """An exception that nobody foresaw, as one line."""
    found = ToonsearchError(
        f"this is a bug in toonsearch ({type(error).__name__}: {error})",
        "Run again with --debug and report what it shows.",
    )
    found.__cause__ = error
    return found


if __name__ == "__main__":
    sys.exit(main())
