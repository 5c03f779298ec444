"""The titles of a crawl: their rows, and the moment when nothing more is awaited of one.

A title's facts come from its own page, its dates from its episodes, its score from a list:
the row is put together here whenever one of them moves, and written when it differs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from crawler.frontier import Frontier
from crawler.memory import as_json


def plain(record: Any) -> dict[str, Any]:
    """A record as JSON holds it."""
    row: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(record), default=_iso))
    return row


def _iso(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def united(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """One title from two pages that each tell a part; the order of the pages is no matter."""
    both = {name: two[name] if one.get(name) in (None, "") else one[name] for name in two}
    for name in ("genres", "tags"):
        both[name] = sorted({*(one[name] or ()), *(two[name] or ())})
    people = {(a["name"], a["role"]) for a in (*(one["authors"] or ()), *(two["authors"] or ()))}
    both["authors"] = [{"name": name, "role": role} for name, role in sorted(people)]
    if sorted(people) == sorted((a["name"], a["role"]) for a in one["authors"] or ()):
        both["authors"] = one["authors"]
    return both


class Works:
    """Titles in the frontier. Call every method inside a transaction."""

    def __init__(self, frontier: Frontier, site: str) -> None:
        self.frontier, self.site, self.db = frontier, site, frontier.db

    def get(self, title_id: str) -> Any:
        return self.db.execute("select * from titles where title_id = ?", (title_id,)).fetchone()

    def set(self, title_id: str, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        self.db.execute(
            f"update titles set {names} where title_id = ?", (*values.values(), title_id)
        )

    def see(
        self,
        title_id: str,
        name: str | None = None,
        about: Mapping[str, Any] | None = None,
        *,
        whole: bool = False,
        partial: str | None = None,
    ) -> None:
        """Make a title part of this crawl; `whole` when all its pages are to be followed."""
        self.db.execute("insert or ignore into titles (title_id) values (?)", (title_id,))
        self.set(title_id, seen=1, whole=int(whole), fail=None, partial=partial)
        if name is not None:
            self.set(title_id, name=name)
        if about is not None:
            self.set(title_id, about=json.dumps(dict(about), ensure_ascii=False))

    def emit(self, title_id: str) -> None:
        """Write the title's row when it differs from the stored one."""
        row = self.get(title_id)
        if row is None or row["draft"] is None:
            return
        draft = json.loads(row["draft"])
        first, last, known = self.db.execute(
            "select min(published), max(published), count(*) from episodes where title_id = ?",
            (title_id,),
        ).fetchone()
        if last is not None:
            draft["last_date"] = last
        # Without the earliest episodes (--since) nobody knows when a title began.
        if first is not None and row["count"] is not None and known >= row["count"]:
            draft["first_date"] = first
        if draft["year"] is None and draft["first_date"]:
            draft["year"] = int(draft["first_date"][:4])
        # What a list says is as new as the page's own word, or newer.
        if row["star_score"] is not None:
            draft["star_score"] = row["star_score"]
        if row["finished"] is not None:
            draft["finished"] = bool(row["finished"])
        text = as_json(draft)
        if text != row["stored"]:
            self.frontier.send("titles", title_id, draft, fresh=row["stored"] is None)
            self.set(title_id, stored=text)

    def settle(self, title_id: str) -> None:
        """When nothing more is queued for a title, say so in the catalog."""
        if self.frontier.is_open(title_id):  # nearly always, so it is asked first
            return
        row = self.get(title_id)
        if row is None or row["seen"] != 1:
            return
        self.emit(title_id)
        if row["fail"] is not None:
            self.frontier.count("failed")
            self.state(title_id, "failed", row["fail"])
        elif row["partial"] is not None:
            self.state(title_id, "partial", row["partial"])
        else:
            self.state(title_id, "done", None)

    def end(self, title_id: str, status: str, reason: str) -> None:
        """A title cannot be had: nothing more is asked for it, what is known stays."""
        self.frontier.cancel(title_id)
        self.frontier.count(f"{status}_{reason}")
        if self.get(title_id) is None:
            self.see(title_id)
        self.state(title_id, status, reason)
        self.set(title_id, seen=2)

    def state(self, title_id: str, status: str, reason: str | None) -> None:
        """Write what the crawl knows of a title when it differs from what was written."""
        row = self.get(title_id)
        last = self.db.execute(
            "select max(published) from episodes where title_id = ?", (title_id,)
        ).fetchone()[0]
        finished = row["finished"]
        state = {
            "title_id": title_id,
            "site": self.site,
            "name": row["name"],
            "status": status,
            "reason": reason,
            "finished": None if finished is None else bool(finished),
            "episodes_count": row["count"],
            "last_date": last,
            "etag": row["etag"],
            "last_modified": row["modified"],
            "about": row["about"],
        }
        text = as_json(state)
        if text != row["state"]:
            state["checked_at"] = datetime.now(UTC).isoformat()
            self.frontier.send("crawl_state", title_id, state, fresh=row["state"] is None)
            self.set(title_id, state=text)
