"""README and docs say what the program does: commands, options, settings, exit codes, links."""

from __future__ import annotations

import re
import tomllib
from operator import attrgetter
from pathlib import Path

import pytest

from bench.write_docs import settings_page
from schemas.errors import ToonsearchError
from schemas.settings import load_settings
from search.cli.app import COMMANDS, VERSION
from search.cli.reference import pages, reference

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DOCS = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {"README.md": README, "CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text("utf-8"), **DOCS}


def folder_of(page: str) -> Path:
    return ROOT / "docs" if page in DOCS else ROOT


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


def test_the_command_reference_is_fresh() -> None:
    assert DOCS["commands.md"] == reference(), "run make docs"


def test_the_settings_page_is_fresh() -> None:
    assert DOCS["settings.md"] == settings_page(), "run make docs"


def test_help_pages_state_the_defaults_of_the_settings(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    settings = load_settings({}, environ=home, cwd=tmp_path)
    text = " ".join(word for _, page in pages() for word in page.split())
    stated = set(re.findall(r"\(setting ([a-z_.]+), default ([^:;)]+)", text))
    assert len(stated) > 10
    for key, said in stated:
        name = f"TOONSEARCH_{key.replace('.', '__').upper()}"
        value = "true" if said == "on" else said
        as_stated = load_settings({}, environ={**home, name: value}, cwd=tmp_path)
        assert attrgetter(key)(settings) == attrgetter(key)(as_stated), key


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"| `toonsearch {command}` |" in README


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    known = dict(pages())
    text = "\n".join(re.findall(r"^```(?:sh|console)\n(.*?)^```", PAGES[page], flags=re.M | re.S))
    for line in re.findall(r"\btoonsearch (?!&&)[^\n#`]*", text):
        words = line.split()
        if words[1].startswith("--data"):  # options of the program itself come before the command
            words = [words[0], *words[3:]]
        name = max((n for n in known if f"{' '.join(words)} ".startswith(f"{n} ")), key=len)
        assert name != "toonsearch" or len(words) == 1 or words[1].startswith("-"), line
        for option in (word for word in words if re.fullmatch(r"--[a-z-]+", word)):
            assert option in known[name], f"{option} of {name}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M)
    found = re.findall(r"^make ([a-z -]+)|`make ([a-z -]+)", PAGES[page], flags=re.M)
    for target in " ".join(first or second for first, second in found).split():
        assert target in targets, target


def test_exit_codes_are_documented() -> None:
    def kinds(kind: type[ToonsearchError]) -> list[type[ToonsearchError]]:
        return [kind, *(c for child in kind.__subclasses__() for c in kinds(child))]

    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.M)}
    assert {kind.exit_code for kind in kinds(ToonsearchError)} | {0, 130} <= table


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_work(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[page]):
        assert (folder_of(page) / target).exists(), target


@pytest.mark.parametrize("page", ["architecture.md", "training.md", "web.md", "sites.md"])
def test_files_that_are_named_exist(page: str) -> None:
    folders = r"(?:schemas|crawler|indexer|search|tests|bench|deploy)"
    for name in re.findall(rf"`({folders}/[A-Za-z0-9_/.]*)`", DOCS[page]):
        if "NAME" not in name:
            assert (ROOT / name).exists(), name


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.findall(r"^## \[([0-9.]+)\]", PAGES["CHANGELOG.md"], flags=re.M)[0]
    assert project["version"] == VERSION == newest


def test_generated_figures_name_their_command() -> None:
    for page, mark, command in (
        ("benchmarks.md", "benchmarks", "make bench"),
        ("evaluation.md", "evaluation", "make card"),
        ("model-card.md", "evaluation", "make card"),
    ):
        before, block = DOCS[page].split(f"<!-- {mark} -->")
        assert command in before
        assert f"<!-- /{mark} -->" in block
