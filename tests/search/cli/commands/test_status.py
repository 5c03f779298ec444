"""`status`, `doctor` and `config`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from search.cli.app import main
from tests.search.cli.complaints import complaint


def test_settings_and_their_origins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOONSEARCH_QUERY__K", "3")
    assert main(["config", "show", "--origin"]) == 0
    shown = capsys.readouterr().out
    assert "# TOONSEARCH_QUERY__K" in shown
    assert tomllib.loads(shown)["query"]["k"] == 3
    assert main(["config", "show", "--json", "--origin"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["query.k"] == {"value": 3, "origin": "TOONSEARCH_QUERY__K"}
    monkeypatch.setenv("TOONSEARCH_QUERY__KAY", "3")
    assert main(["config", "show"]) == 2
    assert "kay" in complaint(capsys)


def test_status_and_doctor_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert "24   " in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["adds_up"]
    assert body["pictures"] == body["embedded"] == 24
    assert main(["doctor", "--json"]) == 0
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["index"]["state"] == found["catalog"]["state"] == "ok"
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.count("\n") == len(found)


def test_the_doctor_finds_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--data", str(tmp_path / "none")]) == 5
    shown = capsys.readouterr().out
    assert "fail  index" in shown
    assert "-> Run `toonsearch index build`." in shown
    monkeypatch.setenv("TOONSEARCH_QUERY__K", "many")
    assert main(["doctor"]) == 2
    assert "fail  settings" in capsys.readouterr().out
