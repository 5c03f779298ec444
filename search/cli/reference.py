"""The command reference in docs/commands.md, made from the commands themselves.

`python -m search.cli.reference > docs/commands.md`; a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from search.cli.app import app

if TYPE_CHECKING:
    from typer._click import Command

WIDTH = 88
INTRO = """# Commands

Made from `--help` by `python -m search.cli.reference > docs/commands.md`.

Exit codes: 0 done (also when nothing was found), 1 a bug of ours, 2 usage, 3 bad input,
4 partly done, 5 no usable index or another model's, 6 network, 75 another run is writing,
130 interrupted. Data goes to standard output, all else to standard error.
"""


def pages() -> Iterator[tuple[str, str]]:
    """Each command's full name with its help page."""

    def walk(
        command: Command, name: str, parent: typer.Context | None
    ) -> Iterator[tuple[str, str]]:
        context = typer.Context(
            command,
            info_name=name.split()[-1],
            parent=parent,
            terminal_width=WIDTH,
            max_content_width=WIDTH,
        )
        yield name, command.get_help(context)
        if isinstance(command, typer.core.TyperGroup):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                yield from walk(found, f"{name} {child}", context)

    return walk(typer.main.get_command(app), "toonsearch", None)


def reference() -> str:
    """The whole page as Markdown."""
    parts = [INTRO]
    for name, page in pages():
        lines = "\n".join(line.rstrip() for line in page.splitlines())
        parts.append(f"## {name}\n\n```\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
