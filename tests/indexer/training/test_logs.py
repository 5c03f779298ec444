"""The log of a run: whole rows, and nothing twice when a run goes on."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from indexer.training.logs import COLUMNS, LOG_FILE, TrainingLog
from schemas.errors import StorageError, UsageError


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG_FILE).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_resumed_run_forgets_the_steps_that_it_takes_again(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "run", "csv")
    for step in range(1, 6):
        log.row(step, loss=1.0 / step, rate=5e-5, r_at_1=0.25 if step == 4 else None)
    log.close()
    found = rows(tmp_path / "run")
    assert list(found[0]) == list(COLUMNS)
    assert found[3]["r_at_1"] == "0.25" and found[2]["r_at_1"] == "" == found[2]["era"]
    assert float(found[1]["loss"]) == 0.5 and found[1]["rate"] == "5e-05"
    with (tmp_path / "run" / LOG_FILE).open("a") as file:
        file.write("6,1.5,5e-0")  # the power failed here

    log = TrainingLog(tmp_path / "run", "csv", step=4)
    log.row(5, loss=7.0)
    log.close()
    again = rows(tmp_path / "run")
    assert [row["step"] for row in again] == ["1", "2", "3", "4", "5"]
    assert again[-1]["loss"] == "7" and float(again[-1]["seconds"]) >= float(found[3]["seconds"])

    TrainingLog(tmp_path / "run", "csv").close()  # from the start
    assert rows(tmp_path / "run") == []


def test_no_log_writes_nothing(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "run", "none")
    log.row(1, loss=1.0)
    log.close()
    assert not (tmp_path / "run").exists()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StorageError, match="the log"):
        TrainingLog(tmp_path / "run", "csv")


def test_tensorboard_is_asked_for_or_found(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(UsageError, match="not installed"):
            TrainingLog(tmp_path, "tensorboard")
        return
    log = TrainingLog(tmp_path)
    log.row(1, loss=1.0, genre=None)
    log.close()
    assert list(tmp_path.glob("events.*")) and rows(tmp_path)
