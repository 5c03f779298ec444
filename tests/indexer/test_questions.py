"""Grey pictures ask among what vectors become in grey: exactly, and beside the vectors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.embedding.in_grey import IN_GREY_FILE, InGrey
from indexer.embedding.models import ModelDescription, read_in_grey, shipped_model_dir
from indexer.vector_index import search as questions
from indexer.vector_index.grey_lengths import CatalogInGrey
from indexer.vector_index.search import Question, nearest, similarities, widened
from schemas.errors import NoIndexError

DIMENSION = 16


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def some_map(rng: np.random.Generator, strength: float = 0.4) -> InGrey:
    return InGrey(rng.normal(0, strength, (DIMENSION + 1, DIMENSION)).astype(np.float32))


def world(seed: int, count: int, strength: float = 0.4) -> tuple[Any, CatalogInGrey, np.ndarray]:
    """An index whose row ids are neither places nor in order."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((count, DIMENSION)))
    ids = rng.permutation(10 * count)[:count].astype(np.int64)
    index = faiss.IndexIDMap(faiss.IndexFlatIP(DIMENSION))
    index.add_with_ids(vectors, ids)
    map_, order = some_map(rng, strength), np.argsort(ids)
    return index, CatalogInGrey(map_, map_.lengths(vectors), (ids[order], order)), vectors


def asking(seed: int) -> Question:
    rows = unit(np.random.default_rng(seed).standard_normal((2, DIMENSION)))
    return Question(rows[0], rows[1])


@given(st.integers(0, 10_000))
def test_a_product_a_number_and_a_length_are_the_cosine_in_grey(seed: int) -> None:
    rng = np.random.default_rng(seed)
    map_, vectors = some_map(rng), unit(rng.standard_normal((7, DIMENSION)))
    wanted = vectors + np.column_stack([vectors, np.ones(7)]) @ map_.change
    assert map_.lengths(vectors) == pytest.approx(np.linalg.norm(wanted, axis=1), rel=1e-5)
    assert map_.apply(vectors) == pytest.approx(unit(wanted), abs=1e-5)
    asks = unit(rng.standard_normal(DIMENSION))
    vector, shift = map_.asked(asks)
    found = (vectors @ vector + shift) / map_.lengths(vectors)
    assert found == pytest.approx(unit(wanted) @ asks, abs=1e-5)


@pytest.fixture
def short_lists(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FAISS lists so little at first that it has to be asked again."""
    monkeypatch.setattr(questions, "LISTED", 1)
    monkeypatch.setattr(questions, "LEAST_LISTED", 1)
    yield


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 40), st.booleans())
def test_the_nearest_are_those_of_every_cosine(
    short_lists: None, seed: int, count: int, k: int, filtered: bool
) -> None:
    index, in_grey, vectors = world(seed, count)
    question = asking(seed)
    exact = similarities(in_grey, question, vectors)
    greyed = in_grey.map.apply(vectors) @ question.in_grey
    assert exact == pytest.approx(np.maximum(vectors @ question.vector, greyed), abs=1e-6)
    ids = faiss.vector_to_array(index.id_map)
    allowed, params = np.ones(count, bool), None
    if filtered:
        allowed = np.random.default_rng(seed).random(count) < 0.3
        chosen = np.ascontiguousarray(ids[allowed])
        selector = faiss.IDSelectorBatch(chosen)
        params = faiss.SearchParameters(sel=selector)
    similarity, found = nearest(index, in_grey, question, k, params)
    wanted = np.sort(exact[allowed])[::-1][:k]
    assert similarity == pytest.approx(wanted, abs=1e-5)
    by_id = dict(zip(ids.tolist(), exact.tolist(), strict=True))
    assert len(set(found.tolist())) == len(found)
    assert [by_id[one] for one in found.tolist()] == pytest.approx(similarity, abs=1e-5)
    assert set(found.tolist()) <= set(ids[allowed].tolist())


def test_colours_ask_as_ever_and_so_does_everybody_in_an_older_index() -> None:
    index, in_grey, vectors = world(1, 50)
    question = asking(1)
    coloured = Question(question.vector)
    plain = np.sort(vectors @ question.vector)[::-1][:9]
    for asked, known in ((coloured, in_grey), (question, None), (coloured, None)):
        similarity, _ = nearest(index, known, asked, 9)
        assert similarity == pytest.approx(plain, abs=1e-6)
        assert np.array_equal(similarities(known, asked, vectors), vectors @ question.vector)
        assert widened(known, asked, vectors[:3]).in_grey is asked.in_grey or known is None
    assert not np.allclose(nearest(index, in_grey, question, 9)[0], plain)


def test_a_widened_question_is_wider_on_both_sides() -> None:
    _, in_grey, vectors = world(3, 30)
    question, head = asking(3), vectors[:5]
    found = widened(in_grey, question, head)
    for asks, near, told in (
        (question.vector, head, found.vector),
        (question.in_grey, in_grey.map.apply(head), found.in_grey),
    ):
        mean = asks + np.maximum(near @ asks, 0) @ near
        assert told == pytest.approx(unit(mean), abs=1e-5)


def test_what_is_looked_for_itself_is_found_with_a_likeness_of_one() -> None:
    """Also where a map would move it far away."""
    index, in_grey, vectors = world(2, 80, strength=2.0)
    for place in range(0, 80, 9):
        question = Question(vectors[place], unit(vectors[place] + 0.2))
        similarity, found = nearest(index, in_grey, question, 3)
        assert similarity[0] == pytest.approx(1.0, abs=1e-5)
        assert found[0] == faiss.vector_to_array(index.id_map)[place]


def test_the_file_keeps_the_map_and_what_is_none_is_one_clear_line() -> None:
    from safetensors.numpy import load, save

    map_ = some_map(np.random.default_rng(5), 0.05)
    data = map_.to_bytes()
    again = InGrey.from_bytes(data, DIMENSION, Path("x"))
    assert np.abs(again.change - map_.change).max() <= np.abs(map_.change).max() / 127
    good = load(data)
    endless = {**good, "change.scale": np.full(DIMENSION, np.nan, np.float32)}
    cut = {**good, "change": good["change"][:-1].copy()}
    float_ = {**good, "change": good["change"].astype(np.float32)}
    for bad in (b"", data[:-7], b"nonsense" * 5, save({}), *map(save, (endless, cut, float_))):
        with pytest.raises(NoIndexError, match=r"map\.safetensors"):
            InGrey.from_bytes(bad, DIMENSION, Path("map.safetensors"))


def test_a_changed_or_missing_file_is_noticed(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shipped_model_dir(), tmp_path / "model"))
    about = ModelDescription.read(folder)
    assert read_in_grey(folder, about) is not None
    data = bytearray((folder / IN_GREY_FILE).read_bytes())
    data[-1] ^= 1
    (folder / IN_GREY_FILE).write_bytes(data)
    with pytest.raises(NoIndexError, match="damaged"):
        read_in_grey(folder, about)
    (folder / IN_GREY_FILE).unlink()
    with pytest.raises(NoIndexError, match=IN_GREY_FILE):
        read_in_grey(folder, about)
    text = json.loads((folder / "model.json").read_text())
    del text["files"][IN_GREY_FILE]
    (folder / "model.json").write_text(json.dumps(text))
    older = ModelDescription.read(folder)
    assert read_in_grey(folder, older) is None
    assert older.model_id == about.model_id
