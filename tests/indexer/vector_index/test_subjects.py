"""Subject vectors: mixed with style, and in a generation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.embed import embed_pending
from indexer.vector_index.faiss_index import index_of
from indexer.vector_index.generations import Generation, publish
from indexer.vector_index.ranking import unit
from indexer.vector_index.subjects import BACKGROUND, DEPTH, SUBJECTS, Mixture, SubjectIndex
from schemas.errors import NoIndexError
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from tests.small_model import ENVIRON


def vectors(count: int, size: int, seed: int) -> np.ndarray:
    return np.asarray(unit(np.random.default_rng(seed).standard_normal((count, size))), np.float32)


BACK = np.random.default_rng(0).normal([0.1, 0.5], [0.2, 0.05], (500, 2)).astype(np.float32)


def test_weight_0_is_style_and_1_the_subject_on_its_scale() -> None:
    style, subject = BACK.T
    assert np.allclose(Mixture(0.0, BACK).similarity(style, subject), style, atol=1e-6)
    alone = Mixture(1.0, BACK).similarity(style, subject)
    assert np.array_equal(np.argsort(alone), np.argsort(subject))
    assert alone.mean() == pytest.approx(style.mean(), abs=1e-3)
    assert alone.std() == pytest.approx(style.std(), abs=1e-3)


def test_an_unknown_subject_is_an_average_one() -> None:
    mixture = Mixture(0.5, BACK)
    unknown, average = mixture.similarity(np.full(2, 0.3), np.asarray([np.nan, BACK[:, 1].mean()]))
    assert unknown == pytest.approx(average, abs=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_percentile_is_the_share_of_pairs_that_are_less_similar(weight: float) -> None:
    mixture = Mixture(weight, BACK)
    mixed = mixture.similarity(*BACK.T)
    for at in (-0.2, 0.1, 0.4):
        assert mixture.percentile(np.asarray(at)) == pytest.approx(
            100 * (mixed < at).mean(), abs=0.3
        )
    assert Mixture(weight, BACK[:0]).percentile(np.asarray([0.9])).tolist() == [0.0]


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_the_nearest_are_those_of_a_plain_product(weight: float) -> None:
    count = DEPTH // 2  # no picture can be below both lists
    ids = np.random.default_rng(3).permutation(10 * count)[:count].astype(np.int64)
    style, subject = vectors(count, 8, 1), vectors(count, 4, 2)
    known = np.arange(count) % 5 > 0  # a fifth has no subject vector
    held = SubjectIndex(index_of(subject[known], ids[known]), BACK)
    mixture, asked = Mixture(weight, BACK), (style[7], subject[7])
    cosines = np.where(known, subject @ asked[1], np.nan)
    exact = mixture.similarity(style @ asked[0], cosines)
    chosen = ids[::3]
    for row_ids, allowed in ((None, np.ones(count, bool)), (np.sort(chosen), np.isin(ids, chosen))):
        similarity, found = held.nearest(index_of(style, ids), mixture, asked, 20, row_ids)
        assert np.allclose(similarity, np.sort(exact[allowed])[::-1][:20], atol=2e-2)
        place = {row_id: n for n, row_id in enumerate(ids.tolist())}
        assert np.allclose(similarity, exact[[place[one] for one in found.tolist()]], atol=2e-2)
        assert set(found.tolist()) <= set(ids[allowed].tolist())


@pytest.fixture
def settings(small_root: Path, tmp_path: Path) -> Settings:
    shutil.copytree(small_root / "data", tmp_path / "data")
    return load_settings({"store.root": str(tmp_path / "data")}, environ=ENVIRON, cwd=tmp_path)


def test_only_what_asks_for_subjects_meets_their_damage(settings: Settings) -> None:
    with Generation.open(settings.layout) as generation:
        assert generation.subjects is not None
        assert generation.subjects.index.count == generation.pictures_count
        path = generation.directory / SUBJECTS
        assert (generation.directory / BACKGROUND).is_file()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with Generation.open(settings.layout) as generation:
        assert generation.index.count and generation.has_subjects
        with pytest.raises(NoIndexError, match=SUBJECTS):
            _ = generation.subjects
        with pytest.raises(NoIndexError, match=SUBJECTS):
            publish(settings.layout, generation.id)


def test_what_lacks_a_subject_vector_gets_it_beside_the_vector_that_it_has(
    settings: Settings,
) -> None:
    catalog = Catalog(settings.layout)
    before = {row["picture_id"]: row["vector"] for row in catalog.read("subjects").to_pylist()}
    some = sorted(before)[:3]
    catalog.delete("subjects", "picture_id", some)
    stored = catalog.version("vectors")
    report = embed_pending(settings.layout, settings)
    assert (report.counts["embedded"], report.counts["completed"]) == (0, len(some))
    assert catalog.version("vectors") == stored
    after = {row["picture_id"]: row["vector"] for row in catalog.read("subjects").to_pylist()}
    assert after.keys() == before.keys()
    for one in some:
        assert np.dot(after[one], before[one]) == pytest.approx(1.0, abs=2e-3)
    assert embed_pending(settings.layout, settings).counts["already"] == len(before)
