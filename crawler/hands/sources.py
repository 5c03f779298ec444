"""Which hands there are, and what of each is drawn: emoji, icons, figures, clip art.

Every source returns `Sketch`es: what is to be drawn, not yet a picture. All choices follow from
names and seeds, so the same packages give the same list.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from crawler.hands.draw import MARGIN_PX
from crawler.hands.packages import JsonArchive
from schemas.errors import InputError

PER_HAND = 60


@dataclass(frozen=True)
class Sketch:
    """Something that a hand drew: what writes its SVG, or the file of a picture.

    `name` is unique within the hand; `asked` marks hands to measure with, never to train on.
    """

    hand: str
    name: str
    series: str
    license: str
    source: str
    content: str = ""
    svg: Callable[[], str] | None = None
    file: Path | None = None
    margin_px: int = 0
    asked: bool = False

    @property
    def kind(self) -> str:
        """emoji, icons, figures or clipart."""
        return self.hand.partition(":")[0]


# --- Licences: those under which a model trained on the pictures may be passed on.

_FREE = ("MIT", "Apache-", "ISC", "BSD-", "CC0-", "Unlicense", "OFL-", "CC-BY-3", "CC-BY-4")
_SHARE_ALIKE = "CC-BY-SA-"


def is_free(spdx: str) -> bool:
    """Whether a licence (SPDX) is one of those used here."""
    return spdx.startswith((*_FREE, _SHARE_ALIKE))


# --- The icon sets of one package: each has its icons as SVG bodies in one JSON file.

ICONIFY, ICONIFY_VERSION = "@iconify/json", "2.2.535"

EMOJI_TRAINED = (
    *("emojione", "emojione-monotone", "emojione-v1"),
    *("fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast"),
)
EMOJI_ASKED = ("noto", "noto-v1", "openmoji", "twemoji")
"""Kept aside: no training step ever sees them."""

_LOGOS_TEXT = """
academicons catppuccin devicon devicon-plain file-icons gcp k8s material-icon-theme
skill-icons unjs vscode-icons cif circle-flags flag flagpack geo
"""
_LOGOS = frozenset(_LOGOS_TEXT.split())
"""Sets of other people's trademarks and of flags, beside those that say so themselves."""
_REPEATED_TEXT = """
bx bxs fa fa-regular fa-solid fa6-regular fa6-solid fa7-regular heroicons-outline heroicons-solid
ic icon-park-outline icon-park-solid icon-park-twotone lucide-lab material-symbols-light mdi-light
sidekickicons uis uit
"""
_REPEATED = frozenset(_REPEATED_TEXT.split())
"""Older or further sets by a hand that another set shows: two names for one hand mislead."""
_ASIDE = frozenset(("game-icons",))
_ANIMATED = ("<animate", "<set ", "<set>")
MIN_ICONS = 30
MAX_ICON_HANDS = 150
_SHARED = PER_HAND // 2
"""Icons of a hand whose names are the commonest of all sets: the same thing by many hands."""

_VARIANTS = (
    ("duotone", r"duo|duotone|two-?tone|two tone"),
    ("filled", r"fill|filled|solid|block"),
    ("bold", r"bold"),
    ("line", r"line|linear|outlined?|stroke|thin"),
)
"""Words in a variant's suffix or title that give it another look; sizes, round or sharp corners
and weights between these do not."""
_SPLIT = re.compile(r"(.+)-(fill|filled|solid|outlined?|duotone|twotone)")
_NOT_DRAWN = re.compile(r"(brand|brands|logo|logos|flag|letter|number|alpha)\b.*|.*-logo|.{1,2}")


def _svg_of(icon: Mapping[str, Any], icons: Mapping[str, Any]) -> str:
    """A whole SVG from an icon's body; what has the text's colour is black."""

    def size(name: str, default: float) -> float:
        return float(icon.get(name, icons.get(name, default)))

    box = [size("left", 0), size("top", 0), size("width", 16), size("height", 16)]
    body = re.sub("currentColor", "#000", str(icon["body"]), flags=re.IGNORECASE)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{" ".join(f"{value:g}" for value in box)}"'
        f' width="{box[2]:g}" height="{box[3]:g}">{body}</svg>'
    )


def _is_still(icon: Mapping[str, Any]) -> bool:
    return not icon.get("hidden") and not any(word in icon["body"] for word in _ANIMATED)


def _license_of(about: Mapping[str, Any]) -> str:
    """An icon set's licence with whom it names, "" when it is not a free one."""
    spdx = str(about.get("license", {}).get("spdx", ""))
    return f"{spdx} ({about.get('author', {}).get('name', '')})" if is_free(spdx) else ""


def _iconify_sketch(
    hand: str, content: str, name: str, icons: Mapping[str, Any], license: str, asked: bool = False
) -> Sketch:
    return Sketch(
        hand=hand,
        name=content,
        series=f"{hand}/{content}",
        license=license,
        source=f"npm:{ICONIFY}@{ICONIFY_VERSION}/json/{icons['prefix']}.json#{name}",
        content=content,
        svg=partial(_svg_of, icons["icons"][name], icons),
        margin_px=MARGIN_PX,
        asked=asked,
    )


def emoji(archive: JsonArchive) -> list[Sketch]:
    """What every one of the emoji sets shows, by each of them.

    Errors:  InputError when a set is missing or damaged
    """
    about = archive.read("collections.json")
    names = [*EMOJI_TRAINED, *EMOJI_ASKED]
    sets = {name: archive.read(f"json/{name}.json") for name in names}
    shared = sorted(set.intersection(*(set(icons["icons"]) for icons in sets.values())))
    return [
        _iconify_sketch(f"emoji:{name}", content, content, icons, license, name in EMOJI_ASKED)
        for name, icons in sets.items()
        if (license := _license_of(about[name]))
        for content in shared
    ]


def icons(archive: JsonArchive) -> list[Sketch]:
    """Some icons of every other set, in one of the variants that look different: outlined and
    filled twins of the same drawings are not two hands.

    Errors:  InputError when the package is damaged
    """
    sets = archive.read("collections.json")
    hands: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {}
    for name, about in sorted(sets.items()):
        license = _license_of(about)
        if license and _is_used(name, about):
            body = archive.read(f"json/{name}.json")
            if variants := _variants(name, body):
                hand = min(variants, key=_draw)
                hands[hand] = (variants[hand], body, license)
    # Coloured ones first, since they are few; the rest by a draw that depends on names alone.
    order = sorted(hands, key=lambda hand: (not _is_coloured(hands[hand][1]), _draw(hand)))
    hands = {hand: hands[hand] for hand in sorted(order[:MAX_ICON_HANDS])}
    common = Counter(content for found, _, _ in hands.values() for content in found)
    return [
        _iconify_sketch(f"icons:{hand}", content, found[content], body, license)
        for hand, (found, body, license) in hands.items()
        for content in _choose(hand, found, common)
    ]


def _is_coloured(body: Mapping[str, Any]) -> bool:
    return bool((body.get("info") or {}).get("palette"))


def _draw(text: str) -> bytes:
    """A place in an order that looks random and is the same everywhere."""
    return hashlib.sha256(text.encode()).digest()


def _is_used(name: str, about: Mapping[str, Any]) -> bool:
    return not (
        name in _LOGOS | _REPEATED | _ASIDE | {*EMOJI_TRAINED, *EMOJI_ASKED}
        or about.get("category") == "Logos"
        or about.get("hidden")
        or name.endswith(("-brands", "-logos"))
    )


def _variants(name: str, body: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The hands of a set: hand -> what is shown -> the icon's name."""
    titles = {str(key): str(title) for key, title in (body.get("suffixes") or {}).items()}
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for icon, drawn in sorted(body["icons"].items()):
        content, suffix = icon, ""
        if titles:
            fits = [key for key in titles if key and icon.endswith(f"-{key}")]
            suffix = max(fits, key=len, default="")
            content = icon.removesuffix(f"-{suffix}") if suffix else icon
        elif match := _SPLIT.fullmatch(icon):
            content, suffix = match[1], match[2]
        if _is_still(drawn) and not _NOT_DRAWN.fullmatch(content):
            groups[suffix][content] = icon
    # Of the variants that look alike the largest counts.
    looks: dict[str, str] = {}
    for suffix in sorted(groups, key=lambda suffix: (-len(groups[suffix]), suffix)):
        words = f"{suffix} {titles.get(suffix, '')}".casefold()
        found = [look for look, pattern in _VARIANTS if re.search(rf"\b({pattern})\b", words)]
        looks.setdefault(found[0] if found else "", suffix)
    return {
        f"{name}-{suffix}" if suffix else name: groups[suffix]
        for suffix in looks.values()
        if len(groups[suffix]) >= MIN_ICONS
    }


def _choose(hand: str, found: Mapping[str, str], common: Mapping[str, int]) -> list[str]:
    """What is drawn of a hand: half of it what most hands show, half of it by a draw that
    depends on the names alone."""
    by_use = sorted(found, key=lambda content: (-common[content], content))
    rest = sorted(by_use[_SHARED:], key=lambda content: _draw(f"{hand}/{content}"))
    return sorted([*by_use[:_SHARED], *rest[: PER_HAND - _SHARED]])


# --- Figures that a program puts together from parts that somebody drew.

_FIGURES_TEXT = """
adventurer big-ears big-smile clay critters croodles cutouts dylan fun-emoji landscape lorelei
marbles micah miniavs notionists open-peeps personas pixel-art thumbs toon-head voxel-art
voxel-bot
"""
FIGURES = tuple(_FIGURES_TEXT.split())
"""Styles with a drawn look under a free licence: no patterns, no initials, and of a style and
its faces without heads the whole one."""
_FIGURE_LICENSES = {"CC0 1.0": "CC0-1.0", "CC BY 4.0": "CC-BY-4.0", "MIT": "MIT"}


def figures() -> list[Sketch]:
    """PER_HAND figures of each style.

    Errors:  InputError without the packages
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        package = f"pypi:dicebear-styles@{version('dicebear-styles')}"
        version("dicebear-core")
    except PackageNotFoundError as error:
        raise InputError(f"the package {error.name} is not installed", "make train-env") from error
    sketches = []
    for name in FIGURES:
        try:
            meta, hand = _style(name)["meta"], f"figures:{name}"
        except FileNotFoundError:  # a style that this release no longer has
            continue
        if meta["license"]["name"] not in _FIGURE_LICENSES:
            continue
        license = f"{_FIGURE_LICENSES[meta['license']['name']]} ({meta['creator']['name']})"
        sketches += [
            Sketch(
                hand=hand,
                name=str(seed),
                series=f"{hand}/{seed}",
                license=license,
                source=f"{package}/{name}.json#{seed}",
                content=f"figure {seed}",
                svg=partial(_figure, name, seed),
            )
            for seed in range(PER_HAND)
        ]
    return sketches


@cache
def _style(name: str) -> Any:
    from importlib.resources import files

    return json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_bytes())


@cache
def _parsed_style(name: str) -> Any:
    from dicebear import Style

    return Style(_style(name))


def _figure(name: str, seed: int) -> str:
    from dicebear import Avatar

    return str(Avatar(_parsed_style(name), {"seed": str(seed)}).to_string())


# --- Clip art: half of its authors; the other half and the demo's queries measure.

MIN_DRAWINGS = 6
_NORMED = ("flags", "roadsigns", "aiga-symbols", "international code of signals")
"""Words in a series or an author of drawings that follow a norm: they show nobody's hand."""


def is_trained(author: str) -> bool:
    """Whether an author of the clip art may be trained on; the others only measure."""
    return hashlib.sha256(author.encode("utf-8")).hexdigest()[-1] in "01234567"


def clipart(catalog: Path) -> list[Sketch]:
    """Drawings of the demo's `catalog.csv` by authors who may be trained on."""
    with catalog.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
        rows = list(csv.DictReader(handle))
    by_author: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        words = f"{row['series']} {row['author']}".casefold()
        if is_trained(row["author"]) and not any(word in words for word in _NORMED):
            by_author[row["author"]].append(row)
    return [
        Sketch(
            hand=f"clipart:{author}",
            name=Path(row["source"]).stem + "-" + digest.hex()[:8],
            series=row["title_id"],
            license=row["license"],
            source=row["source"],
            file=Path(row["path"]),
        )
        for author, own in sorted(by_author.items())
        if len(own) >= MIN_DRAWINGS
        for digest, row in _spread(own)[:PER_HAND]
    ]


def _spread(rows: Sequence[dict[str, str]]) -> list[tuple[bytes, dict[str, str]]]:
    """An author's drawings, the series in turn: no series crowds the others out."""
    drawn = sorted(
        ((_draw(row["source"]), row) for row in rows),
        key=lambda pair: pair[0],
    )
    seen: Counter[str] = Counter()
    turns = []
    for place, (_, row) in enumerate(drawn):
        turns.append((seen[row["title_id"]], place))
        seen[row["title_id"]] += 1
    return [drawn[place] for _, place in sorted(turns)]
