"""Figures against true boxes, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.panels.evaluate import (
    PageScore,
    TruePage,
    evaluate,
    read_truth,
    row_cuts,
    score_page,
    summary,
)
from indexer.panels.order import Box
from schemas.errors import InputError
from schemas.images import PictureLimits
from tests.strips import page

TRUE: list[Box] = [(0, 0, 100, 100), (0, 200, 100, 100), (0, 400, 100, 100)]


def truth(boxes: list[Box] = TRUE, ignored: list[Box] | None = None) -> TruePage:
    return TruePage("p", [], 100, 600, False, boxes, ignored or [])


def test_all_right() -> None:
    score = score_page(truth(), TRUE)
    assert (score.matched_50, score.matched_90, score.pairs, score.pairs_in_order) == (3, 3, 3, 3)
    assert score.f1_50 == 1


def test_loose_split_merged_and_out_of_order() -> None:
    loose: Box = (0, 0, 100, 130)  # 0.77 of the first
    assert score_page(truth(), [loose]).matched_50 == 1
    assert score_page(truth(), [loose]).matched_90 == 0
    assert score_page(truth(), [TRUE[1], TRUE[0]]).pairs_in_order == 0
    assert score_page(truth(), [(0, 0, 100, 48), (0, 52, 100, 48)]).split == 1
    assert score_page(truth(), [(0, 0, 100, 300)]).merged == 1


def test_ignored_regions_and_cuts() -> None:
    advertisement: Box = (0, 500, 100, 100)
    assert score_page(truth(ignored=[advertisement]), [*TRUE, (10, 510, 50, 50)]).found == 3
    assert score_page(truth(), [*TRUE, (10, 510, 50, 50)]).found == 4
    score = score_page(truth(), TRUE, [50, 150, 99])
    assert (score.cuts, score.cuts_through) == (3, 1)
    assert row_cuts([TRUE[2], TRUE[0], (0, 0, 20, 250)]) == [325]


def test_the_best_pairs_are_matched_first() -> None:
    near: Box = (0, 10, 100, 100)
    assert score_page(truth([TRUE[0]]), [near, TRUE[0]]).matched_90 == 1


def test_summary() -> None:
    figures = summary(
        [
            PageScore("a", true=4, found=2, matched_50=2, matched_90=1, pairs=1, pairs_in_order=1),
            PageScore("b", true=2, found=4, matched_50=2, matched_90=1, problem="x"),
        ]
    )
    assert figures["f1_50"] == pytest.approx(8 / 12)
    assert figures["f1_90"] == pytest.approx(4 / 12)
    assert figures["precision_50"] == figures["recall_50"] == pytest.approx(4 / 6)
    assert figures["order"] == 1 and figures["failed"] == 1
    assert figures["cuts_through"] is None
    assert summary([])["f1_50"] == 1


def test_a_truth_file_is_cut_and_scored(tmp_path: Path) -> None:
    boxes: list[Box] = [(20, 20, 360, 300), (20, 340, 360, 200)]
    page((400, 560), boxes).save(tmp_path / "a.png")
    page((400, 560), boxes).resize((200, 280)).save(tmp_path / "b.png")
    pages = [
        {"page": name, "file": f"{name}.png", "width": 400, "height": 560, "boxes": boxes}
        for name in ("a", "b", "gone")
    ]
    (tmp_path / "truth.json").write_text(json.dumps({"set": "t", "pages": pages}))
    scores = list(evaluate(read_truth(tmp_path / "truth.json"), PictureLimits()))
    assert [score.matched_90 for score in scores] == [2, 2, 0]
    assert [bool(score.problem) for score in scores] == [False, False, True]
    assert summary(scores)["f1_90"] == pytest.approx(8 / 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"pages": [{}]}',
        '{"pages": [{"page": "a", "file": "a.png"}]}',
        '{"pages": 3}',
    ],
)
def test_what_is_no_truth_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(InputError, match="truth file"):
        read_truth(tmp_path / "truth.json")


def test_a_truth_file_names_nothing_outside_its_folder(tmp_path: Path) -> None:
    one = {"page": "a", "file": "../a.png", "width": 9, "height": 9, "boxes": []}
    (tmp_path / "truth.json").write_text(json.dumps({"pages": [one]}))
    with pytest.raises(InputError, match="outside"):
        read_truth(tmp_path / "truth.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_truth(tmp_path / "none.json")
