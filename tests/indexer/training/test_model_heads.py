"""The heads that a model carries are as sure as they were found right."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.labels.head_files import HeadCalibration
from indexer.labels.holdout import folds_within, held_out_scores
from indexer.labels.knn import sharpened
from indexer.labels.metrics import expected_calibration_error, fit_power_of_best
from indexer.training.data import NONE, Classes
from indexer.training.model_heads import MIN_QUERIES, SEED, fit_heads, labelled

HANDS, BOOKS, PAGES = 10, 4, 8


def drawn() -> tuple[np.ndarray, Classes]:
    """Hands that are hard to tell apart in a book of which nothing was seen."""
    rng = np.random.default_rng(4)
    hand = rng.standard_normal((HANDS, 1, 1, 16))
    book = 1.2 * rng.standard_normal((HANDS, BOOKS, 1, 16))
    vectors = (hand + book + 0.5 * rng.standard_normal((HANDS, BOOKS, PAGES, 16))).reshape(-1, 16)
    author = np.repeat(np.arange(HANDS), BOOKS * PAGES)
    names = {"author": tuple(f"hand {n}" for n in range(HANDS)), "genre": (), "era": ()}
    classes = Classes(
        author, np.repeat(np.arange(HANDS * BOOKS), PAGES), np.full(len(author), NONE),
        np.zeros((len(author), 0)), names,
    )  # fmt: skip
    return vectors.astype(np.float32), classes


def test_the_last_power_is_fitted_on_books_that_the_head_has_not_seen() -> None:
    vectors, classes = drawn()
    calibration = fit_heads(vectors, classes).calibration
    assert isinstance(calibration, HeadCalibration)
    data = labelled(vectors, classes)
    rows = np.arange(len(vectors))
    folds, rng = folds_within(data.author, data.title), np.random.default_rng(SEED)
    held = held_out_scores(data, "author", rows, folds, rng)
    assert held is not None and len(rows) >= MIN_QUERIES
    log = held.scores.astype(float) * calibration.power["author"]
    told = np.exp(log - log.max(1, keepdims=True))
    told /= told.sum(1, keepdims=True)
    found = calibration.sharpness["author"]
    assert found == pytest.approx(fit_power_of_best(told, data.author), rel=0.02)
    assert found != 1.0
    right = (told.argmax(1) == data.author).astype(float)
    assert 0.3 < right.mean() < 0.97
    said = sharpened(told, found).max(1)
    assert abs(said.mean() - right.mean()) < 0.05
    assert calibration.measured["author_calibration_error"] == pytest.approx(
        expected_calibration_error(said, right), abs=0.01
    )
