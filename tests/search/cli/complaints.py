"""What the command line says when something is wrong."""

from __future__ import annotations

import pytest


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("toonsearch: error: ")
    return lines[0].removeprefix("toonsearch: error: ")
