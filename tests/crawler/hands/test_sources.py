"""Which hands there are: licences, variants, names, and authors kept aside."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from crawler.demo.openclipart import COLUMNS
from crawler.hands.packages import JsonArchive
from crawler.hands.sources import (
    EMOJI_ASKED,
    EMOJI_TRAINED,
    FIGURES,
    PER_HAND,
    clipart,
    emoji,
    figures,
    icons,
    is_free,
    is_trained,
)
from schemas.errors import InputError

BODY = '<path fill="currentColor" d="M0 0h16v16z"/>'


def archive(path: Path, sets: dict[str, dict[str, Any]]) -> JsonArchive:
    """A package with sets: name -> about, `icons` (names or bodies) and what else its file has."""
    files: dict[str, Any] = {"collections.json": {}}
    for name, about in sets.items():
        about = {"license": {"spdx": "MIT"}, "author": {"name": "Ann"}, **about}
        names = about.pop("icons")
        bodies = names if isinstance(names, dict) else {key: {"body": BODY} for key in names}
        rest = about.pop("file", {})
        files["collections.json"][name] = about
        files[f"json/{name}.json"] = {"prefix": name, "icons": bodies, "height": 24, **rest}
    with tarfile.open(path, "w:gz") as tar:
        for name, body in files.items():
            data = json.dumps(body).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return JsonArchive(path)


def names(count: int, end: str = "") -> list[str]:
    return [f"thing-{number:03}{end}" for number in range(count)]


def test_licences() -> None:
    assert all(
        map(is_free, ["MIT", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "OFL-1.1"])
    )
    assert not any(map(is_free, ["", "GPL-3.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "MPL-2.0"]))


def test_emoji_are_what_every_set_shows(tmp_path: Path) -> None:
    sets = {name: {"icons": ["ant", "cat"]} for name in (*EMOJI_TRAINED, *EMOJI_ASKED)}
    sets["noto"]["icons"] = ["ant", "dog"]
    sets["openmoji"]["license"] = {"spdx": "GPL-3.0"}  # type: ignore[assignment]
    found = emoji(archive(tmp_path / "a.tgz", sets))
    assert {one.content for one in found} == {"ant"}
    trained = [one.hand for one in found if not one.asked]
    assert trained == [f"emoji:{name}" for name in EMOJI_TRAINED]
    assert [one.hand for one in found if one.asked] == [
        "emoji:noto",
        "emoji:noto-v1",
        "emoji:twemoji",
    ]
    assert len({one.series for one in found}) == len(found)


def test_icons_of_free_sets_that_are_drawn(tmp_path: Path) -> None:
    made = archive(
        tmp_path / "a.tgz",
        {
            "good": {"icons": [*names(40), "brand-x", "logo-x"]},
            "few": {"icons": names(29)},
            "paid": {"icons": names(40), "license": {"spdx": "CC-BY-NC-4.0"}},
            "unknown": {"icons": names(40), "license": {"title": "free"}},
            "makers": {"icons": names(40), "category": "Logos"},
            "gone": {"icons": names(40), "hidden": True},
            "game-icons": {"icons": names(40)},
            "moving": {"icons": {name: {"body": "<animate/>"} for name in names(40)}},
        },
    )
    found = icons(made)
    assert {one.hand for one in found} == {"icons:good"}
    assert sorted(one.content for one in found) == names(40)
    assert {one.license for one in found} == {"MIT (Ann)"}


def test_black_and_the_whole_box(tmp_path: Path) -> None:
    bodies = {name: {"body": BODY, "width": 30, "left": -2} for name in names(30)}
    (one, *_) = icons(archive(tmp_path / "a.tgz", {"good": {"icons": bodies}}))
    assert one.svg is not None
    svg = one.svg()
    assert 'viewBox="-2 0 30 24"' in svg
    assert 'fill="#000"' in svg
    assert "currentColor" not in svg


def test_a_set_is_one_hand_in_one_of_its_variants(tmp_path: Path) -> None:
    marked = {"": "Regular", "sharp": "Sharp", "outline": "Outline", "16-filled": "16 Filled"}
    shown = names(31) + names(30, "-sharp") + names(30, "-outline") + names(30, "-16-filled")
    sets = {f"plain{n}": {"icons": names(30) + names(30, "-fill")} for n in range(12)}
    sets["marked"] = {"icons": shown, "file": {"suffixes": marked}}
    found = {one.hand.removeprefix("icons:") for one in icons(archive(tmp_path / "a.tgz", sets))}
    assert len(found) == len(sets)
    assert len(found & {"marked", "marked-outline", "marked-16-filled"}) == 1
    assert 0 < len([hand for hand in found if hand.endswith("-fill")]) < 12  # some of either look


def test_the_choice_is_always_the_same(tmp_path: Path) -> None:
    sets = {"a": {"icons": names(200)}, "b": {"icons": names(40)}}
    first = icons(archive(tmp_path / "a.tgz", sets))
    again = icons(archive(tmp_path / "b.tgz", {"b": sets["b"], "a": {"icons": names(200)[::-1]}}))
    assert [(one.hand, one.content) for one in first] == [(one.hand, one.content) for one in again]
    of_a = {one.content for one in first if one.hand == "icons:a"}
    assert len(of_a) == PER_HAND
    assert len(of_a & set(names(40))) >= PER_HAND // 2  # what both have


def test_damaged_packages(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        JsonArchive(tmp_path / "a.tgz")
    with pytest.raises(InputError, match="missing"):
        emoji(archive(tmp_path / "b.tgz", {"noto": {"icons": ["ant"]}}))


def test_figures() -> None:
    pytest.importorskip("dicebear", reason="figures need dicebear-core")
    found = figures()
    assert len(found) == len(FIGURES) * PER_HAND
    assert {one.license.partition(" ")[0] for one in found} == {"CC0-1.0", "CC-BY-4.0"}
    one, other = found[0], found[1]
    assert one.svg is not None
    assert other.svg is not None
    assert one.svg() == one.svg() != other.svg()


def test_authors_kept_aside() -> None:
    """The SHA-256 of these names in UTF-8 ends in 4, 6, 1; c, e."""
    assert all(map(is_trained, ["Gerald G.", "Ann", "Æ"]))
    assert not any(map(is_trained, ["Eve", "Dan"]))


def test_clip_art_of_authors_who_may_be_trained_on(tmp_path: Path) -> None:
    def row(
        author: str, number: int, series: str = "animals", genre: str = "animals"
    ) -> dict[str, str]:
        return {
            **dict.fromkeys(COLUMNS, ""),
            "path": str(tmp_path / f"{number}.png"),
            "author": author,
            "series": series,
            "title_id": f"openclipart:{author}/{series}",
            "genre": genre,
            "license": "public domain",
            "source": f"debian:openclipart-svg/{series}/{number}.svg",
        }

    rows = [row("Gerald G.", number) for number in range(100)]
    rows += [row("Gerald G.", number, "food", "food") for number in range(10)]
    rows += [row("Gerald G.", number, "flags", "signs and symbols") for number in range(10)]
    rows += [row("Bob", number) for number in range(5)]
    rows += [row("Eve", number) for number in range(10)]
    with (tmp_path / "catalog.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    found = clipart(tmp_path / "catalog.csv")
    assert {one.hand for one in found} == {"clipart:Gerald G."}
    assert len(found) == PER_HAND
    assert [one.series for one in found].count("openclipart:Gerald G./food") == 10
    assert {one.content for one in found} == {""}
    assert len({one.name for one in found}) == PER_HAND
