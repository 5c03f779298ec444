"""The nightly job: stages in a row, each of which may be killed and run again.

A stage that fails is reported and the others go on; only a failure that no later stage would
survive (a full disk, a damaged catalog) ends the night. A budget bounds crawl, import, panels,
embed and colors, and leaves time for build and publish.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from indexer.crawling import crawl_site
from indexer.forget import ForgetVisitors, clean_up
from indexer.vector_index.generations import current_generation_id, publish
from schemas.attempt import concerns_all
from schemas.errors import (
    InterruptedRun,
    NothingToIndex,
    PartlyDoneError,
    StorageError,
    ToonsearchError,
)
from schemas.settings import Settings, flatten
from schemas.storage.catalog import Catalog, maintain
from schemas.storage.fsio import is_disk_full
from schemas.storage.layout import Layout

COMMAND = "nightly"
DONE, NOTHING, LEFT, FAILED = "done", "nothing new", "time was up", "failed"
RESERVE_RATIO = 0.1
"""Share of the budget that is left for build and publish; more when the last ones took more."""
RESERVE_MAX_S = 1800.0

Log = Callable[[str, dict[str, Any]], None]
"""Called with each event and its facts as the night goes on."""


@dataclass
class StageReport:
    """One stage of one night: `detail` for people, `tomorrow` what it will try again."""

    name: str
    outcome: str = DONE
    detail: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tomorrow: str = ""
    seconds: float = 0.0

    def fill(
        self,
        counts: Mapping[str, int],
        new: Collection[str],
        problems: Sequence[str] = (),
        unit: str = "pictures",
    ) -> None:
        """Take over counts; it did something when one of those named `new` is not 0, and time
        was up when some of the units are left."""
        self.counts = {name: count for name, count in counts.items() if count}
        self.problems = list(problems)
        self.outcome = DONE if self.counts.keys() & set(new) else NOTHING
        if left := counts.get("left"):
            self.outcome, self.tomorrow = LEFT, f"{left:,} {unit}"


@dataclass
class Night:
    """What the stages of a night share, and afterwards its report.

    `before` and `after` are the generations in use; `exit_code` is 4 when a stage failed, or that
    of what ended the night.

    Units:   deadline on the monotonic clock, None without a budget; seconds
    """

    before: str | None
    dry_run: bool = False
    deadline: float | None = None
    after: str | None = None
    stages: list[StageReport] = field(default_factory=list)
    outcome: str = "done"
    exit_code: int = 0
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    def is_over(self) -> bool:
        """Whether the stages that may be cut short have to end."""
        return self.left_s() == 0.0

    def left_s(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def summary(self) -> dict[str, Any]:
        """The report as JSON, the same on standard output, in `runs` and in logs."""
        stages = [dataclasses.asdict(stage) for stage in self.stages]
        return {
            "run_id": f"{self.started:%Y%m%dT%H%M%S}-{self.token}",
            "started": self.started.isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 3),
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "dry_run": self.dry_run,
            "generation": {"before": self.before, "after": self.after},
            "stages": [{**stage, "seconds": round(stage["seconds"], 3)} for stage in stages],
        }


@dataclass(frozen=True)
class Stage:
    """A piece of a night's work, which fills in its own report."""

    name: str
    run: Callable[[Night, StageReport], None]


def run_night(
    layout: Layout,
    stages: Sequence[Stage],
    *,
    budget_s: float | None = None,
    dry_run: bool = False,
    log: Log = lambda event, facts: None,
) -> Night:
    """Run the stages in order. Needs the data root's lock, except for a dry run.

    Units:   budget in seconds
    Errors:  none for what a stage may run into: the report says it. KeyboardInterrupt ends
             the night in order, and is in the report as well
    """
    begun = time.monotonic()
    night = Night(current_generation_id(layout), dry_run)
    if budget_s is not None:
        reserve = max(RESERVE_RATIO * budget_s, 1.5 * _last_build_seconds(layout))
        night.deadline = begun + budget_s - min(reserve, RESERVE_MAX_S, budget_s / 2)
    for stage in stages:
        report = StageReport(stage.name)
        night.stages.append(report)
        log("stage started", {"stage": stage.name})
        stage_begun = time.perf_counter()
        try:
            stage.run(night, report)
        except KeyboardInterrupt:
            _fail(report, InterruptedRun("interrupted"))
            night.outcome, night.exit_code = "interrupted", InterruptedRun.exit_code
        except BaseException as error:
            if not isinstance(error, Exception) and concerns_all(error):
                raise
            found = error if isinstance(error, ToonsearchError) else _unforeseen(error)
            _fail(report, found)
            night.outcome, night.exit_code = "partly", PartlyDoneError.exit_code
            if isinstance(found, StorageError) or is_disk_full(found):
                night.outcome, night.exit_code = "failed", found.exit_code
        report.seconds = time.perf_counter() - stage_begun
        facts = {"stage": stage.name, "outcome": report.outcome, "detail": report.detail}
        log("stage ended", {**facts, "seconds": round(report.seconds, 3), **report.counts})
        if night.outcome in ("interrupted", "failed"):
            break
    if night.outcome == "done" and any(report.outcome == LEFT for report in night.stages):
        night.outcome = "partly"
    night.after = current_generation_id(layout)
    night.seconds = time.monotonic() - begun
    return night


def _fail(stage: StageReport, error: ToonsearchError) -> None:
    stage.outcome = FAILED
    stage.detail = str(error)
    stage.tomorrow = stage.tomorrow or "all of it"


def _unforeseen(error: BaseException) -> ToonsearchError:
    if is_disk_full(error):
        return StorageError("the disk is full", "Free some space.")
    line = str(error).splitlines()[0] if str(error) else ""
    return ToonsearchError(f"this is a bug in toonsearch ({type(error).__name__}: {line})")


# --- History: a row of `runs` for each night, and what earlier rows teach.


def record_run(layout: Layout, settings: Settings, body: dict[str, Any]) -> None:
    """Add a night's summary to `runs`. Errors:  InputError when the disk refuses"""
    started = datetime.fromisoformat(body["started"])
    values = json.dumps(sorted((key, str(value)) for key, value in flatten(settings).items()))
    row = {
        "run_id": body["run_id"],
        "command": COMMAND,
        "started": started,
        "ended": started + timedelta(seconds=body["seconds"]),
        "counts": json.dumps(body, ensure_ascii=False),
        "settings": hashlib.sha256(values.encode()).hexdigest()[:16],
        "outcome": body["outcome"],
    }
    Catalog(layout).append("runs", [row])


def past_nights(layout: Layout) -> list[dict[str, Any]]:
    """Summaries of earlier nights, oldest first. Errors:  InputError"""
    rows = Catalog(layout).read("runs", ["command", "started", "counts"]).to_pylist()
    mine = sorted((r for r in rows if r["command"] == COMMAND), key=lambda row: row["started"])
    return [json.loads(row["counts"]) for row in mine]


def _last_build_seconds(layout: Layout) -> float:
    """How long the last building took, 0 when none is known."""
    try:
        for body in reversed(past_nights(layout)):
            for stage in body["stages"]:
                if stage["name"] == "build" and stage["outcome"] == DONE:
                    return float(stage["seconds"])
    except (ToonsearchError, ValueError, KeyError, TypeError):
        pass  # only an estimate needs it
    return 0.0


# --- The stages that the indexer itself offers.


def crawl_stage(layout: Layout, site: str) -> Stage:
    """Crawl a site in a process of its own, for as long as the budget allows."""

    def run(night: Night, stage: StageReport) -> None:
        if night.is_over():
            stage.outcome, stage.tomorrow = LEFT, "the whole crawl"
            return
        if night.dry_run:
            stage.detail = f"would run `toonsearch crawl {site}`"
            return
        found = crawl_site(layout, site, seconds=night.left_s())
        stage.counts, stage.problems, stage.detail = found.counts, found.problems, found.detail
        if found.was_stopped:
            stage.outcome, stage.tomorrow = LEFT, "the rest of the crawl"
        elif found.error is not None:
            stage.tomorrow = "what failed"
            raise found.error

    return Stage(f"crawl {site}", run)


def index_stages(
    layout: Layout,
    settings: Settings,
    forget_visitors: ForgetVisitors,
    accept: tuple[str, ...] = (),
) -> list[Stage]:
    """From stored pictures to a published index: panels, embed, colors, build, judge, prune."""

    def panels(night: Night, stage: StageReport) -> None:
        """Cut new strips and pages."""
        from indexer.panels.strips import cut_pending

        found = cut_pending(layout, settings, dry_run=night.dry_run, is_over=night.is_over)
        new = {"cut", "whole", "failed", "removed", "pending"}
        stage.fill(found.counts, new, found.problems, unit="strips and pages")

    def embed(night: Night, stage: StageReport) -> None:
        from indexer.embedding.embed import embed_pending

        found = embed_pending(layout, settings, dry_run=night.dry_run, is_over=night.is_over)
        stage.fill(found.counts, {"embedded", "skipped", "failed", "pending"})
        if stage.counts.get("failed") and not stage.counts.get("embedded"):
            raise PartlyDoneError(f"none of {stage.counts['failed']:,} pictures could be read")

    def colors(night: Night, stage: StageReport) -> None:
        from indexer.palette import color_pending

        found = color_pending(layout, settings, dry_run=night.dry_run, is_over=night.is_over)
        stage.fill(found.counts, {"coloured", "pending"}, found.problems)

    def build(night: Night, stage: StageReport) -> None:
        """Build, check and publish; the last two are stages of their own in the report."""
        from indexer.vector_index.build import build_generation

        if not night.dry_run:
            # What was forgotten must not get into a new generation.
            clean_up(layout, settings, forget_visitors)
        try:
            found = build_generation(layout, settings, dry_run=night.dry_run, accept=accept)
        except NothingToIndex as error:
            stage.outcome, stage.detail = NOTHING, error.message
            return
        stage.counts = dict(found.counts)
        if found.unchanged:
            stage.outcome, stage.detail = NOTHING, f"{found.generation_id} is up to date"
            return
        if night.dry_run:
            stage.detail = "would build"
            return
        assert found.generation_id is not None
        against = [c for c in found.checks if c.name in ("yield", "canaries", "labels")]
        detail = "; ".join(f"{check.name}: {check.detail}" for check in against)
        counts = {"checks": len(found.checks)}
        night.stages.append(StageReport("check", detail=detail, counts=counts))
        begun = time.perf_counter()
        publish(layout, found.generation_id)
        stage.detail = f"built in {found.seconds:.1f} s"
        seconds = time.perf_counter() - begun
        night.stages.append(StageReport("publish", detail=found.generation_id, seconds=seconds))

    def judge(night: Night, stage: StageReport) -> None:
        """What the index says of pictures that it has not judged yet."""
        from indexer.labels.judge import judge_pending

        if current_generation_id(layout) is None:
            stage.outcome = NOTHING
            return
        found = judge_pending(layout, dry_run=night.dry_run)
        stage.fill(found.counts, {"judged", "pending"}, found.problems)

    def prune(night: Night, stage: StageReport) -> None:
        """Remove old generations and files of tables."""
        from indexer.vector_index.generations import collect_garbage

        removed = collect_garbage(layout, settings.index.keep, dry_run=night.dry_run)
        tables: list[str] = []
        if not night.dry_run:
            if not clean_up(layout, settings, forget_visitors):
                stage.tomorrow = "a generation that is being read and holds what was forgotten"
            tables = maintain(layout)
        stage.counts = {"generations": len(removed), "tables": len(tables)}
        stage.outcome = DONE if removed or tables else NOTHING

    def milvus(night: Night, stage: StageReport) -> None:
        """Copy what is published, and remove what is not there any more."""
        from indexer.vector_index.milvus import follow

        found = None if night.dry_run else follow(layout, settings)
        if found is None or not (found.copied or found.removed):
            stage.outcome = NOTHING
            return
        stage.counts = {"vectors": found.vectors_count if found.copied else 0}
        stage.counts["collections removed"] = len(found.removed)

    stages = (panels, embed, colors, build, judge, prune)
    return [
        Stage(run.__name__, run) for run in (*stages, *([milvus] if settings.index.milvus else []))
    ]
