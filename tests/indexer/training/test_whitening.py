"""The closed form against its definition."""

import numpy as np
import pytest

pytest.importorskip("torch")

from indexer.training.model import CLIP
from indexer.training.whitening import RIDGE, fit_projection, within_deviations
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


def within_covariance(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By the definition, one picture at a time, with unit mean variance."""
    width = rows.shape[1]
    total = np.zeros((width, width))
    for author in np.unique(labels):
        own = rows[labels == author]
        for row in own:
            d = row - own.mean(0)
            total += np.outer(d, d) / len(own)
    return total * width / np.trace(total)


def test_within_deviations_square_to_the_covariance() -> None:
    rows, labels = hands()
    labels[0] = 99  # an author with one picture says nothing about what varies within
    found = within_deviations(rows, labels, 12.0)
    assert np.allclose(found.T @ found, within_covariance(rows, labels))


def whitened_by_definition(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    z = np.clip((rows - rows.mean(0)) / (rows.std(0) + 1e-6), -CLIP, CLIP)
    values, vectors = np.linalg.eigh(within_covariance(z, labels) + RIDGE * np.eye(z.shape[1]))
    return np.asarray(z @ (vectors / np.sqrt(values)) @ vectors.T)


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def test_all_directions_keep_the_whitened_geometry() -> None:
    rows, labels = hands()
    ours = fit_projection(rows, labels, 12).apply(rows)
    assert np.allclose(cosines(ours), cosines(whitened_by_definition(rows, labels)))


def test_more_statistics_than_pictures_are_the_same_geometry() -> None:
    rows, labels = hands(each=6, width=80)
    ours = fit_projection(rows, labels, 35).apply(rows)
    assert np.allclose(cosines(ours), cosines(whitened_by_definition(rows, labels)))


def test_a_weight_of_two_is_the_statistic_four_times() -> None:
    rows, labels = hands()
    weights = np.ones(12)
    weights[3] = 2.0
    repeated = np.concatenate([rows, np.repeat(rows[:, 3:4], 3, axis=1)], axis=1)
    one = fit_projection(rows, labels, 12, weights=weights).apply(rows)
    other = fit_projection(repeated, labels, 12).apply(repeated)
    assert np.allclose(cosines(one), cosines(other))


def test_a_weight_of_zero_leaves_a_statistic_out() -> None:
    rows, labels = hands()
    weights = np.ones(12)
    weights[5] = 0.0
    one = fit_projection(rows, labels, 11, weights=weights).apply(rows)
    rest = np.delete(rows, 5, axis=1)
    other = fit_projection(rest, labels, 11).apply(rest)
    assert np.allclose(cosines(one), cosines(other))


def test_fewer_directions_are_the_strongest() -> None:
    rows, labels = hands()
    few, all_ = fit_projection(rows, labels, 5), fit_projection(rows, labels, 12)
    assert few.matrix.shape == (12, 5)
    one, other = few.apply(rows), all_.apply(rows)[:, :5]
    assert np.allclose(cosines(one), cosines(other))
    spread = all_.apply(rows).std(0)
    assert (np.diff(spread) <= 1e-9).all()


def test_scale_of_a_statistic_does_not_matter() -> None:
    rows, labels = hands()
    scaled = rows * np.logspace(-2, 2, 12)
    a, b = fit_projection(rows, labels, 8), fit_projection(scaled, labels, 8)
    assert np.allclose(cosines(a.apply(rows)), cosines(b.apply(scaled)), atol=1e-3)


def test_impossible_requests_are_refused() -> None:
    rows, labels = hands()
    with pytest.raises(InputError, match="do not span"):
        fit_projection(rows, labels, 13)
    with pytest.raises(InputError, match="two different"):
        fit_projection(rows, np.arange(len(rows)), 4)
