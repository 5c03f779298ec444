"""What a response means: which titles to ask for, which pages to follow, which rows to write.

All decisions of a crawl are made here, on the frontier's tables and inside the transaction
that acknowledges the response. None depends on the order of the responses, so a crawl that
was killed ends with the rows of one that was not.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from crawler.scheduler import Frontier, Job
from crawler.sites.base import (
    ListedTitle,
    PageRequest,
    ParsedPage,
    ParsedTitle,
    PictureLink,
    Plan,
    Site,
)
from crawler.state import as_json, episode_digest
from schemas.blocklist import BlockList
from schemas.records import Author, Episode, distinct_authors

OPEN, ENDED = 1, 2
"""A title's `phase`: something is awaited of it, or nothing any more. Other titles have 0."""


def as_row(record: Any) -> dict[str, Any]:
    """A record as JSON holds it."""
    row: dict[str, Any] = json.loads(as_json(dataclasses.asdict(record)))
    return row


def merged(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """One title from two pages that each describe a part; the order of the pages is no matter."""
    both = {name: two[name] if one.get(name) in (None, "") else one[name] for name in two}
    for name in ("genres", "tags"):
        both[name] = sorted({*(one[name] or ()), *(two[name] or ())})
    known = [Author(**author) for author in one["authors"] or ()]
    people = {*known, *(Author(**author) for author in two["authors"] or ())}
    if people != set(known):
        known = list(
            distinct_authors(sorted(people, key=lambda author: (author.name, author.role)))
        )
    both["authors"] = [dataclasses.asdict(author) for author in known]
    return both


class TitleTracker:
    """The titles of a crawl. Call every method inside a frontier's transaction."""

    def __init__(
        self, frontier: Frontier, site: Site, plan: Plan, *, adult: bool, blocked: BlockList
    ) -> None:
        self.frontier, self.site, self.plan = frontier, site, plan
        self.adult, self.blocked = adult, blocked
        self.db = frontier.db

    def begin(self) -> None:
        """Queue the lists, the named titles, or what failed before."""
        if self.plan.retry_failed:
            self._retry_failed()
            return
        requests = self.site.start(self.plan.scope)
        for request in requests:
            if request.title_id is not None:
                known = self.get(request.title_id)
                self.frontier.count("again" if known["state"] else "new")
                self.open(request.title_id, None, self._about(request.about, known), whole=True)
        self.frontier.add(requests)

    def _retry_failed(self) -> None:
        failed = "select title_id from titles where json_extract(state, '$.status') = 'failed'"
        for (title_id,) in self.db.execute(failed).fetchall():
            self.open(title_id, whole=True)
            self.frontier.add([self.site.title(title_id, self.get(title_id)["about"])])
        for row in self.db.execute("select * from pictures where status = 'failed'").fetchall():
            title = self.get(row["title_id"])
            if not title["phase"]:
                self.open(row["title_id"], partial=_partial_reason(title["state"]))
            published = row["published"] and date.fromisoformat(row["published"])
            link = PictureLink(row["url"], row["kind"], row["episode_no"], published, row["year"])
            self._queue_picture(row["title_id"], link)

    # Responses

    def take(self, job: Job, page: ParsedPage, etag: str | None, modified: str | None) -> None:
        """Take in one page."""
        title_id = job.title_id
        if page.skip_reason is not None and title_id is not None:
            if page.skip_reason == "gone":
                self.gone(job)
            else:
                self.end(title_id, "skipped", page.skip_reason)
            return
        for listed in page.listed:
            self._take_listed(listed)
        for parsed in page.titles:
            self._take_title(parsed)
        if self.plan.dry_run:
            self.frontier.add(each for each in page.requests if each.title_id is None)
            return
        if title_id is not None and job.kind == "episodes":
            self._take_episodes(title_id, job, page)
            if job.about.get("page", 1) == 1:
                self.set(title_id, etag=etag, modified=modified)
        elif title_id is not None:
            for link in page.pictures:
                self._want_picture(title_id, link)
        # A title that moved is asked for its facts alone: its episodes are known by now.
        if not job.about.get("facts_only"):
            self.frontier.add(each for each in page.requests if self._is_awaited(each))
        if title_id is not None:
            if any(parsed.merged for parsed in page.titles):
                about = self.get(title_id)["about"]
                about["parsed"] = sorted({*about.get("parsed", ()), job.kind})
                self.set(title_id, about=as_json(about))
            self.settle(title_id)

    def unchanged(self, title_id: str) -> None:
        """The site says that a title's newest page is what it was."""
        self._count_saved(title_id)
        self.settle(title_id)

    def gone(self, job: Job) -> None:
        """The site does not know a title. When a list has just named one that we hold, that
        is odd enough to be called a failure, which is tried again."""
        stored = self.get(str(job.title_id))["stored"]
        if stored is not None and not self.plan.scope.titles:
            self.fail(job, "gone")
        else:
            self.end(str(job.title_id), "skipped", "gone")

    def fail(self, job: Job, reason: str) -> None:
        """A page could not be had."""
        if job.title_id is None:
            self.frontier.count("lists_failed")
            return
        if not self.get(job.title_id)["phase"]:
            self.open(job.title_id)
        self.set(job.title_id, fail=reason)
        self.settle(job.title_id)

    def _is_awaited(self, request: PageRequest) -> bool:
        """Whether a request is still to be made: its title may have ended, or a page that
        never changes may have been parsed in an earlier crawl."""
        if request.title_id is None:
            return True
        row = self.get(request.title_id)
        return row["phase"] == OPEN and request.kind not in row["about"].get("parsed", ())

    def _about(self, about: Mapping[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """What the site's functions need, and whether strips were fetched, or will be."""
        strips = self.plan.scope.strips or known["about"].get("strips")
        return {**about, **({"strips": True} if strips else {})}

    def _take_listed(self, listed: ListedTitle) -> None:
        """Decide whether a listed title is asked for: wholly, for what moved, or not."""
        title_id, known = listed.title_id, self.get(listed.title_id)
        if known["phase"]:
            return
        self.frontier.count("listed")
        if self.blocked.blocks_title(title_id, listed.authors):
            self._leave_out(title_id)
            return
        state = known["state"] or {}
        known_adult = (state.get("status"), state.get("reason")) == ("skipped", "adult")
        if not self.adult and (listed.adult or known_adult):
            self.open(title_id, listed.name, listed.about)
            self.end(title_id, "skipped", "adult")
            return
        if not self._within("titles_asked", self.plan.max_titles):
            self.frontier.count("left_out")
            return
        lacks_strips = self.plan.scope.strips and not known["about"].get("strips")
        done = state.get("status") == "done" and not lacks_strips
        partial = _partial_reason(state) if self.plan.since is not None else None
        about = self._about(listed.about, known)
        self.open(title_id, listed.name, about, whole=not (done or partial), partial=partial)
        self.set(title_id, star_score=listed.star_score)
        if listed.finished is not None:
            self.set(title_id, finished=int(listed.finished))
        if done and self._is_unchanged(listed, state):
            self._count_saved(title_id)
            self._write_title(title_id)
        elif self.plan.dry_run:
            self.frontier.count("asked_again" if done else "new")
        elif (done or partial) and self.site.probe is not None:
            probe = self.site.probe(title_id, listed.about)
            self.frontier.add([dataclasses.replace(probe, about={**probe.about, "probe": True})])
        else:
            self.frontier.count("again" if state else "new")
            self.frontier.add([self.site.title(title_id, listed.about)])

    @staticmethod
    def _is_unchanged(listed: ListedTitle, state: dict[str, Any]) -> bool:
        """Whether the list alone shows that nothing can be new."""
        if listed.finished and state.get("finished"):
            return True
        same_count = listed.episodes_count == state.get("episodes_count")
        same_date = str(listed.last_date) == str(state.get("last_date"))
        return listed.episodes_count is not None and same_count and same_date

    def _take_title(self, parsed: ParsedTitle) -> None:
        title = parsed.title
        row = self.get(title.title_id)
        if not row["phase"]:
            self.frontier.count("listed")
        if self.blocked.blocks_title(title.title_id, [author.name for author in title.authors]):
            self._leave_out(title.title_id)
            return
        if row["phase"] == ENDED:
            return
        if not row["phase"]:
            if not self._within("titles_asked", self.plan.max_titles):
                self.frontier.count("left_out")
                return
            self.frontier.count("new" if row["stored"] is None else "unchanged")
            self.open(title.title_id, title.name)
        if parsed.adult and not self.adult:
            self.end(title.title_id, "skipped", "adult")
            return
        if self.plan.dry_run:
            return
        draft = as_row(title)
        if parsed.merged and row["draft"]:
            draft = merged(json.loads(row["draft"]), draft)
            if self.site.year_of is not None:
                draft["year"] = self.site.year_of(draft["tags"])
        self.set(title.title_id, draft=as_json(draft), name=draft["name"])
        if title.finished is not None:
            self.set(title.title_id, finished=int(title.finished))
        for link in parsed.pictures:
            self._want_picture(title.title_id, link)
        self._write_title(title.title_id)
        if parsed.merged:
            self.settle(title.title_id)

    def _leave_out(self, title_id: str) -> None:
        """The title is on the block list."""
        self.frontier.cancel(title_id)
        self.frontier.count("skipped_blocked")
        self.open(title_id)
        self.set(title_id, phase=ENDED)

    def _within(self, name: str, limit: int | None) -> bool:
        """Count one more of something that has a limit; False at the limit."""
        if limit is not None and self.frontier.counts.get(name, 0) >= limit:
            return False
        self.frontier.count(name)
        return True

    # Episodes and pictures

    def _take_episodes(self, title_id: str, job: Job, page: ParsedPage) -> None:
        row = self.get(title_id)
        since = self.plan.since

        def is_wanted(published: date | None) -> bool:
            return since is None or published is None or published >= since

        new = sum(self._episode(each) for each in page.episodes if is_wanted(each.published))
        known = self.frontier.scalar("select count(*) from episodes where title_id = ?", title_id)
        moved = bool(new) or page.episodes_count != row["count"]
        self.set(title_id, count=page.episodes_count)
        if job.about.get("probe"):
            if not moved:
                self._count_saved(title_id)
                return
            self.frontier.count("changed")
            about = {**row["about"], "facts_only": True}
            self.frontier.add([self.site.title(title_id, about)])
        for link in page.pictures:
            if is_wanted(link.published):
                self._want_picture(title_id, link)
        if self.plan.scope.strips and self.site.strip is not None:
            held = self._episodes_with_strips(title_id)
            wanted = [number for number in page.free if number not in held]
            if (limit := self.plan.scope.max_episodes) is not None:
                wanted = sorted(wanted, reverse=True)[: max(0, limit - len(held))]
            self.frontier.add(self.site.strip(title_id, number, row["about"]) for number in wanted)
        dates = [e.published for e in page.episodes if e.published is not None]
        past = since is not None and bool(dates) and max(dates) < since
        if since is not None and (past or known < (page.episodes_count or 0)):
            self.set(title_id, partial=f"since: {since}")
        # Newest first: a page with an episode that was known reaches back to what we have.
        overlaps = new < len(page.episodes)
        caught_up = not row["whole"] and overlaps and known >= (page.episodes_count or 0)
        if page.more is not None and not past and not caught_up:
            self.frontier.add([page.more])

    def _episodes_with_strips(self, title_id: str) -> set[int]:
        """Episodes whose strips are stored or asked for."""
        query = (
            "select episode_no from pictures where title_id = :title and kind = 'strip' union"
            " select json_extract(about, '$.episode_no') from jobs where title_id = :title"
            " and (kind = 'strip' or json_extract(about, '$.kind') = 'strip')"
        )
        return {number for (number,) in self.db.execute(query, {"title": title_id})}

    def _episode(self, episode: Episode) -> bool:
        """Write an episode that is new or differs; whether it is new."""
        row = as_row(episode)
        digest = episode_digest(row)
        key = (episode.title_id, episode.episode_no)
        query = "select digest from episodes where title_id = ? and episode_no = ?"
        before = self.frontier.scalar(query, *key)
        if before == digest:
            return False
        self.db.execute(
            "insert or replace into episodes values (?, ?, ?, ?)", (*key, row["published"], digest)
        )
        self.frontier.send("episodes", f"{key[0]} {key[1]}", row, fresh=before is None)
        if before is None:
            self.frontier.count("episodes")
        return before is None

    def _want_picture(self, title_id: str, link: PictureLink) -> None:
        """Queue a picture that the catalog does not have."""
        query = "select 1 from pictures where title_id = ? and url = ?"
        if self.frontier.scalar(query, title_id, link.url) is None:
            self._queue_picture(title_id, link)

    def _queue_picture(self, title_id: str, link: PictureLink) -> None:
        about = as_row(link)
        request = PageRequest(about.pop("url"), "picture", title_id, about)
        limit = self.plan.max_pictures
        if limit is not None and self.frontier.counts.get("pictures_asked", 0) >= limit:
            self.set(title_id, partial="max pictures")
        elif self.frontier.add([request]):
            self.frontier.count("pictures_asked")

    def _count_saved(self, title_id: str) -> None:
        self.frontier.count("unchanged")
        saved = self.frontier.scalar("select count(*) from pictures where title_id = ?", title_id)
        self.frontier.count("requests_saved", saved)

    # A title's row, and the moment when nothing more is awaited of it

    def get(self, title_id: str) -> dict[str, Any]:
        """A title's row with its JSON read; of a title that is not known, a row of nothing."""
        found = self.db.execute("select * from titles where title_id = ?", (title_id,))
        row = found.fetchone() or [None] * len(found.description)
        title = dict(zip((name for name, *_ in found.description), row, strict=True))
        title["about"] = json.loads(title["about"] or "{}")
        title["state"] = title["state"] and json.loads(title["state"])
        return title

    def set(self, title_id: str, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        self.db.execute(
            f"update titles set {names} where title_id = ?", (*values.values(), title_id)
        )

    def open(
        self,
        title_id: str,
        name: str | None = None,
        about: Mapping[str, Any] | None = None,
        *,
        whole: bool = False,
        partial: str | None = None,
    ) -> None:
        """Make a title part of this crawl; `whole` when all its pages are to be followed."""
        text = None if about is None else as_json(dict(about))
        self.db.execute(
            "insert into titles (title_id, name, about, phase, whole, partial)"
            " values (?, ?, ?, ?, ?, ?) on conflict do update set"
            " name = coalesce(excluded.name, name), about = coalesce(excluded.about, about),"
            " phase = excluded.phase, whole = excluded.whole, partial = excluded.partial,"
            " fail = null",
            (title_id, name, text, OPEN, whole, partial),
        )

    def conditional_headers(self, title_id: str) -> dict[str, str]:
        """Headers that let the server answer that nothing has changed."""
        row = self.get(title_id)
        found = {"If-None-Match": row["etag"], "If-Modified-Since": row["modified"]}
        return {name: value for name, value in found.items() if value}

    def settle(self, title_id: str) -> None:
        """When nothing more is queued for a title, say so in the catalog."""
        if self.frontier.scalar("select 1 from jobs where title_id = ?", title_id) is not None:
            return
        row = self.get(title_id)
        if row["phase"] != OPEN:
            return
        self._write_title(title_id)
        if row["fail"] is not None:
            self.frontier.count("failed")
            self._write_state(title_id, "failed", row["fail"])
        elif row["partial"] is not None:
            self._write_state(title_id, "partial", row["partial"])
        else:
            self._write_state(title_id, "done", None)

    def end(self, title_id: str, status: str, reason: str) -> None:
        """A title cannot be had: nothing more is asked for it, what is known stays."""
        self.frontier.cancel(title_id)
        self.frontier.count(f"{status}_{reason}")
        self.open(title_id)
        self._write_state(title_id, status, reason)
        self.set(title_id, phase=ENDED)

    def _write_title(self, title_id: str) -> None:
        """Write the title's row when it differs from the stored one.

        Its facts come from its own page, its dates from its episodes, its score from a list.
        """
        row = self.get(title_id)
        if row["draft"] is None:
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

    def _write_state(self, title_id: str, status: str, reason: str | None) -> None:
        """Write what the crawl knows of a title when it differs from what was written."""
        row = self.get(title_id)
        last = self.frontier.scalar(
            "select max(published) from episodes where title_id = ?", title_id
        )
        finished = row["finished"]
        state = {
            "title_id": title_id,
            "site": self.site.name,
            "name": row["name"],
            "status": status,
            "reason": reason,
            "finished": None if finished is None else bool(finished),
            "episodes_count": row["count"],
            "last_date": last,
            "etag": row["etag"],
            "last_modified": row["modified"],
            "about": as_json(row["about"]),
        }
        if state != row["state"]:
            self.set(title_id, state=as_json(state))
            state["checked_at"] = datetime.now(UTC).isoformat()
            self.frontier.send("crawl_state", title_id, state, fresh=row["state"] is None)


def _partial_reason(state: dict[str, Any] | None) -> str | None:
    return state["reason"] if state and state.get("status") == "partial" else None
