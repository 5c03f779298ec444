"""What a night reports: its stages, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
