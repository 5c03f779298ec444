"""Results of costly views, kept as Parquet until a table changes."""

from __future__ import annotations

from schemas.snapshot import Snapshot


def kept_files(snapshot: Snapshot) -> dict[str, str]:
    """View -> file relative to the data root, for those that are up to date."""
    return {}
