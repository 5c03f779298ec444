"""What commands share: options that stand anywhere on the line, common flags, help pages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option
from typer.core import TyperOption

from schemas.errors import InputError, InterruptedRun, UsageError
from search.cli.context import Session, plain

if TYPE_CHECKING:
    from schemas.settings import Settings

DryRun = Annotated[bool, Option("--dry-run", "-n", help="Say what would be done, do nothing.")]
AsJson = Annotated[bool, Option("--json", help="Print one JSON object.")]

Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]


class Check(StrEnum):
    """The checks of a new generation against the one in use that can be accepted."""

    YIELD = "yield"
    CANARIES = "canaries"
    LABELS = "labels"
    ALL = "all"


Accept = Annotated[
    list[Check] | None,
    Option(help="Publish although this check against the index in use fails: the change is meant."),
]
LEVELS_HELP = "What the levels of folders are, from the top: author, title, genre or year."
Host = Annotated[
    str | None,
    Option(
        metavar="ADDRESS",
        help="Address to listen on; 0.0.0.0: whoever can reach this machine (setting web.host,"
        " default 127.0.0.1: this machine only).",
    ),
]
Port = Annotated[
    int | None,
    Option(
        min=0,
        max=65535,
        help="Port to listen on; 0: one that is free (setting web.port, default 8765).",
    ),
]
Limit = Annotated[int | None, Option(min=1, help="Stop after this many pictures.")]
Manifest = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="CSV, TSV or Parquet with path, author, series, genre, year; else the catalog.",
    ),
]


def new_app(summary: str = "", *lines: str) -> typer.Typer:
    """A set of commands. With a summary it is a group, which shows its help when none is named.

    Rich stays out of help pages: importing it would add a tenth of a second to every command.
    """
    made = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if summary:

        @made.callback(invoke_without_command=True, help=summary, epilog=examples(*lines))
        def group(ctx: typer.Context) -> None:
            if ctx.invoked_subcommand is None:
                print(ctx.get_help())

    return made


def examples(*lines: str) -> str:
    """The end of a help page: commands to copy."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def anywhere() -> Iterable[TyperOption]:
    """Options that may stand before or after the command's name."""
    yield TyperOption(
        param_decls=["--data"],
        metavar="DIR",
        help="Where the catalog and the index lie (setting store.root).",
        expose_value=False,
        callback=_remember,
    )
    for names, text in (
        (["--quiet", "-q"], "No notes, no progress."),
        (["--verbose", "-v"], "More notes."),
        (["--debug"], "Show where an error arose."),
    ):
        yield TyperOption(
            param_decls=names, is_flag=True, help=text, expose_value=False, callback=_remember
        )


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> None:
    if value is not None and value is not False:
        setattr(ctx.ensure_object(Session), str(param.name), value)
    if value and param.name == "debug":
        _show_traces()


def _show_traces() -> None:
    """Let errors that cost one input only say where they arose."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print(f"toonsearch: {self.format(record)}", file=sys.stderr)

    logger = logging.getLogger("toonsearch")
    logger.setLevel(logging.DEBUG)
    if not logger.handlers:
        logger.addHandler(Handler())


def one_of(flags: Mapping[str, bool]) -> str | None:
    """The name of the one flag that is given.

    Errors:  UsageError when there are two
    """
    given = [name for name, on in flags.items() if on]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} exclude each other", "Choose one.")
    return given[0] if given else None


def check_output(settings: Settings, out: Path | None, kind: str, *inputs: str | Path) -> None:
    """Refuse an output, before any work is done, that would cost an input, something of the data
    root, a file that settings name, or a file of another kind; see `check_target`.

    Errors:  UsageError, InputError
    """
    if out is None:
        return
    from schemas.storage.outputs import check_target

    files = [origin for origin in settings.origins.values() if "/" in origin]
    files += [file for file in (*settings.nightly.manifests, settings.crawl.block_list) if file]
    check_target(out, kind, (*inputs, *files, *settings.layout.own))


def confirm(action: str, yes: bool) -> None:
    """Ask before something is taken away.

    Errors:  UsageError when nobody can answer; InterruptedRun for a no
    """
    if yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise UsageError(
            f"nobody can be asked here whether to {action}", "Add --yes, or look with --dry-run."
        )
    question = f"{action[:1].upper()}{action[1:]}? [y/N] "
    print(plain(question), end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise InterruptedRun("nothing was changed")


def need_training(command: str) -> None:
    """Refuse, before anything is read, when the packages for training are missing.

    Errors:  InputError
    """
    for package in ("torch", "timm", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"`toonsearch {command}` needs {package}, which is not installed",
                "make train-env, or pip install 'toonsearch[train]'.",
            )


def counted(counts: Mapping[str, int]) -> str:
    """Counts in words, such as `8 new, 1 picture, 1,024 already done`."""
    words = {what: what.replace("_", " ") for what in counts} | {
        "already": "already done",
        "whole": "left whole",
    }
    return ", ".join(
        f"{n:,} {words[what].removesuffix('s') if n == 1 else words[what]}"
        for what, n in counts.items()
    )


def show(
    what: str, counts: Mapping[str, int], dry_run: bool, as_json: bool, **facts: object
) -> int:
    """Print what came of bulk work, zeros left out, or all as JSON; 4 when anything failed."""
    if as_json:
        print_json({**facts, "counts": counts, "dry_run": dry_run})
    else:
        print(f"{what}: {counted({key: n for key, n in counts.items() if n}) or 'nothing'}")
    return 4 if counts.get("failed") else 0


def print_json(body: object) -> None:
    """One JSON object on standard output, ending in a new line."""
    import json

    json.dump(body, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")
