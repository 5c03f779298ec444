"""What a crawl is asked to do, and whose work it must leave alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from crawler.demo.authors import author_key
from crawler.sites.base import Scope
from schemas.blocklist import BlockList as Forgotten
from schemas.errors import ToonsearchError, UsageError
from schemas.storage.layout import Layout


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


@dataclass(frozen=True)
class BlockList:
    """Authors and titles that asked to be left out; spellings of one name are one author.
    `forgotten` is the list that `toonsearch forget` keeps."""

    titles: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    forgotten: Forgotten = field(default_factory=Forgotten)

    @classmethod
    def of(cls, lines: Iterable[str]) -> BlockList:
        """One author's name, or one title id such as `naver:183559`, on each line."""
        entries = [line.partition("#")[0].strip() for line in lines]
        known = ("naver:", "webtoons:", "melon:")
        titles = frozenset(e for e in entries if e.startswith(known))
        names = (author_key(e) for e in entries if e and e not in titles)
        return cls(titles, frozenset(name for name in names if name))

    @classmethod
    def read(cls, file: str, layout: Layout) -> BlockList:
        """The list of a file (an empty name means none) and that of the data root.

        Errors:  UsageError, InputError: a list that cannot be read must not mean that nobody
                 objects
        """
        forgotten = Forgotten.read(layout)
        if not file:
            return cls(forgotten=forgotten)
        try:
            lines = Path(file).expanduser().read_text("utf-8").splitlines()
            return dataclasses.replace(cls.of(lines), forgotten=forgotten)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the block list {file} cannot be read ({error})") from error

    def blocks(self, title_id: str, authors: Iterable[str]) -> bool:
        names = tuple(authors)
        return (
            title_id in self.titles
            or (bool(self.authors) and any(author_key(name) in self.authors for name in names))
            or self.forgotten.blocks_title(title_id, names)
        )
