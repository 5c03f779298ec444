"""The sections of the settings: their keys, defaults and meaning."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from schemas.eras import DECADE
from schemas.pictures import PictureLimits


def _default_root() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "toonsearch"


@dataclass(frozen=True)
class StoreSettings:
    """Where the catalog, pictures and index lie."""

    root: Path = field(default_factory=_default_root)


@dataclass(frozen=True)
class DecodeSettings:
    """Caps on pictures, in bytes and pixels."""

    max_bytes: int = PictureLimits.max_bytes
    max_pixels: int = PictureLimits.max_pixels
    min_side_px: int = PictureLimits.min_side_px

    @property
    def limits(self) -> PictureLimits:
        return PictureLimits(self.max_bytes, self.max_pixels, self.min_side_px)


@dataclass(frozen=True)
class EncoderSettings:
    """The network: model is `shipped` or a model folder."""

    model: str = "shipped"
    runtime: str = "auto"
    threads: int = 0
    batch: int = 32


@dataclass(frozen=True)
class IndexSettings:
    """How a generation is built and checked.

    Against the generation in use, at most `max_loss` of the pictures may be gone,
    `max_change` of the canary answers may differ, and label accuracy may fall by
    `max_quality_drop`. Votes are fitted anew when `refit` of the pictures have changed
    since they last were, or the program fits them otherwise. `era_years` is how many years an
    era has; when it changes, the next build makes a new generation and fits votes anew.
    """

    keep: int = 3
    sample: int = 2000
    seed: int = 20051
    max_loss: float = 0.2
    max_change: float = 0.02
    max_quality_drop: float = 0.03
    refit: float = 0.05
    era_years: int = DECADE


@dataclass(frozen=True)
class QuerySettings:
    """Defaults of a query.

    `unknown_prior` is how often a query is expected to be by a hand that the catalog does
    not have; `neighbours` is how many pictures are looked at for one answer; `expand` orders
    a list of pictures after its first ten by nearness to those and the query together.
    """

    k: int = 10
    by: str = "title"
    neighbours: int = 200
    unknown_prior: float = 0.5
    min_percentile: float = 0.0
    expand: bool = True


@dataclass(frozen=True)
class CrawlSettings:
    """Manners towards the sites.

    `contact` is an address or page that site owners can write to; it is sent with every
    request. `delay_s` is the least time between two requests to one host, which AutoThrottle
    lengthens when the host is slow. `max_wait_s` is the longest Retry-After that is waited
    for. `block_list` is a file with one author or title id a line. `replica` sends every
    request to one local address instead of the sites: for tests only.
    """

    contact: str = ""
    delay_s: float = 1.0
    concurrency: int = 4
    timeout_s: float = 30.0
    retries: int = 3
    backoff_s: float = 5.0
    max_wait_s: float = 600.0
    max_requests: int = 100_000
    max_bytes: int = 20 * 1024**3
    commit_rows: int = 2000
    adult: str = "skip"
    block_list: str = ""
    replica: str = ""


@dataclass(frozen=True)
class NightlySettings:
    """What `toonsearch nightly` looks after: sites (each with the options of `toonsearch
    crawl`), folders and manifests. `budget` is such as 3h or 90m; empty means none. `metrics`
    is the Prometheus file, by default nightly.prom in the data root.
    """

    sites: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    pattern: str = "{author}/{title}"
    manifests: tuple[str, ...] = ()
    budget: str = ""
    metrics: str = ""


@dataclass(frozen=True)
class WebSettings:
    """`toonsearch serve`: where it listens and what strangers may do.

    `max_bytes` is the size of a whole request; `rate` is how many queries one client may ask
    a minute (0: any number); `hosts` are names of this server besides localhost and its
    addresses, separated by commas; `share_days` is how long a shared link lives (0: none).
    """

    host: str = "127.0.0.1"
    port: int = 8765
    hosts: str = ""
    max_bytes: int = 24 * 1024 * 1024
    rate: int = 120
    share_days: int = 90
    accounts: str = "invited"
    url_queries: str = "off"
    sql: str = "off"
