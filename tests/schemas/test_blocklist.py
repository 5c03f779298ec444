"""The block list: spellings, damage, and no names in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.blocklist import BlockList
from schemas.errors import InputError
from schemas.storage.layout import Layout


@pytest.mark.parametrize(
    "spelling",
    ["Jane Doe", "jane  doe", "DOE, Jane", "Ｊane Doe", "Jane-Doe", "JaneDoe", "doe jane"],
)
def test_spellings_of_one_name(spelling: str) -> None:
    blocked = BlockList().adding("author", ["Jane Doe"])
    assert blocked.blocks_title("x:1", ["Somebody", spelling])


@pytest.mark.parametrize("other", ["Jane Do", "Jan Doe", "Jane", "Doe", "", "신의 탑"])
def test_other_names_stay(other: str) -> None:
    blocked = BlockList().adding("author", ["Jane Doe"]).adding("title", ["naver:1"])
    assert not blocked.blocks_title("naver:11", [other])
    assert blocked.blocks_title("naver:1", [other])


def test_names_without_letters_are_names(tmp_path: Path) -> None:
    blocked = BlockList().adding("author", ["★★"])
    assert blocked.blocks("author", "★★")
    assert not blocked.blocks("author", "☆☆")


def test_the_file_holds_no_name_and_every_byte_counts(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert not BlockList.read(layout)
    written = BlockList().adding("author", ["Jane Doe"]).adding("picture", ["ab" * 32])
    written.write(layout)
    assert BlockList.read(layout) == written
    data = layout.blocked.read_bytes()
    assert b"jane" not in data.lower()
    assert b"abab" not in data
    for place in range(len(data)):
        mutant = bytearray(data)
        mutant[place] ^= 1 << (place % 8)
        layout.blocked.write_bytes(mutant)
        with pytest.raises(InputError, match="block list"):
            BlockList.read(layout)
