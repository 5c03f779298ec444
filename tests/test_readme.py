"""README and docs say what the program does: commands, settings, figures, links."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from schemas.errors import ToonsearchError
from schemas.settings import Settings, flatten
from search.cli.app import COMMANDS, VERSION
from search.cli.reference import pages, reference

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_command_reference_is_fresh() -> None:
    assert (ROOT / "docs/commands.md").read_text("utf-8") == reference()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"toonsearch {command}" in README


def test_options_in_readme_commands_exist() -> None:
    known = dict(pages())
    for line in re.findall(r"^\s*(toonsearch [^\n#`]*)", README, flags=re.M):
        words = line.split()
        name = max((n for n in known if line.startswith(n)), key=len)
        for option in (word for word in words if re.fullmatch(r"--[a-z-]+", word)):
            assert option in known[name], f"{option} of {name}"


def test_make_targets_in_the_readme_exist() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M)
    for target in re.findall(r"`make ([a-z-]+)", README):
        assert target in targets


def test_every_exit_code_is_documented() -> None:
    def classes(kind: type[ToonsearchError]) -> list[type[ToonsearchError]]:
        return [kind, *(c for child in kind.__subclasses__() for c in classes(child))]

    for kind in classes(ToonsearchError):
        assert re.search(rf"\b{kind.exit_code}\b", README.split("Exit codes")[1].split("\n\n")[0])


def test_settings_are_documented() -> None:
    for key in flatten(Settings()):
        assert f"`{key}`" in README, key


def test_links_to_files_work() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    assert f"### {VERSION}" in README


def test_figures_are_generated() -> None:
    block = README.split("<!-- figures -->")[1].split("<!-- /figures -->")[0]
    assert "python -m bench" in block
