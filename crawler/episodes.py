"""Pages of episodes: which rows are new, which pages and pictures to ask for next."""

from __future__ import annotations

import json

from crawler.frontier import Frontier, Job
from crawler.memory import episode_digest
from crawler.plan import Plan
from crawler.sites import Ask, Found, PictureLink, Site
from crawler.works import Works, plain
from schemas.records import Episode


class Episodes:
    """Episodes and pictures of titles. Call every method inside a transaction."""

    def __init__(self, frontier: Frontier, works: Works, site: Site, plan: Plan) -> None:
        self.frontier, self.works, self.site, self.plan = frontier, works, site, plan
        self.db = frontier.db

    def answer(self, title_id: str, job: Job, found: Found) -> None:
        row = self.works.get(title_id)
        since = self.plan.since
        new = 0
        for episode in found.episodes:
            if since is None or episode.published is None or episode.published >= since:
                new += self._episode(episode)
        known = self.db.execute(
            "select count(*) from episodes where title_id = ?", (title_id,)
        ).fetchone()[0]
        moved = bool(new) or found.episodes_count != row["count"]
        self.works.set(title_id, count=found.episodes_count)
        if job.about.get("probe"):
            if not moved:
                self.saved(title_id)
                return
            self.frontier.count("changed")
            if self.site.title is not None:
                about = {**json.loads(row["about"] or "{}"), "facts_only": True}
                self.frontier.add([self.site.title(title_id, about)])
        for link in found.pictures:
            if since is None or link.published is None or link.published >= since:
                self.want(title_id, link)
        if self.plan.scope.strips and self.site.strip is not None:
            for number in found.free:
                self._want_strip(title_id, number)
        dates = [e.published for e in found.episodes if e.published is not None]
        past = since is not None and bool(dates) and max(dates) < since
        if since is not None and (past or known < (found.episodes_count or 0)):
            self.works.set(title_id, partial=f"since: {since}")
        # Newest first: a page with an episode that was known reaches back to what we have.
        overlaps = new < len(found.episodes)
        caught_up = not row["whole"] and overlaps and known >= (found.episodes_count or 0)
        if found.more is not None and not past and not caught_up:
            self.frontier.add([found.more])

    def _episode(self, episode: Episode) -> int:
        """Write an episode that is new or differs; 1 when it is new."""
        row = plain(episode)
        mark = episode_digest(row)
        key = (episode.title_id, episode.episode_no)
        before = self.db.execute(
            "select digest from episodes where title_id = ? and episode_no = ?", key
        ).fetchone()
        if before is not None and before[0] == mark:
            return 0
        self.db.execute(
            "insert or replace into episodes values (?, ?, ?, ?)", (*key, row["published"], mark)
        )
        self.frontier.send("episodes", f"{key[0]} {key[1]}", row, fresh=before is None)
        if before is None:
            self.frontier.count("episodes")
        return int(before is None)

    def _want_strip(self, title_id: str, number: int) -> None:
        assert self.site.strip is not None
        have = self.db.execute(
            "select exists (select 1 from pictures where title_id = ? and episode_no = ?"
            " and kind = 'strip')", (title_id, number),
        ).fetchone()[0]  # fmt: skip
        if not have:
            about = json.loads(self.works.get(title_id)["about"] or "{}")
            self.frontier.add([self.site.strip(title_id, number, about)])

    def want(self, title_id: str, link: PictureLink) -> None:
        """Queue a picture that the catalog does not have."""
        known = self.db.execute(
            "select 1 from pictures where title_id = ? and url = ?", (title_id, link.url)
        ).fetchone()
        if known is not None:
            return
        self.queue(title_id, link)

    def queue(self, title_id: str, link: PictureLink) -> None:
        about = plain(link)
        ask = Ask(about.pop("url"), "picture", title_id, about)
        room = self.plan.max_pictures
        if room is not None and self.frontier.counted("pictures_asked") >= room:
            self.works.set(title_id, partial="max pictures")
        elif self.frontier.add([ask]):
            self.frontier.count("pictures_asked")

    def saved(self, title_id: str) -> None:
        self.frontier.count("unchanged")
        query = "select count(*) from pictures where title_id = ?"
        self.frontier.count(
            "requests_saved", int(self.db.execute(query, (title_id,)).fetchone()[0])
        )
