"""What a query loads, seen from a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEVER = (
    "torch",
    "scrapy",
    "pandas",
    "duckdb",
    "pyarrow",
    "deltalake",
    "rich",
    "asyncio",
    "rapidfuzz",
    "anyascii",
)


def modules_after(arguments: list[str], cwd: Path) -> set[str]:
    """Names of all modules that a run of the command line has loaded."""
    code = (
        "import sys; from search.cli.app import main; code = main(sys.argv[1:]);"
        "print('MODULES', *sorted(sys.modules));"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("form", [[], ["--json"], ["--where", "title <> 'x'", "--nl"]])
def test_a_query_loads_only_what_it_uses(small_root: Path, form: list[str]) -> None:
    picture = str(next((small_root / "drawings").rglob("*.png")))
    loaded = modules_after(
        ["query", picture, "--data", str(small_root / "data"), *form], small_root
    )
    assert {"faiss", "onnxruntime", "numpy", "PIL"} <= loaded
    assert not loaded & set(NEVER)


def test_help_loads_next_to_nothing(small_root: Path) -> None:
    loaded = modules_after(["--help"], small_root)
    assert not any(name.startswith("search.cli.commands.") for name in loaded)
    assert not loaded & {*NEVER, "numpy", "faiss", "onnxruntime", "PIL", "sqlite3", "indexer"}
