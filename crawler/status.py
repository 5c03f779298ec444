"""What the catalog has of each site, and what could not be had: `toonsearch crawl status`."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from typing import Any

from crawler.sites.base import SITES
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout


def site_status(layout: Layout) -> dict[str, dict[str, Any]]:
    """Facts by site, sites that were never crawled left out.

    Errors:  InputError when a table cannot be read
    """
    catalog = Catalog(layout)
    if not any(catalog.exists(table) for table in ("crawl_state", "runs")):
        return {}
    states = catalog.read("crawl_state", ["site", "status", "reason"]).to_pylist()
    runs = [r for r in catalog.read("runs").to_pylist() if r["command"].startswith("crawl ")]
    with contextlib.closing(catalog.connect()) as connection:
        titles = dict(
            connection.execute("select platform, count(*) from titles group by 1").fetchall()
        )
        pictures = connection.execute(
            "select source, status, reason, count(*) from pictures group by all order by all"
        ).fetchall()
    found = {}
    for site in SITES:
        mine = [row for row in states if row["site"] == site]
        past = [row for row in runs if row["command"].split()[1] == site]
        if not mine and not past:
            continue
        by_status: dict[str, dict[str, int]] = {}
        for status in ("partial", "skipped", "failed"):
            reasons = Counter(row["reason"] or "" for row in mine if row["status"] == status)
            by_status[status] = {f"title: {why}": n for why, n in sorted(reasons.items())}
        stored = 0
        for source, state, reason, count in pictures:
            if source == site and state == "failed":
                by_status["failed"][f"picture: {reason}"] = count
            elif source == site and state == "stored":
                stored += count
        found[site] = {
            "titles": titles.get(site, 0),
            "pictures": stored,
            **by_status,
            "unfinished": _unfinished(layout, site),
            "last": _last(past),
        }
    return found


def _last(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not runs:
        return None
    latest = max(runs, key=lambda row: row["ended"])
    counts = json.loads(latest["counts"])
    names = ("listed", "new", "changed", "unchanged", "failed", "episodes", "requests")
    return {
        "ended": latest["ended"].isoformat(),
        "outcome": latest["outcome"],
        "counts": {name: counts.get(name, 0) for name in names},
    }


def _unfinished(layout: Layout, site: str) -> int:
    """Requests that a crawl which was cut short has left; read without disturbing a writer."""
    path = layout.frontier(site)
    if not path.exists():
        return 0
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            return int(connection.execute("select count(*) from jobs").fetchone()[0])
    except sqlite3.Error:
        return 0
