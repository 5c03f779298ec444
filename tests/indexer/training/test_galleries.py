"""The evaluation compares pictures as the product does, and keeps what it compares."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.embedding.in_grey import InGrey
from indexer.training.evaluation.metrics import Gallery, Questions, unit
from indexer.training.kept_spaces import Learnt, stacked, unstacked
from indexer.vector_index.grey_lengths import CatalogInGrey
from indexer.vector_index.search import Question, similarities, widened

COUNT, DIMENSION = 23, 9


def some_questions(seed: int, count: int = COUNT) -> Questions:
    rng = np.random.default_rng(seed)
    vectors, in_grey = unit(rng.standard_normal((2 * count, DIMENSION))).reshape(2, count, -1)
    return Questions(vectors, in_grey, rng.random(count) < 0.5)


def some_map() -> InGrey:
    rng = np.random.default_rng(7)
    return InGrey(rng.normal(0, 0.4, (DIMENSION + 1, DIMENSION)).astype(np.float32))


def as_product(questions: Questions, row: int) -> Question:
    grey = questions.in_grey[row] if questions.grey[row] else None
    return Question(questions.vectors[row], grey)


def test_likeness_is_what_a_query_says() -> None:
    gallery, asked = Gallery(some_questions(1), some_map()), some_questions(2, 11)
    assert asked.grey.any() and not asked.grey.all()
    index = CatalogInGrey(some_map(), np.ones(COUNT), (np.arange(COUNT),) * 2)
    found = gallery.similarity(asked)
    others = some_questions(3, 5).vectors
    among = gallery.similarity(asked, others)
    for row in range(11):
        question = as_product(asked, row)
        assert found[row] == pytest.approx(similarities(index, question, gallery.vectors), abs=1e-5)
        assert among[row] == pytest.approx(similarities(index, question, others), abs=1e-5)
    part = np.array([2, 5, 7])
    assert gallery.part(part).similarity(asked) == pytest.approx(found[:, part], abs=1e-5)


def test_the_far_end_is_what_a_query_orders_it_by() -> None:
    gallery = Gallery(some_questions(1), some_map())
    index = CatalogInGrey(some_map(), np.ones(COUNT), (np.arange(COUNT),) * 2)
    nearest = np.array([4, 1, 9])
    for row in range(COUNT):
        question = as_product(gallery.questions, row)
        wider = widened(index, question, gallery.vectors[nearest])
        assert gallery.expanded(row, nearest) == pytest.approx(
            similarities(index, wider, gallery.vectors), abs=1e-5
        )


def test_without_a_map_colours_make_no_difference() -> None:
    vectors = np.random.default_rng(5).standard_normal((COUNT, DIMENSION))
    gallery = Gallery.plain(vectors)
    assert gallery.similarity(gallery.questions) == pytest.approx(unit(vectors) @ unit(vectors).T)
    grey = Gallery(some_questions(1))
    plain = grey.questions.vectors @ grey.vectors.T
    assert grey.similarity(grey.questions) == pytest.approx(plain)


@pytest.mark.parametrize("in_grey", [None, some_map()])
@pytest.mark.parametrize("views", [(), ("grey", "half size")])
def test_what_is_kept_comes_back(in_grey: InGrey | None, views: tuple[str, ...]) -> None:
    asked = {None: some_questions(1), "thumbnails": some_questions(2),
             "grey": some_questions(3, 7), "half size": some_questions(4, 7)}  # fmt: skip
    whole = [None, "thumbnails"]
    rows = stacked(Learnt(asked.__getitem__, in_grey), [*whole, *views])
    found = unstacked(rows, COUNT, 7, whole, views)
    assert len(found.galleries) == 2 and list(found.views) == list(views)
    for view, questions in (
        *zip(whole, (gallery.questions for gallery in found.galleries), strict=True),
        *found.views.items(),
    ):
        wanted = asked[view]
        assert questions.vectors == pytest.approx(wanted.vectors, abs=1e-6)
        assert np.array_equal(questions.grey, wanted.grey)
        if in_grey is not None:
            assert questions.in_grey == pytest.approx(wanted.in_grey, abs=1e-6)
    for gallery in found.galleries:
        if in_grey is None:
            assert gallery.map is None
        else:
            assert gallery.map is not None
            assert np.array_equal(gallery.map.change, in_grey.change)
