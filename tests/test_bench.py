"""What the benchmark itself reckons, and how it resumes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.figures import Figure, Steps, run_process, write_json
from bench.scale_tables import SHARD_PICTURES, SIZES, scale_tables, sizing_table


def test_a_step_that_has_run_is_not_run_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('{\"n\": 1}'); open('runs', 'a').write('x')"]
    command[2] = command[2].replace("'runs'", repr(str(tmp_path / "runs")))
    for _ in range(2):
        Steps(tmp_path, minutes=0).run("late", command)
        steps = Steps(tmp_path)
        steps.run("one", command)
        step = steps.done["one"]
        assert step["said"] == {"n": 1} and step["cpu_s"] > 0 and step["peak_mb"] > 1
    assert (tmp_path / "runs").read_text() == "x"
    with pytest.raises(RuntimeError, match="ended with 3"):
        Steps(tmp_path).run("two", [sys.executable, "-c", "raise SystemExit(3)"])
    assert list(Steps(tmp_path).done) == ["one"]


def test_memory_of_its_own_is_told_from_mapped_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100 << 20))
    code = (
        "import mmap, time; f = open({!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ);"
        " sum(m[::4096]); own = bytearray(50 << 20); time.sleep(0.3); print(len(own))"
    )
    run = run_process([sys.executable, "-c", code.format(str(tmp_path / "file"))])
    assert 50 < run.own_mb < 90 and run.peak_mb > run.own_mb + 80


def test_sizing_grows_from_the_largest_catalog(tmp_path: Path) -> None:
    assert sizing_table(tmp_path) == []
    values = {
        "build_cpu": 300.0, "ivf_build": 100.0, "ivf_p50": 2.0, "ivf_bytes": 500.0,
        "ivfpq_bytes": 150.0, "disk_tables": 1000.0, "disk_vectors": 1000.0, "cold": 0.5,
    }  # fmt: skip
    for size in (1000, SHARD_PICTURES):
        figures = [Figure(name, name, value, "s") for name, value in values.items()]
        write_json(tmp_path / f"scale-{size}.json", figures)
    lines = sizing_table(tmp_path)
    assert len(lines) == 2 + len(SIZES)
    last = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert last[:5] == ["1,000,000,000", "50", "2,000 GB", "10.0 GB", "3.0 GB"]
    assert last[6:] == ["2 min", "2.0 ms", "8,000 1/s"]
    assert any("0.50" in line and "cold" in line for line in scale_tables(tmp_path))
