"""The sub-commands, one module each; `search/cli.py` imports only the one that is run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Say what would be done, do nothing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def command_app() -> typer.Typer:
    """An application for one command: plain help, errors left to `search.cli`."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def group_app(summary: str, example: str) -> typer.Typer:
    """An application for a group of commands, which shows its help when none is named."""
    app = command_app()

    @app.callback(invoke_without_command=True, help=summary, epilog=examples(example))
    def show_help(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            print(ctx.get_help())

    return app


def examples(*lines: str) -> str:
    """The end of a help page: commands to copy."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(body: object) -> None:
    """One JSON object on standard output, ending in a new line."""
    import json

    json.dump(body, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")
