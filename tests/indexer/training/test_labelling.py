"""Labels of held-out series: told by the product, whatever the width of its eras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")

from indexer.labels.calibration import fit
from indexer.labels.metrics import expected_calibration_error
from indexer.training.data import Benchmark, benchmark_of_rows, series_folds
from indexer.training.evaluation import labels as labelling
from indexer.training.evaluation.labels import (
    SAMPLE,
    SEED,
    WIDE,
    Answers,
    LabelFigures,
    ask_product,
    in_wide_eras,
    label_names,
    labelled_of,
    measure_labels,
    summed,
    years_off,
)
from indexer.training.evaluation.metrics import Gallery
from indexer.training.kept_spaces import Kept
from schemas.manifest import manifest_rows

HANDS, BOOKS, PAGES = 12, 3, 4


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Hands that each draw for some thirty years; nobody looks at the pictures."""
    root: Path = tmp_path_factory.mktemp("pages")
    rows: list[dict[str, object]] = []
    for number in range(HANDS * BOOKS * PAGES):
        hand, book = number // (BOOKS * PAGES), number // PAGES % BOOKS
        (root / f"{number}.png").touch()
        rows.append(
            {"path": f"{number}.png", "author": f"hand {hand}", "series": f"{hand}-{book}",
             "genre": ("fable", "epic")[hand % 2], "year": str(1843 + 4 * hand + 11 * book)}
        )  # fmt: skip
    return benchmark_of_rows(manifest_rows(rows), root, "invented")


@pytest.fixture(scope="module")
def vectors(bench: Benchmark) -> np.ndarray:
    """Style that turns with the years, with each hand's own habits; (N, D)."""
    rng = np.random.default_rng(4)
    axis, other = rng.standard_normal((2, 16))
    habit = rng.standard_normal((HANDS, 16))[np.arange(len(bench)) // (BOOKS * PAGES)]
    phase = (bench.years[:, None] - 1840) / 70 * np.pi
    noise = rng.standard_normal((len(bench), 16))
    return np.asarray(np.cos(phase) * axis + np.sin(phase) * other + 0.4 * habit + 0.5 * noise)


def ground_of(bench: Benchmark, vectors: np.ndarray) -> Any:
    """A ground whose one space learns nothing."""
    return SimpleNamespace(
        store=SimpleNamespace(bench=bench),
        blank=np.zeros(len(bench), bool),
        raw=lambda space: vectors,
        kept=lambda name, space, train: Kept([Gallery.plain(vectors)], {}),
    )


def row_of(figures: list[LabelFigures], kind: str, name: str) -> LabelFigures:
    return next(row for row in figures if (row.kind, row.name) == (kind, name))


def test_wide_eras_are_the_catalogs_own_labels(bench: Benchmark, vectors: np.ndarray) -> None:
    rows = np.arange(0, len(bench), 2)
    told = label_names(bench, WIDE)
    assert set(told) == {"1840-1859", "1860-1879", "1880-1899", "1900-1919"}
    data = labelled_of(bench, vectors, rows)
    wide = in_wide_eras(bench, data, rows)
    assert wide.vectors is data.vectors and (data.era_years, wide.era_years) == (10, 20)
    names = wide.labels("era")
    assert [names[code] for code in wide.era] == told[rows].tolist()
    assert wide.labels("author") == data.labels("author")


def test_the_product_tells_wide_eras_itself(
    bench: Benchmark, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the whole catalog had been built with them, every fold anew."""
    fits: list[tuple[str, ...]] = []
    real = labelling.fit

    def counted(*data: Any, **more: Any) -> Any:
        fits.append(tuple(more.get("kinds", ())))
        return real(*data, **more)

    monkeypatch.setattr(labelling, "fit", counted)
    ground, space = ground_of(bench, vectors), SimpleNamespace(learns=False, feature="vectors")
    figures = measure_labels(ground, space, space).figures  # type: ignore[arg-type]
    assert fits.count(("era",)) == fits.count(("author", "genre", "era")) == len(fits) / 2

    folds, years = series_folds(bench.manifest), bench.years // 20 * 20
    ways: dict[str, list[Any]] = {"vote and head": [], "the neighbours' vote alone": []}
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        data = in_wide_eras(bench, labelled_of(bench, vectors, train), train)
        calibration = fit(data, sample=SAMPLE, seed=SEED)
        # Its "decades" are the wide eras here, all kinds fitted.
        with monkeypatch.context() as patch:
            patch.setattr(labelling, "labelled_of", lambda *_, data=data: data)
            nothing = np.full(len(bench), np.nan)
            told = ask_product(bench, vectors, train, test, calibration, calibration, nothing)
        names = np.array([int(name[:4]) for name in data.labels("era")])
        found = {"vote and head": told.probabilities["era"], **told.parts["era"]}
        for way, gathered in ways.items():
            gathered.append((names[found[way].argmax(1)] == years[test], found[way].max(1)))
    for way, gathered in ways.items():
        right, confidence = (np.concatenate(part) for part in zip(*gathered, strict=True))
        row = row_of(figures, WIDE, way)
        assert row.top1 == pytest.approx(right.mean())
        error = expected_calibration_error(confidence, right.astype(float))
        assert row.calibration_error == pytest.approx(error)
        assert row.calibration_chance is not None and 0 < row.calibration_chance < 0.5
        assert row.queries == len(bench) and row.top5 is None
    assert row_of(figures, WIDE, "vote and head").top1 > row_of(figures, "era", "majority").top1


def test_whoever_asks_for_a_calibration_taught_the_space_nothing(
    bench: Benchmark, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does any part that asks reach into the fold that is told, and each picture asks once."""
    learnt: list[np.ndarray] = []
    spaces: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    asked: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = []
    told: list[np.ndarray] = []

    def kept(name: str, space: object, train: np.ndarray) -> Kept:
        learnt.append(train)
        return Kept([Gallery.plain(vectors * len(learnt))], {})

    def labelled(bench_: Benchmark, seen: np.ndarray, rows: np.ndarray) -> Any:
        data = labelled_of(bench_, seen, rows)
        spaces[id(data.vectors)] = rows, learnt[round(seen[0, 0] / vectors[0, 0]) - 1]
        kept_alive.append(data)
        return data

    def fitted(data: Any, *, among: Any, others: Any, **more: Any) -> Any:
        parts = [(data, among), *others]
        asked.append([(*spaces[id(each.vectors)], asks) for each, asks in parts])
        return fit(data, among=among, others=others, **more)

    def product(bench_: Any, seen: Any, train: Any, test: np.ndarray, *more: Any) -> Any:
        told.append(test)
        return ask_product(bench_, seen, train, test, *more)

    kept_alive: list[Any] = []  # or an id could come twice
    ground = ground_of(bench, vectors)
    ground.kept = kept
    monkeypatch.setattr(labelling, "labelled_of", labelled)
    monkeypatch.setattr(labelling, "fit", fitted)
    monkeypatch.setattr(labelling, "ask_product", product)
    space = SimpleNamespace(learns=True, feature="vectors")
    measure_labels(ground, space, space)  # type: ignore[arg-type]

    series, folds = bench.manifest.series, series_folds(bench.manifest)
    assert len(asked) == 2 * len(told) and len(told) == len(np.unique(folds)) > 1
    for fits, test in zip((asked[n : n + 2] for n in range(0, len(asked), 2)), told, strict=True):
        for parts in fits:
            assert len(parts) > len(np.unique(folds)) - 1  # finer than the folds
            for rows, taught, asks in parts:
                assert not set(series[taught]) & set(series[rows[asks]])
                assert not set(series[taught]) & set(series[test])
                assert len(taught) + asks.sum() == len(rows) == len(bench) - len(test)
            assert (np.sum([asks for _, _, asks in parts], axis=0) == 1).all()


def test_what_knows_only_decades_is_summed(bench: Benchmark, vectors: np.ndarray) -> None:
    ground, space = ground_of(bench, vectors), SimpleNamespace(learns=False, feature="vectors")
    figures = measure_labels(ground, space, space).figures  # type: ignore[arg-type]
    for way in ("majority", "nearest frozen picture", "linear probe on frozen statistics"):
        decades, wide = row_of(figures, "era", way), row_of(figures, WIDE, way)
        assert wide.top1 >= decades.top1 and wide.queries == decades.queries
        assert wide.years_error is not None and decades.years_error is None
    dated = {row.name for row in figures if row.years_error is not None}
    assert dated == {row.name for row in figures if row.kind == WIDE} - {"the head alone"}


def test_pictures_of_another_kind_are_told_the_catalogs_proportions(
    bench: Benchmark, vectors: np.ndarray
) -> None:
    """As an index tells them (`indexer/labels/deviation.py`)."""
    folds = series_folds(bench.manifest)
    train, test = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
    calibration = fit(labelled_of(bench, vectors, train), sample=SAMPLE, seed=SEED)
    deviations = np.random.default_rng(2).lognormal(0.0, 0.15, len(bench))
    strange = np.arange(len(test)) % 2 == 0
    deviations[test] = np.where(strange, 3.0, 1.0)
    told = [
        ask_product(bench, vectors, train, test, calibration, calibration, given)
        for given in (np.full(len(bench), np.nan), deviations)
    ]
    before, after = (found.probabilities for found in told)
    assert np.array_equal(before["author"], after["author"])
    for kind in ("genre", "era"):
        names = told[0].labels[kind]
        labels = label_names(bench, kind)[train]
        shares = np.array([(labels == name).sum() for name in names]) / (labels != "").sum()
        assert np.array_equal(before[kind][~strange], after[kind][~strange])
        assert after[kind][strange] == pytest.approx(
            np.tile(shares, (int(strange.sum()), 1)), abs=1e-3
        )


def test_sums_and_medians_against_loops(bench: Benchmark) -> None:
    rng = np.random.default_rng(3)
    names = np.array(["1860s", "1840s", "1870s", "1850s"])
    rows = np.arange(30)
    scores = rng.dirichlet(np.full(4, 0.5), 30)
    answers = Answers(rows, label_names(bench, "era")[rows], names, scores)
    wide = summed(answers)
    assert wide.truth.tolist() == label_names(bench, WIDE)[rows].tolist()
    assert wide.names.tolist() == ["1840-1859", "1860-1879"]
    assert wide.scores == pytest.approx(scores[:, [1, 0]] + scores[:, [3, 2]])
    errors = []
    for row in range(30):
        total = 0.0
        for start, place in ((1840, 1), (1850, 3), (1860, 0), (1870, 2)):
            total += scores[row, place]
            if total >= 0.5:
                errors.append(abs(start + 5 - bench.years[row]))
                break
    assert years_off(bench, [answers]) == pytest.approx(np.mean(errors))
    assert years_off(bench, [replace(answers, scores=3.0 * scores)]) == pytest.approx(
        np.mean(errors)
    )
