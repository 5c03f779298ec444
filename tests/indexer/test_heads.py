"""Heads where the truth is known, their weighing, and their files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from indexer.labels.head_files import HeadCalibration, Heads, read_heads, write_heads
from indexer.labels.heads import Head, fit_head
from indexer.labels.holdout import FOLDS, Labelled, fitted_heads, folds_within, held_out_scores
from indexer.labels.knn import fuse
from indexer.labels.metrics import fit_mixture, fit_power, logistic, macro_f1
from schemas.errors import NoIndexError

HANDS, BOOKS, PAGES, WIDTH = 12, 4, 10, 24


def drawn(seed: int = 0, loud: float = 1.5) -> Labelled:
    """Hands that differ in quiet directions, while the loud ones belong to the books."""
    rng = np.random.default_rng(seed)
    centre = np.zeros((HANDS, 1, 1, WIDTH))
    centre[..., : WIDTH // 2] = rng.standard_normal((HANDS, 1, 1, WIDTH // 2))
    book = np.zeros((HANDS, BOOKS, 1, WIDTH))
    book[..., WIDTH // 2 :] = loud * rng.standard_normal((HANDS, BOOKS, 1, WIDTH // 2))
    page = rng.standard_normal((HANDS, BOOKS, PAGES, WIDTH)) * 0.6
    vectors = (centre + book + page).reshape(-1, WIDTH).astype(np.float32)
    count = len(vectors)
    author = np.repeat(np.arange(HANDS), BOOKS * PAGES)
    title = np.repeat(np.arange(HANDS * BOOKS), PAGES)
    empty = np.full(count, -1)
    return Labelled(vectors, np.arange(count), title, author, author % 3, empty)


def head_of(data: Labelled, rows: np.ndarray) -> Head:
    names = tuple(f"hand {n}" for n in range(HANDS))
    head = fit_head(data.vectors[rows], data.author[rows], data.title[rows], names)
    assert head is not None
    return head


def test_a_head_looks_past_what_belongs_to_the_book() -> None:
    data = drawn()
    new = data.title % BOOKS == 0
    head = head_of(data, np.flatnonzero(~new))
    right = head.scores(data.vectors[new]).argmax(1) == data.author[new]
    distance = ((data.vectors[new, None] - data.vectors[None, ~new]) ** 2).sum(2)
    nearest = data.author[~new][distance.argmin(1)] == data.author[new]
    assert right.mean() > 0.6 > nearest.mean() + 0.2


def test_a_stranger_is_likelier_where_no_hand_is_near() -> None:
    data = drawn(loud=0.5)
    known = data.author < HANDS - 3
    head = head_of(data, np.flatnonzero(known))
    ratio = head.scores(data.vectors).max(1) - head.stranger(data.vectors)
    assert np.median(ratio[known]) > np.median(ratio[~known])


def test_scores_are_gaussian_log_likelihoods() -> None:
    """Against the density written out, for a head with one direction."""
    head = Head(
        ("a", "b"), np.zeros(2, np.float32), np.array([[1.0], [0.0]], np.float32),
        np.array([[0.5 / 1.5], [0.5 / 3.0]], np.float32),
        np.array([[2.0 / 1.5], [-1.0 / 3.0]], np.float32),
        np.array([-0.5 * np.log(1.5) - 2.0 / 1.5, -0.5 * np.log(3.0) - 0.5 / 3.0], np.float32),
        np.array([2.0], np.float32),
    )  # fmt: skip
    x = np.array([[0.7, 9.0]], np.float32)
    wanted = [
        -0.5 * (0.7 - mean) ** 2 / var - 0.5 * np.log(var) for mean, var in ((2, 1.5), (-1, 3))
    ]
    assert np.allclose(head.scores(x)[0], wanted, atol=1e-5)
    assert head.stranger(x)[0] == pytest.approx(-0.5 * (0.49 / 3.0 + np.log(3.0)), abs=1e-5)


def test_labels_without_pictures_are_impossible_and_one_label_needs_no_head() -> None:
    data = drawn()
    some = np.flatnonzero(data.author != 5)
    assert head_of(data, some).scores(data.vectors[:3])[0, 5] == -np.inf
    one = np.flatnonzero(data.author == 5)
    assert fit_head(data.vectors[one], data.author[one], data.title[one], ("x",) * HANDS) is None
    copies = np.ones((6, 4), np.float32)
    codes, titles = np.array([0, 0, 0, 1, 1, 1]), np.arange(6)
    assert fit_head(copies, codes, titles, ("a", "b")) is None


@pytest.mark.parametrize(("books", "pages"), [(1, 3), (1, 1), (3, 1)])
def test_thin_catalogs_still_get_finite_heads(books: int, pages: int) -> None:
    rng = np.random.default_rng(3)
    author = np.repeat(np.arange(5), books * pages)
    title = np.repeat(np.arange(5 * books), pages)
    vectors = rng.standard_normal((len(author), 8)).astype(np.float32)
    head = fit_head(vectors, author, title, tuple("abcde"))
    assert head is not None and np.isfinite(head.scores(vectors)).all()
    assert np.isfinite(head.stranger(vectors)).all()


def test_folds_share_no_series_and_spread_an_authors_series() -> None:
    rng = np.random.default_rng(0)
    title = rng.integers(0, 60, 500)
    author = title % 13
    shared = title == 7
    author[shared] = np.where(np.arange(shared.sum()) % 2 == 0, 3, 4)  # two authors, one work
    folds = folds_within(author, title)
    for one in np.unique(title):
        assert len(np.unique(folds[title == one])) == 1
    for hand in range(6, 13):
        own = np.unique(title[author == hand])
        assert len({int(folds[title == one][0]) for one in own}) == min(FOLDS, len(own))


def test_held_out_scores_do_not_know_the_answer() -> None:
    data = drawn()
    noise = np.random.default_rng(1).standard_normal(data.vectors.shape).astype(np.float32)
    blind = Labelled(noise, data.picture, data.title, data.author, data.genre, data.era)
    queries, rng = np.arange(0, len(noise), 2), np.random.default_rng(0)
    held = held_out_scores(blind, "author", queries, folds_within(data.author, data.title), rng)
    assert held is not None
    chance = (held.scores.argmax(1) == data.author[queries]).mean()
    assert chance < 3 / HANDS
    without = held.without(data.author[queries])
    assert (without.scores.argmax(1) != data.author[queries]).all()
    assert held_out_scores(data, "era", queries, data.title % 5, rng) is None


def test_fused_probabilities_sum_to_one_and_no_weight_is_the_vote() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(7), 20)
    scores = rng.standard_normal((20, 7)) * 30
    both = fuse(shares, scores, tail=0.1, head_weight=0.2, vote_weight=0.7)
    assert np.allclose(both.sum(1), 1) and (both >= 0).all()
    vote = fuse(shares, scores, tail=0.1, head_weight=0.0, vote_weight=0.7)
    assert np.allclose(vote, shares * 0.9 + 0.1 / 7)
    kept = fuse(shares, scores, tail=0.1, head_weight=0.2, vote_weight=0.7, vote_kept=0.3)
    assert np.allclose(kept, 0.3 * vote + 0.7 * both)


def softmax(log: np.ndarray) -> np.ndarray:
    likely = np.exp(log - log.max(1, keepdims=True))
    return likely / likely.sum(1, keepdims=True)


def told_by_both(count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a head that is surely wrong of one query in five, votes, and the truth."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 5, count)
    head = rng.standard_normal((count, 5)) * 10
    vote = np.log(rng.dirichlet(np.ones(5), count))
    rows = np.arange(count)
    seen = np.where(rows % 5 == 0, rng.integers(0, 5, count), truth)
    head[rows, seen] += 60
    vote[rows, truth] += 0.7
    return head, np.log(softmax(vote)), truth


def test_a_power_has_the_least_loss_of_a_grid() -> None:
    head, _, truth = told_by_both()

    def loss(power: float) -> float:
        return float(-np.log(softmax(power * head)[np.arange(len(truth)), truth]).mean())

    grid = min(loss(power) for power in np.linspace(0, 0.5, 201))
    assert loss(fit_power(head, truth)) <= grid + 1e-3
    assert fit_power(-head, truth) == 0.0  # a head that misleads gets no say


def test_a_mixture_has_the_least_loss_of_a_grid() -> None:
    head, vote, truth = told_by_both()
    rows = np.arange(len(truth))

    def loss(a: float, b: float, kept: float) -> float:
        told = kept * np.exp(vote) + (1 - kept) * softmax(a * head + b * vote)
        return float(-np.log(told[rows, truth]).mean())

    found = fit_mixture(head, vote, truth)
    grid = min(
        loss(a, b, kept)
        for a in np.geomspace(0.01, 1, 15) for b in np.linspace(0, 2, 11)
        for kept in np.linspace(0, 1, 11)
    )  # fmt: skip
    assert loss(*found) <= grid + 2e-3
    # Whoever is surely wrong of every fifth query does not get the whole answer.
    assert 0.05 < found[2] < 0.5
    assert loss(*found) < min(loss(a, 1.0, 0.0) for a in np.geomspace(0.001, 1, 30)) - 0.02
    # A head that misleads changes next to nothing, and a few queries no more than a little.
    assert loss(*fit_mixture(-head, vote, truth)) < loss(0.0, 1.0, 0.0) + 0.02
    # One that says nothing gets no power that rounding errors could use.
    silent = fit_mixture(1e-7 * head, vote, truth)
    assert silent[0] < 20 and loss(*silent) < loss(0.0, 1.0, 0.0) + 0.02
    few = fit_mixture(head[:3], vote[:3], truth[:3])
    assert np.isfinite(few).all() and 0 < few[2] < 1


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


def test_files_give_back_the_same_heads(tmp_path: Path) -> None:
    data = drawn()
    calibration = HeadCalibration({"author": 0.2}, (1.0, 2.0, 3.0, 4.0), {}, {"author": 1.3})
    heads = Heads(fitted_heads(data), calibration)
    assert set(heads.heads) == {"author", "genre"}
    write_heads(tmp_path, heads)
    found = read_heads(tmp_path)
    assert found.calibration == heads.calibration
    for kind, head in heads.heads.items():
        assert found.heads[kind].labels == head.labels
        assert np.array_equal(found.heads[kind].scores(data.vectors), head.scores(data.vectors))
    about = json.loads((tmp_path / "heads.json").read_text())
    del about["calibration"]["sharpness"]  # a model of an older program
    (tmp_path / "heads.json").write_text(json.dumps(about))
    assert read_heads(tmp_path).calibration == dataclasses.replace(calibration, sharpness={})


def test_damaged_files_are_one_clear_error(tmp_path: Path) -> None:
    write_heads(tmp_path, Heads(fitted_heads(drawn())))
    tensors, about = tmp_path / "heads.safetensors", tmp_path / "heads.json"
    whole, text = tensors.read_bytes(), about.read_text()
    for place in range(0, len(whole), len(whole) // 40):
        tensors.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(NoIndexError, match="damaged"):
            read_heads(tmp_path)
    tensors.write_bytes(whole[:-1])
    with pytest.raises(NoIndexError):
        read_heads(tmp_path)
    tensors.write_bytes(whole)
    body = json.loads(text)
    sound = {"power": {"author": 0.2}, "unknown": [0.0] * 4, "measured": {}, "sharpness": {}}
    powers = [
        sound | {name: {"author": wrong}}
        for name in ("power", "sharpness") for wrong in (float("nan"), -1.0, float("inf"), None)
    ]  # fmt: skip
    about.write_text(json.dumps(body | {"calibration": sound}))
    assert read_heads(tmp_path).calibration is not None
    for change in (
        {"format_version": 9}, {"labels": {"author": ["only one"]}}, {"labels": {"mood": []}},
        {"file": None}, {"labels": []}, {"calibration": {"power": {}}},
        {"file": body["file"] | {"bytes": -1}}, *({"calibration": one} for one in powers),
    ):  # fmt: skip
        about.write_text(json.dumps(body | change))
        with pytest.raises(NoIndexError):
            read_heads(tmp_path)
    about.write_text("[]")
    with pytest.raises(NoIndexError):
        read_heads(tmp_path)
    tensors.unlink()
    about.write_text(text)
    with pytest.raises(NoIndexError):
        read_heads(tmp_path)
