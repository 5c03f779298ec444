"""The closed form against its definition."""

import numpy as np
import pytest

pytest.importorskip("torch")

from indexer.training import whitening
from indexer.training.model import CLIP, Projection
from indexer.training.whitening import RIDGE, Changed, deviations_from, fit_projection
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


def test_an_author_with_one_picture_says_nothing_of_what_varies_within() -> None:
    rows, labels = hands()
    labels[0] = 99
    ours = fit_projection(rows, labels, 12).apply(rows)
    assert np.allclose(cosines(ours), cosines(whitened_by_definition(rows, labels)))


@pytest.mark.parametrize("gram_rows", [0, 1000])
@pytest.mark.parametrize("each,width", [(40, 12), (6, 80)])
def test_what_copies_change_is_whitened_beside(
    each: int, width: int, gram_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whitening, "GRAM_ROWS", gram_rows)  # between statistics, or pictures
    rows, labels = hands(each=each, width=width)
    random = np.random.default_rng(5)
    scans = rows + random.standard_normal(rows.shape) * rows.std(0) * np.linspace(0, 2, width)
    weights = random.uniform(0.5, 2.0, width)

    def standardized(some: np.ndarray) -> np.ndarray:
        z = (some - rows.mean(0)) / (rows.std(0) + 1e-6)
        return np.asarray(np.clip(z, -CLIP, CLIP) * weights)

    parts = rows[::-1] * 0.7 + rows * 0.3
    z, change = standardized(rows), standardized(scans) - standardized(rows)
    other = standardized(parts) - standardized(rows)
    total = (weights**2).sum()
    within = within_covariance(z, labels) * total / width
    scanning, cutting = change.T @ change, other.T @ other
    noise = within + 0.25 * scanning * total / np.trace(scanning)
    noise += 2.0 * cutting * total / np.trace(cutting)
    values, vectors = np.linalg.eigh(noise + RIDGE * np.eye(width))
    wanted = z @ (vectors / np.sqrt(values)) @ vectors.T
    kept = min(width, len(rows) - 1)
    changed = [Changed(scans, 0.25), Changed(parts, 2.0)]
    ours = fit_projection(rows, labels, kept, RIDGE, weights, changed).apply(rows)
    assert np.allclose(cosines(ours), cosines(wanted))


def test_a_direction_that_only_scanning_changes_counts_less() -> None:
    rows, labels = hands()
    scans = rows.copy()
    scans[:, 2] += 5 * rows[:, 2].std() * np.random.default_rng(1).standard_normal(len(rows))
    sharper = rows.copy()
    sharper[:, 2] += rows[:, 2].std()

    def lost(projection: Projection) -> float:
        found = np.concatenate([projection.apply(rows), projection.apply(sharper)])
        return float(1 - np.diagonal(cosines(found)[: len(rows), len(rows) :]).mean())

    assert lost(fit_projection(rows, labels, 12, changed=[Changed(scans, 0.5)])) < 0.7 * lost(
        fit_projection(rows, labels, 12)
    )


def test_scans_that_change_nothing_change_nothing() -> None:
    rows, labels = hands()
    one = fit_projection(rows, labels, 12).apply(rows)
    same = fit_projection(rows, labels, 12, changed=[Changed(rows, 0.1)]).apply(rows)
    assert np.allclose(cosines(one), cosines(same))


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


def test_how_unlike_the_pictures_that_were_learnt_from() -> None:
    rng = np.random.default_rng(8)
    rows = rng.normal(3.0, [0.1, 2.0, 5.0, 0.5] * 25, (1100, 100)).astype(np.float32)
    learnt = np.arange(400)
    rows[600] = rows[:400].mean(0)  # what is usual
    rows[601] += 1000.0  # as far as anything counts
    found = deviations_from(rows, learnt)
    center, scale = rows[:400].mean(0), 1.0 / rows[:400].std(0)
    wanted = np.sqrt((np.clip((rows - center) * scale, -CLIP, CLIP) ** 2).mean(1))
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    assert found[:400].mean() == pytest.approx(1.0, abs=0.02)
    assert found[600] == pytest.approx(0.0, abs=1e-3) and found[601] == pytest.approx(CLIP)
