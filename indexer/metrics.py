"""A night in Prometheus' text format, for the node exporter's textfile collector."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from indexer.status import Coverage

Samples = list[tuple[dict[str, str], float]]


def prometheus(body: dict[str, Any], coverage: Coverage | None, last_success: float) -> str:
    """Metrics of a night's report and of the catalog.

    Units:   seconds since 1970 for times
    """
    stages = body["stages"]
    families: list[tuple[str, str, Samples]] = [
        (
            "nightly_end_timestamp_seconds",
            "When the last night ended.",
            [({}, datetime.now(UTC).timestamp())],
        ),
        (
            "nightly_success_timestamp_seconds",
            "When the last night without a failure ended.",
            [({}, last_success)],
        ),
        ("nightly_exit_code", "Exit code of the last night.", [({}, body["exit_code"])]),
        ("nightly_seconds", "How long the last night took.", [({}, body["seconds"])]),
        (
            "nightly_stage_seconds",
            "How long each stage took.",
            [({"stage": s["name"]}, s["seconds"]) for s in stages],
        ),
        (
            "nightly_stage_failed",
            "1 when the stage failed.",
            [({"stage": s["name"]}, s["outcome"] == "failed") for s in stages],
        ),
        (
            "nightly_stage_count",
            "What each stage counted.",
            [
                ({"stage": s["name"], "what": what}, count)
                for s in stages
                for what, count in s["counts"].items()
            ],
        ),
    ]
    if coverage is not None:
        families += _catalog(coverage)
    lines: list[str] = []
    for name, about, samples in families:
        lines += [f"# HELP toonsearch_{name} {about}", f"# TYPE toonsearch_{name} gauge"]
        lines += [f"toonsearch_{name}{_labels(labels)} {float(v)!r}" for labels, v in samples]
    return "\n".join(lines) + "\n"


def _catalog(coverage: Coverage) -> list[tuple[str, str, Samples]]:
    states = {
        "embedded": coverage.embedded,
        "pending": coverage.pending,
        "skipped": sum(coverage.skipped.values()),
        "failed": sum(coverage.failed.values()),
    }
    found: list[tuple[str, str, Samples]] = [
        (
            "catalog_pictures",
            "Pictures of the catalog by state.",
            [({"state": state}, count) for state, count in states.items()],
        ),
        (
            "index_pictures",
            "Pictures that the index in use answers with.",
            [({}, coverage.indexed)],
        ),
    ]
    if coverage.generation_created:
        created = datetime.fromisoformat(coverage.generation_created).timestamp()
        found.append(
            ("index_created_timestamp_seconds", "When the index was built.", [({}, created)])
        )
    return found


def _labels(labels: dict[str, str]) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    told = ",".join(f'{name}="{quoted(value)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""


def last_success_of(text: str) -> float:
    """The time of the last success that an earlier file tells, 0 when it tells none."""
    for line in text.splitlines():
        if line.startswith("toonsearch_nightly_success_timestamp_seconds "):
            try:
                return float(line.split()[1])
            except (ValueError, IndexError):
                return 0.0
    return 0.0
