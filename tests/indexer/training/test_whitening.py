"""The closed form against its definition."""

import numpy as np
import pytest

from indexer.training.whitening import RIDGE, fit_projection, within_covariance
from schemas.errors import InputError


def hands(
    seed: int = 0, authors: int = 6, each: int = 40, width: int = 12
) -> tuple[np.ndarray, np.ndarray]:
    """Authors differ in one half of the statistics; all share nuisance in one direction."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(authors), each)
    rows = random.standard_normal((authors * each, width))
    rows[:, : width // 2] += random.standard_normal((authors, width // 2))[labels] * 2
    rows[:, -1] += 30 * random.standard_normal(len(rows))
    return rows * np.linspace(1, 50, width) + 7, labels


def test_within_covariance_equals_the_slow_loop() -> None:
    rows, labels = hands()
    labels[0] = 99  # an author with one picture says nothing about what varies within
    wanted = np.zeros((12, 12))
    for author in range(6):
        own = rows[labels == author]
        for row in own:
            d = row - own.mean(0)
            wanted += np.outer(d, d) / len(own)
    wanted *= 12 / np.trace(wanted)
    assert np.allclose(within_covariance(rows, labels), wanted)


def test_all_directions_keep_the_whitened_geometry() -> None:
    rows, labels = hands()
    projection = fit_projection(rows, labels, 12)
    z = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    values, vectors = np.linalg.eigh(within_covariance(z, labels) + RIDGE * np.eye(12))
    y = z @ (vectors / np.sqrt(values)) @ vectors.T
    ours = (rows - projection.center) @ projection.matrix
    assert np.allclose(ours @ ours.T, y @ y.T)


def test_fewer_directions_are_the_strongest() -> None:
    rows, labels = hands()
    few, all_ = fit_projection(rows, labels, 5), fit_projection(rows, labels, 12)
    assert few.matrix.shape == (12, 5)
    assert np.allclose(few.matrix, all_.matrix[:, :5])
    spread = ((rows - all_.center) @ all_.matrix).std(0)
    assert (np.diff(spread) <= 1e-9).all()


def test_scale_of_a_statistic_does_not_matter() -> None:
    rows, labels = hands()
    scaled = rows * np.logspace(-2, 2, 12)
    a, b = fit_projection(rows, labels, 8), fit_projection(scaled, labels, 8)
    one, other = (rows - a.center) @ a.matrix, (scaled - b.center) @ b.matrix
    assert np.allclose(one @ one.T, other @ other.T, atol=1e-2)


def test_impossible_requests_are_refused() -> None:
    rows, labels = hands()
    with pytest.raises(InputError, match="cannot fill"):
        fit_projection(rows, labels, 13)
    with pytest.raises(InputError, match="two different"):
        fit_projection(rows, np.arange(len(rows)), 4)
