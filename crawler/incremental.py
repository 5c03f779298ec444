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


def plain(record: Any) -> dict[str, Any]:
    """A record as JSON holds it."""
    row: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(record), default=_iso))
    return row


def _iso(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def united(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """One title from two pages that each describe a part; the order of the pages is no matter."""
    both = {name: two[name] if one.get(name) in (None, "") else one[name] for name in two}
    for name in ("genres", "tags"):
        both[name] = sorted({*(one[name] or ()), *(two[name] or ())})
    before = [Author(**author) for author in one["authors"] or ()]
    more = [Author(**author) for author in two["authors"] or ()]
    people = distinct_authors(sorted({*before, *more}, key=lambda a: (a.name, a.role)))
    if sorted(people, key=repr) == sorted(before, key=repr):
        people = tuple(before)
    both["authors"] = [dataclasses.asdict(author) for author in people]
    return both


class TitleTracker:
    """The titles of a crawl. Call every method inside a frontier's transaction.

    A title's column `seen` is 1 while something is awaited of it and 2 once it has ended.
    """

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
                self.frontier.count("again" if known is not None and known["state"] else "new")
                self.see(request.title_id, None, self._about(request.about, known), whole=True)
        self.frontier.add(requests)

    def _retry_failed(self) -> None:
        failed = self.db.execute(
            "select title_id, about from titles where json_extract(state, '$.status') = 'failed'"
        ).fetchall()
        for row in failed:
            about = json.loads(row["about"] or "{}")
            self.see(row["title_id"], None, about, whole=True)
            if self.site.title is not None:
                self.frontier.add([self.site.title(row["title_id"], about)])
        for row in self.db.execute("select * from pictures where status = 'failed'").fetchall():
            title = self.get(row["title_id"])
            if title is None or not title["seen"]:
                state = json.loads((title and title["state"]) or "{}")
                partial = state.get("reason") if state.get("status") == "partial" else None
                self.see(row["title_id"], partial=partial)
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
            if any(parsed.merged for parsed in page.titles) and (row := self.get(title_id)):
                about = json.loads(row["about"] or "{}")
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
        row = self.get(str(job.title_id))
        if row is not None and row["stored"] is not None and not self.plan.scope.titles:
            self.fail(job, "gone")
        else:
            self.end(str(job.title_id), "skipped", "gone")

    def fail(self, job: Job, reason: str) -> None:
        """A page could not be had."""
        if job.title_id is None:
            self.frontier.count("lists_failed")
            return
        if self.get(job.title_id) is None:
            self.see(job.title_id)
        self.set(job.title_id, fail=reason)
        self.settle(job.title_id)

    def _is_awaited(self, request: PageRequest) -> bool:
        """Whether a request is still to be made: its title may have ended, or a page that
        never changes may have been parsed in an earlier crawl."""
        if request.title_id is None:
            return True
        row = self.get(request.title_id)
        if row is None or row["seen"] != 1:
            return False
        return request.kind not in json.loads(row["about"] or "{}").get("parsed", ())

    def _about(self, about: Mapping[str, Any], known: Any) -> dict[str, Any]:
        """What the site's functions need, and whether strips were fetched, or will be."""
        before = json.loads(known["about"] or "{}") if known is not None else {}
        strips = self.plan.scope.strips or before.get("strips")
        return {**about, **({"strips": True} if strips else {})}

    def _take_listed(self, listed: ListedTitle) -> None:
        """Decide whether a listed title is asked for: wholly, for what moved, or not."""
        known = self.get(listed.title_id)
        if known is not None and known["seen"]:
            return
        self.frontier.count("listed")
        if self.blocked.blocks_title(listed.title_id, listed.authors):
            self._leave_out(listed.title_id)
            return
        state = json.loads(known["state"]) if known is not None and known["state"] else {}
        if not self.adult:
            known_adult = (state.get("status"), state.get("reason")) == ("skipped", "adult")
            if listed.adult or known_adult:
                self.see(listed.title_id, listed.name, listed.about)
                if listed.adult:
                    self.end(listed.title_id, "skipped", "adult")
                else:
                    self.set(listed.title_id, seen=2)
                    self.frontier.count("skipped_adult")
                return
        if not self._within("titles_asked", self.plan.max_titles):
            self.frontier.count("left_out")
            return
        done = state.get("status") == "done"
        about = self._about(listed.about, known)
        if self.plan.scope.strips and not json.loads(state.get("about") or "{}").get("strips"):
            done = False
        partial = state.get("status") == "partial" and self.plan.since is not None
        self.see(
            listed.title_id,
            listed.name,
            about,
            whole=not (done or partial),
            partial=state.get("reason") if partial else None,
        )
        self.set(listed.title_id, star_score=listed.star_score)
        if listed.finished is not None:
            self.set(listed.title_id, finished=int(listed.finished))
        if done and self._stands_still(listed, state):
            self._count_saved(listed.title_id)
            self._write_title(listed.title_id)
        elif self.plan.dry_run:
            self.frontier.count("asked_again" if done else "new")
        elif (done or partial) and self.site.probe is not None:
            probe = self.site.probe(listed.title_id, listed.about)
            self.frontier.add([dataclasses.replace(probe, about={**probe.about, "probe": True})])
        elif self.site.title is not None:
            self.frontier.count("again" if state else "new")
            self.frontier.add([self.site.title(listed.title_id, listed.about)])

    @staticmethod
    def _stands_still(listed: ListedTitle, state: dict[str, Any]) -> bool:
        """Whether the list alone shows that nothing can be new."""
        if listed.finished and state.get("finished"):
            return True
        same_count = listed.episodes_count == state.get("episodes_count")
        same_date = str(listed.last_date) == str(state.get("last_date"))
        return listed.episodes_count is not None and same_count and same_date

    def _take_title(self, parsed: ParsedTitle) -> None:
        title = parsed.title
        row = self.get(title.title_id)
        is_new = row is None or not row["seen"]
        if is_new:
            self.frontier.count("listed")
        names = tuple(author.name for author in title.authors)
        if self.blocked.blocks_title(title.title_id, names):
            self._leave_out(title.title_id)
            return
        if row is not None and row["seen"] == 2:
            return
        if is_new:
            if not self._within("titles_asked", self.plan.max_titles):
                self.frontier.count("left_out")
                return
            self.frontier.count("new" if row is None or row["stored"] is None else "unchanged")
            about = json.loads((row and row["about"]) or "{}")
            self.see(title.title_id, title.name, about)
        if parsed.adult and not self.adult:
            self.end(title.title_id, "skipped", "adult")
            return
        if self.plan.dry_run:
            return
        draft = plain(title)
        if parsed.merged and row is not None and row["draft"]:
            draft = united(json.loads(row["draft"]), draft)
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
        self.see(title_id)
        self.set(title_id, seen=2)

    def _within(self, name: str, limit: int | None) -> bool:
        """Count one more of something that has a limit; False when there is no room."""
        if limit is not None and self.frontier.counted(name) >= limit:
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
        known = self.db.execute(
            "select count(*) from episodes where title_id = ?", (title_id,)
        ).fetchone()[0]
        moved = bool(new) or page.episodes_count != row["count"]
        self.set(title_id, count=page.episodes_count)
        if job.about.get("probe"):
            if not moved:
                self._count_saved(title_id)
                return
            self.frontier.count("changed")
            if self.site.title is not None:
                about = {**json.loads(row["about"] or "{}"), "facts_only": True}
                self.frontier.add([self.site.title(title_id, about)])
        for link in page.pictures:
            if is_wanted(link.published):
                self._want_picture(title_id, link)
        if self.plan.scope.strips and self.site.strip is not None:
            for number in page.free:
                self._want_strip(title_id, number)
        dates = [e.published for e in page.episodes if e.published is not None]
        past = since is not None and bool(dates) and max(dates) < since
        if since is not None and (past or known < (page.episodes_count or 0)):
            self.set(title_id, partial=f"since: {since}")
        # Newest first: a page with an episode that was known reaches back to what we have.
        overlaps = new < len(page.episodes)
        caught_up = not row["whole"] and overlaps and known >= (page.episodes_count or 0)
        if page.more is not None and not past and not caught_up:
            self.frontier.add([page.more])

    def _episode(self, episode: Episode) -> bool:
        """Write an episode that is new or differs; whether it is new."""
        row = plain(episode)
        mark = episode_digest(row)
        key = (episode.title_id, episode.episode_no)
        before = self.db.execute(
            "select digest from episodes where title_id = ? and episode_no = ?", key
        ).fetchone()
        if before is not None and before[0] == mark:
            return False
        self.db.execute(
            "insert or replace into episodes values (?, ?, ?, ?)", (*key, row["published"], mark)
        )
        self.frontier.send("episodes", f"{key[0]} {key[1]}", row, fresh=before is None)
        if before is None:
            self.frontier.count("episodes")
        return before is None

    def _want_strip(self, title_id: str, number: int) -> None:
        assert self.site.strip is not None
        query = (
            "select exists (select 1 from pictures where title_id = ? and episode_no = ?"
            " and kind = 'strip')"
        )
        if not self.db.execute(query, (title_id, number)).fetchone()[0]:
            about = json.loads(self.get(title_id)["about"] or "{}")
            self.frontier.add([self.site.strip(title_id, number, about)])

    def _want_picture(self, title_id: str, link: PictureLink) -> None:
        """Queue a picture that the catalog does not have."""
        query = "select exists (select 1 from pictures where title_id = ? and url = ?)"
        if not self.db.execute(query, (title_id, link.url)).fetchone()[0]:
            self._queue_picture(title_id, link)

    def _queue_picture(self, title_id: str, link: PictureLink) -> None:
        about = plain(link)
        request = PageRequest(about.pop("url"), "picture", title_id, about)
        limit = self.plan.max_pictures
        if limit is not None and self.frontier.counted("pictures_asked") >= limit:
            self.set(title_id, partial="max pictures")
        elif self.frontier.add([request]):
            self.frontier.count("pictures_asked")

    def _count_saved(self, title_id: str) -> None:
        self.frontier.count("unchanged")
        query = "select count(*) from pictures where title_id = ?"
        saved = self.db.execute(query, (title_id,)).fetchone()[0]
        self.frontier.count("requests_saved", int(saved))

    # A title's row, and the moment when nothing more is awaited of it

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

    def conditional_headers(self, title_id: str) -> dict[str, str]:
        """Headers that let the server answer that nothing has changed."""
        row = self.get(title_id)
        if row is None:
            return {}
        found = {"If-None-Match": row["etag"], "If-Modified-Since": row["modified"]}
        return {name: value for name, value in found.items() if value}

    def settle(self, title_id: str) -> None:
        """When nothing more is queued for a title, say so in the catalog."""
        if self.frontier.is_open(title_id):  # nearly always, so it is asked first
            return
        row = self.get(title_id)
        if row is None or row["seen"] != 1:
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
        if self.get(title_id) is None:
            self.see(title_id)
        self._write_state(title_id, status, reason)
        self.set(title_id, seen=2)

    def _write_title(self, title_id: str) -> None:
        """Write the title's row when it differs from the stored one.

        Its facts come from its own page, its dates from its episodes, its score from a list.
        """
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

    def _write_state(self, title_id: str, status: str, reason: str | None) -> None:
        """Write what the crawl knows of a title when it differs from what was written."""
        row = self.get(title_id)
        last = self.db.execute(
            "select max(published) from episodes where title_id = ?", (title_id,)
        ).fetchone()[0]
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
            "about": row["about"],
        }
        text = as_json(state)
        if text != row["state"]:
            state["checked_at"] = datetime.now(UTC).isoformat()
            self.frontier.send("crawl_state", title_id, state, fresh=row["state"] is None)
            self.set(title_id, state=text)
