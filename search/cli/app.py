"""The roof: one command line that mounts every sub-command lazily.

`toonsearch --help` imports no command, and a command imports only what it uses. This is
also the only room that turns errors into a line on standard error and an exit code.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from schemas.errors import InputError, InterruptedRun, ToonsearchError, UsageError
from schemas.storage.fsio import is_disk_full
from search.cli.commands import examples
from search.cli.context import Session, plain, use_utf8

VERSION = "0.1.0"
"""Equal to pyproject.toml (a test compares them); reading it from the installed package
would cost a scan of the environment at every start."""

COMMANDS: dict[str, tuple[str, str]] = {
    "query": (
        "search.cli.commands.query",
        "Find the works drawn most like a picture, and by whom.",
    ),
    "crawl": ("search.cli.commands.crawl", "Fetch titles and pictures from a site, politely."),
    "serve": (
        "search.cli.commands.serve",
        "Open a page where a picture is dropped, and an API for programs.",
    ),
    "import": ("search.cli.commands.imports", "Bring pictures into the catalog."),
    "embed": ("search.cli.commands.embed", "Turn new pictures into vectors."),
    "predict": (
        "search.cli.commands.predict",
        "Tell author, genre and era of listed pictures.",
    ),
    "train": ("search.cli.commands.train", "Fine-tune a network on your own drawings."),
    "evaluate": ("search.cli.commands.evaluate", "Measure retrieval, labels and calibration."),
    "index": ("search.cli.commands.index", "Build, publish and check index generations."),
    "colors": ("search.cli.commands.colors", "Find the dominant colours of new pictures."),
    "nightly": (
        "search.cli.commands.nightly",
        "Crawl, import, embed, build, prove, publish, prune and report.",
    ),
    "forget": (
        "search.cli.commands.forget",
        "Remove authors, titles or pictures for good, and keep them out.",
    ),
    "backup": (
        "search.cli.commands.backup",
        "Copy catalog, pictures and the index in use into a folder of backups.",
    ),
    "restore": (
        "search.cli.commands.restore",
        "Restore the newest backup of a folder (or a named one) into an empty data root.",
    ),
    "judge": ("search.cli.commands.judge", "Write down what the index says of its own pictures."),
    "sql": ("search.cli.commands.sql", "Ask the catalog in SQL, with similarity."),
    "report": ("search.cli.commands.report", "Show how style, colour and genre move, on one page."),
    "duplicates": ("search.cli.commands.duplicates", "List equal, near-equal and copied drawings."),
    "export": ("search.cli.commands.export", "Write the catalog as plain Parquet."),
    "status": ("search.cli.commands.status", "Show what the catalog and the index hold."),
    "doctor": ("search.cli.commands.doctor", "Check the installation and say how to mend it."),
    "config": ("search.cli.commands.config", "Show the settings in use."),
    "demo": ("search.cli.commands.demo", "Try everything on real public-domain drawings."),
}
"""Name -> module and summary. The summaries are repeated here so that `--help` can list
them without importing the modules; a test compares both."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            command: click.Command = import_module(COMMANDS[cmd_name][0]).command
            command.name = cmd_name
            _share_options(command)
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and Path(args[0]).is_file():
            raise UsageError(
                f"{args[0]} is not a command",
                f"To search with a picture: `toonsearch query {args[0]}`.",
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what Click would turn into its own words is passed on as it is."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            raise InterruptedRun("interrupted", "What was done is kept.") from None
        except BrokenPipeError:
            return _end_quietly()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store a shared option in the session, wherever on the line it stood."""
    if value:
        setattr(ctx.ensure_object(Session), str(param.name), value)


SHARED = [
    click.Option(
        ["--data"],
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Where the catalog and the index lie (setting store.root).",
        expose_value=False,
        callback=_remember,
    ),
    *(
        click.Option(names, is_flag=True, help=text, expose_value=False, callback=_remember)
        for names, text in (
            (["--quiet", "-q"], "No notes, no progress."),
            (["--verbose", "-v"], "More notes."),
            (["--debug"], "Show where an error arose."),
        )
    ),
]
"""Options that may stand before or after the command's name."""


def _share_options(command: click.Command) -> None:
    command.params.extend(SHARED)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _share_options(child)


def _install(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        from search.cli.completion import install

        print(f"completion for {value} is in {install(value)}; it works in new terminals")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    params=[*SHARED],
    invoke_without_command=True,
    epilog=examples("toonsearch query picture.jpg", "toonsearch query --help"),
)
@click.version_option(VERSION, prog_name="toonsearch", message="%(prog)s %(version)s")
@click.option(
    "--install-completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    callback=_install,
    help="Install shell completion.",
)
@click.pass_context
def toonsearch(ctx: click.Context) -> None:
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
            code = toonsearch.main(
                args=None if arguments is None else list(arguments),
                prog_name="toonsearch",
                standalone_mode=False,
                obj=session,
            )
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except (KeyboardInterrupt, click.Abort):
            return _complain(session, InterruptedRun("interrupted", "What was done is kept."))
        except BrokenPipeError:
            return _end_quietly()
        except click.ClickException as error:
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
        print(f"toonsearch: {word}{plain(' '.join(str(error).split()))}", file=sys.stderr)
    return error.exit_code


def _end_quietly() -> int:
    """Whoever read our output has seen enough (`| head`): that is success."""
    with contextlib.suppress(OSError, ValueError):  # replaced streams have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _usage_error(error: click.ClickException) -> ToonsearchError:
    """A mistake on the command line, with the help page that explains the right one."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "toonsearch"
    hint = f"See `{path} --help`."
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint)


def _bug(error: Exception) -> ToonsearchError:
    """An exception that nobody foresaw, as one line."""
    found: ToonsearchError
    if isinstance(error, MemoryError):
        found = ToonsearchError("there is not enough memory", "Close other programs, or ask less.")
    elif is_disk_full(error):
        found = InputError("the disk is full", "Free some space and run the command again.")
    else:
        found = ToonsearchError(
            f"this is a bug in toonsearch ({type(error).__name__}: {error})",
            "Run again with --debug and report what it shows.",
        )
    found.__cause__ = error
    return found


if __name__ == "__main__":
    sys.exit(main())
