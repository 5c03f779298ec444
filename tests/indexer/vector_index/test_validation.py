"""A worse index is not published: each check fails when it should."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.embed import open_encoder
from indexer.labels import predict
from indexer.labels.calibration import Calibration
from indexer.vector_index import build as building
from indexer.vector_index.build import build_generation
from indexer.vector_index.faiss_index import index_of
from indexer.vector_index.generations import current_generation_id, generation_ids, publish
from indexer.vector_index.metadata import IndexRows, collect_rows
from indexer.vector_index.validation import Predecessor, check_index, check_labels
from schemas.errors import PartlyDoneError
from schemas.records import LABEL_KINDS
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout
from tests.catalogs import SETTINGS, fill_catalog

pytestmark = pytest.mark.slow


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "root")
    fill_catalog(layout)
    publish(layout, build(layout))
    return layout


def build(layout: Layout, **more: object) -> str:
    report = build_generation(layout, SETTINGS, **more)  # type: ignore[arg-type]
    assert report.generation_id is not None
    return report.generation_id


def lose(layout: Layout, count: int) -> None:
    catalog = Catalog(layout)
    ids = catalog.read("pictures", ["picture_id"])["picture_id"].to_pylist()
    catalog.delete("pictures", "picture_id", ids[:count])


def test_checks_catch_a_wrong_index(layout: Layout) -> None:
    encoder = open_encoder(SETTINGS)
    rows = collect_rows(Catalog(layout), encoder.model_id, encoder.preprocessing_digest)

    def verdicts(vectors: np.ndarray, ids: np.ndarray) -> dict[str, bool]:
        index = index_of(vectors, ids)
        return {check.name: check.passed for check in check_index(index, rows, sample=50, seed=1)}

    assert all(verdicts(rows.vectors, rows.row_ids).values())
    assert not verdicts(rows.vectors, np.roll(rows.row_ids, 1))["finds_itself"]
    assert not verdicts(rows.vectors[:-1], rows.row_ids[:-1])["count"]
    wrong = rows.vectors.copy()
    wrong[::2] = np.roll(wrong[::2], 1, axis=1)
    assert not verdicts(wrong, rows.row_ids)["recall"]


def test_a_small_yield_is_refused_unless_it_is_meant(layout: Layout) -> None:
    name = current_generation_id(layout)
    lose(layout, 30)
    with pytest.raises(PartlyDoneError, match=r"yield.*60 pictures after 90.*--accept yield"):
        build(layout)
    assert (current_generation_id(layout), generation_ids(layout)) == (name, [name])
    accepted = build(layout, accept=("yield",))
    checks = json.loads((layout.generation(accepted) / "checks.json").read_text())["checks"]
    assert {c["name"]: c["accepted"] for c in checks}["yield"]
    assert sum(c["accepted"] for c in checks) == 1


def test_a_few_less_are_fine(layout: Layout) -> None:
    lose(layout, 10)
    publish(layout, build(layout))


def test_other_answers_are_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that belong to other pictures pass every check but the canaries."""
    real = collect_rows

    def shuffled(*arguments: object) -> IndexRows:
        rows = real(*arguments)  # type: ignore[arg-type]
        order = np.random.default_rng(3).permutation(len(rows.vectors))
        return dataclasses.replace(rows, vectors=rows.vectors[order])

    monkeypatch.setattr(building, "collect_rows", shuffled)
    with pytest.raises(PartlyDoneError, match="canaries"):
        build(layout, force=True)
    build(layout, force=True, accept=("all",))


def test_newcomers_do_not_alarm(layout: Layout) -> None:
    fill_catalog(layout, authors=9, titles=3, pictures=5, seed=8)
    publish(layout, build(layout))


def measured(accuracy: float, queries: float = 2000.0) -> Calibration:
    weights = dict.fromkeys(LABEL_KINDS, 0.5)
    return Calibration(
        (0.0,), weights, weights, (0.0,) * 7, 5, "other_titles",
        measured={"author_top1": accuracy, "author_queries": queries},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "queries", "passes"),
    [(0.6, 0.61, 2000, True), (0.6, 0.58, 2000, True), (0.6, 0.5, 2000, False),
     (0.6, 0.5, 60, True), (0.6, 0.1, 60, False)],
)  # fmt: skip
def test_worse_labels_are_refused_beyond_chance(
    before: float, after: float, queries: float, passes: bool
) -> None:
    check = check_labels(measured(before, queries), measured(after, queries), 0.03)
    assert check.passed is passes


def test_eras_of_another_width_are_not_compared() -> None:
    """Narrower ones are told right less often; authors still have to be."""
    before, after = (
        dataclasses.replace(
            measured(0.6),
            measured={"era_top1": right, "era_queries": 2000.0, "author_top1": right,
                      "author_queries": queries},
        )
        for right, queries in ((0.6, 60.0), (0.3, 60.0))
    )  # fmt: skip
    after.measured["author_top1"] = 0.6
    assert not check_labels(before, after, 0.03).passed
    narrower = dataclasses.replace(after, era_years=5)
    assert check_labels(before, narrower, 0.03).passed
    narrower.measured["author_top1"] = 0.1
    assert not check_labels(before, narrower, 0.03).passed


def test_a_calibration_is_carried_over_until_enough_has_changed(layout: Layout) -> None:
    def drift() -> float:
        name = build(layout, force=True)
        publish(layout, name)
        body = json.loads((layout.generation(name) / "checks.json").read_text())
        return float(body["drift"])

    lose(layout, 2)
    assert drift() == pytest.approx(2 / 88)
    lose(layout, 2)
    assert drift() == pytest.approx(2 / 88 + 2 / 86)
    lose(layout, 2)
    assert drift() == 0.0  # more than a twentieth: re-fitted


def test_a_program_that_fits_otherwise_fits_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = current_generation_id(layout)
    assert build(layout) == first  # nothing changed
    monkeypatch.setattr(building, "RECIPE", building.RECIPE + 1)
    fits: list[Calibration] = []
    real = predict.fit
    monkeypatch.setattr(predict, "fit", lambda *a, **k: fits.append(real(*a, **k)) or fits[-1])
    name = build(layout)
    assert name != first and len(fits) == 1
    publish(layout, name)
    assert build(layout) == name
    lose(layout, 2)
    build(layout)
    assert len(fits) == 1  # the next small change carries them over again


def test_what_changed_since_is_new_or_has_other_labels(layout: Layout) -> None:
    encoder = open_encoder(SETTINGS)
    rows = collect_rows(Catalog(layout), encoder.model_id, encoder.preprocessing_digest)
    before = Predecessor.open(layout, current_generation_id(layout))
    assert before is not None
    places, share = before.changed(rows)
    assert (places.tolist(), share) == ([], 0.0)
    title = rows.pictures[7]["title_id"]
    own = [place for place, row in enumerate(rows.pictures) if row["title_id"] == title]
    titles = {**rows.titles, title: {**rows.titles[title], "genres": ["another"]}}
    places, share = before.changed(dataclasses.replace(rows, titles=titles))
    assert places.tolist() == own and share == pytest.approx(len(own) / len(rows.row_ids))
    ids = np.where(np.arange(len(rows.row_ids)) == 3, 17, rows.row_ids)
    places, share = before.changed(dataclasses.replace(rows, row_ids=ids))
    assert places.tolist() == [3] and share == pytest.approx(2 / len(ids))  # one came, one went
    before.generation.close()
