"""The nightly job: crawl, import, embed, colors, build, publish, judge, views, prune, report.

Each stage can be killed and run again. A stage that fails is reported and the others go on,
because yesterday's index keeps serving and what could be fetched is worth keeping; only a
failure that no later stage would survive (a full disk, a damaged catalog) ends the night.
A budget bounds the stages that could take for ever, and leaves time for build and publish.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from indexer.crawling import crawl_site
from schemas.errors import InterruptedRun, NothingToIndex, PartlyDoneError, ToonsearchError
from schemas.settings import Settings, flatten
from schemas.storage.catalog import Catalog
from schemas.storage.fsio import is_disk_full
from schemas.storage.layout import Layout

# --- What a night reports: its stages, and how it ended.

DONE, NOTHING, LEFT, FAILED = "done", "nothing new", "time was up", "failed"


@dataclass
class Stage:
    """One stage of one night: `detail` for people, `tomorrow` what it will try again."""

    name: str
    outcome: str = DONE
    detail: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tomorrow: str = ""
    seconds: float = 0.0


@dataclass
class NightlyReport:
    """A night. `before` and `after` are the generations in use; `exit_code` is 4 when a stage
    failed, or that of what ended the night."""

    run_id: str
    started: datetime
    before: str | None
    after: str | None = None
    stages: list[Stage] = field(default_factory=list)
    outcome: str = "done"
    exit_code: int = 0
    seconds: float = 0.0
    dry_run: bool = False

    def stage(self, name: str) -> Stage | None:
        return next((stage for stage in self.stages if stage.name == name), None)


def summary(report: NightlyReport) -> dict[str, Any]:
    """The report as JSON, the same on standard output, in `runs` and in logs."""
    return {
        "run_id": report.run_id,
        "started": report.started.isoformat(timespec="milliseconds"),
        "seconds": round(report.seconds, 3),
        "outcome": report.outcome,
        "exit_code": report.exit_code,
        "dry_run": report.dry_run,
        "generation": {"before": report.before, "after": report.after},
        "stages": [
            {
                "name": s.name, "outcome": s.outcome, "detail": s.detail, "counts": s.counts,
                "problems": s.problems, "tomorrow": s.tomorrow, "seconds": round(s.seconds, 3),
            }
            for s in report.stages
        ],
    }  # fmt: skip


# --- The ledger of runs: a row for each night, and what earlier rows teach.

COMMAND = "nightly"


def new_run_id() -> str:
    """Start time and a random part."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def record_run(layout: Layout, settings: Settings, body: dict[str, Any]) -> None:
    """Add a night's row to `runs`.

    Errors:  InputError when the disk refuses
    """
    started = datetime.fromisoformat(body["started"])
    told = json.dumps(sorted((key, str(value)) for key, value in flatten(settings).items()))
    row = {
        "run_id": body["run_id"],
        "command": COMMAND,
        "started": started,
        "ended": started + timedelta(seconds=body["seconds"]),
        "counts": json.dumps(body, ensure_ascii=False),
        "settings": hashlib.sha256(told.encode()).hexdigest()[:16],
        "outcome": body["outcome"],
    }
    Catalog(layout).append("runs", [row])


def past_nights(layout: Layout) -> list[dict[str, Any]]:
    """Reports of earlier nights, oldest first. Errors:  InputError"""
    rows = Catalog(layout).read("runs", ["command", "started", "counts"]).to_pylist()
    mine = sorted(
        (row for row in rows if row["command"] == COMMAND), key=lambda row: row["started"]
    )
    return [json.loads(row["counts"]) for row in mine]


def last_build_seconds(layout: Layout) -> float:
    """How long the last building took, 0 when none is known."""
    try:
        for body in reversed(past_nights(layout)):
            for stage in body["stages"]:
                if stage["name"] == "build" and stage["outcome"] == "done":
                    return float(stage["seconds"])
    except (ToonsearchError, ValueError, KeyError, TypeError):
        return 0.0  # only an estimate hangs on it
    return 0.0


RESERVE_RATIO = 0.1
"""Share of the budget that is kept for build and publish; more when the last ones took more."""
RESERVE_MAX_S = 1800.0

Tell = Callable[[str, dict[str, Any]], None]
"""Hears an event and its facts as the night goes on."""


class Night:
    """One run: what its stages share."""

    def __init__(
        self, layout: Layout, settings: Settings, *, budget_s: float | None, dry_run: bool,
        reserve_s: float, tell: Tell,
    ) -> None:  # fmt: skip
        self.layout, self.settings, self.dry_run, self.tell = layout, settings, dry_run, tell
        self.started = time.monotonic()
        self.deadline: float | None = None
        if budget_s is not None:
            self.deadline = self.started + max(0.0, budget_s - min(reserve_s, budget_s / 2))

    def is_over(self) -> bool:
        """Whether the stages that may be cut short have to end."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def left_s(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


def run_night(
    layout: Layout,
    settings: Settings,
    *,
    sites: tuple[str, ...],
    budget_s: float | None = None,
    dry_run: bool = False,
    accept: tuple[str, ...] = (),
    tell: Tell = lambda event, facts: None,
) -> NightlyReport:
    """Refresh everything in proportion to what changed. Needs the data root's lock, except
    for a dry run.

    Units:   budget in seconds
    Errors:  none for what a stage may run into: the report says it. KeyboardInterrupt ends
             the night in order, and is in the report as well
    """
    from indexer.vector_index.generations import current_generation_id

    reserve = 0.0
    if budget_s is not None:
        known = 1.5 * last_build_seconds(layout)
        reserve = min(RESERVE_MAX_S, max(RESERVE_RATIO * budget_s, known))
    night = Night(
        layout, settings, budget_s=budget_s, dry_run=dry_run, reserve_s=reserve, tell=tell
    )
    report = NightlyReport(
        new_run_id(), datetime.now(UTC), current_generation_id(layout), dry_run=dry_run
    )
    plan: list[tuple[str, Callable[[Stage], None]]] = [
        *((f"crawl {site}", lambda s, site=site: _crawl(night, s, site)) for site in sites),
        *((f"import {source}", lambda s, what=what, source=source: _import(night, s, what, source))
          for what in ("folder", "manifest")
          for source in getattr(settings.nightly, f"{what}s")),
        ("embed", lambda s: _embed(night, s)),
        ("colors", lambda s: _colors(night, s)),
        ("build", lambda s: _build(night, s, report, accept)),
        ("judge", lambda s: _judge(night, s)),
        ("views", lambda s: _views(night, s)),
        ("prune", lambda s: _prune(night, s)),
    ]  # fmt: skip
    for name, work in plan:
        stage = Stage(name)
        report.stages.append(stage)
        tell("stage started", {"stage": name})
        begun = time.perf_counter()
        try:
            work(stage)
        except KeyboardInterrupt:
            _failed(stage, InterruptedRun("interrupted"))
            report.outcome, report.exit_code = "interrupted", InterruptedRun.exit_code
        except Exception as error:
            found = error if isinstance(error, ToonsearchError) else _foreseen(error)
            _failed(stage, found)
            report.outcome, report.exit_code = "partly", PartlyDoneError.exit_code
            if _is_fatal(error):
                report.outcome, report.exit_code = "failed", found.exit_code
        stage.seconds = time.perf_counter() - begun
        tell("stage ended", {"stage": name, "outcome": stage.outcome, "detail": stage.detail,
                             "seconds": round(stage.seconds, 3), **stage.counts})  # fmt: skip
        if report.outcome in ("interrupted", "failed"):
            break
    if report.outcome == "done" and any(stage.outcome == LEFT for stage in report.stages):
        report.outcome = "partly"
    report.after = current_generation_id(layout)
    report.seconds = time.monotonic() - night.started
    return report


def _failed(stage: Stage, error: ToonsearchError) -> None:
    stage.outcome = FAILED
    stage.detail = str(error)
    stage.tomorrow = stage.tomorrow or "all of it"


def _foreseen(error: Exception) -> ToonsearchError:
    """What nobody foresaw, as one line; the other stages still run."""
    if is_disk_full(error):
        return ToonsearchError("the disk is full", "Free some space.")
    line = str(error).splitlines()[0] if str(error) else ""
    return ToonsearchError(f"this is a bug in toonsearch ({type(error).__name__}: {line})")


def _is_fatal(error: Exception) -> bool:
    """Whether no later stage can do better: nothing can be written, or the catalog or the
    block list cannot be read."""
    text = str(error)
    return (
        is_disk_full(error)
        or "read-only" in text.lower()
        or "the catalog table" in text
        or "the block list" in text
    )


def _crawl(night: Night, stage: Stage, site: str) -> None:
    if night.is_over():
        stage.outcome, stage.tomorrow = LEFT, "the whole crawl"
        return
    if night.dry_run:
        stage.detail = f"would run `toonsearch crawl {site}`"
        return
    found = crawl_site(night.layout, site, seconds=night.left_s())
    stage.counts = found.counts
    stage.problems = found.problems
    stage.detail = found.detail
    if found.was_stopped:
        stage.outcome, stage.tomorrow = LEFT, "the rest of the crawl"
    elif found.error is not None:
        stage.tomorrow = "what failed"
        raise found.error


def _import(night: Night, stage: Stage, what: str, source: str) -> None:
    from crawler.importers.folder import import_folder
    from crawler.importers.manifest import import_manifest

    more: dict[str, Any] = {"dry_run": night.dry_run, "is_over": night.is_over}
    if what == "folder":
        pattern = night.settings.nightly.pattern
        found = import_folder(night.layout, night.settings, Path(source), pattern=pattern, **more)
    else:
        found = import_manifest(night.layout, night.settings, Path(source), **more)
    stage.counts = {name: count for name, count in found.counts.items() if count}
    stage.problems = found.problems
    moved = {"new", "changed", "removed", "titles"} & stage.counts.keys()
    stage.outcome = DONE if moved else NOTHING
    if left := found.counts.get("left"):
        stage.outcome, stage.tomorrow = LEFT, f"{left:,} files"


def _embed(night: Night, stage: Stage) -> None:
    from indexer.embedding.embed import embed_pending

    found = embed_pending(
        night.layout, night.settings, dry_run=night.dry_run, is_over=night.is_over
    )
    stage.counts = {name: count for name, count in found.counts.items() if count}
    moved = {"embedded", "skipped", "failed", "pending"} & stage.counts.keys()
    stage.outcome = DONE if moved else NOTHING
    if left := found.counts.get("left"):
        stage.outcome, stage.tomorrow = LEFT, f"{left:,} pictures"


def _colors(night: Night, stage: Stage) -> None:
    from indexer.palette import color_pending

    found = color_pending(
        night.layout, night.settings, dry_run=night.dry_run, is_over=night.is_over
    )
    stage.counts = {name: count for name, count in found.counts.items() if count}
    stage.problems = found.problems
    stage.outcome = DONE if {"coloured", "pending"} & stage.counts.keys() else NOTHING
    if left := found.counts.get("left"):
        stage.outcome, stage.tomorrow = LEFT, f"{left:,} pictures"


def _build(night: Night, stage: Stage, report: NightlyReport, accept: tuple[str, ...]) -> None:
    """Build, prove and publish; the proofs are stages of their own in the report."""
    from indexer.forget import clear_away
    from indexer.vector_index.build import build_generation
    from indexer.vector_index.generations import publish

    layout, settings = night.layout, night.settings
    if not night.dry_run:
        clear_away(layout, settings)  # what was forgotten must not get into a new generation
    try:
        found = build_generation(layout, settings, dry_run=night.dry_run, accept=accept)
    except NothingToIndex as error:
        stage.outcome, stage.detail = NOTHING, error.message
        return
    stage.counts = dict(found.counts)
    if found.unchanged:
        stage.outcome = NOTHING
        stage.detail = f"{found.generation_id} is up to date"
        return
    if night.dry_run:
        stage.detail = "would build"
        return
    assert found.generation_id is not None
    check = Stage("check", counts={"proofs": len(found.checks)})
    check.detail = "; ".join(
        f"{c.name}: {c.detail}" for c in found.checks if c.name in ("yield", "canaries", "labels")
    )
    report.stages.append(check)
    begun = time.perf_counter()
    publish(layout, found.generation_id)
    stage.detail = f"built in {found.seconds:.1f} s"
    report.stages.append(
        Stage("publish", detail=found.generation_id, seconds=time.perf_counter() - begun)
    )


def _judge(night: Night, stage: Stage) -> None:
    """What the index says of pictures that it has not judged yet."""
    from indexer.labels.judge import judge_pending
    from indexer.vector_index.generations import current_generation_id

    if current_generation_id(night.layout) is None:
        stage.outcome = NOTHING
        return
    found = judge_pending(night.layout, dry_run=night.dry_run)
    stage.counts = {name: count for name, count in found.counts.items() if count}
    stage.outcome = DONE if {"judged", "pending"} & stage.counts.keys() else NOTHING


def _views(night: Night, stage: Stage) -> None:
    """Results of costly views, so that the first question of the day does not wait."""
    from indexer.vector_index.generations import current_generation_id, era_years_of
    from schemas.storage.kept import keep_views, kept_files
    from schemas.storage.snapshot import Snapshot

    if night.dry_run:
        stage.outcome = NOTHING
        return
    era_years = era_years_of(night.layout, current_generation_id(night.layout))
    snapshot = Snapshot.take(night.layout, era_years=era_years)
    before = kept_files(snapshot).keys()
    stage.counts = {"kept": len(keep_views(snapshot).keys() - before)}
    stage.outcome = DONE if stage.counts["kept"] else NOTHING


def _prune(night: Night, stage: Stage) -> None:
    from indexer.forget import clear_away
    from indexer.vector_index.retention import collect_garbage
    from schemas.storage.catalog import maintain

    removed = collect_garbage(night.layout, night.settings.index.keep, dry_run=night.dry_run)
    tables: list[str] = []
    if not night.dry_run:
        if not clear_away(night.layout, night.settings):
            stage.tomorrow = "a generation that is still being read and holds what was forgotten"
        tables = maintain(night.layout)
    stage.counts = {"generations": len(removed), "tables": len(tables)}
    stage.outcome = DONE if removed or tables else NOTHING
