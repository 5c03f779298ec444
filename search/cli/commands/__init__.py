"""The sub-commands, one module each; `search/cli/app.py` imports only the one that is run."""

from __future__ import annotations

import sys

import click

dry_run = click.option("--dry-run", "-n", is_flag=True, help="Say what would be done, do nothing.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def examples(*lines: str) -> str:
    """The end of a help page: commands to copy."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def command_group(summary: str, *lines: str) -> click.Group:
    """A group of commands, which shows its help when none is named."""

    @click.group(invoke_without_command=True, help=summary, epilog=examples(*lines))
    @click.pass_context
    def group(ctx: click.Context) -> None:
        if ctx.invoked_subcommand is None:
            print(ctx.get_help())

    return group


def print_json(body: object) -> None:
    """One JSON object on standard output, ending in a new line."""
    import json

    json.dump(body, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")
