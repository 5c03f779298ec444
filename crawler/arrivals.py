"""A picture that arrived, or did not: its row in the catalog.

The catalog's key is the picture's digest and its title. When a title names equal bytes
twice, the first episode holds the key and the others are rows of their own, skipped as
duplicates, whichever of them arrived first.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from crawler.frontier import Frontier, Job
from crawler.pictures import CheckedPicture, check_and_store
from crawler.works import Works
from schemas.blocklist import BlockList
from schemas.layout import Layout
from schemas.pictures import SKIPPED, PictureLimits, Reason, picture_id_of

WHY = {
    "404": Reason.MISSING,
    "410": Reason.MISSING,
    "size": Reason.TOO_MANY_BYTES,
    "address": Reason.ADDRESS,
    str(Reason.OPT_OUT): Reason.OPT_OUT,
}


def missing(reason: str) -> CheckedPicture:
    """A picture that could not be fetched, as a row's worth of facts; `arrived` names it."""
    refused = reason.isdecimal() or reason.startswith("wall: ")
    why = WHY.get(reason, Reason.REFUSED if refused else Reason.UNREACHABLE)
    return CheckedPicture("", "skipped" if why in SKIPPED else "failed", why, detail=reason)


def checked(
    layout: Layout, limits: PictureLimits, forgotten: BlockList, data: bytes
) -> CheckedPicture:
    """Check and store; a page in a picture's place is a failure, whatever its type says, and
    a picture that was forgotten stays out."""
    if forgotten.blocks("picture", picture_id_of(data)):
        return missing(str(Reason.OPT_OUT))
    facts = check_and_store(layout, limits, data, sync=False)
    if facts.reason is Reason.FORMAT and data.lstrip()[:1] in (b"<", b"{", b"["):
        return dataclasses.replace(facts, status="failed")
    return facts


class Arrivals:
    """Rows of pictures. Call every method inside a frontier's transaction."""

    def __init__(self, frontier: Frontier, works: Works, site: str) -> None:
        self.frontier, self.works, self.site, self.db = frontier, works, site, frontier.db

    def arrived(self, job: Job, facts: CheckedPicture, stamp: str) -> None:
        """Write a picture's row; it takes the key from a later episode with equal bytes."""
        title_id, url, about = str(job.title_id), job.url, job.about
        if facts.status != "stored":
            # Equal bytes in two places mean nothing when they are no drawing: each failure
            # has a name of its own, which goes when the picture comes.
            mark = hashlib.sha256(f"{title_id}\n{url}".encode()).hexdigest()
            facts = dataclasses.replace(facts, picture_id=f"missing-{mark}")
        self.frontier.count(f"pictures_{facts.status}")
        self.frontier.count("picture_bytes", facts.bytes_count or 0)
        before = self.db.execute(
            "select * from pictures where title_id = ? and url = ?", (title_id, url)
        ).fetchone()
        me: dict[str, Any] = {
            "title_id": title_id, "url": url, "picture_id": facts.picture_id,
            "kind": about.get("kind"), "episode_no": about.get("episode_no"),
            "published": about.get("published"), "year": about.get("year"), "stamp": stamp,
            "status": facts.status, "bytes_count": facts.bytes_count,
        }  # fmt: skip
        if before is not None and before["picture_id"] != facts.picture_id:
            self.frontier.send("pictures", f"{before['picture_id']} {title_id}", None, fresh=False)
        holder = self.db.execute(
            "select * from pictures where title_id = ? and picture_id = ? and url <> ?",
            (title_id, facts.picture_id, url),
        ).fetchone()
        fresh = holder is None and before is None
        if holder is not None and _place(holder) < _place(me):
            self._copy(me)
        else:
            if holder is not None:
                self._copy(dict(holder))
            self._keep(me)
            row = {**_row(me, self.site), **dataclasses.asdict(facts)}
            row["reason"] = None if facts.reason is None else str(facts.reason)
            del row["detail"]
            self.frontier.send("pictures", f"{facts.picture_id} {title_id}", row, fresh=fresh)
        self.works.settle(title_id)

    def _copy(self, picture: dict[str, Any]) -> None:
        mark = hashlib.sha256(f"{picture['title_id']}\n{picture['url']}".encode()).hexdigest()
        picture |= {"picture_id": f"copy-{mark}", "status": "skipped"}
        self._keep(picture)
        row = {**_row(picture, self.site), "reason": str(Reason.DUPLICATE)}
        key = f"{picture['picture_id']} {picture['title_id']}"
        self.frontier.send("pictures", key, row, fresh=False)

    def _keep(self, picture: dict[str, Any]) -> None:
        self.db.execute(
            "insert or replace into pictures values (:title_id, :url, :picture_id, :kind,"
            " :episode_no, :published, :year, :stamp, :status, :bytes_count)",
            picture,
        )


def _place(picture: Any) -> tuple[int, str]:
    """The order in which pictures of a title take a key: its own first, then by episode."""
    number = picture["episode_no"]
    return (-1 if number is None else number, picture["url"])


def _row(picture: dict[str, Any], site: str) -> dict[str, Any]:
    return {
        "picture_id": picture["picture_id"],
        "title_id": picture["title_id"],
        "kind": picture["kind"],
        "episode_no": picture["episode_no"],
        "source": site,
        "source_path": picture["url"],
        "source_stamp": picture["stamp"],
        "bytes_count": picture["bytes_count"],
        "published": picture["published"],
        "year": picture["year"],
        "status": picture["status"],
    }
