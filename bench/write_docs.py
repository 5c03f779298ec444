"""Writes generated pages: `python -m bench.write_docs benchmarks|settings`.

`settings` makes docs/settings.md from the settings themselves. `benchmarks` replaces what stands
between the marks of docs/benchmarks.md and docs/scale.md by what `python -m bench` measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.__main__ import PARTS
from bench.figures import Figure
from bench.scale_tables import peer_tables, scale_tables, sizing_table
from schemas.settings import describe

RESULTS, BENCHMARKS, SCALE, SETTINGS = (
    Path(name)
    for name in ("bench/results", "docs/benchmarks.md", "docs/scale.md", "docs/settings.md")
)


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
    """Replace what stands between the marks of both pages; a part that was not measured stays."""
    if any((RESULTS / f"{part}.json").exists() for part in PARTS):
        _replace(BENCHMARKS, "benchmarks", table())
    for name, lines in (
        ("scale", scale_tables(RESULTS)),
        ("peers", peer_tables(RESULTS)),
        ("sizing", sizing_table(RESULTS)),
    ):
        if lines:
            _replace(SCALE, name, "\n".join(lines))


def _replace(page: Path, name: str, text: str) -> None:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, rest = page.read_text("utf-8").split(begin)
    tail = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}", "utf-8")


SETTINGS_HEAD = """\
# Settings

Made by `make docs` from `schemas/settings.py`; edit the texts there.

Later ones win: defaults, `/etc/toonsearch/config.toml`, `$XDG_CONFIG_HOME/toonsearch/config.toml`,
`./toonsearch.toml`, `TOONSEARCH_SECTION__KEY` in the environment, options of the command. In TOML
the part before the dot is the section. In the environment `web.port` is `TOONSEARCH_WEB__PORT`, and
lists are separated by semicolons. An unknown key is an error that names the nearest one.
`toonsearch config show --origin` prints every value and where it came from.

```toml
# toonsearch.toml
[query]
k = 20

[nightly]
folders = ["/srv/drawings"]
```
"""


def settings_page() -> str:
    """docs/settings.md: a table for each section."""
    lines = [SETTINGS_HEAD.rstrip()]
    section = ""
    for key, default, text in describe():
        if not key.startswith(f"{section}."):
            section = key.partition(".")[0]
            lines += ["", f"## {section}", ""]
            lines += ["| key | default | what it means |", "| --- | --- | --- |"]
        lines.append(f"| `{key}` | `{default}` | {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["benchmarks"]:
            write_benchmarks()
        case ["settings"]:
            SETTINGS.write_text(settings_page(), "utf-8")
        case _:
            sys.exit(__doc__)
