"""`toonsearch status`, `doctor` and `config`: what is here, what is wrong, what is set."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from search.cli.context import Session, colour_wanted
from search.cli.options import AsJson, examples, new_app, print_json

app = new_app()
config = new_app("Show the settings in use.", "toonsearch config show --origin")
app.add_typer(config, name="config")

MARKS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


@app.command(epilog=examples("toonsearch status", "toonsearch status --json"))
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show what the catalog and the index hold."""
    from indexer.monitoring import coverage

    session: Session = ctx.obj
    settings = session.settings()
    found = coverage(settings.layout, settings)
    told = session.with_data
    if as_json:
        print_json({**dataclasses.asdict(found), "adds_up": found.adds_up})
        return
    skipped, failed = sum(found.skipped.values()), sum(found.failed.values())
    pending = told("`toonsearch embed`") if found.pending else ""
    panels = sum(found.panels.values())
    print(f"{'catalog':<12}{settings.store.root}")
    print(f"{'titles':<12}{found.titles:>9,}   by {found.authors:,} authors")
    print(f"{'pictures':<12}{found.pictures:>9,}   {_listed(found.sources)}")
    print(f"  {'embedded':<10}{found.embedded:>9,}   {found.model_id}")
    print(f"  {'pending':<10}{found.pending:>9,}   {pending}")
    print(f"  {'skipped':<10}{skipped:>9,}   {_listed(found.skipped)}")
    print(f"  {'failed':<10}{failed:>9,}   {_listed(found.failed)}")
    if found.cut:
        print(f"  {'cut':<10}{found.cut:>9,}   into {panels:,} panels: {_listed(found.panels)}")
    if not found.adds_up:
        print("  these do not add up to the pictures: please report it")
    if found.generation_id is None:
        make = "index build" if found.pictures else "open DIR"
        hint = told(f"`toonsearch {make}` makes one") if found.generation_state == "none" else ""
        print(f"{'index':<12}{found.generation_state:<12}{hint}".rstrip())
        return
    print(f"{'index':<12}{found.indexed:>9,}   {found.generation_id}")
    print(f"  {'search':<10}{found.search_kind:>9}   recall {found.search_recall:.3f}")
    if found.stale:
        print(told(f"{'':<24}catalog or settings have changed since: `toonsearch index build`"))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


@app.command(epilog=examples("toonsearch doctor", "toonsearch doctor --json"))
def doctor(ctx: typer.Context, as_json: AsJson = False) -> int:
    """Check the installation and say how to mend it."""
    from search.doctor import examine

    found = list(examine(ctx.obj))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in found])
    else:
        paint = colour_wanted(sys.stdout)
        for finding in found:
            mark = finding.verdict.ljust(4)
            mark = f"{MARKS[finding.verdict]}{mark}\x1b[0m" if paint else mark
            fix = f"  -> {finding.fix}" if finding.fix and finding.verdict != "ok" else ""
            print(f"{mark}  {finding.what:<12}{finding.detail}{ctx.obj.with_data(fix)}")
    return next((finding.exit_code for finding in found if finding.verdict == "fail"), 0)


@config.command(epilog=examples("toonsearch config show --origin"))
def show(
    ctx: typer.Context,
    origin: Annotated[
        bool, Option("--origin", help="Also say where each value comes from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting, as TOML or JSON."""
    from schemas.settings import flatten

    session: Session = ctx.obj
    settings = session.settings()
    values = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in flatten(settings).items()
    }
    origins = {key: settings.origins.get(key, "default") for key in values}
    if as_json:
        print_json(
            {
                key: {"value": value, "origin": origins[key]} if origin else value
                for key, value in values.items()
            }
        )
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
