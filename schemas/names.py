"""Names of people: how they are stored, and which spellings are one name."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_FOLDS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
)
_INVISIBLE = dict.fromkeys(map(ord, "\0\u00ad\u200b\u200e\u200f\u2060\ufeff"))
"""What copying from web pages and files brings along. Joiners stay: some scripts need them."""


def clean_name(text: str) -> str:
    """A name as it is stored and shown: composed (NFC), each white space one space, and nothing
    that cannot be seen.

    >>> clean_name(" Kim\\t Min ")
    'Kim Min'
    """
    return " ".join(unicodedata.normalize("NFC", text.translate(_INVISIBLE)).split())


def author_key(name: str) -> str:
    """What all spellings of one name share: composition, width, case and spaces do not count.

    >>> author_key("Ｋｉｍ  Min") == author_key("kim min")
    True
    """
    folded = unicodedata.normalize("NFKC", name.translate(_INVISIBLE)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """Cleaned names without the empty ones; of several spellings of one name the first."""
    found: dict[str, str] = {}
    for name in map(clean_name, names):
        if name:
            found.setdefault(author_key(name), name)
    return tuple(found.values())


def common_spellings(names: Iterable[str]) -> dict[str, str]:
    """Each name -> its commonest spelling; of equally common ones, the first in order."""
    counts = Counter(names)
    best: dict[str, str] = {}
    for name in sorted(counts, key=lambda each: (-counts[each], each)):
        best.setdefault(author_key(name), name)
    return {name: best[author_key(name)] for name in counts}


def without_accents(text: str) -> str:
    """Lower case without accents on Latin and Greek letters; other scripts keep their marks.

    A mark on a Latin letter is an accent that typists drop. In kana, Hebrew or Thai it is
    another letter.
    """
    letters: list[str] = []
    is_latin = False
    for char in unicodedata.normalize("NFD", text.casefold()):
        if not unicodedata.combining(char):
            is_latin = char < "\u0400" or "\u1e00" <= char < "\u2000"
            letters.append(char)
        elif not is_latin:
            letters.append(char)
    return unicodedata.normalize("NFC", "".join(letters)).translate(_FOLDS)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts 2.jpg before 10.jpg."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
