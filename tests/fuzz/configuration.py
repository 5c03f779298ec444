"""Settings files and variables with values of every type.

What must hold: settings whose values have their declared types, or a `UsageError` of one line that
names what is wrong.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from schemas.errors import UsageError
from schemas.settings import FIELDS, SECTIONS, flatten, load_settings
from tests.fuzz.samples import Rng

VALUES = (
    "0", "1", "-1", "3", "10", "0.5", "1e3", "1_000", "0x1f", "2147483648", "1" * 400, "inf", "-inf",
    "nan", "true", "false", '""', '"0"', '"12"', '"yes"', '"off"', '"a"', '"skip"', '"title"', '" "',
    '"신의 탑"', '"~"', '"~nobody-here/x"', '"/tmp/x"', '"a\\u0000b"', '"\\u001b[31m"', "'C:\\data'",
    '"https://example.org/me"', '"3h"', '"::1"', '"naver --weekday"', '"%s {0} {author}"',
    "[]", '["a", "b"]', '["a", 1]', "[[1], [2]]", "[1, 2, 3]", '[""]', "{}", '{ a = 1 }', '{ root = "x" }',
    "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00.999999", '"""\nlines\n"""',
)  # fmt: skip
BROKEN = (
    "= 1", "[", "[[", "x", "a.b.c = 1", "[web]\n[web]", '[web]\nport = ', "\0", "[" * 3000, "a = " + "[" * 3000,
    "[web.port]\nx = 1", "web = 3", "web = [1]", "[[web]]\nport = 1", '"web" = {port = 80}', "web.port = 80",
)  # fmt: skip
WORDS = (
    "0",
    "-1",
    "1e9",
    "nan",
    "",
    " ",
    "a;b",
    "가",
    "~",
    "~nobody-here",
    "true",
    "on",
    "[1]",
    "\udcff",
)


def make(rng: Rng, folder: Path) -> None:
    """Write a settings file and environment variables."""
    lines: dict[str, list[str]] = {}
    for _ in range(int(rng.integers(1, 5))):
        section, _, name = str(rng.choice(list(FIELDS))).partition(".")
        if not rng.integers(12):
            name = name[:-1]
        if not rng.integers(20):
            section = str(rng.choice(["", "wbe", "Web", "web.more", '"we b"']))
        value = VALUES[int(rng.integers(len(VALUES)))]
        lines.setdefault(section, []).append(f"{name} = {value}")
    text = "\n".join(f"[{section}]\n" + "\n".join(some) for section, some in lines.items())
    if not rng.integers(6):
        broken = BROKEN[int(rng.integers(len(BROKEN)))]
        text = broken if rng.integers(2) else f"{text}\n{broken}"
    encodings = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp949", "latin-1")
    encoding = encodings[int(rng.integers(len(encodings)))]
    data = text.encode(encoding, "replace")
    if not rng.integers(4):
        data = data.replace(b"\n", b"\r\n")
    (folder / "toonsearch.toml").write_bytes(data)
    variables = {}
    for _ in range(int(rng.integers(0, 3))):
        name = str(rng.choice(list(FIELDS))).upper().replace(".", "__", 1)
        variables[f"TOONSEARCH_{name}"] = WORDS[int(rng.integers(len(WORDS)))]
    (folder / "case.json").write_text(json.dumps(variables), "utf-8")


def check(folder: Path) -> None:
    """Load them."""
    variables = json.loads((folder / "case.json").read_text("utf-8"))
    variables |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "none")}
    try:
        settings = load_settings({}, environ=variables, cwd=folder)
    except UsageError as error:
        assert error.message.strip() and error.exit_code == 2
        return
    for key, value in flatten(settings).items():
        kind = str(FIELDS[key].type).replace("Amount", "int")
        if kind == "tuple[str, ...]":
            assert type(value) is tuple and all(type(part) is str for part in value), (key, value)
        elif kind == "Path":
            assert isinstance(value, Path), (key, value)
        else:
            assert type(value).__name__ == kind, (key, value)
        if kind == "float":
            assert not math.isnan(value), (key, value)
    assert {key.partition(".")[0] for key in settings.origins} <= set(SECTIONS)
    assert settings.layout.root == settings.store.root
