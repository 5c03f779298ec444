"""The simulated power cut takes what was not synced, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.power import cut


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in ("saved", "trial"):
        (tmp_path / place / "data").mkdir(parents=True)
    (tmp_path / "saved/data/pointer").write_text("one")
    (tmp_path / "replaced").mkdir()
    return tmp_path / "trial/data"


def after(root: Path, how: str, *calls: str) -> dict[str, str]:
    lines = []
    for number, call in enumerate(calls, 1):
        what, *names = call.split()
        lines.append("\t".join([str(number), what, *(str(root / name) for name in names)]))
    padded = [line + "\t" * (3 - line.count("\t")) for line in lines]
    cut(root, padded, how, root.parents[1] / "replaced")
    return {path.name: path.read_text() for path in root.iterdir()}


def test_a_name_comes_back_as_it_was_when_it_was_last_synced(root: Path) -> None:
    (root / "pointer").write_text("three")
    (root.parents[1] / "replaced/3").write_text("one")
    (root.parents[1] / "replaced/6").write_text("two")
    twice = ("create a", "fsync a", "rename a pointer", "fsync .", "fsync b", "rename b pointer")
    assert after(root, "lost", *twice) == {"pointer": "two"}


def test_of_two_names_that_were_not_synced_the_older_one_was_the_disks(root: Path) -> None:
    (root / "pointer").write_text("three")
    (root.parents[1] / "replaced/2").write_text("one")
    (root.parents[1] / "replaced/4").write_text("two")
    assert after(root, "lost", "fsync a", "rename a pointer", "fsync b", "rename b pointer") == {
        "pointer": "one"
    }


def test_what_was_synced_stays_and_what_was_not_is_empty_or_torn(root: Path) -> None:
    (root / "pointer").write_text("one")
    for how, left in (("empty", ""), ("torn", "ab"), ("lost", None), ("last", "")):
        for name in ("synced", "gone"):
            (root / name).write_text("abcd")
        found = after(root, how, "create synced", "fsync synced", "fsync .", "create gone")
        assert found["synced"] == "abcd" and found["pointer"] == "one"
        assert found.get("gone") == left
