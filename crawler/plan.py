"""What a crawl is asked to do, and what came of it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import date

from crawler.sites.base import Scope
from schemas.errors import ToonsearchError


@dataclass(frozen=True)
class Plan:
    """One crawl: what of a site, how much, and in which way."""

    site: str
    scope: Scope = field(default_factory=Scope)
    since: date | None = None
    max_titles: int | None = None
    max_pictures: int | None = None
    retry_failed: bool = False
    dry_run: bool = False

    @property
    def mark(self) -> str:
        """Equal for two crawls that would do the same."""
        return self.as_json()

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)

    @classmethod
    def of_json(cls, text: str) -> Plan:
        """The plan that `as_json` wrote."""
        raw = json.loads(text)
        lists = {name: tuple(v) for name, v in raw["scope"].items() if isinstance(v, list)}
        raw["scope"] = Scope(**{**raw["scope"], **lists})
        raw["since"] = date.fromisoformat(raw["since"]) if raw["since"] else None
        return cls(**raw)


@dataclass
class CrawlReport:
    """What a crawl did. `counts` are of the whole crawl, also when it took several runs;
    `requests` and `bytes_count` are of this run alone."""

    site: str
    outcome: str = "done"
    counts: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    bytes_count: int = 0
    seconds: float = 0.0
    resumed: bool = False
    problems: list[str] = field(default_factory=list)
    error: ToonsearchError | None = None
    is_suspect: bool = False
