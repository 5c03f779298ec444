"""What the catalog has of each site, and what could not be had: `toonsearch crawl status`."""

from __future__ import annotations

import contextlib
import json
import sqlite3
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
    runs = [r for r in catalog.read("runs").to_pylist() if r["command"].startswith("crawl ")]
    with contextlib.closing(catalog.connect()) as connection:
        titles = dict(
            connection.execute("select platform, count(*) from titles group by 1").fetchall()
        )
        counts = connection.execute(
            "select site, 'title', status, coalesce(reason, ''), count(*)"
            " from crawl_state group by all union all"
            " select source, 'picture', status, coalesce(reason, ''), count(*)"
            " from pictures group by all order by all"
        ).fetchall()
    found: dict[str, dict[str, Any]] = {}
    for site in SITES:
        mine = [row[1:] for row in counts if row[0] == site]
        past = [row for row in runs if row["command"].split()[1] == site]
        if not past and not any(kind == "title" for kind, *_ in mine):
            continue
        found[site] = {
            "titles": titles.get(site, 0),
            "pictures": sum(
                n for kind, status, _, n in mine if (kind, status) == ("picture", "stored")
            ),
            "partial": {},
            "skipped": {},
            "failed": {},
            "unfinished": _unfinished(layout, site),
            "last": _last(past),
        }
        for kind, status, reason, count in mine:
            if status == "failed" or (kind == "title" and status in ("partial", "skipped")):
                found[site][status][f"{kind}: {reason}"] = count
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
