"""The roof: one command line that mounts every sub-command lazily.

`toonsearch --help` imports no command, and a command imports only what it uses. This is
also the only room that turns errors into a line on standard error and an exit code.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from schemas.errors import InterruptedRun, ToonsearchError, UsageError
from search.commands import examples
from search.session import Session, use_utf8

VERSION = "0.1.0"
"""Equal to pyproject.toml (a test compares them); reading it from the installed package
would cost a scan of the environment at every start."""

COMMANDS: dict[str, tuple[str, str]] = {
    "query": ("search.commands.query", "Find the works drawn most like a picture, and by whom."),
    "import": ("search.commands.imports", "Bring pictures into the catalog."),
    "embed": ("search.commands.embed", "Turn new pictures into vectors."),
    "index": ("search.commands.index", "Build, publish and check index generations."),
    "status": ("search.commands.status", "Show what the catalog and the index hold."),
    "doctor": ("search.commands.doctor", "Check the installation and say how to mend it."),
    "config": ("search.commands.config", "Show the settings in use."),
    "demo": ("search.commands.demo", "Try everything on real public-domain drawings."),
}
"""Name -> module and summary. The summaries are repeated here so that `--help` can list
them without importing the modules; a test compares both."""

SHARED = ("data", "quiet", "verbose", "debug")
"""Options that may stand before or after the command's name."""


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module, _ = COMMANDS[cmd_name]
            command = typer.main.get_command(import_module(module).app)
            command.name = cmd_name
            _share_options(command, [p for p in self.params if p.name in SHARED])
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command; what Typer would turn into its own words is passed on as it is."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            raise InterruptedRun("interrupted", "What was done is kept.") from None
        except BrokenPipeError:
            return _end_quietly()

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _share_options(command: Any, params: list[Any]) -> None:
    command.params.extend(params)
    for child in getattr(command, "commands", {}).values():
        _share_options(child, params)


app = typer.Typer(
    cls=LazyGroup, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Store a shared option in the session, wherever on the line it stood."""
    if value:
        setattr(ctx.ensure_object(Session), str(param.name), value)
    return value


def _show_version(value: bool) -> None:
    if value:
        print(f"toonsearch {VERSION}")
        raise typer.Exit()


@app.callback(
    invoke_without_command=True,
    epilog=examples("toonsearch query picture.jpg", "toonsearch query --help"),
)
def root(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the catalog and the index lie (setting store.root).",
            callback=_remember,
            expose_value=False,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="No notes, no progress.", callback=_remember, expose_value=False
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="More notes.", callback=_remember, expose_value=False),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show where an error arose.", callback=_remember, expose_value=False
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            callback=_show_version,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Given a picture, find the works drawn in the most similar style, and say whose hand it
    looks like."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    use_utf8()
    session = Session()
    with _terminated_like_interrupted():
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
            return _end_quietly()
        except typer.TyperException as error:
            return _complain(session, _usage_error(error))
        except ToonsearchError as error:
            return _complain(session, error)
        except SystemExit as stop:  # --install-completion ends this way
            return stop.code if isinstance(stop.code, int) else 1
        except Exception as error:
            return _complain(session, _bug(error))


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: through the `finally` blocks, keeping what is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(session: Session, error: ToonsearchError) -> int:
    """Say in one line what happened and what to do; returns the exit code."""
    with contextlib.suppress(BrokenPipeError):
        if session.debug:
            traceback.print_exception(error.__cause__ or error)
        word = "" if isinstance(error, InterruptedRun) else "error: "
        print(f"toonsearch: {word}{' '.join(str(error).split())}", file=sys.stderr)
    return error.exit_code


def _end_quietly() -> int:
    """Whoever read our output has seen enough (`| head`): that is success."""
    with contextlib.suppress(OSError, ValueError):  # replaced streams have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _usage_error(error: typer.TyperException) -> ToonsearchError:
    """A mistake on the command line, with the help page that explains the right one."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "toonsearch"
    hint = f"See `{path} --help`."
    words = ctx.args if ctx is not None else []
    if "No such command" in str(error) and words and Path(words[0]).exists():
        hint = f"To search with a picture: `toonsearch query {words[0]}`."
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint)


def _bug(error: Exception) -> ToonsearchError:
    """An exception that nobody foresaw, as one line."""
    if isinstance(error, MemoryError):
        found = ToonsearchError("there is not enough memory", "Close other programs, or ask less.")
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        found = ToonsearchError("the disk is full", "Free some space and run the command again.")
    else:
        found = ToonsearchError(
            f"this is a bug in toonsearch ({type(error).__name__}: {error})",
            "Run again with --debug and report what it shows.",
        )
    found.__cause__ = error
    return found


if __name__ == "__main__":
    sys.exit(main())
