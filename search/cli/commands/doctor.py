"""`toonsearch doctor`: what is wrong here, and how to mend it."""

from __future__ import annotations

import dataclasses
import sys

import click

from search.cli.commands import as_json, examples, print_json
from search.cli.context import Session, colour_wanted

MARKS = {"ok": "\x1b[32m", "warn": "\x1b[33m", "fail": "\x1b[31m"}


@click.command(epilog=examples("toonsearch doctor", "toonsearch doctor --json"))
@as_json
@click.pass_obj
def command(session: Session, as_json: bool) -> int:
    """Check the installation and say how to mend it."""
    from search.doctor import examine

    found = list(examine(session))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in found])
    else:
        paint = colour_wanted(sys.stdout)
        for finding in found:
            mark = finding.verdict.ljust(4)
            mark = f"{MARKS[finding.verdict]}{mark}\x1b[0m" if paint else mark
            fix = f"  -> {finding.fix}" if finding.fix and finding.verdict != "ok" else ""
            print(f"{mark}  {finding.what:<12}{finding.detail}{fix}")
    return next((finding.exit_code for finding in found if finding.verdict == "fail"), 0)
