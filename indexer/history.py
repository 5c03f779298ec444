"""The ledger of runs: a row for each night, and what earlier rows teach."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.catalog import Catalog
from schemas.errors import ToonsearchError
from schemas.layout import Layout
from schemas.settings import Settings, flatten

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
