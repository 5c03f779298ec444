"""Which pictures lie below a folder: what is left out, what could not be seen, and the names
of both as text."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

# --- Names: a file's name is bytes, and the catalog holds text.


def readable(name: str) -> str:
    """A file's name as text: UTF-8, else the code page that it is surely in, else its odd bytes
    as `\\xb1`.

    >>> readable(os.fsdecode("신의 탑".encode("cp949")))
    '신의 탑'
    """
    raw = os.fsencode(name)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    for codec, is_sure in (("cp949", _is_korean), ("cp932", _is_japanese), ("cp1252", _is_latin)):
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            continue
        if is_sure(text):
            return text
    return raw.decode("utf-8", "backslashreplace")


def unique(name: str) -> str:
    """A readable name that no other file has: names that are no UTF-8 get a mark of their bytes
    before the ending, so that two spellings in two code pages stay two files."""
    raw, text = os.fsencode(name), readable(name)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        mark = hashlib.sha256(raw).hexdigest()[:6]
        stem, dot, ending = text.rpartition(".")
        return f"{stem}~{mark}.{ending}" if stem and dot else f"{text}~{mark}"
    return text


def unique_path(path: Path) -> str:
    """A path as text, each of its parts unique."""
    return "/".join(map(unique, str(path).split("/")))


def _is_korean(text: str) -> bool:
    """Hangul and signs, most of it syllables that are in use: other code pages give rare ones."""
    odd = [char for char in text if not char.isascii()]
    # EUC-KR has two bytes for those in use, and spells the others out.
    common = sum("가" <= char <= "힣" and len(char.encode("euc_kr")) == 2 for char in odd)
    is_fit = all("가" <= char <= "힣" or unicodedata.category(char)[0] in "PSZ" for char in odd)
    return is_fit and 2 * common > len(odd)


def _is_japanese(text: str) -> bool:
    """Kana between ideographs; ideographs alone could be Chinese."""
    odd = [char for char in text if not char.isascii()]
    is_kana = ["\u3041" <= char <= "\u30fe" for char in odd]
    return any(is_kana) and all(
        kana or "\u3000" <= char <= "\u9fff" or "\uff01" <= char <= "\uff5e"
        for kana, char in zip(is_kana, odd, strict=True)
    )


def _is_latin(text: str) -> bool:
    """Single letters with accents between plain ones."""
    odd = [char for char in text if not char.isascii()]
    return not re.search(r"[^\x00-\x7f]{2}", text) and all(
        unicodedata.category(char) in ("Ll", "Lu") for char in odd
    )
