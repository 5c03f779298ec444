"""Odd places and damaged stores: one line, the right exit code, yesterday's answers, a repair."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from indexer.vector_index.generations import generation_ids, read_manifest
from schemas.storage.fsio import signed_bytes
from schemas.storage.layout import Layout
from tests.drawings import draw_folder, drawing
from tests.e2e.test_command_line import Shell

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("places")
    draw_folder(home / "drawings", titles=1, pictures=3, side_px=64)
    (home / "toonsearch.toml").write_text('[nightly]\nfolders = ["drawings"]\n')
    shell = Shell(home)
    shell.ok("nightly")
    drawing(2, 40, 64).save(home / "drawings/hand 2/title 2.0/8.png")
    shell.ok("nightly")
    return home


@pytest.fixture
def shell(made: Path, tmp_path: Path) -> Shell:
    shutil.copytree(made, tmp_path / "home")
    return Shell(tmp_path / "home")


def answers(shell: Shell) -> str:
    return shell.ok("query", "drawings/hand 1/title 1.0/1.png", "--json", "-k", "3")


def doctor(shell: Shell) -> str:
    return shell.run("doctor")[1]


def test_moved_to_another_path(shell: Shell) -> None:
    shutil.move(shell.data, shell.home / "another place")
    shell.data = shell.home / "another place"
    answers(shell)
    shell.ok("nightly")
    shell.ok("index", "verify")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_root_that_can_only_be_read(shell: Shell) -> None:
    for folder in (shell.data, *shell.data.rglob("*")):
        folder.chmod(folder.stat().st_mode & ~0o222)
    try:
        assert "cannot be written" in shell.fails(3, "nightly")
        answers(shell)
        assert "can only be read" in doctor(shell)
    finally:
        for folder in (shell.data, *shell.data.rglob("*")):
            folder.chmod(folder.stat().st_mode | 0o700)


def test_a_generation_of_a_newer_program(shell: Shell) -> None:
    layout = Layout(shell.data)
    old, new = generation_ids(layout)
    manifest = read_manifest(layout.generation(new))
    (layout.generation(new) / "manifest.json").write_bytes(signed_bytes({**manifest, "format": 99}))
    line = shell.fails(5, "query", "drawings/hand 1/title 1.0/1.png")
    assert "format 99" in line
    assert "rollback" in line or "Upgrade" in line
    assert "format 99" in doctor(shell)
    shell.ok("index", "rollback")
    answers(shell)
    assert layout.current.read_text().startswith(old)


@pytest.mark.parametrize("table", ["pictures", "vectors", "titles"])
def test_a_half_deleted_table(shell: Shell, table: str) -> None:
    before = answers(shell)
    if table == "vectors":
        shutil.rmtree(shell.data / "tables/vectors/_delta_log")
    else:
        next((shell.data / "tables" / table).glob("*.parquet")).unlink()
    code, _, err = shell.run("nightly")
    assert code == 3
    assert f"the catalog table '{table}'" in err
    assert "Traceback" not in err
    output = doctor(shell)
    assert table in output
    assert "restore" in output
    assert answers(shell).split('"elapsed_ms"')[0] == before.split('"elapsed_ms"')[0]
    if table == "vectors":  # the repair that it names when there is no backup
        (shell.data / "tables").rename(shell.home / "damaged tables")
        shell.ok("nightly")
        assert not [line for line in doctor(shell).splitlines() if line.startswith("fail")]


def test_a_clock_that_was_set_back(shell: Shell) -> None:
    """The newest generation was made in what is the future now."""
    layout = Layout(shell.data)
    newest = generation_ids(layout)[-1]
    later = newest.replace("g20", "g29", 1)
    manifest = {**read_manifest(layout.generation(newest)), "id": later}
    layout.generation(newest).rename(layout.generation(later))
    (layout.generation(later) / "manifest.json").write_bytes(signed_bytes(manifest))
    digest = read_manifest(layout.generation(later))["digest"]
    layout.current.write_text(f"{later} {digest}\n")
    drawing(2, 41, 64).save(shell.home / "drawings/hand 2/title 2.0/9.png")
    shell.ok("nightly")
    assert generation_ids(layout)[-1] > later
    assert layout.current.read_text().startswith(generation_ids(layout)[-1])
    shell.ok("index", "rollback")
    assert layout.current.read_text().startswith(later)
    answers(shell)


def test_a_store_with_missing_files_is_mended_by_the_next_night(shell: Shell) -> None:
    files = sorted((shell.data / "pictures").rglob("*.png"))
    files[0].unlink()
    files[1].write_bytes(b"")
    answers(shell)
    output = doctor(shell)
    assert "2 stored files are missing or cut short" in output
    assert re.search(r"toonsearch .*nightly`", output)
    shell.ok("nightly")
    assert files[0].stat().st_size > 0
    assert files[1].stat().st_size > 0
    assert "are missing" not in doctor(shell)


def test_a_damaged_block_list_stops_imports_and_not_answers(shell: Shell) -> None:
    shell.ok("forget", "--author", "Nobody Here", "--yes")
    (shell.data / "forgotten.json").write_text("{}")
    assert "block list" in shell.fails(3, "import", "folder", "drawings")
    assert shell.run("nightly")[0] == 3
    answers(shell)
    assert "forgotten.json" in doctor(shell)


def test_unfinished_forgetting_is_told(shell: Shell) -> None:
    from indexer.vector_index.generations import Generation

    with Generation.open(Layout(shell.data)):
        code, _, err = shell.run("forget", "--author", "hand 3", "--yes")
        assert code == 4
        assert "still being read" in err
        assert "index build" in doctor(shell)
    shell.ok("nightly")
    assert "forgotten" not in doctor(shell)
