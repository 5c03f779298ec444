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
from contextlib import suppress

from schemas.names import without_accents

_NOBODY = """
unknown unknownauthor authorunknown unknownartist anon anonymous none na nil null me myself author
authors artist creator various variousartists variousauthors nobody noname untitled publicdomain
public openclipart openclipartorg opensourcedgemclipart hash c copyright n test
작자미상 미상 작가미상 알수없음 不明 作者不詳 佚名
"""
PLACEHOLDERS = frozenset(_NOBODY.split())
"""Credits that name nobody, as letters only; "hash" is what a Perl reference leaves."""
_TITLES = """
architetto arch archt dr dott dottore dottssa ing mr mrs ms miss prof professor herr frau mme mlle
monsieur madame
"""
HONORIFICS = frozenset(_TITLES.split())

_EMAIL = re.compile(r"(?:mailto:)?([\w.+-]+)@[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_URL = re.compile(r"(?:https?://|\bwww\.)\S+", re.IGNORECASE)
_ASIDES = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>|\{[^{}]*\}")
_BY = re.compile(
    r"^(?:.*\b(?:made|drawn|created|designed|converted|painted|illustrated|vectori[sz]ed|"
    r"art|artwork|clip ?art|drawing|image|picture)\s+)?by[\s:]+(?=\S)",
    re.IGNORECASE,
)
_COUNTER = re.compile(r"(?<=\S)(?:[\s_]+|\s*#)\d+$")
# Controls, soft hyphens, zero-width spaces and direction *overrides* can hide or turn text on
# a terminal. Joiners and direction marks belong to Persian and Hebrew and stay.
_NOISE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u202a-\u202e\u2066-\u2069\ufeff]")


def normalise_author(raw: str) -> str | None:
    """The name in a credit line, as it should be shown; None when it names nobody.

    Applying it twice changes nothing more.
    """
    name = raw
    while (cleaned := _clean(name)) != name:  # each pass shortens the text or leaves it
        name = cleaned
    letters = "".join(ch for ch in without_accents(name) if ch.isalnum())
    if not any(ch.isalpha() for ch in letters) or letters in PLACEHOLDERS:
        return None
    if len(letters) == 1 and letters.isascii():
        return None  # a lone initial could be anybody; a lone Han or Hangul syllable is a name
    return name


def _clean(text: str) -> str:
    """One pass of every rule of `normalise_author`."""
    text = html.unescape(text)
    with suppress(UnicodeError):  # UTF-8 that was read as Latin-1 ("Ã¡" for "á")
        text = text.encode("latin-1").decode("utf-8")
    text = _NOISE.sub("", unicodedata.normalize("NFC", text))
    bare = _ASIDES.sub(" ", _URL.sub(" ", _EMAIL.sub(" ", text)))
    if not any(ch.isalnum() for ch in bare):  # nothing but an address or a bracket
        bare = _name_in_address(text)
    bare = _BY.sub("", " ".join(bare.split()))
    words = _COUNTER.sub("", _trim(bare)).split()
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
    if found := _EMAIL.search(text):
        return found[1]
    if found := _URL.search(text):
        host = re.sub(r"^(?:https?://)?(?:www\.)?", "", found[0], flags=re.IGNORECASE)
        return re.split(r"[/?#:]", host)[0].rsplit(".", 1)[0]
    return text.strip(" ()[]<>{}")


def credit_key(name: str) -> str:
    """What all spellings of one name share: order, case, accents and dots do not count."""
    text = re.sub(r"['’`´]", "", without_accents(name))
    text = re.sub(r"\b([^\W\d_])\.\s*(?=[^\W\d_]\b)", r"\1", text)  # "A. J." and "AJ" are equal
    return " ".join(sorted(re.findall(r"[^\W_]+", text)))


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


def _typing(name: str) -> tuple[bool, bool]:
    """How well a spelling is typed: with accents, and neither shouted nor all small."""
    words = [word for word in re.findall(r"[^\W\d_]+", name) if len(word) > 2]
    return not name.isascii(), not any(word.isupper() or word.islower() for word in words)
