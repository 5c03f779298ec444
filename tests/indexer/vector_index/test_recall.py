"""Kinds of an index: what is found is exact, what is missed is measured, and too much is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from indexer.vector_index import recall
from indexer.vector_index.build import build_generation
from indexer.vector_index.faiss_index import CANDIDATES, VectorIndex, write_index
from indexer.vector_index.generations import (
    Generation,
    generation_ids,
    list_generations,
    publish,
    verify_generation,
)
from indexer.vector_index.recall import choose_candidates, kind_of, lists_for
from indexer.vector_index.validation import check_recall
from schemas.errors import NoIndexError, PartlyDoneError, UsageError
from schemas.settings import IndexSettings, load_settings
from schemas.storage.layout import Layout
from tests.catalogs import SETTINGS, fill_catalog

COUNT, DIMENSION, GROUPS = 2000, 32, 40
KINDS = ("ivf", "ivfpq", "hnsw")


def vectors(count: int = COUNT, groups: int = GROUPS) -> np.ndarray:
    rng = np.random.default_rng(3)
    found = rng.standard_normal((groups, DIMENSION))[np.arange(count) % groups]
    found = found + 0.7 * rng.standard_normal((count, DIMENSION))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float16)


def row_ids(count: int = COUNT) -> np.ndarray:
    return np.sort(np.random.default_rng(4).choice(1 << 40, count, replace=False))


def made(
    folder: Path,
    kind: str,
    stored: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    previous: VectorIndex | None = None,
    **more: object,
) -> tuple[VectorIndex, recall.Chosen]:
    stored = vectors() if stored is None else stored
    folder.mkdir(parents=True)
    write_index(folder / "vectors.faiss", stored, row_ids(len(stored)) if ids is None else ids)
    settings = IndexSettings(kind=kind, **more)  # type: ignore[arg-type]
    chosen = choose_candidates(folder / "vectors.faiss", settings, previous)
    return VectorIndex.open(folder / "vectors.faiss", chosen.plan), chosen


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VectorIndex]:
    """The same vectors in an index of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: made(folder / kind, kind)[0] for kind in ("flat", *KINDS)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_finds_is_exact_and_enough_of_it(
    indexes: dict[str, VectorIndex], kind: str
) -> None:
    index, flat = indexes[kind], indexes["flat"]
    assert (index.plan.kind, index.count) == (kind, COUNT)
    asked = index.block(0, 50)
    similarity, ids = index.search(asked, 10)
    right = flat.search(asked, 10)[1]
    assert float((ids == right).mean()) >= 0.98 and index.plan.recall >= 0.99
    for query, found, near in zip(asked, ids, similarity, strict=True):
        assert near == pytest.approx(np.minimum(index.vectors(found) @ query, 1.0), abs=1e-5)
        assert (np.diff(near) <= 0).all()
    assert index.search(asked[:1], 10)[1].tolist() == ids[:1].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_filters_and_growing_lists_work_with_every_kind(
    indexes: dict[str, VectorIndex], kind: str
) -> None:
    index, flat = indexes[kind], indexes["flat"]
    asked, rng = index.block(7, 10), np.random.default_rng(5)
    some = rng.choice(index.row_ids, COUNT // 5, replace=False)
    for narrow in (some, some[:3]):  # exact among those that are left
        assert (
            index.search(asked, 20, narrow)[1].tolist()
            == flat.search(asked, 20, narrow)[1].tolist()
        )
    wide = np.setdiff1d(index.row_ids, some)
    for found in (index.search(asked, 30, wide)[1], index.search(asked, 30, without=some)[1]):
        right = flat.search(asked, 30, wide)[1]
        assert not np.isin(found, some).any() and float(np.isin(found, right).mean()) > 0.9
    own = index.row_ids[7::GROUPS]  # the lists that are nearest hold none but these
    assert (index.search(asked[:1], 30, without=own)[1] >= 0).all()
    for k in (10, 40, 160, 640, COUNT, COUNT + 5):
        found = index.search(asked, k)[1]
        assert found.shape == (3, min(k, COUNT)) and (found >= 0).all()
        assert len(np.unique(found[0])) == found.shape[1]
    assert index.search(asked, COUNT)[1].tolist() == flat.search(asked, COUNT)[1].tolist()


@pytest.mark.parametrize("kind", ("ivf", "ivfpq"))
def test_lists_are_taken_over_until_the_catalog_has_doubled(
    indexes: dict[str, VectorIndex], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[bool] = []
    real = recall.write_candidates

    def noted(*arguments: object) -> None:
        trained.append(arguments[-1] is None)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recall, "write_candidates", noted)
    more, before = vectors(COUNT + 20), indexes[kind]
    rng = np.random.default_rng(8)
    more[:COUNT] = before.halves
    more[5] = more[6]  # one was encoded again, one is gone, twenty are new
    ids = np.sort(np.concatenate([before.row_ids, rng.choice(1 << 40, 20, replace=False)]))
    old = np.isin(ids, before.row_ids)
    stored = np.empty_like(more)
    stored[old], stored[~old] = more[:COUNT], more[COUNT:]
    ids, stored = np.delete(ids, 9), np.delete(stored, 9, axis=0)
    index, chosen = made(tmp_path / "more", kind, stored, ids, before)
    assert trained == [False] and chosen.plan.trained_on == COUNT
    assert index.count == index._candidates.ntotal == COUNT + 19
    similarity = index.search(stored.astype(np.float32), 10)[0]
    whole, _ = made(tmp_path / "flat", "flat", stored, ids)
    right = whole.search(stored.astype(np.float32), 10)[0]
    assert float((np.abs(similarity - right) < 1e-4).mean()) > 0.98

    _, chosen = made(tmp_path / "double", kind, vectors(2 * COUNT), previous=before)
    assert trained == [False, True] and chosen.plan.trained_on == 2 * COUNT


def test_lists_of_earlier_builds_answer_and_are_laid_out_again(tmp_path: Path) -> None:
    now, _ = made(tmp_path / "now", "ivf")
    centres = faiss.IndexFlatIP(DIMENSION)
    bytes_code, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    lists: Any = faiss.IndexIVFScalarQuantizer(
        centres, DIMENSION, now.plan.lists, bytes_code, metric
    )
    lists.train(now.block(0, now.count))
    lists.add(now.block(0, now.count))
    (tmp_path / "now" / CANDIDATES).unlink()
    faiss.write_index(lists, str(tmp_path / "now" / CANDIDATES))
    before = VectorIndex.open(tmp_path / "now" / "vectors.faiss", now.plan)
    asked = now.block(0, 20)
    assert float((before.search(asked, 10)[1] == now.search(asked, 10)[1]).mean()) > 0.8
    index, chosen = made(tmp_path / "next", "ivf", previous=before)
    assert not before.has_lists and index.has_lists and chosen.plan.recall >= 0.99


def test_a_kind_that_finds_too_little_gives_way_or_is_refused(tmp_path: Path) -> None:
    alike = vectors(COUNT, groups=COUNT)  # no groups, so that lists tell nothing
    small = {"latency_ms": 0.0, "memory": 10_000}
    index, chosen = made(tmp_path / "auto", "auto", alike, min_recall=0.999, **small)
    assert index.plan.kind == "flat" and not (tmp_path / "auto" / CANDIDATES).exists()
    assert [note.split()[0] for note in chosen.notes] == ["ivfpq", "ivf"]
    assert chosen.notes[-1].endswith("flat is used instead")
    index, chosen = made(tmp_path / "asked", "ivf", alike, min_recall=0.999)
    check = check_recall(index.plan, 0.999)
    assert not check.passed and not chosen.notes and "ivf finds 0." in check.detail


@pytest.mark.parametrize(
    ("count", "more", "kind"),
    [
        (1000, {}, "flat"), (100_000, {}, "flat"), (500_000, {}, "ivf"), (1_000_000, {}, "ivfpq"),
        (1_000_000, {"memory": 1 << 30}, "ivf"), (10_000_000, {"memory": 1 << 29}, "ivfpq"),
        (100_000, {"latency_ms": 1.0}, "ivf"), (1_000_000, {"latency_ms": 1000.0}, "flat"),
        (1000, {"kind": "hnsw"}, "hnsw"), (0, {"kind": "ivf"}, "flat"),
    ],
)  # fmt: skip
def test_auto_goes_by_size_time_and_memory(count: int, more: dict[str, str], kind: str) -> None:
    assert kind_of(IndexSettings(**more), count, 256) == kind  # type: ignore[arg-type]


def test_amounts_and_numbers_of_lists() -> None:
    for text, bytes_count in (("0", 0), ("500M", 500 << 20), ("4g", 4 << 30), ("1.5 GiB", 3 << 29)):
        settings = load_settings({"index.memory": text}, environ={}, cwd=Path("/"))
        assert settings.index.memory == bytes_count
    for wrong in ("", "G", "-1G", "4X", True, 1.5):
        with pytest.raises(UsageError, match=r"index\.memory"):
            load_settings({"index.memory": wrong}, environ={}, cwd=Path("/"))
    assert [lists_for(n) for n in (1, 90, 2000, 1_000_000, 60_000_000)] == [1, 8, 64, 2048, 16_384]


def test_a_generation_with_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built, listed, damaged, proven, and refused."""
    from indexer.vector_index import generations

    monkeypatch.setattr(generations, "LARGE_BYTES", 5_000)
    layout = Layout(tmp_path / "root")
    fill_catalog(layout)
    ivf = dataclasses.replace(SETTINGS, index=IndexSettings(kind="ivf"))
    report = build_generation(layout, ivf)
    assert report.generation_id is not None and report.plan.kind == "ivf"
    publish(layout, report.generation_id)
    [info] = list_generations(layout)
    assert (info.kind, info.recall, info.state) == ("ivf", report.plan.recall, "ok")
    with Generation.open(layout) as generation:
        ids = generation.row_ids
        assert generation.index.plan == report.plan
        assert (generation.index.search(generation.vectors(ids), 1)[1][:, 0] == ids).all()

    # Decay that leaves length and time as they were is found wherever the whole is checked.
    file = layout.generation(report.generation_id) / CANDIDATES
    facts, data = file.stat(), file.read_bytes()
    with file.open("r+b") as opened:
        opened.seek(4000)
        opened.write(bytes([data[4000] ^ 1]))
    with pytest.raises(NoIndexError, match=CANDIDATES):  # written to: the time is another
        Generation.open(layout)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    Generation.open(layout).close()
    with pytest.raises(NoIndexError, match=CANDIDATES):
        verify_generation(layout)
    file.write_bytes(data)
    Generation.open(layout).close()

    monkeypatch.setattr(recall._Asked, "recall", lambda self, index: 0.5)
    picky = dataclasses.replace(SETTINGS, index=IndexSettings(kind="ivf", min_recall=0.9))
    with pytest.raises(PartlyDoneError, match=r"min_recall.*ivf finds 0\.5.*--kind auto"):
        build_generation(layout, picky)
    assert generation_ids(layout) == [report.generation_id]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", (1, 9, 17))
def test_a_few_pictures_get_the_kind_that_was_asked_for(
    tmp_path: Path, kind: str, count: int
) -> None:
    index, chosen = made(tmp_path / "few", kind, vectors(count))
    assert chosen.plan.kind == kind and chosen.plan.recall == 1.0
    found = index.search(index.block(0, count), 20)[1]
    assert found.shape == (count, count) and (np.sort(found) == index.row_ids).all()
