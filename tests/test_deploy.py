"""What is installed elsewhere than in a clone: extras that bring a whole command, and the image."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

from schemas.settings import FIELDS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")


def packages(requirement: str) -> set[str]:
    """The packages of a requirement, those of our own extras in its place."""
    name, _, extras = re.split(r"[<>=;]", requirement)[0].partition("[")
    if name != "toonsearch":
        return {name.lower()}
    named = extras.rstrip("]").split(",")
    return {one for extra in named for one in packages_of(extra)}


def packages_of(extra: str) -> set[str]:
    listed = PROJECT["project"]["optional-dependencies"][extra]
    return {one for requirement in listed for one in packages(requirement)}


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_one_extra_brings_a_working_command(device: str) -> None:
    needed = {f"faiss-{device}"} | packages_of("crawl") | packages_of("web") | packages_of("report")
    assert packages_of(device) == needed
    locked = (ROOT / "requirements" / f"{device}.txt").read_text()
    names = set(re.findall(r"^([a-z0-9._-]+)==", locked, flags=re.M))
    everything = needed | {
        one for line in PROJECT["project"]["dependencies"] for one in packages(line)
    }
    assert everything <= names


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_image_copies_what_is_there_and_all_that_runs(device: str) -> None:
    copied: list[str] = []
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, flags=re.M):
        *sources, _ = line.replace("${DEVICE}", device).split()
        copied += sources
    assert all((ROOT / source).exists() for source in copied)
    wanted = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    for pattern in wanted:
        assert fnmatch.filter(copied, pattern), pattern
    modules = PROJECT["tool"]["setuptools"]["py-modules"]
    assert {f"{name}.py" for name in modules} <= set(copied)
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split("\n")
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    assert {source.split("/")[0] for source in copied} == allowed


def test_the_image_sets_settings_that_exist() -> None:
    names = re.findall(r"\bTOONSEARCH_(\w+)__(\w+)=", DOCKERFILE)
    assert names
    assert all(f"{section}.{name}".lower() in FIELDS for section, name in names)
    port = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, flags=re.M)
    assert port == [str(FIELDS["web.port"].default)]
