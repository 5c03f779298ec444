"""Spellings of one author meet, people who merely share a name do not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.demo.authors import credit_key, merge_authors, normalise_author

GIVEN = ["Zoë", "Jean-Luc", "Ana", "Łukasz", "Søren", "Márta", "Ivo", "Björn", "Ruth"]
FAMILY = ["Brushwood", "Núñez", "O'Hara", "Kowalska", "Inkpen", "D'Arcy", "Çelik", "Lee"]
full_names = st.builds(lambda a, b: f"{a} {b}", st.sampled_from(GIVEN), st.sampled_from(FAMILY))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("  Ada   Brush ", "Ada Brush"),
        ("Ada Brush (ada@example.org)", "Ada Brush"),
        ("Ada Brush [ada+svg@example.org]", "Ada Brush"),
        ("Ada Brush <ada@example.org>", "Ada Brush"),
        ("Ada Brush &lt;ada@example.org&gt;", "Ada Brush"),
        ("Ada Brush - ada@example.org", "Ada Brush"),
        ("Ada Brush, http://example.org/~ada/", "Ada Brush"),
        ("Architetto Ada Brush", "Ada Brush"),
        ("Dr. Ada Brush", "Ada Brush"),
        ("Dr. Doodle", "Dr. Doodle"),
        ("Gerald G.", "Gerald G."),
        ("Mike Brush Jr.", "Mike Brush Jr."),
        ("ink77", "ink77"),
        ("J&ouml;rg &Aacute;g", "Jörg Ág"),
        ("Jos&Atilde;&copy; Pincel", "José Pincel"),
        ("Ada Brush (based on older work)", "Ada Brush"),
        ("김철수", "김철수"),
        ("기안84", "기안84"),
        ("משה כהן", "משה כהן"),
        ("علی‌رضا", "علی‌رضا"),
        ("nATuralDOTs", "nATuralDOTs"),
    ],
)
def test_credit_is_reduced_to_its_name(raw: str, shown: str) -> None:
    assert normalise_author(raw) == shown


@pytest.mark.parametrize(
    "raw",
    ["", "  ", "unknown", "Anonymous", "none", "me", "c...", "public domain", "N/A", "U", "...",
     "HASH(0x8a4563c)", "ada@example.org", "http://www.inkpen.example/art", "작자 미상", "Various Artists", "12345", "&nbsp;"],
)  # fmt: skip
def test_placeholder_names_nobody(raw: str) -> None:
    assert normalise_author(raw) is None


@given(st.text(max_size=60) | full_names)
def test_normalising_twice_changes_nothing_more(raw: str) -> None:
    once = normalise_author(raw)
    if once is not None:
        assert normalise_author(once) == once


@given(full_names, st.randoms(use_true_random=False))
def test_key_ignores_order_case_accents(name: str, rng: random.Random) -> None:
    words = name.split()
    rng.shuffle(words)
    assert credit_key(" ".join(words)) == credit_key(name)
    assert credit_key(name.upper()) == credit_key(name) == credit_key(name.lower())
    plain = name.translate(str.maketrans("ëŁłøáöúñçÇ", "eLloaouncC"))
    assert credit_key(plain) == credit_key(name)


def test_all_test_names_have_their_own_key() -> None:
    assert len({credit_key(f"{a} {b}") for a in GIVEN for b in FAMILY}) == len(GIVEN) * len(FAMILY)


@pytest.mark.parametrize(
    ("one", "other"),
    [("A.J. Quill", "AJ Quill"), ("A. J. Quill", "Quill, A.J."), ("Jean-Luc Pen", "Jean Luc Pen"),
     ("Le Clec'h", "Le Clech"), ("PeterM", "peterm")],
)  # fmt: skip
def test_equal_keys(one: str, other: str) -> None:
    assert credit_key(one) == credit_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("김철수", "김철호"), ("が", "か"), ("ink1", "ink2"), ("Ada Brush", "Ada"), ("Mo", "Moe")],
)
def test_different_keys(one: str, other: str) -> None:
    assert credit_key(one) != credit_key(other)


def test_best_spelling_is_shown() -> None:
    merged = merge_authors(
        {
            "Sergio Araujo": 19,
            "Sérgio Araújo": 17,
            "Architetto Ugo Penna": 40,
            "Penna Ugo": 9,
            "unknown": 3,
        }
    )
    assert merged["Sergio Araujo"] == merged["Sérgio Araújo"] == "Sérgio Araújo"
    assert merged["Penna Ugo"] == merged["Architetto Ugo Penna"] == "Ugo Penna"
    assert "unknown" not in merged


@pytest.mark.parametrize(
    ("one", "other"),
    [("Jon Smith", "John Smith"), ("Mario Rossi", "Maria Rossi"), ("Peter Hansen", "Peter Hanson"),
     ("Christin Meyer", "Christian Meyer"), ("Ann Simon", "Ann Simone"),
     ("Daniel", "Daniel Steele"),
     ("Michael Moore", "Michael Barg"), ("Nathan Eady", "Nathan Hawkes"), ("frame001", "frame002"),
     ("Nicolas", "Nicolas Clementz"), ("Nicu Buculei", "Nicu Buculei and Nathan Eady")],
)  # fmt: skip
def test_people_who_share_a_name_stay_apart(one: str, other: str) -> None:
    merged = merge_authors({one: 1, other: 500})
    assert merged == {one: one, other: other}


def test_two_middle_initials_leave_the_plain_name_alone() -> None:
    counts = {"John A. Quill": 9, "John B. Quill": 3, "John Quill": 1}
    assert merge_authors(counts) == {name: name for name in counts}


@given(st.dictionaries(full_names | st.text(max_size=12), st.integers(1, 99), max_size=12))
def test_merging_does_not_depend_on_order_and_is_stable(counts: dict[str, int]) -> None:
    merged = merge_authors(counts)
    assert merge_authors(dict(reversed(counts.items()))) == merged
    assert set(merged) == {raw for raw in counts if normalise_author(raw) is not None}
    assert all(normalise_author(shown) == shown for shown in merged.values())
