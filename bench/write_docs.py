"""Writes generated pages: `python -m bench.write_docs benchmarks|settings`.

`settings` makes docs/settings.md from the settings themselves. `benchmarks` replaces what stands
between the marks of docs/benchmarks.md by what `python -m bench` measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.__main__ import PARTS
from bench.figures import Figure

RESULTS, BENCHMARKS, SETTINGS = (
    Path(name) for name in ("bench/results", "docs/benchmarks.md", "docs/settings.md")
)
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def table() -> str:
    """One table for each part that was measured."""
    lines = ["| what | measured | target |", "| --- | --- | --- |"]
    machines = set()
    for part in PARTS:
        file = RESULTS / f"{part}.json"
        if not file.exists():
            continue
        body = json.loads(file.read_text())
        machines.add("{cores} cores of {cpu}, Python {python}".format(**body["machine"]))
        for figure in (Figure(**each) for each in body["figures"]):
            digits = 0 if figure.value >= 100 else 1 if figure.value >= 10 else 2
            said = f"{figure.value:,.{digits}f} {figure.unit}".strip()
            said = said if figure.reached else f"**{said}** (missed)"
            lines.append(f"| {figure.what} | {said} | {figure.wanted} |")
    return "\n".join([*lines, "", f"Measured on {' and on '.join(sorted(machines))}."])


def write_benchmarks() -> None:
    head, rest = BENCHMARKS.read_text("utf-8").split(BEGIN)
    tail = rest.split(END)[1]
    BENCHMARKS.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["benchmarks"]:
        write_benchmarks()
    else:
        sys.exit(__doc__)
