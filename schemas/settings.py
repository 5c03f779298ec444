"""One frozen tree of settings, built once.

Defaults < /etc/toonsearch/config.toml < user TOML (XDG) < ./toonsearch.toml <
TOONSEARCH_SECTION__KEY < flags. Unknown keys are errors that name the nearest key, and
every value remembers where it came from. Functions receive their section only.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import UsageError, nearest
from schemas.images import PictureLimits
from schemas.records import DECADE
from schemas.storage.layout import Layout

# --- The sections of the settings: their keys, defaults and meaning.


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


PREFIX = "TOONSEARCH_"


@dataclass(frozen=True)
class Settings:
    store: StoreSettings = field(default_factory=StoreSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    query: QuerySettings = field(default_factory=QuerySettings)
    crawl: CrawlSettings = field(default_factory=CrawlSettings)
    web: WebSettings = field(default_factory=WebSettings)
    nightly: NightlySettings = field(default_factory=NightlySettings)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def layout(self) -> Layout:
        return Layout(self.store.root)


SECTIONS: dict[str, type] = {
    "store": StoreSettings,
    "decode": DecodeSettings,
    "encoder": EncoderSettings,
    "index": IndexSettings,
    "query": QuerySettings,
    "crawl": CrawlSettings,
    "web": WebSettings,
    "nightly": NightlySettings,
}

CHOICES = {
    "encoder.runtime": ("auto", "onnxruntime", "openvino"),
    "query.by": ("title", "picture"),
    "crawl.adult": ("skip", "include"),
    "web.accounts": ("off", "invited", "open"),
    "web.url_queries": ("off", "on"),
    "web.sql": ("off", "on"),
}
RANGES: dict[str, tuple[float, float]] = {
    "decode.max_bytes": (1, 2**40),
    "decode.max_pixels": (1, 178_956_970),  # above this Pillow itself refuses
    "decode.min_side_px": (1, 4096),
    "encoder.threads": (0, 4096),
    "encoder.batch": (1, 4096),
    "index.keep": (1, 1000),
    "index.sample": (1, 1_000_000),
    "index.max_loss": (0.0, 1.0),
    "index.max_change": (0.0, 1.0),
    "index.max_quality_drop": (0.0, 1.0),
    "index.refit": (0.0, 1.0),
    "index.era_years": (1, 100),
    "query.k": (1, 100_000),
    "query.neighbours": (1, 100_000),
    "query.unknown_prior": (0.0, 0.99),
    "query.min_percentile": (0.0, 100.0),
    "crawl.delay_s": (0.0, 3600.0),
    "crawl.concurrency": (1, 64),
    "crawl.timeout_s": (0.1, 3600.0),
    "crawl.retries": (0, 100),
    "crawl.backoff_s": (0.0, 3600.0),
    "crawl.max_wait_s": (0.0, 86_400.0),
    "crawl.commit_rows": (1, 100_000),
    "crawl.max_requests": (1, 1_000_000_000),
    "crawl.max_bytes": (1, 2**50),
    "web.port": (0, 65535),
    "web.max_bytes": (1, 2**30),
    "web.rate": (0, 1_000_000),
    "web.share_days": (0, 36_500),
}


def setting_files(environ: Mapping[str, str], cwd: Path) -> list[Path]:
    """The TOML files that are looked for, weakest first."""
    user = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [
        Path("/etc/toonsearch/config.toml"),
        user / "toonsearch" / "config.toml",
        cwd / "toonsearch.toml",
    ]


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Build the tree from all layers.

    `flags` maps dotted keys to values; None means "not given".

    Errors:  UsageError names the key, the place and the nearest known key
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def put(key: str, value: Any, origin: str) -> None:
        values[key] = _checked(key, value, origin)
        origins[key] = origin

    for file in setting_files(environ, cwd):
        for key, value in _read_toml(file).items():
            put(key, value, str(file))
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX) and "__" in name:
            section, _, key = name[len(PREFIX) :].lower().partition("__")
            put(f"{section}.{key}", text, name)
    for key, value in (flags or {}).items():
        if value is not None:
            put(key, value, "flag")

    sections = {
        name: kind(
            **{
                f.name: values[f"{name}.{f.name}"]
                for f in dataclasses.fields(kind)
                if f"{name}.{f.name}" in values
            }
        )
        for name, kind in SECTIONS.items()
    }
    return Settings(**sections, origins=origins)


def flatten(settings: Settings) -> dict[str, Any]:
    """Dotted key -> value, in declaration order."""
    return {
        f"{section}.{f.name}": getattr(getattr(settings, section), f.name)
        for section, kind in SECTIONS.items()
        for f in dataclasses.fields(kind)
    }


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the settings file {file} cannot be read ({error})") from error
    flat: dict[str, Any] = {}
    for section, content in tree.items():
        if section not in SECTIONS or not isinstance(content, dict):
            raise UsageError(f"unknown section {section!r} in {file}", nearest(section, SECTIONS))
        flat.update({f"{section}.{key}": value for key, value in content.items()})
    return flat


def _checked(key: str, value: Any, origin: str) -> Any:
    section, _, name = key.partition(".")
    known = {f"{s}.{f.name}": f for s, kind in SECTIONS.items() for f in dataclasses.fields(kind)}
    if key not in known:
        raise UsageError(f"unknown setting {section}.{name} in {origin}", nearest(key, known))
    if str(known[key].type) == "tuple[str, ...]":
        return _checked_list(key, value, origin)
    if str(known[key].type) == "bool":
        return _checked_switch(key, value, origin)
    kind = {"int": int, "float": float, "str": str, "Path": Path}[str(known[key].type)]
    try:
        if isinstance(value, bool):
            raise ValueError("true or false is not expected here")
        if kind is int and isinstance(value, float) and value != int(value):
            raise ValueError("a whole number is expected")
        typed = Path(value).expanduser() if kind is Path else kind(value)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"setting {key} in {origin} is not valid: {value!r}",
            f"Expected is a value of type {kind.__name__.lower()}.",
        ) from error
    if key in CHOICES and typed not in CHOICES[key]:
        raise UsageError(
            f"setting {key} in {origin} is {typed!r}", nearest(str(typed), CHOICES[key])
        )
    low, high = RANGES.get(key, (float("-inf"), float("inf")))
    if isinstance(typed, int | float) and not low <= typed <= high:
        raise UsageError(f"setting {key} in {origin} is {typed}", f"Allowed is {low} to {high}.")
    return typed


SWITCH = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip


def _checked_switch(key: str, value: Any, origin: str) -> bool:
    """True or false; from the environment, as a word or a digit."""
    known = value if isinstance(value, bool) else SWITCH.get(str(value).strip().lower())
    if known is None or not isinstance(value, bool | str):
        raise UsageError(
            f"setting {key} in {origin} is not valid: {value!r}", "Expected is true or false."
        )
    return known


def _checked_list(key: str, value: Any, origin: str) -> tuple[str, ...]:
    """A list of texts; from the environment, separated by semicolons."""
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise UsageError(
            f"setting {key} in {origin} is not valid: {value!r}", "Expected is a list of texts."
        )
    return tuple(part.strip() for part in parts if part.strip())
