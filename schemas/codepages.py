"""Text in the code pages of older Windows, read where it is sure which one it is.

Whatever is not UTF-8 is a guess: nearly all bytes are valid in several code pages. A guess counts
when what comes out are letters that are in use.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable


def from_code_page(raw: bytes) -> tuple[str, str] | None:
    """The text of bytes that are no UTF-8, and its codec; None where that is not sure.

    >>> from_code_page("신의 탑".encode("cp949"))
    ('신의 탑', 'cp949')
    """
    for codec, is_sure in CODE_PAGES.items():
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            continue
        if is_sure([char for char in text if not char.isascii()], text):
            return text, codec
    return None


def _is_korean(odd: list[str], text: str) -> bool:
    """Hangul that is in use, with a Chinese character at times: other code pages give rare
    syllables, or as many ideographs."""
    hangul = [char for char in odd if "가" <= char <= "힣"]
    # EUC-KR has two bytes for the syllables that are in use, and spells out the others.
    common = sum(len(char.encode("euc_kr")) == 2 for char in hangul)
    signs = sum(unicodedata.category(char)[0] in "PSZ" for char in odd)
    others = len(odd) - len(hangul) - signs
    return 2 * common > max(len(hangul), signs) and common > 8 * others


def _is_japanese(odd: list[str], text: str) -> bool:
    """Kana between ideographs; ideographs alone could be Chinese."""
    kana = sum("\u3041" <= char <= "\u30fe" for char in odd)
    fit = sum("\u3000" <= char <= "\u9fff" or "\uff01" <= char <= "\uff5e" for char in odd)
    return 10 * kana > len(odd) and fit == len(odd)


def _is_latin(odd: list[str], text: str) -> bool:
    """Single letters with accents between plain ones, and typographic signs."""
    fit = all("\xa1" <= char <= "\xff" or char in "Œœ‘’“”–—…€" for char in odd)
    return fit and any(map(str.isalpha, odd)) and not re.search(r"[^\x00-\x7f]{2}", text)


CODE_PAGES: dict[str, Callable[[list[str], str], bool]] = {
    "cp949": _is_korean,
    "cp932": _is_japanese,
    "cp1252": _is_latin,
}
