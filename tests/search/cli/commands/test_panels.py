"""`toonsearch panels`: files in, panels and their record out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.cli.app import main
from tests.strips import Box, assert_boxes, page, slices

BOXES: list[Box] = [(0, 60, 400, 500), (30, 640, 340, 300), (20, 1010, 360, 500)]
WHOLE = page((400, 1580), BOXES)


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_folder_of_slices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slices(WHOLE, [200] * 8, tmp_path / "12")
    body = asked(capsys, "panels", "cut", "12", "--out", "out", "--preview")
    assert body["counts"] == {"strips": 1, "pages": 0, "panels": 3, "failed": 0}
    record = json.loads((tmp_path / "out/12/panels.json").read_text("utf-8"))
    assert record == body["sources"][0]
    assert_boxes([panel["box"] for panel in record["panels"]], BOXES)
    assert [panel["order"] for panel in record["panels"]] == [1, 2, 3]
    assert record["panels"][0]["slices"][0]["file"] == "1.png"
    assert record["files"][1] == {"file": "2.png", "y": 200, "height": 200}
    for panel in record["panels"]:
        x, y, w, h = panel["box"]
        with Image.open(tmp_path / "out/12" / panel["picture"]) as image:
            shown = np.asarray(image, dtype=np.int16)
        assert np.abs(shown - np.asarray(WHOLE)[y : y + h, x : x + w]).mean() < 6
    with Image.open(tmp_path / "out/12/preview.jpg") as image:
        assert image.size == (240, 948)


def test_pages_and_right_to_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes: list[Box] = [(20, 20, 270, 300), (310, 20, 270, 300)]
    for name in ("b10.png", "b9.png"):
        page((600, 340), boxes).save(tmp_path / name)
    body = asked(capsys, "panels", "cut", "b10.png", "b9.png", "--out", "out", "--rtl")
    assert [source["name"].rpartition("/")[2] for source in body["sources"]] == ["b9", "b10"]
    assert body["counts"]["pages"] == 2
    for source in body["sources"]:
        assert source["direction"] == "rtl"
        assert_boxes([panel["box"] for panel in source["panels"]], boxes[::-1])


def test_the_layout_that_the_segmentation_reads(tmp_path: Path) -> None:
    for number in (7, 8):
        slices(WHOLE, [400] * 4, tmp_path / "episodes" / f"Episode {number}")
    assert main(["panels", "cut", "episodes", "--out", "cuts", "--layout", "seed", "-q"]) == 0
    for number in (7, 8):
        names = {path.name for path in (tmp_path / f"cuts/Episode{number}/outputs").iterdir()}
        assert names == {"0.jpg", "1.jpg", "2.jpg", "panels.json"}


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    WHOLE.save(tmp_path / "a.png")
    command = ["panels", "cut", "a.png", "--out", "out", "-q"]
    assert main(command) == 0
    page((400, 600), [(20, 20, 360, 560)]).save(tmp_path / "a.png")
    assert main(command) == 0
    assert {path.name for path in (tmp_path / "out/a").iterdir()} == {"001.jpg", "panels.json"}


def test_pictures_of_the_user_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WHOLE.save(tmp_path / "a.png")
    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "out/a/001.jpg").write_bytes(b"mine")
    assert main(["panels", "cut", "a.png", "--out", "out"]) == 3
    assert "did not come from here" in capsys.readouterr().err
    assert (tmp_path / "out/a/001.jpg").read_bytes() == b"mine"


def test_damaged_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slices(WHOLE, [400] * 4, tmp_path / "e")
    (tmp_path / "e/2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["panels", "cut", "e", "--out", "out", "--as", "strip"]) == 4
    said = capsys.readouterr()
    assert "2.png" in said.err and "1 failed" in said.out
    (tmp_path / "none.png").write_bytes(b"")
    assert main(["panels", "cut", "none.png", "--out", "out"]) == 3
    assert not (tmp_path / "out/none").exists()


@pytest.mark.parametrize("words", [["missing"], ["empty"]])
def test_nothing_to_cut(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["panels", "cut", *words, "--out", "out"]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WHOLE.save(tmp_path / "a.png")
    one = {"page": "a", "file": "a.png", "width": 400, "height": 1580, "boxes": BOXES}
    (tmp_path / "truth.json").write_text(json.dumps({"set": "t", "pages": [one]}))
    body = asked(capsys, "panels", "evaluate", "--truth", "truth.json")
    assert body["f1_50"] == body["f1_90"] == body["order"] == 1
    assert body["cuts_through"] == 0
    assert main(["panels", "evaluate", "--truth", "truth.json"]) == 0
    assert "f1 90" in capsys.readouterr().out


def test_an_output_never_costs_an_input_or_another_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slices(WHOLE, [400] * 4, tmp_path / "12")
    before = {path: path.read_bytes() for path in (tmp_path / "12").iterdir()}
    assert main(["panels", "cut", "12", "--as", "strip", "--out", "."]) == 2
    assert "holds what is to be cut" in capsys.readouterr().err
    pages = ["panels", "cut", "12", "--as", "page", "--out", "cuts", "--layout", "seed"]
    (tmp_path / "12/1.png").rename(tmp_path / "12/x2.png")
    assert main(pages) == 2
    assert "would both go into" in capsys.readouterr().err
    (tmp_path / "12/x2.png").rename(tmp_path / "12/1.png")
    assert {path: path.read_bytes() for path in (tmp_path / "12").iterdir()} == before
    assert not (tmp_path / "cuts").exists()


def test_a_result_that_was_interrupted_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices(WHOLE, [400] * 4, tmp_path / "12")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("indexer.panels.export._facts", interrupt)
        assert main(["panels", "cut", "12", "--out", "out"]) == 130
    assert (tmp_path / "out/12/001.jpg").exists()
    assert main(["panels", "cut", "12", "--out", "out"]) == 0


def test_embed_cuts_the_strips_of_the_catalog_unless_told_not_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slices(WHOLE, [200] * 8, tmp_path / "drawings" / "kim" / "tower" / "12")
    asked(capsys, "--data", "data", "import", "folder", "drawings")
    assert asked(capsys, "--data", "data", "embed", "--dry-run")["strips"] == {
        "already": 0,
        "pending": 1,
    }
    assert (
        asked(capsys, "--data", "data", "embed", "--dry-run", "--no-panels")["counts"]["pending"]
        == 8
    )
    body = asked(capsys, "--data", "data", "embed")
    assert (body["strips"]["cut"], body["strips"]["panels"]) == (1, 3)
    assert body["counts"]["embedded"] == 3
    found = asked(capsys, "--data", "data", "status")
    assert (found["cut"], found["panels"], found["pending"]) == (8, {"embedded": 3}, 0)
    assert main(["--data", "data", "nightly", "--dry-run"]) == 0
    assert "panels" in capsys.readouterr().out
