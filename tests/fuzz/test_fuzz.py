"""Odd inputs of every kind: none ends a run, crashes or leaves a trace; `make fuzz` tries more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.cases import KINDS, check, failures, make

FAST, ALL = 100, 200


@pytest.mark.parametrize("kind", KINDS)
def test_some_cases(kind: str, tmp_path: Path) -> None:
    _all_hold(kind, range(FAST), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_other_cases(kind: str, tmp_path: Path) -> None:
    _all_hold(kind, range(FAST, ALL), tmp_path)


def _all_hold(kind: str, seeds: range, place: Path) -> None:
    found = failures(kind, seeds, place)
    said = "\n".join(f"{folder}: {wrong.splitlines()[-1][:300]}" for folder, wrong in found.items())
    assert not found, f"{len(found)} cases of {len(seeds)}:\n{said}"


def test_a_failing_case_is_kept_and_can_be_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.pictures.MAX_SECONDS", -1.0)
    (place,) = failures("pictures", [5], tmp_path)
    assert "AssertionError" in Path(place, "error.txt").read_text("utf-8")
    assert "AssertionError" in (check(Path(place)) or "")
    monkeypatch.undo()
    assert check(Path(place)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_makes_the_same_case(kind: str, tmp_path: Path) -> None:
    one, two = make(kind, 3, tmp_path / "one"), make(kind, 3, tmp_path / "two")
    files = {path.relative_to(one): path for path in one.rglob("*") if path.is_file()}
    assert files
    for name, path in files.items():
        assert path.read_bytes() == (two / name).read_bytes(), name
