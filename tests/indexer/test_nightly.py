"""The nightly job as a user runs it: stages, failures, budget, second run, report."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crawler.importers.folder import import_folder
from indexer.crawling import _understood
from indexer.monitoring import last_success, write_metrics
from indexer.nightly import Night, Stage, StageReport, index_stages, past_nights, run_night
from schemas.errors import NetworkError, PartlyDoneError, StorageError, UsageError
from schemas.settings import load_settings
from schemas.storage.layout import Layout
from search.cli.commands.nightly import seconds_of, stages_of
from tests.drawings import draw_folder, drawing
from tests.e2e.test_command_line import Shell
from tests.fuzz.trees import picture
from tests.small_model import ENVIRON


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    draw_folder(tmp_path / "drawings", titles=2, pictures=2, side_px=64)
    (tmp_path / "toonsearch.toml").write_text('[nightly]\nfolders = ["drawings"]\n')
    return Shell(tmp_path)


def stages(body: dict[str, object]) -> dict[str, str]:
    found = body["stages"]
    assert isinstance(found, list)
    return {stage["name"]: stage["outcome"] for stage in found}


@pytest.mark.slow
def test_nights_in_a_row(shell: Shell) -> None:
    dry = json.loads(shell.ok("nightly", "--dry-run", "--json"))
    assert stages(dry)["import drawings"] == "done"
    assert not shell.data.exists()
    first = json.loads(shell.ok("nightly", "--json"))
    assert (first["outcome"], first["generation"]["before"]) == ("done", None)
    done = dict.fromkeys(("check", "publish", "judge"), "done")
    assert stages(first) | done == stages(first)
    second = json.loads(shell.ok("nightly", "--json"))
    assert "publish" not in stages(second)
    assert second["generation"]["after"] == first["generation"]["after"]
    assert stages(second)["build"] == stages(second)["embed"] == "nothing new"
    drawing(1, 70, 64).save(shell.home / "drawings/hand 1/title 1.0/9.png")
    third = json.loads(shell.ok("nightly", "--json"))
    imported = next(s for s in third["stages"] if s["name"] == "import drawings")
    assert imported["counts"] == {"new": 1, "unchanged": 16}
    judged = next(s for s in third["stages"] if s["name"] == "judge")
    assert judged["counts"] == {"already": 16, "judged": 1}
    assert third["generation"]["after"] != first["generation"]["after"]
    nights = past_nights(Layout(shell.data))
    assert [night["run_id"] for night in nights] == [b["run_id"] for b in (first, second, third)]
    path = shell.data / "nightly.prom"
    text = path.read_text()
    assert "toonsearch_nightly_exit_code 0.0" in text
    assert 'toonsearch_catalog_pictures{state="embedded"} 17.0' in text
    assert last_success(path) > time.time() - 60


@pytest.mark.slow
def test_a_stage_that_fails_is_reported_and_the_others_run(shell: Shell) -> None:
    (shell.home / "toonsearch.toml").write_text(
        '[nightly]\nfolders = ["gone", "drawings"]\nsites = ["nowhere --at-all"]\n'
    )
    code, out, err = shell.run("nightly", "--json")
    assert code == 4
    body = json.loads(out)
    assert stages(body)["import gone"] == stages(body)["crawl nowhere --at-all"] == "failed"
    assert stages(body)["publish"] == "done"
    assert "error: crawl nowhere --at-all failed" in err
    assert "scrapy" not in err
    code, out, err = shell.run("-q", "nightly", "--log-json")
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [e["event"] for e in events][-1] == "night ended"
    assert {e["level"] for e in events} == {"info", "error"}
    assert "tomorrow" in out


@pytest.mark.slow
def test_a_failed_check_leaves_yesterdays_index(shell: Shell) -> None:
    first = json.loads(shell.ok("nightly", "--json"))
    for path in list((shell.home / "drawings").rglob("*.png"))[:6]:
        path.unlink()
    code, out, err = shell.run("nightly", "--json")
    assert code == 4
    body = json.loads(out)
    assert body["generation"]["after"] == first["generation"]["after"]
    assert "yield" in err
    assert "--accept yield" in err
    shell.ok("query", str(next((shell.home / "drawings").rglob("*.png"))))
    accepted = json.loads(shell.ok("nightly", "--accept", "yield", "--json"))
    assert accepted["generation"]["after"] != first["generation"]["after"]


@pytest.mark.slow
def test_no_time_is_an_end_in_order(shell: Shell) -> None:
    body = json.loads(shell.ok("nightly", "--budget", "0s", "--json"))
    assert body["outcome"] == "partly"
    imported = next(s for s in body["stages"] if s["name"] == "import drawings")
    assert (imported["outcome"], imported["tomorrow"]) == ("time was up", "16 files")
    assert json.loads(shell.ok("nightly", "--json"))["outcome"] == "done"


@pytest.mark.slow
def test_a_second_run_ends_at_once_and_a_killed_one_is_taken_over(shell: Shell) -> None:
    draw_folder(shell.home / "drawings", titles=4, pictures=5, side_px=200)
    with shell.start("nightly") as first:
        while not shell.data.joinpath("tables").exists():
            time.sleep(0.01)
        started = time.monotonic()
        code, _, err = shell.run("nightly")
        assert (code, "another run is writing" in err) == (75, True)
        assert time.monotonic() - started < 5  # a second on a quiet machine, see bench/nightly.py
        first.send_signal(signal.SIGKILL)
    assert json.loads(shell.ok("nightly", "--json"))["outcome"] == "done"


@pytest.mark.slow
def test_interrupted_in_order(shell: Shell) -> None:
    draw_folder(shell.home / "drawings", titles=4, pictures=5, side_px=200)
    with shell.start("nightly", "--json") as process:
        while not shell.data.joinpath("pictures").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["outcome"] == "interrupted"
    assert past_nights(Layout(shell.data))[-1]["outcome"] == "interrupted"
    assert json.loads(shell.ok("nightly", "--json"))["outcome"] == "done"


def test_what_a_stage_does_to_the_night(tmp_path: Path) -> None:
    ran: list[str] = []

    def stage(name: str, error: BaseException | None = None, left: int = 0) -> Stage:
        def run(night: Night, report: StageReport) -> None:
            ran.append(name)
            report.fill({"new": 2, "old": 0, "left": left}, {"new"}, unit="files")
            if error is not None:
                raise error

        return Stage(name, run)

    def night(*stages: Stage) -> tuple[list[str], str, int]:
        ran.clear()
        report = run_night(Layout(tmp_path), stages)
        assert [one.name for one in report.stages] == ran
        assert all(one.tomorrow for one in report.stages if one.outcome != "done")
        return [one.outcome for one in report.stages], report.outcome, report.exit_code

    assert night(stage("a"), stage("b")) == (["done", "done"], "done", 0)
    assert night(stage("a", left=3), stage("b")) == (["time was up", "done"], "partly", 0)
    panic = type("PanicException", (BaseException,), {})("as libraries in Rust raise it")
    for error in (ValueError("bug"), NetworkError("no host"), panic):
        assert night(stage("a", error), stage("b")) == (["failed", "done"], "partly", 4)
    for error in (StorageError("damaged"), OSError(errno.ENOSPC, "full")):
        assert night(stage("a", error), stage("b")) == (["failed"], "failed", 3)
    assert night(stage("a", KeyboardInterrupt()), stage("b")) == (["failed"], "interrupted", 130)


def test_imports_that_cannot_see_everything_are_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [f"disk/{n}.png" for n in range(12)]
    for n, name in enumerate([*listed, "in/Kim/one/a.png", "in/Lee/two/b.png"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n))
    (tmp_path / "works.csv").write_text("\n".join(["path", *listed]))
    flags = {
        "store.root": str(tmp_path / "data"),
        "nightly.folders": [str(tmp_path / "in")],
        "nightly.manifests": [str(tmp_path / "works.csv")],
    }
    settings = load_settings(flags, environ=ENVIRON, cwd=tmp_path)
    imports = [stage for stage in stages_of(settings) if stage.name.startswith("import")]

    def night() -> tuple[list[str], int, str]:
        report = run_night(settings.layout, imports)
        write_metrics(tmp_path / "night.prom", report.summary(), None)
        details = " ".join(stage.detail for stage in report.stages)
        return [stage.outcome for stage in report.stages], report.exit_code, details

    assert night()[:2] == (["done", "done"], 0)
    real = os.scandir
    with monkeypatch.context() as broken:

        def scandir(path: Path) -> object:
            if Path(path).name == "Lee":
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(path)

        broken.setattr(os, "scandir", scandir)
        (tmp_path / "disk").rename(tmp_path / "away")
        for _ in range(2):
            outcomes, code, details = night()
            assert (outcomes, code) == (["failed", "failed"], 4)
            assert "Lee: cannot be listed" in details
            assert "12 of 12 pictures" in details
        metrics = (tmp_path / "night.prom").read_text()
        assert f'stage_failed{{stage="import {tmp_path / "in"}"}} 1.0' in metrics
    (tmp_path / "away").rename(tmp_path / "disk")
    assert night()[:2] == (["nothing new", "nothing new"], 0)
    for name in listed[:3]:
        (tmp_path / name).unlink()
    outcomes, code, details = night()
    assert (outcomes, code) == (["nothing new", "failed"], 4)
    assert "3 pictures could not be seen" in details


def test_embedding_nothing_that_can_be_read_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "in/Kim").mkdir(parents=True)
    for n in range(3):
        (tmp_path / f"in/Kim/{n}.png").write_bytes(picture(n))
    settings = load_settings({"store.root": str(tmp_path / "data")}, environ=ENVIRON, cwd=tmp_path)
    layout = settings.layout
    embed = index_stages(layout, settings, lambda path, ids: 0)[1:2]
    import_folder(layout, settings, tmp_path / "in")
    for path in layout.pictures.rglob("*.png"):
        path.unlink()
    report = run_night(layout, embed)
    assert (report.stages[0].outcome, report.exit_code) == ("failed", 4)
    assert "none of 3 pictures could be read" in report.stages[0].detail
    import_folder(layout, settings, tmp_path / "in")
    report = run_night(layout, embed)
    assert (report.stages[0].outcome, report.stages[0].counts["embedded"]) == ("done", 3)


def test_budgets() -> None:
    assert seconds_of("3h") == 10800
    assert seconds_of("1h30m") == 5400
    assert seconds_of("1.5h") == 5400
    assert seconds_of("") is None
    for wrong in ("3", "h", "3h x", "-1h", "3d"):
        with pytest.raises(UsageError):
            seconds_of(wrong)


def test_what_a_crawl_says_of_itself() -> None:
    good = _understood(
        0, '{"counts": {"titles": 3, "x": 0}, "requests": 12, "bytes": 5}', "", False
    )
    assert (good.counts, good.detail, good.error) == ({"titles": 3}, "12 requests, 5 bytes", None)
    bad = _understood(6, "", "toonsearch: error: naver could not be reached.\n", False)
    assert isinstance(bad.error, NetworkError)
    assert bad.error.message == "naver could not be reached"
    assert isinstance(_understood(4, "{}", "", False).error, PartlyDoneError)
    assert "SIGSEGV" in str(_understood(-11, "", "", False).error)
    assert _understood(130, "", "toonsearch: interrupted", True).error is None


def test_metrics_are_well_formed(tmp_path: Path) -> None:
    path, odd = tmp_path / "night.prom", 'odd "site" \\ \n'
    stage = {"name": odd, "seconds": 1, "outcome": "failed", "counts": {"new": 3}}
    body = {"exit_code": 0, "seconds": 1.5, "stages": [stage]}
    write_metrics(path, body, None)
    before = last_success(path)
    assert before > time.time() - 60
    write_metrics(path, {**body, "exit_code": 4}, None)
    assert last_success(path) == before
    samples = {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(path.read_text())
        for one in family.samples
    }
    assert samples["toonsearch_nightly_exit_code",] == 4
    assert samples["toonsearch_nightly_stage_failed", odd] == 1
    assert samples["toonsearch_nightly_stage_count", odd, "new"] == 3
    path.write_bytes(b"\xff")
    assert last_success(path) == 0
