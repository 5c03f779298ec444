"""Heads where the truth is known, and their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from indexer.labels import heads
from indexer.labels.calibration import LabelDataset
from indexer.labels.heads import Head, LabelSet, fit_head, has_heads, read_heads, write_heads
from schemas.errors import NoIndexError
from tests.indexer.labels.datasets import loud_titles

AUTHORS, TITLES = 12, 4


def head_of(data: LabelDataset, rows: np.ndarray) -> Head:
    head = fit_head(data.vectors[rows], data.codes["author"][rows], data.title[rows], AUTHORS)
    assert head is not None
    return head


def test_a_head_looks_past_what_belongs_to_the_title() -> None:
    data = loud_titles()
    new = data.title % TITLES == 0
    head = head_of(data, np.flatnonzero(~new))
    right = head.scores(data.vectors[new]).argmax(1) == data.codes["author"][new]
    distance = ((data.vectors[new, None] - data.vectors[None, ~new]) ** 2).sum(2)
    nearest = data.codes["author"][~new][distance.argmin(1)] == data.codes["author"][new]
    assert right.mean() > 0.6 > nearest.mean() + 0.2


def test_an_unseen_author_is_likelier_where_none_is_near() -> None:
    data = loud_titles(loud=0.5)
    known = data.codes["author"] < AUTHORS - 3
    head = head_of(data, np.flatnonzero(known))
    ratio = head.scores(data.vectors).max(1) - head.unseen(data.vectors)
    assert np.median(ratio[known]) > np.median(ratio[~known])


def test_scores_are_gaussian_log_likelihoods() -> None:
    """Against the density written out, for a head with one direction."""
    head = Head(
        np.zeros(2, np.float32), np.array([[1.0], [0.0]], np.float32),
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
    assert head.unseen(x)[0] == pytest.approx(-0.5 * (0.49 / 3.0 + np.log(3.0)), abs=1e-5)


def test_labels_without_pictures_are_impossible_and_one_label_needs_no_head() -> None:
    data = loud_titles()
    some = np.flatnonzero(data.codes["author"] != 5)
    assert head_of(data, some).scores(data.vectors[:3])[0, 5] == -np.inf
    one = np.flatnonzero(data.codes["author"] == 5)
    assert fit_head(data.vectors[one], data.codes["author"][one], data.title[one], AUTHORS) is None
    copies = np.ones((6, 4), np.float32)
    codes, titles = np.array([0, 0, 0, 1, 1, 1]), np.arange(6)
    assert fit_head(copies, codes, titles, 2) is None


@pytest.mark.parametrize(("books", "pages"), [(1, 3), (1, 1), (3, 1)])
def test_thin_catalogs_still_get_finite_heads(books: int, pages: int) -> None:
    rng = np.random.default_rng(3)
    author = np.repeat(np.arange(5), books * pages)
    title = np.repeat(np.arange(5 * books), pages)
    vectors = rng.standard_normal((len(author), 8)).astype(np.float32)
    head = fit_head(vectors, author, title, 5)
    assert head is not None and np.isfinite(head.scores(vectors)).all()
    assert np.isfinite(head.unseen(vectors)).all()


LABELS = {
    kind: LabelSet(tuple(f"{kind} {n}" for n in range(count)), tuple(range(count)))
    for kind, count in (("author", AUTHORS), ("genre", 3), ("era", 1))
}


def test_files_give_back_the_same_heads(tmp_path: Path) -> None:
    data = loud_titles()
    heads = data.fitted_heads()
    assert set(heads) == {"author", "genre"}
    (tmp_path / "labels").mkdir()
    assert not has_heads(tmp_path)
    write_heads(tmp_path, LABELS, heads)
    assert has_heads(tmp_path)
    labels, found = read_heads(tmp_path)
    assert labels == LABELS and set(found) == set(heads)
    for kind, head in heads.items():
        assert np.array_equal(found[kind].scores(data.vectors), head.scores(data.vectors))
        assert np.array_equal(found[kind].unseen(data.vectors), head.unseen(data.vectors))


def test_damaged_files_are_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    write_heads(tmp_path, LABELS, loud_titles().fitted_heads())
    tensors, about = folder / "heads.safetensors", folder / "heads.json"
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
    author = body["labels"]["author"]
    for change in (
        {"format_version": 9}, {"labels": {"author": ["only one"]}}, {"heads": ["era"]},
        {"labels": body["labels"] | {"mood": author}}, {"file": None}, {"labels": []},
        {"labels": body["labels"] | {"author": author | {"counts": [1]}}},
        {"labels": body["labels"] | {"author": {"names": ["a"], "counts": [1]}}},
        {"file": body["file"] | {"bytes": -1}},
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


def test_the_scatter_of_some_titles_stands_for_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    data = loud_titles()
    every = np.arange(len(data.title))
    whole = head_of(data, every).scores(data.vectors).argmax(1)
    monkeypatch.setattr(heads, "SCATTER_ROWS", len(every) // 2)
    some = head_of(data, every).scores(data.vectors).argmax(1)
    assert (some == whole).mean() > 0.9
