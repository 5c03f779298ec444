"""The command: what one source lacks does not stop the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.hands.__main__ import main, run
from crawler.hands.packages import fetch_npm
from crawler.hands.sources import Sketch
from schemas.errors import InputError, NetworkError

pytest.importorskip("resvg_py", reason="drawing SVG files needs resvg-py")

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0h9v9z"/></svg>'


def sketches(hand: str, asked: bool = False) -> list[Sketch]:
    return [
        Sketch(hand, "a", f"{hand}/a", "MIT", "npm:a@1.0.0/a.json#a", "a", lambda: SVG, asked=asked)
    ]


def test_a_source_that_cannot_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> list[Sketch]:
        raise NetworkError("npm cannot fetch it")

    kinds = {
        "icons": missing,
        "emoji": lambda: sketches("emoji:a") + sketches("emoji:b", asked=True),
        "figures": lambda: sketches("figures:a"),
    }
    assert run(tmp_path, kinds, ["icons", "emoji"]) == 4
    assert "icons: left out: npm cannot fetch it" in capsys.readouterr().err
    assert "emoji:a" in (tmp_path / "manifest.csv").read_text()
    assert "figures:a" not in (tmp_path / "manifest.csv").read_text()
    asked = tmp_path / "asked-emoji"
    assert "emoji:b" in (asked / "manifest.csv").read_text()
    assert [path.name for path in asked.rglob("*.png")] == ["a.png"]
    assert run(tmp_path, kinds, ["figures"]) == 0


def test_licences_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--licences"]) == 3
    assert capsys.readouterr().err.startswith("error: ")


def test_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm is not on this machine"):
        fetch_npm("@a/b", "1.0.0", tmp_path)


def test_what_npm_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its complaint is passed on, and no half archive is kept."""
    tool = tmp_path / "npm"
    tool.write_text("#!/bin/sh\necho 'npm error code EINTEGRITY' >&2\ntouch \"$5/b.tgz\"\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NetworkError, match="EINTEGRITY"):
        fetch_npm("@a/b", "1.0.0", tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []
