"""Scores of probabilities and detectors, against slow loops and libraries."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.labels.metrics import (
    auroc,
    calibration_error_of_chance,
    expected_calibration_error,
    false_positive_rate,
    logistic,
    macro_f1,
)


def test_auroc_and_fpr_against_loops() -> None:
    rng = np.random.default_rng(2)
    score = np.round(rng.standard_normal(80), 1)  # rounding makes ties
    positive = (rng.random(80) < 0.4).astype(float)
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in score[positive == 1]
        for n in score[positive == 0]
    ]
    assert auroc(score, positive) == pytest.approx(np.mean(wins))
    assert false_positive_rate(np.asarray([3.0, 2, 1, 0]), np.asarray([1, 1, 0, 0])) == 0.0
    assert false_positive_rate(np.asarray([0.0, 0, 1, 1]), np.asarray([1, 1, 0, 0])) == 1.0


def test_calibration_error_of_honest_and_boastful_confidence() -> None:
    rng = np.random.default_rng(4)
    confidence = rng.random(20_000)
    honest = (rng.random(20_000) < confidence).astype(float)
    assert expected_calibration_error(confidence, honest) < 0.015
    assert expected_calibration_error(np.full(100, 0.9), np.zeros(100)) == pytest.approx(0.9)


def test_macro_f1_and_logistic_equal_the_library() -> None:
    sklearn = pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    assert sklearn
    rng = np.random.default_rng(0)
    truth, told = rng.integers(0, 6, 300), rng.integers(0, 6, 300)
    assert macro_f1(told, truth) == pytest.approx(f1_score(truth, told, average="macro"))
    x = np.concatenate([np.ones((300, 1)), rng.standard_normal((300, 3)) * [1, 20, 0.1]], 1)
    y = (x[:, 1] + x[:, 2] / 20 + rng.standard_normal(300) > 0).astype(float)
    z = (x[:, 1:] - x[:, 1:].mean(0)) / x[:, 1:].std(0)
    theirs = LogisticRegression(C=1.0, tol=1e-8).fit(z, y).decision_function(z)
    assert np.allclose(x @ logistic(x, y, np.ones(300)), theirs, atol=1e-3)


def test_few_answers_are_never_right_in_quite_the_share_that_they_say() -> None:
    confidence = np.random.default_rng(3).random(4000)
    few, many = (
        calibration_error_of_chance(confidence[:150]),
        calibration_error_of_chance(confidence),
    )
    assert 0.06 < few < 0.16 and many < few / 3
    assert calibration_error_of_chance(np.ones(30)) == 0.0
