"""Rows of `predictions` hide the picture's own title, and come once for each picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.labels import judge
from indexer.labels.judge import PRIOR, SHOWN, generation_dataset, judge_pending
from indexer.labels.predict import Prediction, predict, products_on_one_thread
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import Generation, publish
from schemas.errors import NoIndexError
from schemas.records import LABEL_KINDS
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.catalogs import SETTINGS, fill_catalog


def test_each_picture_is_judged_once_without_its_title(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout, authors=6, titles=3, pictures=5)
    # One title that nobody else is like: seen by itself alone, it would be certain.
    report = build_generation(layout, SETTINGS)
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    assert judge_pending(layout, dry_run=True).counts == {"already": 0, "pending": 90}
    assert judge_pending(layout, limit=10).counts == {"already": 0, "judged": 10}
    assert judge_pending(layout).counts == {"already": 10, "judged": 80}
    assert judge_pending(layout).counts == {"already": 90, "judged": 0}
    assert judge_pending(layout, again=True).counts == {"already": 0, "judged": 90}
    rows = Catalog(layout).read("predictions").to_pylist()
    assert len(rows) == 90
    titles = {row["title_id"]: row for row in Catalog(layout).read("titles").to_pylist()}
    title_of = {
        row["picture_id"]: titles[row["title_id"]]
        for row in Catalog(layout).read("pictures").to_pylist()
    }
    right = sum(
        row["authors"][0]["label"] == title_of[row["picture_id"]]["authors"][0]["name"]
        for row in rows
    )
    assert right >= 80  # other titles of the author are there
    for row in rows:
        assert 0.0 <= row["unknown_author"] <= 1.0
        total = row["unknown_author"] + sum(one["probability"] for one in row["authors"])
        assert total <= 1.0 + 1e-6


def test_a_row_is_what_a_query_without_its_title_would_say(tmp_path: Path) -> None:
    """The same function, with neighbours and heads that do not know the title."""
    layout = Layout(tmp_path)
    fill_catalog(layout, authors=6, titles=3, pictures=5)
    report = build_generation(layout, SETTINGS)
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    judge_pending(layout)
    rows = {row["picture_id"]: row for row in Catalog(layout).read("predictions").to_pylist()}
    with Generation.open(layout) as generation:
        data, picture_ids = generation_dataset(generation)
        folds = data.folds()
        for place in range(0, len(picture_ids), 11):
            others = data.title != data.title[place]
            heads = data.fitted_heads(np.flatnonzero(folds != folds[place]))
            similarity = data.vectors[others] @ data.vectors[place]
            near = np.argsort(-similarity)[: generation.calibration.neighbours]
            wanted = predict(
                replace(generation.labels, heads=heads),
                similarity[near][None],
                {kind: data.codes[kind][others][near][None] for kind in LABEL_KINDS},
                data.vectors[place][None],
                data.ood[place : place + 1],
                PRIOR,
            )
            row = rows[picture_ids[place].as_py()]
            assert row["unknown_author"] == pytest.approx(wanted.unknown_author[0], abs=1e-4)
            for kind, (column, *_) in LABEL_KINDS.items():
                told = {one["label"]: one["probability"] for one in row[column]}
                assert told == pytest.approx(dict(wanted.ranked(0, kind, SHOWN)), abs=1e-4)


def test_an_author_with_one_title_cannot_be_recognised(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout, authors=5, titles=1, pictures=6)
    report = build_generation(layout, SETTINGS)
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    judge_pending(layout)
    titles = {row["title_id"]: row for row in Catalog(layout).read("titles").to_pylist()}
    author_of = {
        row["picture_id"]: titles[row["title_id"]]["authors"][0]["name"]
        for row in Catalog(layout).read("pictures").to_pylist()
    }
    for row in Catalog(layout).read("predictions").to_pylist():
        assert author_of[row["picture_id"]] != row["authors"][0]["label"]


def test_eras_of_another_width_are_judged_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout)
    for years, already in ((5, 0), (10, 0), (10, 90), (5, 0)):
        settings = replace(SETTINGS, index=replace(SETTINGS.index, era_years=years))
        report = build_generation(layout, settings)
        assert report.generation_id is not None
        publish(layout, report.generation_id)
        with Generation.open(layout) as generation:
            known = set(generation.labels.labels["era"].names)
        assert judge_pending(layout, dry_run=True).counts["already"] == already
        assert judge_pending(layout).counts == {"already": already, "judged": 90 - already}
        rows = Catalog(layout).read("predictions").to_pylist()
        assert len(rows) == len({row["picture_id"] for row in rows}) == 90
        told = {one["label"] for row in rows for one in row["eras"]}
        assert told and told <= known


def test_products_take_one_thread_for_as_long_as_they_are_told() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    before = threads()
    with products_on_one_thread():
        assert threads() and set(threads()) == {1}
    assert threads() == before


def test_an_interrupted_commit_writes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout, authors=4, titles=2, pictures=4)
    report = build_generation(layout, SETTINGS)
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    append = Catalog.append

    def interrupted(self: Catalog, table: str, rows: Any) -> None:
        append(self, table, rows)
        if rows.num_rows:
            raise KeyboardInterrupt

    monkeypatch.setattr(judge, "COMMIT_ROWS", 1)
    monkeypatch.setattr(Catalog, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        judge_pending(layout)
    monkeypatch.undo()
    rows = Catalog(layout).read("predictions")["picture_id"].to_pylist()
    assert len(rows) == len(set(rows)) == 32


def test_years_that_came_later_are_predicted(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout, authors=4, titles=2, pictures=4)
    catalog = Catalog(layout)
    titles = catalog.read("titles").to_pylist()
    years = {row["title_id"]: row["year"] for row in titles}

    def rebuilt(known: bool) -> None:
        catalog.upsert(
            "titles", [{**row, "year": years[row["title_id"]] if known else None} for row in titles]
        )
        report = build_generation(layout, SETTINGS)
        assert report.generation_id is not None
        publish(layout, report.generation_id)

    rebuilt(known=False)
    assert judge_pending(layout).counts == {"already": 0, "judged": 32}
    assert not any(row["eras"] for row in catalog.read("predictions").to_pylist())
    assert judge_pending(layout).counts == {"already": 32, "judged": 0}
    rebuilt(known=True)
    assert judge_pending(layout).counts == {"already": 0, "judged": 32}
    assert all(row["eras"] for row in catalog.read("predictions").to_pylist())
    assert judge_pending(layout).counts == {"already": 32, "judged": 0}


def test_an_unforeseen_error_costs_one_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    fill_catalog(layout, authors=3, titles=3, pictures=4)
    report = build_generation(layout, SETTINGS)
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    real, calls = judge.predict, []

    def odd(*arguments: Any) -> Prediction:
        calls.append(arguments)
        if len(calls) == 4:
            raise FloatingPointError("odd")
        return real(*arguments)

    monkeypatch.setattr(judge, "predict", odd)
    found = judge_pending(layout)
    assert found.counts == {"already": 0, "judged": 32, "failed": 4}
    assert "FloatingPointError" in found.problems[0]
    assert judge_pending(layout).counts == {"already": 32, "judged": 4}


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(NoIndexError):
        judge_pending(Layout(tmp_path))
