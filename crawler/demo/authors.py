"""Credits as people type them, and the one spelling of each name that the demo's catalog has.

Credits come with e-mail addresses, links, titles, remarks in brackets, broken encodings, lost
accents, the family name first or in capitals.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping

from schemas.names import without_accents

_NOBODY = """
unknown unknownauthor authorunknown unknownartist anon anonymous none na nil null me myself author
authors artist creator various variousartists variousauthors nobody noname untitled publicdomain
public openclipart openclipartorg opensourcedgemclipart c copyright n test
작자미상 미상 작가미상 알수없음 不明 作者不詳 佚名
"""
PLACEHOLDERS = frozenset(_NOBODY.split())
"""Credits that name nobody, as letters only. "GEM clipart" is a disk by many people."""
_TITLES = """
architetto arch archt dr dott dottore dottssa ing mr mrs ms miss prof professor herr frau mme mlle
monsieur madame
"""
HONORIFICS = frozenset(_TITLES.split())

_EMAIL = re.compile(r"(?:mailto:)?([\w.+-]+)@[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
# "nameATsiteDOTorg": capitals only, or "nATuralDOTs" and half of all nicknames would match.
_SPELT_EMAIL = re.compile(r"\b([\w.+-]+?)\s?AT\s?[a-z0-9-]+(?:\s?DOT\s?[a-z]{2,})+\b")
_ON_EMAIL = re.compile(r"\b([\w.+-]+)\s+(?:ON|AT|\(at\)|\[at\])\s+[\w-]+(?:\.[\w-]+)+\b")
_URL = re.compile(r"(?:https?://|\bwww\.)\S+", re.IGNORECASE)
_ASIDES = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>|\{[^{}]*\}")
_BY = re.compile(
    r"^(?:.*\b(?:made|drawn|created|designed|converted|painted|illustrated|vectori[sz]ed|"
    r"art|artwork|clip ?art|drawing|image|picture)\s+)?by[\s:]+(?=\S)",
    re.IGNORECASE,
)
_COUNTER = re.compile(r"(?<=\S)(?:[\s_]+|\s*#)\d+$")
_PERL_REFERENCE = re.compile(r"(?:HASH|ARRAY|SCALAR|CODE|GLOB)\(0x[0-9a-f]+\)", re.IGNORECASE)
_MOJIBAKE = re.compile("[\u00c3\u00c2\u00c4\u00c5][\u0080-\u00ff\u0152-\u2122]")
# Controls, soft hyphens, zero-width spaces and direction *overrides* are noise that can hide
# or turn text on a terminal. Joiners and direction marks belong to Persian and Hebrew: kept.
_NOISE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u202a-\u202e\u2066-\u2069\ufeff]")


def normalise_author(raw: str) -> str | None:
    """The name in a credit line, as it should be shown; None when it names nobody.

    Applying it twice changes nothing more. Accents and capitals are kept: only
    `merge_authors`, which sees all spellings, can tell which are right.
    """
    name = raw
    while True:  # each pass shortens the text or leaves it, so this ends
        cleaned = _clean(name)
        if cleaned == name:
            break
        name = cleaned
    letters = "".join(ch for ch in without_accents(name) if ch.isalnum())
    if not any(ch.isalpha() for ch in letters) or letters in PLACEHOLDERS:
        return None
    if len(letters) == 1 and letters.isascii():
        return None  # a lone initial could be anybody; a lone Han or Hangul syllable is a name
    return name


def _clean(text: str) -> str:
    """One pass of every rule of `normalise_author`."""
    text = _mend(html.unescape(text))
    text = _NOISE.sub("", unicodedata.normalize("NFC", text))
    if _PERL_REFERENCE.search(text):
        return ""
    bare = _URL.sub(" ", _SPELT_EMAIL.sub(" ", _ON_EMAIL.sub(" ", _EMAIL.sub(" ", text))))
    bare = _ASIDES.sub(" ", bare)
    if not any(ch.isalnum() for ch in bare):
        bare = _name_in_address(text)  # nothing but an address or a bracket: take what is in it
    bare = _BY.sub("", " ".join(bare.split()))
    bare = _COUNTER.sub("", _trim(bare))
    words = bare.split()
    while len(words) > 2 and words[0].strip(".").casefold() in HONORIFICS:
        words = words[1:]  # with two words left, "Dr. Seuss" may be the pen name itself
    return _trim(" ".join(words))


def _trim(text: str) -> str:
    """Outer punctuation away, but for the dot of an initial or of "Jr."."""
    text = text.strip().strip('-–—,;:/|\\"*~_=<>()[]{}&').strip()
    last = text.rsplit(maxsplit=1)[-1] if text else ""
    if last.endswith(".") and len(last.rstrip(".")) > 2 and "." not in last.rstrip("."):
        text = text.rstrip(".")
    return text.lstrip(".").strip()


def _name_in_address(text: str) -> str:
    """A name from a text that is only an address, a link or a bracket."""
    for pattern in (_EMAIL, _SPELT_EMAIL, _ON_EMAIL):
        if found := pattern.search(text):
            return found.group(1)
    if found := _URL.search(text):
        host = re.sub(r"^(?:https?://)?(?:www\.)?", "", found.group(), flags=re.IGNORECASE)
        return re.split(r"[/?#:]", host)[0].rsplit(".", 1)[0]
    return text.strip().strip("()[]<>{}").strip()


def _mend(text: str) -> str:
    """Undo UTF-8 that was read as Latin-1 ("Ã¡" back to "á"), when it fits exactly."""
    if not _MOJIBAKE.search(text):
        return text
    for encoding in ("latin-1", "cp1252"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return text


def _words(name: str) -> tuple[str, ...]:
    """Folded words in order, with neighbouring initials joined ("A.J." and "AJ" are equal)."""
    text = re.sub(r"[\"“”].*?[\"“”]", " ", name) if len(name.split()) > 2 else name
    text = re.sub(r"['’`´]", "", without_accents(text))
    words: list[str] = []
    initials = ""
    for word in re.findall(r"[^\W_]+(?:[\u0300-\u036f\u0590-\u05c7\u064b-\u0655]+\w*)*", text):
        if len(word) == 1 and word.isalpha() and word < "\u0400":
            initials += word
            continue
        if initials:
            words.append(initials)
            initials = ""
        words.append(word)
    if initials:
        words.append(initials)
    while len(words) > 2 and words[0] in HONORIFICS:
        words = words[1:]
    return tuple(words)


def _is_spaceless(word: str) -> bool:
    """Whether the word is Han, kana or Hangul, where a space in a name is a matter of taste."""
    return all("\u1100" <= ch <= "\u11ff" or "\u2e80" <= ch <= "\ud7ff" for ch in word)


def credit_key(name: str) -> str:
    """What all spellings of one name share: order, case, accents and dots do not count.

    Names wholly in Han, kana or Hangul keep their order and lose their spaces instead.
    """
    words = _words(name)
    if not words:
        return " ".join(without_accents(name).split())
    if all(_is_spaceless(word) for word in words):
        return "".join(words)
    return " ".join(sorted(words))


MISSPELT = {
    "Andrew Dunhan": "Andrew Duhan",
    "Bryce Harrington": "Bryce W. Harrington",
    "Dan Gerhrads": "Dan Gerhards",
    "Jean-Vitor Balin": "Jean-Victor Balin",
    "John Meuser": "John C Meuser",
    "Nubldoff": "Nurbldoff",
}
"""Slips and left-out initials among the credits of Debian's clip art."""


def merge_authors(names_with_counts: Mapping[str, int]) -> dict[str, str]:
    """For each raw credit that names somebody, the spelling to show.

    Credits with one `credit_key` are one author. A shared surname, given name or nickname never
    is enough.
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    shown: dict[str, str] = {}
    for raw, count in names_with_counts.items():
        if (name := normalise_author(raw)) is not None:
            shown[raw] = name = MISSPELT.get(name, name)
            spellings[credit_key(name)][name] += count
    best = {
        key: max(counts, key=lambda name: (*_typing(name), counts[name], name))
        for key, counts in spellings.items()
    }
    return {raw: best[credit_key(name)] for raw, name in shown.items()}


def _typing(name: str) -> tuple[int, int]:
    """How well a spelling is typed: accents kept, then neither shouted nor all small."""
    plain = without_accents(name)
    accents = sum(a != b for a, b in zip(name.casefold(), plain, strict=False))
    words = [word for word in re.findall(r"[^\W\d_]+", name) if len(word) > 2]
    single = len(name.split()) == 1  # a nickname may be small on purpose
    well_cased = sum(not (word.isupper() or (word.islower() and not single)) for word in words)
    return min(accents, 9), well_cased - len(words)
