"""Spellings of one name meet, and two names stay two."""

from __future__ import annotations

import unicodedata

import pytest

from schemas.blocklist import BlockList
from schemas.names import author_key, clean_name, common_spellings, distinct_names, without_accents
from schemas.records import Author, distinct_authors

NAMES = ["Kim Min-Ho", "José García", "신의 탑", "がぎぐ げ", "SIU", "Ångström"]


def spellings(name: str) -> list[str]:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)
    composed = [name, name.upper(), name.lower(), name.title(), wide, f"\t{name}  "]
    composed += [name.replace(" ", "\u3000"), name.replace(" ", "\u00a0 ")]
    return composed + [unicodedata.normalize("NFD", text) for text in composed]


@pytest.mark.parametrize("name", NAMES)
def test_width_case_space_and_composition_do_not_count(name: str) -> None:
    key = author_key(name)
    assert {author_key(text) for text in spellings(name)} == {key}
    assert author_key(key) == key
    blocked = BlockList().adding("author", [name])
    assert all(blocked.blocks("author", text) for text in spellings(name))


def test_different_names_stay_different() -> None:
    names = [*NAMES, "Kim Min Ho", "Jose Garcia", "かきく け", "SIUU", ""]
    assert len({author_key(name) for name in names}) == len(names)


def test_what_is_stored_keeps_case_and_width() -> None:
    decomposed = unicodedata.normalize("NFD", " José \u3000 García ")
    assert clean_name(decomposed) == "José García"
    assert distinct_names(["SIU", "siu ", "", " ", "Ｓiu", "Mira"]) == ("SIU", "Mira")
    people = [Author(" SIU"), Author("siu"), Author("siu", "writer"), Author(" ")]
    assert distinct_authors(people) == (Author("SIU"), Author("siu", "writer"))


def test_what_cannot_be_seen_does_not_count() -> None:
    copied = "\ufeffKim\u200b Min\u00ad-Ho\u200e"
    assert clean_name(copied) == "Kim Min-Ho"
    assert author_key(copied) == author_key("Kim Min-Ho")
    assert clean_name("\u200b\u2060") == ""
    joined = "می\u200cخواهم"  # a joiner is spelling in Persian
    assert clean_name(joined) == joined


def test_the_commonest_spelling_of_a_name() -> None:
    found = common_spellings(["SIU", "siu", "siu", "Ｓｉｕ", "Mira", "mira"])
    assert found == {"SIU": "siu", "siu": "siu", "Ｓｉｕ": "siu", "Mira": "Mira", "mira": "Mira"}


def test_accents_are_dropped_from_latin_letters_only() -> None:
    assert without_accents("Ænna LÍNEA Łø") == "aenna linea lo"
    assert without_accents("がぎ") == "がぎ"
    assert without_accents("신의") == "신의"
