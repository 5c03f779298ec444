"""`toonsearch config`: the settings in use, and where each comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands import AsJson, examples, group_app, print_json
from search.session import Session

app = group_app("Show the settings in use.", "toonsearch config show --origin")


@app.command(epilog=examples("toonsearch config show --origin"))
def show(
    ctx: typer.Context,
    origin: Annotated[
        bool, typer.Option("--origin", help="Also say where each value comes from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting, as TOML or JSON."""
    import json

    from schemas.settings import flatten

    settings = ctx.ensure_object(Session).settings()
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
