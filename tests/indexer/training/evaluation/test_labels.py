"""Labels of held-out series, told by the product's own code to a catalog it never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.training.data import FOLDS, Benchmark, benchmark_of_rows, series_folds
from indexer.training.evaluation import labels as labels_module
from indexer.training.evaluation.labels import (
    MAJORITY,
    NEAREST,
    NEW_PICTURES,
    NEW_WORKS,
    PRODUCT,
    STRANGERS,
    LabelFigures,
    LabelPart,
    LabelResult,
    measure_labels,
)
from indexer.vector_index.ranking import unit
from schemas.manifest import manifest_rows
from schemas.records import CONCLUSIONS

AUTHORS, SERIES, PICTURES = 12, 3, 4


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Artists who each draw for some thirty years; nobody opens the pictures."""
    root: Path = tmp_path_factory.mktemp("pages")
    rows: list[dict[str, object]] = []
    for number in range(AUTHORS * SERIES * PICTURES):
        author, series = number // (SERIES * PICTURES), number // PICTURES % SERIES
        (root / f"{number}.png").touch()
        rows.append(
            {
                "path": f"{number}.png",
                "author": f"artist {author}",
                "series": f"{author}-{series}",
                "genre": ("fable", "epic")[author % 2],
                "year": str(1843 + 4 * author + 11 * series),
            }
        )
    return benchmark_of_rows(manifest_rows(rows), root, "invented")


@pytest.fixture(scope="module")
def vectors(bench: Benchmark) -> np.ndarray:
    rng = np.random.default_rng(4)
    habit = rng.standard_normal((AUTHORS, 16))[np.arange(len(bench)) // (SERIES * PICTURES)]
    return np.float32(unit(habit + 0.6 * rng.standard_normal((len(bench), 16))))


def row_of(found: LabelResult, kind: str, method: str) -> LabelFigures:
    return next(row for row in found.figures if (row.kind, row.method) == (kind, method))


def test_the_product_is_measured_beside_its_floors(bench: Benchmark, vectors: np.ndarray) -> None:
    found = measure_labels([LabelPart(bench, vectors, np.ones(len(bench)))])
    product = row_of(found, "author", PRODUCT)
    assert product.top1 > 0.8 and product.top1 > row_of(found, "author", MAJORITY).top1 + 0.5
    assert product.top5 is not None and product.top5 >= product.top1
    assert product.calibration_error is not None and product.calibration_error < 0.3
    nearest = row_of(found, "author", NEAREST)
    assert nearest.top1 > 0.5 and nearest.top5 is None and nearest.calibration_error is None
    assert [one.against for one in found.unknown] == [NEW_WORKS, NEW_PICTURES]
    for one in found.unknown:
        assert one.auroc > 0.7 and 0 <= one.fpr95 <= 1
        assert one.strangers == len(bench)  # each author is missing in one fold
    works, pictures, strangers = found.said
    assert (works.asked, pictures.asked, strangers.asked) == (NEW_WORKS, NEW_PICTURES, STRANGERS)
    assert strangers.right == 0.0 and min(works.right, pictures.right) > 0.8
    assert pictures.said["looks like"] > strangers.said["looks like"] + 0.2
    for one in found.said:
        assert sum(one.said.values()) == pytest.approx(1.0) and set(one.said) == set(CONCLUSIONS)
    era = row_of(found, "era", PRODUCT)
    long = row_of(found, "era of 20 years", PRODUCT)
    assert long.top1 >= era.top1 - 0.05 and long.queries == era.queries
    assert long.calibration_error is not None
    confidence, right = found.reliability["author"]
    assert len(confidence) == len(right) == product.queries
    assert right.mean() == pytest.approx(product.top1)


def test_the_nearest_picture_is_that_of_a_slow_loop(bench: Benchmark, vectors: np.ndarray) -> None:
    found = row_of(
        measure_labels([LabelPart(bench, vectors, np.ones(len(bench)))]), "author", NEAREST
    )
    authors, folds = bench.authors, series_folds(bench)
    number = np.unique(authors, return_inverse=True)[1]
    right = []
    for fold in range(FOLDS):
        catalog = np.flatnonzero((number % FOLDS != fold) & (folds != fold))
        for query in np.flatnonzero((number % FOLDS != fold) & (folds == fold)):
            nearest = catalog[np.argmax(vectors[catalog] @ vectors[query])]
            if authors[query] in authors[catalog]:
                right.append(authors[nearest] == authors[query])
    assert found.queries == len(right) and found.top1 == pytest.approx(np.mean(right))


def test_what_is_asked_is_in_no_catalog(
    bench: Benchmark, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = labels_module._ask, []

    def watched(*arguments: object) -> object:
        _, catalog, queries, known = arguments
        asked.append((catalog, queries, known))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(labels_module, "_ask", watched)
    measure_labels([LabelPart(bench, vectors, np.ones(len(bench)))])
    assert len(asked) == FOLDS
    authors, series = bench.authors, bench.series
    for catalog, queries, known in asked:
        assert not set(catalog) & set(queries)
        assert not set(series[catalog]) & set(series[queries[:known]])
        assert set(authors[queries[:known]]) <= set(authors[catalog])
        rest = queries[known:]
        stranger = ~np.isin(authors[rest], authors[catalog])
        assert stranger.any() and set(series[rest[~stranger]]) <= set(series[catalog])
        assert len(rest[~stranger]) == len(set(series[catalog]))  # one of each four


def test_another_way_of_naming_authors_is_asked_the_same(
    bench: Benchmark, vectors: np.ndarray
) -> None:
    def knows(catalog: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        names = np.unique(bench.authors[catalog])
        return names, (bench.authors[asked][:, None] == names).astype(float)

    part = LabelPart(bench, vectors, np.ones(len(bench)))
    found = measure_labels([part], classifiers={"the truth": [knows]})
    row = row_of(found, "author", "the truth")
    assert (row.top1, row.calibration_error) == (1, 0)
    assert row.queries == row_of(found, "author", PRODUCT).queries
