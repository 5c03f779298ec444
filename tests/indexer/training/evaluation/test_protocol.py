"""The whole evaluation on small drawings: tables, JSON, page, model card."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")
pytest.importorskip("matplotlib", reason="reports need matplotlib")

from indexer.embedding.encoder import Encoded
from indexer.embedding.models import shipped_model_dir
from indexer.embedding.preprocess import PixelSpec
from indexer.training import features
from indexer.training.data import benchmark_of_manifest
from indexer.training.evaluation import protocol, report
from indexer.training.evaluation.protocol import (
    WHITENED,
    Beside,
    Evaluation,
    Ground,
    evaluate,
    hands_of,
    leakage,
    notes_on,
    smaller,
    standard_spaces,
    trained_on,
)
from indexer.training.evaluation.tables import render
from indexer.vector_index.ranking import unit
from schemas.errors import InputError
from tests.drawings import drawing


@pytest.fixture
def small(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks wherever the evaluation uses large ones."""
    monkeypatch.setattr(features, "lite0", lambda: _NoHead())
    monkeypatch.setattr(features, "Encoder", _Encoder)
    monkeypatch.setattr(protocol, "RECIPES", (protocol.RECIPES[0],))


@pytest.fixture
def found(drawings: Path, small: None, tmp_path: Path) -> Evaluation:
    bench = benchmark_of_manifest(drawings / "manifest.csv")
    contents = tmp_path / "contents"
    contents.mkdir()
    lines = ["path,author,content"]
    for style, name in enumerate(("line", "line-v2", "ring")):
        for content in range(4):
            drawing((0, 0, 2)[style], content, 96).save(contents / f"{style}-{content}.png")
            lines.append(f"{style}-{content}.png,{name},thing {content}")
    (contents / "manifest.csv").write_text("\n".join(lines))
    beside = Beside(contents, drawings / "manifest.csv", None, True, 2)
    return evaluate(bench, shipped_model_dir(), beside=beside, cache=tmp_path / "cache", quick=True)


class _Encoder:
    """Stands for the shipped model: the mean color of nine parts of a picture."""

    model_id, preprocessing_digest, pixel_spec = "small", "none", PixelSpec(96, 0, 32)

    @classmethod
    def open(cls, folder: Path, **options: object) -> _Encoder:
        return cls()

    def encode(self, pictures: list[np.ndarray]) -> Encoded:
        small = [
            np.float32(Image.fromarray(picture).resize((3, 3), Image.Resampling.BOX)).ravel()
            for picture in pictures
        ]
        return Encoded(unit(np.stack(small)), np.ones(len(small), np.float32))


class _NoHead:
    """Stands for the whole network: its head is that of a tiny one."""

    def __new__(cls) -> Any:
        import torch

        class Head(torch.nn.Module):  # type: ignore[misc]
            def forward_features(self, x: torch.Tensor) -> torch.Tensor:
                return torch.nn.functional.avg_pool2d(x, 8)

        return Head()


def test_every_row_stands_in_one_table(found: Evaluation, tmp_path: Path) -> None:
    names = [row.name for row in found.retrieval]
    assert len(names) == 9 and "small CNN from scratch, softmax" in names
    for row in found.retrieval:
        assert 0 <= row.figures.r_at_1 <= row.figures.r_at_10 <= 1
    by_name = {row.name: row.figures for row in found.retrieval}
    assert {gain.name for gain in found.gains if gain.over == WHITENED} == {*names} - {WHITENED}
    for gain in found.gains:
        ours, theirs = by_name[gain.name], by_name[gain.over]
        assert gain.r_at_1[0] == pytest.approx(ours.r_at_1 - theirs.r_at_1)
        assert gain.ap_at_100[0] == pytest.approx(ours.ap_at_100 - theirs.ap_at_100)
    assert [row.name for row in found.confounded] == names
    for shown in found.confounded:
        assert shown.content is not None and set(shown.by_style) == {"line", "ring"}
        assert shown.colour["drawings"].queries and shown.colour["clip art"].queries
    histogram = found.confounded[1]
    assert histogram.content == 1.0  # each style has its own colours
    assert [row.author for row in found.failures] and len(found.failures) <= 10
    closed = next(row for row in found.retrieval if row.name.startswith("closed form, 256"))
    assert set(closed.views) == {"grey", "mirrored"}
    assert found.model_note == "" and found.shown.name == names[-1]

    text = render(found)
    assert all(name in text for name in (*names, "clean", "AP@100", "top-1", "strangers"))
    assert "found instead" in text and "of the first 10 results stay" in text
    body = json.loads(json.dumps(found.to_json()))
    assert body["format"] == "toonsearch.evaluation/3"
    assert body["benchmark"]["splits"] == 1 and body["benchmark"]["asked"] == 24
    assert body["retrieval"][0]["figures"]["r_at_1"] == found.retrieval[0].figures.r_at_1

    page = tmp_path / "report.html"
    report.write_report(page, found)
    html = page.read_text()
    assert html.count("<img class=query") == report.SHEET_QUERIES and "<svg" in html
    assert "http://" not in html.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    with pytest.raises(InputError):
        report.write_report(tmp_path / "nowhere" / "report.html", found)


def test_the_command_asks_a_model_folder_and_rewrites_the_pages(
    drawings: Path, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = Path(shutil.copytree(shipped_model_dir(), tmp_path / "recipe"))
    about = json.loads((model / "model.json").read_bytes())
    about["provenance"]["authors"] = [f"artist {number}" for number in range(4)]
    (model / "model.json").write_text(json.dumps(about))
    docs = tmp_path / "docs"
    docs.mkdir()
    for page in ("evaluation.md", "model-card.md"):
        (docs / page).write_text(f"{report.START}\nold\n{report.END}\n")
    figures = tmp_path / "figures.json"
    arguments = ["--drawings", drawings, "--model", model, "--docs", docs, "--json", figures]
    assert report.main([*map(str, arguments)]) == 0
    for page in ("evaluation.md", "model-card.md"):
        text = (docs / page).read_text()
        assert "24 pictures by 4 authors are asked" in text and "old" not in text
        assert "| model recipe | " in text and "Who is found worst, model recipe:" in text
        assert "recipe was trained on 4 authors: 0 of the 4 that are asked, 4 of the 5" in text
    body = json.loads(figures.read_text())
    row = next(row for row in body["gains"] if row["name"] == "model recipe")
    low, high = row["r_at_1"][1:]
    assert row["over"] == WHITENED and low <= row["r_at_1"][0] <= high
    views = next(row["views"] for row in body["retrieval"] if row["name"] == "model recipe")
    assert {"lettering", "thumbnail of 112 px", "grey"} < set(views)
    assert report.main(["--drawings", str(tmp_path)]) == 3


def test_nothing_is_fitted_on_whoever_is_asked(
    drawings: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benchmark_of_manifest(drawings / "manifest.csv")
    store = features.FeatureStore(bench, None, shipped_model_dir())
    ground = protocol.Ground(store, ())
    ((train, test),) = ground.splits
    authors = bench.authors
    assert set(authors[train]) == {f"artist {n}" for n in range(4)}
    assert set(authors[test]) == {f"artist {n}" for n in range(4, 8)}
    learnt: list[np.ndarray] = []

    def fit(store: Any, rows: np.ndarray) -> Any:
        learnt.append(rows)
        return lambda rows: rows

    space = protocol.Space("watched", "pixels", fit)
    ground.measure(space)
    ground.catalog(space, 0)
    assert [rows.tolist() for rows in learnt] == [train.tolist()]


def test_a_model_that_knows_the_authors_says_so(drawings: Path, tmp_path: Path) -> None:
    bench = benchmark_of_manifest(drawings / "manifest.csv")
    assert leakage(bench, shipped_model_dir()) == ""
    model = Path(shutil.copytree(shipped_model_dir(), tmp_path / "model"))
    about = json.loads((model / "model.json").read_bytes())
    about["provenance"]["authors"] = ["artist 1", "artist 6"]
    (model / "model.json").write_text(json.dumps(about))
    assert leakage(bench, model) == "it was fitted on 1 of these 4 authors"
    about["provenance"]["authors"].append("somebody else")
    (model / "model.json").write_text(json.dumps(about))
    about["provenance"]["other_hands"] = ["emoji:noto-v1", "clipart:artist 2"]
    (model / "model.json").write_text(json.dumps(about))
    contents = replace(bench, authors=np.full(len(bench), "noto"))
    learnt = hands_of(model)
    assert learnt == {"artist 1", "artist 2", "artist 6", "somebody else", "noto"}
    assert "trained on 1 of the 1 styles of the contents" in " ".join(notes_on(learnt, contents))
    said = "3 authors: 1 of the 4 that are asked, 1 of the 4 that the closed form is fitted on, 1"
    assert said in trained_on(bench, model)
    del about["provenance"]["authors"]
    (model / "model.json").write_text(json.dumps(about))
    assert "not recorded" in leakage(bench, model)


def test_vgg_stands_in_the_table_when_its_weights_are_given(drawings: Path, tmp_path: Path) -> None:
    bench = benchmark_of_manifest(drawings / "manifest.csv")
    ground = Ground(features.FeatureStore(bench, None, shipped_model_dir()), ())
    without = standard_spaces(ground, "", Beside())
    with_vgg = standard_spaces(ground, "", Beside(vgg=tmp_path / "vgg.pth"))
    assert {space.name for space in with_vgg} - {space.name for space in without} == {
        "VGG's Gram matrices"
    }


def test_a_smaller_benchmark_keeps_every_series(
    drawings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = benchmark_of_manifest(drawings / "manifest.csv")
    monkeypatch.setattr(protocol, "QUICK_PICTURES", 10)
    part = smaller(replace(bench, splits=bench.splits * 5))
    assert set(part.series) == set(bench.series)
    assert len(part) <= len(bench) and len(part.splits) == 2


def test_a_test_side_without_two_series_is_refused(drawings: Path) -> None:
    bench = benchmark_of_manifest(drawings / "manifest.csv")
    lone = bench.part(np.flatnonzero([path.endswith("0-0.png") for path in bench.paths]))
    ground = protocol.Ground(features.FeatureStore(lone), ())
    with pytest.raises(InputError, match="no author with two series"):
        ground.measure(protocol.Space("raw", "pixels"))


def test_figures_stand_between_the_markers(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text(f"# Card\n{report.START}\nold\n{report.END}\nend\n")
    report.replace_block(card, "new")
    assert card.read_text() == f"# Card\n{report.START}\nnew\n{report.END}\nend\n"
    card.write_text("no place")
    with pytest.raises(InputError, match="no place for figures"):
        report.replace_block(card, "new")
