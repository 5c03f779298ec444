"""One frozen tree of settings, built once; every value remembers where it came from.

Defaults < /etc/toonsearch/config.toml < user TOML (XDG) < ./toonsearch.toml <
TOONSEARCH_SECTION__KEY < flags. Functions receive their section only.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import UsageError, nearest
from schemas.images import MOST_PIXELS, PictureLimits
from schemas.records import DECADE
from schemas.storage.fsio import refusal
from schemas.storage.layout import Layout

PREFIX = "TOONSEARCH_"
MAX_FILE_BYTES = 1 << 20
MOST = 1e15
"""No number of any setting means anything above this; machine integers end later."""
MILVUS = "milvus:"
MAX_ROOT_BYTES = 400
"""SQLite opens no path of more than 512."""


Amount = int
"""Bytes, which may be given as 500M or 4G."""


def _setting(
    default: Any,
    text: str,
    *,
    low: float = 0,
    high: float = MOST,
    choices: tuple[str, ...] = (),
    scheme: str = "",
    joined: str = "",
) -> Any:
    """A field of a section: its default, what it means, and what it may be. A text with `choices`
    may also be a `scheme` with something after it; one with `joined` may also be given as
    a list, whose parts that is put between."""
    metadata = {"text": text, "low": low, "high": high, "choices": choices, "joined": joined}
    metadata["scheme"] = scheme
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def _default_root() -> Path:
    folder = _user_folder(os.environ, "XDG_DATA_HOME", ".local/share")
    if folder is None:
        raise UsageError(
            "this user has no home folder to keep data in", "Choose one with --data, or set HOME."
        )
    return folder / "toonsearch"


def _user_folder(environ: Mapping[str, str], name: str, otherwise: str) -> Path | None:
    """A folder by the XDG rules, in which one that is empty or relative counts as not given;
    None for a user without a home."""
    given, home = Path(environ.get(name, "")), Path(environ.get("HOME", ""))
    if given.is_absolute():
        return given
    try:
        return (home if home.is_absolute() else _home()) / otherwise
    except KeyError:
        return None


def _home() -> Path:
    """The home of this user's passwd entry. Errors:  KeyError without one"""
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir)


@dataclass(frozen=True)
class StoreSettings:
    """Where the data lies."""

    root: Path = _setting(_default_root, "Folder of catalog, pictures and index (`--data`).")  # noqa: RUF009


@dataclass(frozen=True)
class DecodeSettings:
    """Caps on pictures."""

    max_bytes: int = _setting(PictureLimits.max_bytes, "Larger files are skipped.", low=1)
    max_pixels: int = _setting(
        PictureLimits.max_pixels,
        "Pictures that take more to decode are skipped: a JPEG counts for a quarter, WebP double.",
        low=1,
        high=MOST_PIXELS,
    )
    min_side_px: int = _setting(
        PictureLimits.min_side_px, "Pictures with a shorter side are skipped.", low=1
    )

    @property
    def limits(self) -> PictureLimits:
        return PictureLimits(self.max_bytes, self.max_pixels, self.min_side_px)


@dataclass(frozen=True)
class EncoderSettings:
    """The network that makes embeddings, and how it runs."""

    model: str = _setting("shipped", "`shipped`, a model's id under the data root, or its folder.")
    device: str = _setting(
        "auto",
        "Where ONNX Runtime runs: auto takes a GPU for many pictures where it has CUDA.",
        choices=("auto", "cpu", "cuda"),
    )
    threads: int = _setting(0, "Threads of the runtime; 0 lets it choose.", high=1024)
    batch: int = _setting(32, "Pictures that are decoded ahead for one pass.", low=1, high=10_000)
    subject: str = _setting(
        "",
        "A CLIP model (`toonsearch models add`) that says what is shown; empty: the model itself.",
    )


@dataclass(frozen=True)
class PanelSettings:
    """Strips and pages of the catalog."""

    cut: str = _setting(
        "auto",
        "Cut strips and pages into panels, which are searched in their place; off: search them"
        " whole.",
        choices=("auto", "off"),
    )
    direction: str = _setting(
        "ltr",
        "How the pages of the catalog are read; rtl: from right to left, as manga.",
        choices=("ltr", "rtl"),
    )


@dataclass(frozen=True)
class IndexSettings:
    """How a generation is built, and how much it may differ from the one in use."""

    keep: int = _setting(3, "Generations that `index build` keeps.", low=1)
    sample: int = _setting(2000, "Pictures that calibration and validation use.", low=1)
    seed: int = _setting(20051, "Seed of that sample.")
    max_loss: float = _setting(0.2, "Share of the pictures that may be gone.", low=0, high=1)
    max_change: float = _setting(0.02, "Share of canary answers that may differ.", low=0, high=1)
    max_quality_drop: float = _setting(0.03, "How much label accuracy may fall.", low=0, high=1)
    refit: float = _setting(
        0.05, "Re-fit label probabilities when this share of pictures changed.", low=0, high=1
    )
    kind: str = _setting(
        "auto",
        "How vectors are searched: flat scans all, the others compare candidates, milvus:URI asks a"
        " Milvus (docs/scale.md).",
        choices=("auto", "flat", "ivf", "ivfpq", "hnsw"),
        scheme=MILVUS,
    )
    device: str = _setting(
        "auto",
        "Where serve, predict and builds scan all vectors: auto takes GPUs where FAISS has some.",
        choices=("auto", "cpu", "cuda"),
    )
    min_recall: float = _setting(
        0.99, "Share of the exact ten nearest that must be found; less is refused.", low=0, high=1
    )
    memory: Amount = _setting(  # noqa: RUF009
        64 << 20, "Such as 4G: memory that auto may take for codes of vectors; 0: any."
    )
    latency_ms: float = _setting(10.0, "What auto may take for a scan, on one core.", low=0)
    era_years: int = _setting(
        DECADE, 'Years of an era, from the next build on: 10 gives "2000s".', low=1, high=100
    )

    @property
    def milvus(self) -> str:
        """Address of the Milvus that is asked, or an empty text."""
        return self.kind.removeprefix(MILVUS) if self.kind.startswith(MILVUS) else ""

    @property
    def local(self) -> IndexSettings:
        """The same for the generation itself, which answers while Milvus does not."""
        return dataclasses.replace(self, kind="auto") if self.milvus else self


@dataclass(frozen=True)
class QuerySettings:
    """Defaults of a query."""

    k: int = _setting(10, "Results.", low=1)
    by: str = _setting("title", "What a result is.", choices=("title", "picture"))
    neighbours: int = _setting(200, "Nearest pictures that an answer is made from.", low=1)
    unknown_prior: float = _setting(
        0.5, "How often a query is by an artist that the index lacks.", low=0, high=0.99
    )
    min_percentile: float = _setting(
        0.0, "Leave out results below this percentile of similarity.", low=0, high=100
    )
    expand: bool = _setting(
        True, "Also find pictures through the first ten, under a heading of their own."
    )


@dataclass(frozen=True)
class CrawlSettings:
    """How sites are crawled."""

    contact: str = _setting("", "Address or page that sites can write to; in every request.")
    delay_s: float = _setting(1.0, "Least seconds between two requests to a host.", low=0)
    concurrency: int = _setting(4, "Requests to one host at a time.", low=1, high=64)
    timeout_s: float = _setting(30.0, "Longest seconds for an answer with its body.", low=0.1)
    retries: int = _setting(3, "Retries after 429, 5xx and broken connections.", low=0)
    backoff_s: float = _setting(5.0, "Seconds before the first retry, then doubled.", low=0)
    max_wait_s: float = _setting(600.0, "A host that wants a longer wait ends the crawl.", low=0)
    max_requests: int = _setting(100_000, "Requests of one run; the next goes on.", low=1)
    max_bytes: int = _setting(20 * 1024**3, "Bytes of one run; the next goes on.", low=1)
    commit_rows: int = _setting(2000, "Rows of one commit to the catalog.", low=1)
    adult: str = _setting("skip", "Titles for adults.", choices=("skip", "include"))
    block_list: str = _setting("", "File with an author or title id a line: never fetched.")
    replica: str = _setting("", "Tests only: one local address that stands for all sites.")


@dataclass(frozen=True)
class WebSettings:
    """`toonsearch serve`: where it listens and what visitors may do."""

    host: str = _setting("127.0.0.1", "Address to listen on.")
    port: int = _setting(8765, "Port to listen on.", low=0, high=65535)
    hosts: str = _setting(
        "", "This server's names besides localhost, separated by commas.", joined=","
    )
    root_path: str = _setting("", "Path of the page at its proxy, such as /toon; empty: the top.")
    proxies: str = _setting(
        "127.0.0.1,::1",
        "Proxies whose X-Forwarded-For and -Proto are believed, separated by commas.",
        joined=",",
    )
    max_bytes: int = _setting(24 * 1024 * 1024, "Larger requests are refused.", low=1)
    rate: int = _setting(120, "Queries a minute for one client; 0: any number.", low=0)
    share_days: int = _setting(90, "Days that a shared link lives; 0: no links.", low=0)
    accounts: str = _setting(
        "invited", "Who may have an account.", choices=("off", "invited", "open")
    )
    url_queries: str = _setting("off", "Fetch pictures from given URLs.", choices=("off", "on"))
    sql: str = _setting("off", "Whether visitors may query in SQL.", choices=("off", "on"))


@dataclass(frozen=True)
class NightlySettings:
    """What `toonsearch nightly` refreshes."""

    sites: tuple[str, ...] = _setting((), "Sites, with options of `crawl`: `naver --weekday`.")
    folders: tuple[str, ...] = _setting((), "Folders to import.")
    pattern: str = _setting("{author}/{title}", "What the levels of those folders mean.")
    manifests: tuple[str, ...] = _setting((), "Manifests to import.")
    budget: str = _setting("", "Such as 3h or 90m: end cleanly by then. Empty: no budget.")
    metrics: str = _setting("", "Prometheus file; `nightly.prom` in the data root when empty.")


@dataclass(frozen=True)
class Settings:
    store: StoreSettings = field(default_factory=StoreSettings)
    decode: DecodeSettings = field(default_factory=DecodeSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    panels: PanelSettings = field(default_factory=PanelSettings)
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
    f.name: f.default_factory  # type: ignore[misc]
    for f in dataclasses.fields(Settings)
    if f.name != "origins"
}
FIELDS = {
    f"{section}.{f.name}": f for section, kind in SECTIONS.items() for f in dataclasses.fields(kind)
}


def describe() -> list[tuple[str, str, str]]:
    """(key, default as TOML, what it means) of every setting, for docs/settings.md."""
    rows = []
    for key, f in FIELDS.items():
        default = json.dumps(f.default) if key != "store.root" else "$XDG_DATA_HOME/toonsearch"
        choices = f.metadata["choices"]
        if f.metadata["scheme"]:
            choices = (*choices, f"{f.metadata['scheme']}URI")
        text = f.metadata["text"] + (f" One of {', '.join(choices)}." if choices else "")
        rows.append((key, default, text))
    return rows


def flatten(settings: Settings) -> dict[str, Any]:
    """Dotted key -> value, in declaration order."""
    return {
        key: getattr(getattr(settings, key.partition(".")[0]), f.name) for key, f in FIELDS.items()
    }


def setting_files(environ: Mapping[str, str], cwd: Path | None = None) -> list[Path]:
    """The TOML files that are read where they exist, weakest first."""
    user = _user_folder(environ, "XDG_CONFIG_HOME", ".config")
    files = [Path("/etc/toonsearch/config.toml")]
    if user is not None:
        files.append(user / "toonsearch" / "config.toml")
    with contextlib.suppress(FileNotFoundError):  # the current folder may have been removed
        files.append((cwd or Path.cwd()) / "toonsearch.toml")
    return files


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
    given: list[tuple[str, Any, str]] = []
    for file in setting_files(environ, cwd):
        given += [(key, value, str(file)) for key, value in _read_toml(file).items()]
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX) and "__" in name:
            given.append((name[len(PREFIX) :].lower().replace("__", ".", 1), text, name))
    given += [(key, value, "flag") for key, value in (flags or {}).items() if value is not None]

    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    origins: dict[str, str] = {}
    for key, value, origin in given:
        section, _, name = key.partition(".")
        sections[section][name] = _checked(key, value, origin)
        origins[key] = origin
    built = {section: SECTIONS[section](**values) for section, values in sections.items()}
    return Settings(**built, origins=origins)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as handle:
            tree = tomllib.loads(_decoded(handle.read(MAX_FILE_BYTES + 1)))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        said, hint = refusal(error) or (f"cannot be read ({error.strerror})", "")
        raise UsageError(f"the settings file {file} {said}", hint) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the settings file {file} is not UTF-8", "Save it as UTF-8.") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(f"the settings file {file} cannot be read ({why})") from error
    flat: dict[str, Any] = {}
    for section, content in tree.items():
        if section not in SECTIONS:
            raise UsageError(f"unknown section {section!r} in {file}", nearest(section, SECTIONS))
        if not isinstance(content, dict):
            raise UsageError(
                f"{section!r} in {file} is {_shown(content)}",
                f"Expected is a section [{section}], with a line for each setting.",
            )
        flat.update({f"{section}.{key}": value for key, value in content.items()})
    return flat


def _decoded(data: bytes) -> str:
    """TOML as text; Notepad puts a mark of the byte order before it, or writes UTF-16."""
    if len(data) > MAX_FILE_BYTES:
        raise tomllib.TOMLDecodeError(f"it is larger than {MAX_FILE_BYTES:,} bytes")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in data and not is_utf16:
        raise UnicodeDecodeError("utf-8", data, 0, 1, "a zero byte")
    return data.decode("utf-16" if is_utf16 else "utf-8-sig").replace("\r\n", "\n")


def _checked(key: str, value: Any, origin: str) -> Any:
    """A value in the type of its setting. Errors:  UsageError"""
    if key not in FIELDS:
        raise UsageError(f"unknown setting {key} in {origin}", nearest(key, FIELDS))
    allowed = FIELDS[key].metadata
    convert, expected = _KINDS[str(FIELDS[key].type)]
    place = "on the command line" if origin == "flag" else f"in {origin}"
    what = f"setting {key} {place} is {_shown(value)}"
    try:
        if allowed["joined"] and isinstance(value, list):
            value = allowed["joined"].join(_texts(value))
        typed = convert(value)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(what, f"Expected is {expected}.") from error
    except RuntimeError as error:
        raise UsageError(
            f"{what}, and there is no such user's home folder",
            f"For a folder of that name: './{value}'.",
        ) from error
    has_scheme = allowed["scheme"] and str(typed).startswith(allowed["scheme"])
    if allowed["choices"] and typed not in allowed["choices"] and not has_scheme:
        raise UsageError(what, f"Known: {', '.join(map(repr, allowed['choices']))}.")
    low, high = allowed["low"], allowed["high"]
    if isinstance(typed, int | float) and not low <= typed <= high:
        most = "or more" if high == MOST and typed < low else f"to {high:.15g}"
        raise UsageError(what, f"Allowed is {low} {most}.")
    return typed


def _shown(value: Any) -> str:
    """A value as people wrote it, or what it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return repr(str(value)) if str(value).strip() else "empty"
    if isinstance(value, int | float):
        return f"{value:.15g}"[:40] if abs(value) < 1e300 else "a number without end"
    if isinstance(value, list | tuple):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"


def _number(kind: type[int] | type[float], value: Any) -> int | float:
    if isinstance(value, bool) or (kind is int and isinstance(value, float) and value % 1):
        raise ValueError
    return kind(value)


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = dict.fromkeys(("true", "yes", "on", "1"), True)
    words |= dict.fromkeys(("false", "no", "off", "0"), False)
    return words[value.strip().lower()]


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _amount(value: Any) -> int:
    """Bytes. Errors:  TypeError, ValueError"""
    if not isinstance(value, str):
        return int(_number(int, value))
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _path(value: Any) -> Path:
    """An absolute path. Errors:  TypeError, ValueError, RuntimeError for the home of nobody"""
    text = _text(str(value) if isinstance(value, Path) else value)
    if not text.strip():
        raise ValueError
    return Path(text).expanduser().absolute()


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts; from the environment, separated by semicolons."""
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise TypeError
    return tuple(part for part in (_text(part).strip() for part in parts) if part)


_KINDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "int": (lambda value: _number(int, value), "a whole number (int)"),
    "float": (lambda value: _number(float, value), "a number"),
    "bool": (_switch, "true or false"),
    "str": (_text, "a text"),
    "Amount": (_amount, "an amount such as 500M or 4G"),
    "Path": (_path, "a path"),
    "tuple[str, ...]": (_texts, "a list of texts"),
}
