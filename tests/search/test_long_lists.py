"""Long lists of pictures, against a slow loop over the same vectors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.importers.folder import import_folder
from indexer.embedding.embed import embed_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from indexer.vector_index.ranking import KEPT, expanded
from indexer.vector_index.search import similarities, widened
from schemas.settings import load_settings
from search.engine import Engine, QueryOptions
from search.filters import Filters
from search.inputs import QueryPicture
from tests.search.hands import HANDS, PICTURES_PER_TITLE, draw_folder
from tests.search.test_engine import ALL, all_vectors, picture

LONG = QueryOptions(k=16, by="picture")


def slow_order(engine: Engine, asked: QueryPicture, k: int) -> list[str]:
    """The definition, picture by picture."""
    vectors, ids = all_vectors(engine)
    question = engine.question_of([asked])
    near = similarities(engine.generation.in_grey, question, vectors)
    nearest = sorted(range(len(ids)), key=lambda n: -near[n])
    head = nearest[:KEPT]
    wider = widened(engine.generation.in_grey, question, vectors[head])
    far = similarities(engine.generation.in_grey, wider, vectors)
    rest = sorted(nearest[KEPT:], key=lambda n: -far[n])
    return [ids[n] for n in (head + rest)[:k]]


@pytest.mark.parametrize("hand", range(3))
def test_the_far_end_is_near_to_the_first_ten_and_the_query(engine: Engine, hand: int) -> None:
    asked = picture(hand, 77)
    plain = engine.query([asked], replace(LONG, expand=False))
    found = engine.query([asked], LONG)
    shown = [hit.picture_id for hit in found.pictures]
    assert shown[:KEPT] == [hit.picture_id for hit in plain.pictures[:KEPT]]
    assert len(shown) == len(set(shown)) == 16
    wanted = slow_order(engine, asked, 16)
    assert len(set(wanted) & set(shown)) >= 15  # float16 storage may swap near ties
    at = {picture_id: n for n, picture_id in enumerate(all_vectors(engine)[1])}
    vectors, question = all_vectors(engine)[0], engine.question_of([asked])
    in_grey = engine.generation.in_grey
    wider = widened(in_grey, question, vectors[[at[name] for name in shown[:KEPT]]])
    far = similarities(in_grey, wider, vectors[[at[name] for name in shown[KEPT:]]])
    assert far == pytest.approx(sorted(far, reverse=True), abs=1e-3)
    likeness = dict(
        zip(all_vectors(engine)[1], similarities(in_grey, question, vectors), strict=True)
    )
    for hit in found.pictures:  # what is printed is the likeness to the query itself
        assert hit.similarity == pytest.approx(likeness[hit.picture_id], abs=3e-3)
    assert any("after the first 10" in note for note in found.notes)
    assert {t.title_id for t in found.titles} == {hit.title_id for hit in found.pictures}


def test_a_list_of_ten_and_a_list_of_titles_stay_as_they_are(engine: Engine) -> None:
    asked = picture(1, 5)
    for options in (QueryOptions(k=KEPT, by="picture"), QueryOptions(k=12)):
        with_it, without = (
            replace(engine.query([asked], replace(options, expand=on)), elapsed_ms=0.0)
            for on in (True, False)
        )
        assert with_it == without


def test_filters_and_the_least_percentile_hold_for_the_far_end(engine: Engine) -> None:
    asked = picture(0, 5)
    whole = engine.query([asked], replace(LONG, k=ALL, expand=False))
    titles = sorted({hit.title_id for hit in whole.pictures})
    found = engine.query(
        [asked], replace(LONG, k=ALL, filters=Filters(exclude_titles=(titles[0],)), neighbours=2)
    )
    assert titles[0] not in {hit.title_id for hit in found.pictures}
    assert len(found.pictures) == len([h for h in whole.pictures if h.title_id != titles[0]])
    least = sorted(hit.percentile for hit in whole.pictures)[-13]
    near = engine.query([asked], replace(LONG, filters=Filters(min_percentile=least)))
    assert len(near.pictures) == 13
    assert min(hit.percentile for hit in near.pictures) >= least


def test_a_picture_of_two_titles_comes_once(tmp_path: Path) -> None:
    """A reissue repeats a book: its pictures lie twice in the index, at the head of the list
    and at its far end."""
    folder = tmp_path / "pictures"
    draw_folder(folder)
    shutil.copytree(folder / HANDS[0] / "Book 00", folder / HANDS[0] / "Book 00, new edition")
    shutil.copytree(folder / HANDS[2] / "Book 20", folder / HANDS[2] / "Book 20, new edition")
    settings = load_settings({"store.root": str(tmp_path / "root")}, environ={}, cwd=tmp_path)
    import_folder(settings.layout, settings, folder)
    embed_pending(settings.layout, settings)
    report = build_generation(settings.layout, settings)
    assert report.generation_id is not None
    publish(settings.layout, report.generation_id)
    with Engine.open(settings.layout, settings) as engine:
        assert engine.generation.pictures_count == ALL + 2 * PICTURES_PER_TITLE
        for neighbours in (16, 200):  # rows that only the expanded query reaches, and all
            found = engine.query([picture(0, 0)], replace(LONG, k=ALL - 4, neighbours=neighbours))
            shown = [hit.picture_id for hit in found.pictures]
            assert len(shown) == len(set(shown)) == ALL - 4


@given(st.integers(0, 10_000), st.integers(0, 12))
def test_the_expanded_query_is_a_unit_vector_nearer_to_the_head(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    unit = rng.standard_normal((count + 1, 8)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = expanded(unit[0], unit[1:])
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)
    near = np.maximum(unit[1:] @ unit[0], 0.0)
    assert float(near @ (unit[1:] @ found)) >= float(near @ (unit[1:] @ unit[0])) - 1e-4
