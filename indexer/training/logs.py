"""What a run writes while it goes: a table of its steps, and TensorBoard's events.

The table is CSV, a row for each step, whole after each. An evaluation is part of its step's row.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import time
from pathlib import Path
from typing import Any

from schemas.errors import UsageError
from schemas.storage.fsio import replace_file, storage_error

LOG_FILE = "log.csv"
COLUMNS = (
    "step",
    "seconds",
    "rate",
    "loss",
    "contrast",
    "hand",
    "genre",
    "era",
    "r_at_1",
)
"""`seconds` of training in all; `rate` of the backbone; then the loss and its parts, weighted (a
hand is an author, or a made one), and R@1 of the unseen authors that training stops on, where
they were asked."""
CSV, TENSORBOARD, NO_LOG = "csv", "tensorboard", "none"
LOGS = (CSV, TENSORBOARD, NO_LOG)


class TrainingLog:
    """The log of one run; rows after `step`, at which the run goes on, are forgotten.

    `kind` is one of LOGS; without one there are events as well where TensorBoard is installed.

    Errors:  UsageError when TensorBoard is wanted and not there, StorageError when the disk refuses
    """

    def __init__(self, folder: Path, kind: str | None = None, step: int = 0) -> None:
        self._file: io.TextIOBase | None = None
        self._events: Any = None
        check_log(kind)
        if kind == NO_LOG:
            return
        self._path = folder / LOG_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = _rows_until(self._path, step)
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([COLUMNS, *kept])
            replace_file(self._path, text.getvalue().encode())
            self._file = self._path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise storage_error(error, f"the log {self._path}") from error
        past = float(kept[-1][1]) if kept else 0.0
        self._start = time.monotonic() - past
        if kind != CSV and _has_tensorboard():
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder), purge_step=step + 1)

    def row(self, step: int, **figures: float | None) -> None:
        """Add a step's figures, named as in COLUMNS; None is not known."""
        if self._file is None:
            return
        unknown = figures.keys() - set(COLUMNS)
        assert not unknown, unknown
        figures["seconds"] = round(time.monotonic() - self._start, 2)
        cells = [step, *(_cell(figures.get(name)) for name in COLUMNS[1:])]
        try:
            csv.writer(self._file, lineterminator="\n").writerow(cells)
            self._file.flush()
        except OSError as error:
            raise storage_error(error, f"the log {self._path}") from error
        if self._events is not None:
            for name, value in figures.items():
                if value is not None:
                    self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Close both; what was written stays."""
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()


def check_log(kind: str | None) -> None:
    """Errors:  UsageError when TensorBoard is wanted and not there"""
    if kind == TENSORBOARD and not _has_tensorboard():
        raise UsageError(
            "TensorBoard is not installed", "pip install tensorboard, or use --log csv."
        )


def _has_tensorboard() -> bool:
    return importlib.util.find_spec("tensorboard") is not None


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value + 0.0:.6g}"  # never "-0"


def _rows_until(path: Path, step: int) -> list[list[str]]:
    """The rows of an earlier part of the run; the half of a row that a crash left is none."""
    if step == 0 or not path.is_file():
        return []
    rows = list(csv.reader(path.read_text("utf-8", errors="replace").splitlines()))
    whole = [row for row in rows if len(row) == len(COLUMNS) and row[0].isdigit()]
    return [row for row in whole if int(row[0]) <= step and row[1].replace(".", "", 1).isdigit()]
