"""`toonsearch config`: the settings in use, and where each comes from."""

from __future__ import annotations

from pathlib import Path

import click

from search.cli.commands import as_json, command_group, examples, print_json
from search.cli.context import Session

command = command_group("Show the settings in use.", "toonsearch config show --origin")


@command.command(epilog=examples("toonsearch config show --origin"))
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@as_json
@click.pass_obj
def show(session: Session, origin: bool, as_json: bool) -> None:
    """Print every setting, as TOML or JSON."""
    import json

    from schemas.settings import flatten

    settings = session.settings()
    values = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in flatten(settings).items()
    }
    origins = {key: settings.origins.get(key, "default") for key in values}
    if as_json:
        print_json({key: {"value": value, "origin": origins[key]} if origin else value
                    for key, value in values.items()})  # fmt: skip
        return
    section = ""
    for key, value in values.items():
        if key.partition(".")[0] != section:
            gap = "\n" if section else ""
            section = key.partition(".")[0]
            print(f"{gap}[{section}]")
        # JSON's strings and numbers are TOML's.
        line = f"{key.partition('.')[2]} = {json.dumps(value, ensure_ascii=False)}"
        print(f"{line:<40} # {origins[key]}" if origin else line)
