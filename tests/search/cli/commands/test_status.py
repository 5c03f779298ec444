"""`status`, `doctor` and `config`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from schemas.settings import Settings
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
    assert found["index"]["verdict"] == found["catalog"]["verdict"] == "ok"
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.count("\n") == len(found)


def test_the_doctor_finds_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--data", str(tmp_path / "none")]) == 5
    shown = capsys.readouterr().out
    assert "fail  index" in shown
    assert f"-> `toonsearch --data {tmp_path / 'none'} open DIR` makes one" in shown
    monkeypatch.setenv("TOONSEARCH_QUERY__K", "many")
    assert main(["doctor"]) == 2
    assert "fail  settings" in capsys.readouterr().out


@pytest.fixture
def another_user() -> list[str]:
    """A command prefix under which permissions count, also for root."""
    prefix = ["unshare", "-U", "--map-user=12345", "--map-group=12345"]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("needs `unshare -U`")
    return prefix


@pytest.mark.parametrize(
    ("closed", "failing"),
    [
        ("tables", "catalog"),
        pytest.param("tables/pictures/_delta_log", "catalog", marks=pytest.mark.slow),
        pytest.param("index", "index", marks=pytest.mark.slow),
        pytest.param(".", "data root", marks=pytest.mark.slow),
        pytest.param("pictures", "pictures", marks=pytest.mark.slow),
    ],
)
def test_what_another_user_may_not_read_is_not_damaged(
    settings: Settings, tmp_path: Path, another_user: list[str], closed: str, failing: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(settings.store.root, data)
    place = data / closed
    place.chmod(0)
    command = [*another_user, sys.executable, "-m", "search.cli.app", "--data", str(data)]
    root = Path(__file__).resolve().parents[4]
    try:
        told = subprocess.run([*command, "status"], cwd=root, capture_output=True, check=False)
        found = subprocess.run(
            [*command, "doctor", "--json"], cwd=root, capture_output=True, check=False
        )
    finally:
        place.chmod(0o755)
    assert len(told.stderr.splitlines()) == (
        closed in ("tables", "tables/pictures/_delta_log", ".")
    )
    assert b"bug" not in told.stderr
    wrong = {one["what"]: one for one in json.loads(found.stdout) if one["verdict"] != "ok"}
    assert "cannot be read by this user" in wrong[failing]["detail"]
    assert all(
        "restore" not in one["fix"] and "move" not in one["fix"] and "Import" not in one["fix"]
        for one in wrong.values()
    ), wrong
