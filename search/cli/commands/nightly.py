"""`toonsearch nightly`: refresh everything, and publish only what passes its checks."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from schemas.errors import LockedError, PartlyDoneError, ToonsearchError, UsageError
from search.cli.context import Session, plain
from search.cli.options import Accept, AsJson, DryRun, counted, examples, new_app, print_json

if TYPE_CHECKING:
    from crawler.importers.ingest import ImportReport
    from indexer.nightly import Stage
    from schemas.settings import Settings

app = new_app()
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds_of(text: str) -> float | None:
    """A budget such as 3h, 90m or 1h30m in seconds; None for an empty text.

    Errors:  UsageError
    """
    if not text.strip():
        return None
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise UsageError(f"{text!r} is not a time", "Write it as 3h, 90m or 1h30m.")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


@app.command(
    epilog=examples(
        "toonsearch nightly --dry-run",
        'toonsearch nightly --sites "naver --weekday" --budget 3h',
    )
)
def nightly(
    ctx: typer.Context,
    sites: Annotated[
        list[str] | None,
        Option(
            metavar="SITE",
            help="A site with options of `toonsearch crawl` (setting nightly.sites).",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        Option(
            metavar="TIME", help="Such as 3h or 90m: end cleanly by then (setting nightly.budget)."
        ),
    ] = None,
    accept: Accept = None,
    log_json: Annotated[bool, Option("--log-json", help="Log as JSON lines.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Crawl, import, embed, build, check, publish, prune and report.

    What is refreshed comes from the settings nightly.sites, nightly.folders and
    nightly.manifests. A second run at the same time ends at once with exit code 75; a killed
    one is finished by the next.
    """
    session: Session = ctx.obj
    settings = session.settings({"nightly.sites": sites or None, "nightly.budget": budget})
    budget_s = seconds_of(settings.nightly.budget)
    log = _Log(session, log_json)
    try:
        with session.writing("nightly", dry_run):
            body = _night(settings, budget_s, tuple(accept or ()), dry_run, log)
    except LockedError as error:
        log("locked", {"error": error.message})
        raise
    if as_json:
        print_json(body)
    else:
        for line in report_lines(body):
            print(line)
    if body["outcome"] == "interrupted":
        session.note("interrupted; what was done is kept")
    elif body["exit_code"]:
        failed = [stage for stage in body["stages"] if stage["outcome"] == "failed"]
        for stage in failed[:1]:
            said = f"{stage['name']} failed: {stage['detail']}"
            print(f"toonsearch: error: {plain(said)}", file=sys.stderr)
    return int(body["exit_code"])


class _Log:
    """Events on standard error: a line for people, or JSON for machines."""

    def __init__(self, session: Session, as_json: bool) -> None:
        self.session, self.as_json = session, as_json

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        if self.as_json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            level = "error" if facts.get("outcome") == "failed" or "error" in facts else "info"
            line = {"time": now, "level": level, "event": event, **facts}
            print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)
        elif event == "stage ended":
            detail = f": {facts['detail']}" if facts["detail"] else ""
            self.session.note(
                f"{facts['stage']} {facts['outcome']} in {facts['seconds']:.1f} s{detail}"
            )


def _night(
    settings: Settings, budget_s: float | None, accept: tuple[str, ...], dry_run: bool, log: _Log
) -> dict[str, Any]:
    from indexer.monitoring import coverage, write_metrics
    from indexer.nightly import record_run, run_night

    layout = settings.layout
    stages = stages_of(settings, accept)
    report = run_night(layout, stages, budget_s=budget_s, dry_run=dry_run, log=log)
    body = report.summary()

    def metrics() -> None:
        path = Path(settings.nightly.metrics or layout.root / "nightly.prom").expanduser()
        covered = None
        with contextlib.suppress(ToonsearchError):
            covered = coverage(layout, settings)
        write_metrics(path, body, covered)

    if not dry_run:
        record = partial(record_run, layout, settings, body)
        for what, work in (("the row in `runs`", record), ("the metrics", metrics)):
            try:
                work()
            except ToonsearchError as error:  # the night is over; its report is not lost
                log("report", {"error": f"{what}: {error.message}"})
    log("night ended", {key: body[key] for key in ("outcome", "exit_code", "seconds")})
    return body


def stages_of(settings: Settings, accept: tuple[str, ...] = ()) -> list[Stage]:
    """The stages of a night: crawls, imports, and all that the index needs."""
    from crawler.importers.folder import import_folder
    from crawler.importers.manifest import import_manifest
    from indexer.nightly import Night, Stage, StageReport, crawl_stage, index_stages
    from search.web.db import forget_visitors

    layout, nightly = settings.layout, settings.nightly

    def importing(source: str, work: Callable[..., ImportReport], **more: Any) -> Stage:
        def run(night: Night, stage: StageReport) -> None:
            found = work(
                layout, settings, Path(source), dry_run=night.dry_run, is_over=night.is_over, **more
            )
            new = {"new", "changed", "removed", "titles"}
            stage.fill(found.counts, new, found.problems, unit="files")
            unread = found.counts["failed"] == found.files and f"none of its {found.files:,} files"
            if said := found.unseen or (unread and f"{unread} could be read"):
                stage.tomorrow = "what could not be read"
                raise PartlyDoneError(said, "; ".join(found.problems[:3]))

        return Stage(f"import {source}", run)

    return [
        *(crawl_stage(layout, site) for site in nightly.sites),
        *(importing(one, import_folder, pattern=nightly.pattern) for one in nightly.folders),
        *(importing(one, import_manifest) for one in nightly.manifests),
        *index_stages(layout, settings, forget_visitors, accept),
    ]


def report_lines(body: dict[str, Any]) -> list[str]:
    """The report as a table for people."""
    lines = []
    for stage in body["stages"]:
        said = "; ".join(part for part in (counted(stage["counts"]), stage["detail"]) if part)
        lines.append(
            f"{plain(stage['name'])[:28]:<28}  {stage['outcome']:<12}"
            f"{stage['seconds']:>8.1f} s  {plain(said)}"
        )
        lines += [f"{'':<30}{plain(problem)}" for problem in stage["problems"][:5]]
        if stage["tomorrow"]:
            lines.append(f"{'':<30}tomorrow: {plain(stage['tomorrow'])}")
    before, after = body["generation"]["before"], body["generation"]["after"]
    moved = "the index is as it was" if before == after else f"{before or 'no index'} -> {after}"
    lines.append(f"{body['outcome']} in {body['seconds']:,.1f} s; {moved}")
    return lines
