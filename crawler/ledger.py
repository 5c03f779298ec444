"""What an answer means: which titles to ask for, which pages to follow, which rows to write.

All decisions of a crawl are made here, on the frontier's tables and inside the transaction
that acknowledges the answer. None depends on the order of the answers, so a crawl that was
killed ends with the rows of one that was not.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from crawler.episodes import Episodes
from crawler.frontier import Frontier, Job
from crawler.memory import as_json
from crawler.plan import BlockList, Plan
from crawler.sites import Ask, Found, Listed, PictureLink, Site, Work
from crawler.works import Works, plain, united


class Ledger:
    """The decisions of one crawl. Call every method inside a frontier's transaction."""

    def __init__(
        self, frontier: Frontier, site: Site, plan: Plan, *, adult: bool, blocked: BlockList
    ) -> None:
        self.frontier, self.site, self.plan = frontier, site, plan
        self.adult, self.blocked = adult, blocked
        self.db = frontier.db
        self.works = Works(frontier, site.name)
        self.episodes = Episodes(frontier, self.works, site, plan)

    def begin(self) -> None:
        """Queue the lists, the named titles, or what failed before."""
        if self.plan.retry_failed:
            self._begin_again()
            return
        asks = self.site.start(self.plan.scope)
        for ask in asks:
            if ask.title_id is not None:
                known = self.works.get(ask.title_id)
                self.frontier.count("again" if known is not None and known["state"] else "new")
                self.works.see(ask.title_id, None, self._about(ask.about, known), whole=True)
        self.frontier.add(asks)

    def _begin_again(self) -> None:
        failed = self.db.execute(
            "select title_id, about from titles where json_extract(state, '$.status') = 'failed'"
        ).fetchall()
        for row in failed:
            about = json.loads(row["about"] or "{}")
            self.works.see(row["title_id"], None, about, whole=True)
            if self.site.title is not None:
                self.frontier.add([self.site.title(row["title_id"], about)])
        for row in self.db.execute("select * from pictures where status = 'failed'").fetchall():
            title = self.works.get(row["title_id"])
            if title is None or not title["seen"]:
                state = json.loads((title and title["state"]) or "{}")
                kept = state.get("reason") if state.get("status") == "partial" else None
                self.works.see(row["title_id"], partial=kept)
            published = row["published"] and date.fromisoformat(row["published"])
            link = PictureLink(row["url"], row["kind"], row["episode_no"], published, row["year"])
            self.episodes.queue(row["title_id"], link)

    def answer(self, job: Job, found: Found, etag: str | None, modified: str | None) -> None:
        """Take in what one page told."""
        title_id = job.title_id
        if found.verdict == "gone" and title_id is not None:
            self.gone(job)
            return
        if found.verdict is not None and title_id is not None:
            self.works.end(title_id, "skipped", found.verdict)
            return
        for listed in found.listed:
            self._listed(listed)
        for work in found.works:
            self._work(work)
        if self.plan.dry_run:
            self.frontier.add(ask for ask in found.asks if ask.title_id is None)
            return
        if title_id is not None and job.kind == "episodes":
            self.episodes.answer(title_id, job, found)
            if job.about.get("page", 1) == 1:
                self.works.set(title_id, etag=etag, modified=modified)
        elif title_id is not None:
            for link in found.pictures:
                self.episodes.want(title_id, link)
        # A title that moved is asked for its facts alone: its episodes are known by now.
        if not job.about.get("facts_only"):
            self.frontier.add(ask for ask in found.asks if self._is_awaited(ask))
        if title_id is not None and any(work.merged for work in found.works):
            self._remember(title_id, job.kind)
        if title_id is not None:
            self.works.settle(title_id)

    def _is_awaited(self, ask: Ask) -> bool:
        """Whether a request is still to be made: its title may have ended, or a page that
        never changes may have told its part in an earlier crawl."""
        if ask.title_id is None:
            return True
        row = self.works.get(ask.title_id)
        if row is None or row["seen"] != 1:
            return False
        return ask.kind not in json.loads(row["about"] or "{}").get("told", ())

    def _remember(self, title_id: str, kind: str) -> None:
        row = self.works.get(title_id)
        if row is not None:
            about = json.loads(row["about"] or "{}")
            about["told"] = sorted({*about.get("told", ()), kind})
            self.works.set(title_id, about=as_json(about))

    def _about(self, about: Mapping[str, Any], known: Any) -> dict[str, Any]:
        """What the site's room needs, and whether strips were fetched, or will be."""
        before = json.loads(known["about"] or "{}") if known is not None else {}
        strips = self.plan.scope.strips or before.get("strips")
        return {**about, **({"strips": True} if strips else {})}

    def unchanged(self, title_id: str) -> None:
        """The site says that a title's newest page is what it was."""
        self.episodes.saved(title_id)
        self.works.settle(title_id)

    def gone(self, job: Job) -> None:
        """The site does not know a title. When a list has just named one that we hold, that
        is odd enough to be called a failure, which is tried again."""
        row = self.works.get(str(job.title_id))
        if row is not None and row["stored"] is not None and not self.plan.scope.titles:
            self.fails(job, "gone")
        else:
            self.works.end(str(job.title_id), "skipped", "gone")

    def fails(self, job: Job, reason: str) -> None:
        """A page could not be had."""
        if job.title_id is None:
            self.frontier.count("lists_failed")
            return
        if self.works.get(job.title_id) is None:
            self.works.see(job.title_id)
        self.works.set(job.title_id, fail=reason)
        self.works.settle(job.title_id)

    def _listed(self, listed: Listed) -> None:
        """Decide whether a listed title is asked for: wholly, for what moved, or not."""
        known = self.works.get(listed.title_id)
        if known is not None and known["seen"]:
            return
        self.frontier.count("listed")
        if self.blocked.blocks(listed.title_id, listed.authors):
            self._blocks(listed.title_id)
            return
        state = json.loads(known["state"]) if known is not None and known["state"] else {}
        if listed.adult and not self.adult:
            self.works.see(listed.title_id, listed.name, listed.about)
            self.works.end(listed.title_id, "skipped", "adult")
            return
        if (state.get("status"), state.get("reason")) == ("skipped", "adult") and not self.adult:
            self.works.see(listed.title_id, listed.name, listed.about)
            self.works.set(listed.title_id, seen=2)
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
        self.works.see(
            listed.title_id, listed.name, about, whole=not (done or partial),
            partial=state.get("reason") if partial else None,
        )  # fmt: skip
        self.works.set(listed.title_id, star_score=listed.star_score)
        if listed.finished is not None:
            self.works.set(listed.title_id, finished=int(listed.finished))
        if done and self._stands_still(listed, state):
            self.episodes.saved(listed.title_id)
            self.works.emit(listed.title_id)
            return
        if self.plan.dry_run:
            self.frontier.count("asked_again" if done else "new")
        elif (done or partial) and self.site.probe is not None:
            self.frontier.add([self._probe(listed)])
        elif self.site.title is not None:
            self.frontier.count("new" if not state else "again")
            self.frontier.add([self.site.title(listed.title_id, listed.about)])

    def _blocks(self, title_id: str) -> None:
        """Leave a title alone: it is on the list of those who asked for that."""
        self.frontier.cancel(title_id)
        self.frontier.count("skipped_blocked")
        self.works.see(title_id)
        self.works.set(title_id, seen=2)

    @staticmethod
    def _stands_still(listed: Listed, state: dict[str, Any]) -> bool:
        """Whether the list alone tells that nothing can be new."""
        if listed.finished and state.get("finished"):
            return True
        same_count = listed.episodes_count == state.get("episodes_count")
        same_date = str(listed.last_date) == str(state.get("last_date"))
        return listed.episodes_count is not None and same_count and same_date

    def _probe(self, listed: Listed) -> Ask:
        assert self.site.probe is not None
        ask = self.site.probe(listed.title_id, listed.about)
        return dataclasses.replace(ask, about={**ask.about, "probe": True})

    def _within(self, name: str, limit: int | None) -> bool:
        """Count one more of something that has a limit; False when there is no room."""
        if limit is not None and self.frontier.counted(name) >= limit:
            return False
        self.frontier.count(name)
        return True

    def _work(self, work: Work) -> None:
        title = work.title
        row = self.works.get(title.title_id)
        if row is None or not row["seen"]:
            self.frontier.count("listed")
        names = tuple(author.name for author in title.authors)
        if self.blocked.blocks(title.title_id, names):
            self._blocks(title.title_id)
            return
        if row is not None and row["seen"] == 2:
            return
        if row is None or not row["seen"]:
            if not self._within("titles_asked", self.plan.max_titles):
                self.frontier.count("left_out")
                return
            self.frontier.count("new" if row is None or row["stored"] is None else "unchanged")
            about = json.loads((row and row["about"]) or "{}")
            self.works.see(title.title_id, title.name, about)
        if work.adult and not self.adult:
            self.works.end(title.title_id, "skipped", "adult")
            return
        if self.plan.dry_run:
            return
        draft = plain(title)
        if work.merged and row is not None and row["draft"]:
            draft = united(json.loads(row["draft"]), draft)
            if self.site.year_of is not None:
                draft["year"] = self.site.year_of(draft["tags"])
        self.works.set(title.title_id, draft=as_json(draft), name=draft["name"])
        if title.finished is not None:
            self.works.set(title.title_id, finished=int(title.finished))
        for link in work.pictures:
            self.episodes.want(title.title_id, link)
        self.works.emit(title.title_id)
        if work.merged:
            self.works.settle(title.title_id)
