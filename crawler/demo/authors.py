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
HONORIFICS = frozenset(("architetto", "arch", "dr", "dott", "ing", "mr", "mrs", "ms", "prof"))

_EMAIL = re.compile(r"(?:mailto:)?([\w.+-]+)@[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_URL = re.compile(r"(?:https?://|\bwww\.)\S+", re.IGNORECASE)
_ASIDES = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|<[^<>]*>|\{[^{}]*\}")
_OUTER = ' -–—,;:/|\\"*~_=<>()[]{}&'
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
    text = _ASIDES.sub(" ", _URL.sub(" ", _EMAIL.sub(" ", text)))
    words = text.strip(_OUTER).split()
    while len(words) > 2 and words[0].strip(".").casefold() in HONORIFICS:
        words = words[1:]  # with two words left, "Dr. Seuss" may be the pen name itself
    return " ".join(words).strip(_OUTER)


def credit_key(name: str) -> str:
    """What all spellings of one name share: order, case, accents and dots do not count."""
    text = re.sub(r"['’`´]", "", without_accents(name))
    text = re.sub(r"\b([^\W\d_])\.\s*(?=[^\W\d_]\b)", r"\1", text)  # "A. J." and "AJ" are equal
    return " ".join(sorted(re.findall(r"[^\W_]+", text)))


def merge_authors(names_with_counts: Mapping[str, int]) -> dict[str, str]:
    """For each raw credit that names somebody, the spelling to show.

    Credits with one `credit_key` are one author. A shared surname, given name or nickname never
    is enough.
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    shown: dict[str, str] = {}
    for raw, count in names_with_counts.items():
        if (name := normalise_author(raw)) is not None:
            shown[raw] = name
            spellings[credit_key(name)][name] += count
    # Accents are dropped more often than made up; else the commonest spelling is shown.
    best = {
        key: max(counts, key=lambda name: (not name.isascii(), counts[name], name))
        for key, counts in spellings.items()
    }
    return {raw: best[credit_key(name)] for raw, name in shown.items()}
