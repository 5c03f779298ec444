"""Whole commands on an odd input, held against what must hold whatever the input is."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from indexer.monitoring import coverage
from schemas.settings import Settings, load_settings
from search.cli.app import main
from tests.small_model import ENVIRON

IMPORTED = 250
"""One list or tree in so many is imported and embedded, which takes a second; the others are only
read. `make fuzz` imports more of them."""


def run(data: Path, *arguments: str, codes: tuple[int, ...] = (0, 3, 4)) -> tuple[int, Any]:
    """Run a command with --json; its exit code and what it printed, None when it refused."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--data", str(data), *arguments, "--json"])
    said = err.getvalue()
    assert code in codes, (code, said)
    assert "Traceback" not in said and "this is a bug" not in said, said
    if code == 3:
        (line,) = said.strip().splitlines()
        assert line.startswith("toonsearch: error: "), said
        return code, None
    return code, json.loads(out.getvalue())


def settings_of(data: Path) -> Settings:
    return load_settings({"store.root": str(data)}, environ=ENVIRON, cwd=data.parent)


def check_import(data: Path, *arguments: str, nowhere: int = 0) -> Any:
    """Import twice and embed; every file is in exactly one count, and the second changes nothing.
    `nowhere` rows of a list name no file: they count as failed and have no row in the catalog.
    Returns what the first said, None when it refused the source."""
    code, first = run(data, "import", *arguments)
    if first is None:
        return None
    counts = first["counts"]
    files = first["files"]
    assert code == (4 if counts.get("failed") or counts["unread_folders"] else 0), (code, first)
    settings = settings_of(data)
    covered = coverage(settings.layout, settings)
    assert covered.adds_up and covered.pictures == files - nowhere, (covered, first)
    _, again = run(data, "import", *arguments)
    assert again["files"] == files
    moved = {name: again["counts"].get(name) for name in ("new", "changed", "removed", "titles")}
    assert not any(moved.values()), moved
    assert run(data, "import", *arguments, "--dry-run")[1]["counts"] == again["counts"]
    code, embedded = run(data, "embed", codes=(0, 4))
    after = coverage(settings.layout, settings)
    assert after.adds_up and after.pending == 0 and after.pictures == covered.pictures, after
    assert code == (4 if embedded["counts"]["failed"] else 0)
    return first
