"""Generations in Milvus, against milvus-lite: exported, asked, killed, rolled back, gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    "milvus_lite", reason="needs milvus-lite: make milvus-env", exc_type=ImportError
)

from indexer.nightly import Night, StageReport, index_stages
from indexer.vector_index import milvus
from indexer.vector_index.faiss_index import VectorIndex
from indexer.vector_index.generations import (
    MANIFEST,
    current_generation_id,
    publish,
    read_manifest,
    remove_generations,
    rollback,
    unpublish,
)
from indexer.vector_index.milvus import ALIAS, MilvusIndex, collection_of, export_index, follow
from schemas.errors import NetworkError, PartlyDoneError, UsageError
from schemas.records import Answer
from schemas.settings import IndexSettings, Settings, load_settings
from schemas.storage.fsio import signed_bytes
from schemas.storage.layout import Layout
from search.cli.app import main
from search.engine import Engine, QueryOptions, StyleQuery
from search.filters import Filters
from tests.small_model import ENVIRON

OLDER = "g20200101T000000000000-0123abcd"
CALLS = (
    "create_collection", "insert", "flush", "load_collection", "rename_collection",
    "create_alias", "alter_alias", "release_collection", "drop_collection",
)  # fmt: skip


@pytest.fixture
def layout(small_root: Path, tmp_path: Path) -> Layout:
    """Two generations of the same pictures, the newer of which is published."""
    shutil.copytree(small_root / "data" / "index", tmp_path / "root" / "index")
    layout = Layout(tmp_path / "root")
    newer = current_generation_id(layout)
    assert newer is not None
    shutil.copytree(layout.generation(newer), layout.generation(OLDER))
    body = {**read_manifest(layout.generation(newer)), "id": OLDER}
    del body["digest"]
    (layout.generation(OLDER) / MANIFEST).write_bytes(signed_bytes(body))
    return layout


@pytest.fixture
def uri(tmp_path: Path) -> Iterator[str]:
    from milvus_lite.server_manager import server_manager_instance

    yield str(tmp_path / "vectors.db")
    server_manager_instance.release_all()


def settings_of(layout: Layout, uri: str) -> Settings:
    flags = {"store.root": str(layout.root), "index.kind": f"milvus:{uri}"}
    return load_settings(flags, environ=ENVIRON, cwd=layout.root)


def state(uri: str) -> tuple[str | None, set[str]]:
    """The collection that the alias names, and all collections."""
    client = milvus.connect(uri)
    known = ALIAS in client.list_aliases()["aliases"]
    named = client.describe_alias(ALIAS)["collection_name"] if known else None
    return named, set(client.list_collections())


def test_answers_are_those_of_the_local_index(
    layout: Layout, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(layout, uri)
    report = export_index(layout, settings.index, uri)
    assert report.copied and report.vectors_count == 16 and report.recall == 1.0
    plain = load_settings({"store.root": str(layout.root)}, environ=ENVIRON, cwd=layout.root)
    with Engine.open(layout, plain) as local, Engine.open(layout, settings) as engine:
        index, exact = engine.generation.index, local.generation.index
        assert isinstance(index, MilvusIndex)
        asked = exact.vectors(exact.row_ids[::4])
        few, many = exact.row_ids[:6], exact.row_ids[3:]
        monkeypatch.setattr(milvus, "MOST_NAMED", 5)  # so that wider filters ask for more instead
        for chosen, without in ((None, None), (few, None), (many, None), (None, few)):
            near, ids = exact.search(asked, 5, chosen, without=without, exact=True)
            found = index.named(asked, 5, chosen, without=without)
            assert found is not None  # by Milvus itself
            np.testing.assert_allclose(found[0], near, atol=1e-6)
            assert (found[1] == ids).all()
        query = StyleQuery(asked[0])
        title = local.answer(query, QueryOptions()).titles[0].title_id
        for by in ("title", "picture"):
            for filters in (Filters(), Filters(exclude_titles=(title,))):
                options = QueryOptions(by=by, k=3, neighbours=5, filters=filters)
                mine, theirs = engine.answer(query, options), local.answer(query, options)
                assert same_answer(mine, theirs) and mine.notes == theirs.notes
        assert not index.trouble


def same_answer(one: Answer, other: Answer) -> bool:
    """Whether two answers name the same in the same order, with the same similarities."""

    def said(answer: Answer) -> list[tuple[str, float]]:
        hits = [*answer.pictures, *(hit for title in answer.titles for hit in title.hits)]
        return [
            *((title.title_id, title.similarity) for title in answer.titles),
            *((hit.picture_id, hit.similarity) for hit in hits),
            *((label.label, label.probability) for label in answer.labels.authors),
        ]

    names, numbers = zip(*said(one), strict=True)
    return said(other) == [
        (n, pytest.approx(x, abs=1e-5)) for n, x in zip(names, numbers, strict=True)
    ]


def test_alias_follows_publish_and_rollback(layout: Layout, uri: str) -> None:
    settings, newer = settings_of(layout, uri), current_generation_id(layout)
    follow(layout, settings)
    assert newer is not None and state(uri)[0] == collection_of(newer)
    older = rollback(layout)
    both = {collection_of(older), collection_of(newer)}
    follow(layout, settings)
    assert state(uri) == (collection_of(older), both)
    publish(layout, newer)
    report = follow(layout, settings)
    assert report is not None and not report.copied  # it was still there
    assert state(uri) == (collection_of(newer), both)
    remove_generations(layout, [older])  # forgotten, or too old
    report = follow(layout, settings)
    assert report is not None and report.removed == [collection_of(older)]
    assert state(uri) == (collection_of(newer), {collection_of(newer)})
    unpublish(layout)
    shutil.rmtree(layout.generation(newer))
    follow(layout, settings)
    assert state(uri) == (None, set())


class Killed(BaseException):
    """The end of the process."""


class Dying:
    """A client that ends before its n-th write."""

    def __init__(self, client: Any, writes: int) -> None:
        self._client, self._left = client, writes

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in CALLS:
            return call

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Killed
            return call(*args, **kwargs)

        return counted


def test_export_killed_at_any_write(
    layout: Layout, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = current_generation_id(layout)
    assert newer is not None
    older = rollback(layout)
    index, connect = IndexSettings(), milvus.connect
    export_index(layout, index, uri)
    publish(layout, newer)
    killed, writes, moved, whole = 0, 0, False, False
    while True:
        monkeypatch.setattr(milvus, "connect", lambda uri, n=writes: Dying(connect(uri), n))
        try:
            export_index(layout, index, uri)
            break
        except Killed:
            monkeypatch.setattr(milvus, "connect", connect)
        killed, writes = killed + 1, writes + 1
        named, there = state(uri)
        assert named in (collection_of(newer), collection_of(older)) and named in there
        moved = moved or named == collection_of(newer)
        assert named == collection_of(newer) or not moved
        if collection_of(newer) in there and not whole:  # under its name it is complete
            whole, writes = True, 0
            counted = {"filter": "", "output_fields": ["count(*)"]}
            assert connect(uri).query(collection_of(newer), **counted)[0] == {"count(*)": 16}
    assert whole and moved and killed >= 8
    monkeypatch.setattr(milvus, "connect", connect)
    assert state(uri) == (collection_of(newer), {collection_of(newer), collection_of(older)})


def test_local_index_answers_when_milvus_is_gone(layout: Layout, uri: str) -> None:
    from milvus_lite.server_manager import server_manager_instance

    settings = settings_of(layout, uri)
    with Engine.open(layout, settings) as engine:
        index = engine.generation.index
        query = StyleQuery(index.vectors(index.row_ids[:1])[0])
        before = engine.answer(query, QueryOptions(k=3))  # not exported yet
        assert any("does not exist" in note and "local index" in note for note in before.notes)
        assert isinstance(index, MilvusIndex)
        index._ask_again_s = 0.0
        export_index(layout, settings.index, uri)
        with_it = engine.answer(query, QueryOptions(k=3))
        assert not any("local index" in note for note in with_it.notes)
        server_manager_instance.release_server(uri)
        after = engine.answer(query, QueryOptions(k=3))
        assert [note for note in after.notes if "local index answered" in note]
        assert same_answer(before, with_it) and same_answer(before, after)


def test_milvus_gone_while_it_is_asked(layout: Layout, uri: str) -> None:
    """The request is under way when the server ends; what it answered before stays right."""
    from milvus_lite.server_manager import server_manager_instance

    settings = settings_of(layout, uri)
    export_index(layout, settings.index, uri)
    with Engine.open(layout, settings) as engine:
        index = engine.generation.index
        assert isinstance(index, MilvusIndex)
        vectors = index.vectors(index.row_ids[:6])
        expected = VectorIndex.search(index, vectors, 5)
        first = index.search(vectors[:3], 5)
        assert not index.trouble
        real = index._client.search

        def dying(*arguments: Any, **options: Any) -> Any:
            server_manager_instance.release_server(uri)
            return real(*arguments, **options)

        index._client.search = dying
        second = index.search(vectors[3:], 5)
        assert "the local index answered" in index.trouble
        similarity, ids = (np.concatenate(part) for part in zip(first, second, strict=True))
        assert np.array_equal(ids, expected[1])
        assert similarity == pytest.approx(expected[0], abs=1e-6)


def test_too_low_a_recall_leaves_the_alias(
    layout: Layout, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = current_generation_id(layout)
    assert newer is not None
    older = rollback(layout)
    export_index(layout, IndexSettings(), uri)
    publish(layout, newer)
    monkeypatch.setattr(milvus, "measured_recall", lambda *_: 0.5)
    with pytest.raises(PartlyDoneError, match="finds 0"):
        export_index(layout, IndexSettings(), uri)
    assert state(uri) == (collection_of(older), {collection_of(older)})


def test_command(
    layout: Layout, uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ["--data", str(layout.root)]
    assert main([*data, "index", "export"]) == 2
    assert "--to milvus:" in capsys.readouterr().err
    assert main([*data, "index", "export", "--to", f"milvus:{uri}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vectors_count"] == 16
    assert main([*data, "index", "export", "--to", "milvus:http://127.0.0.1:9"]) == 6
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setenv("TOONSEARCH_INDEX__KIND", "milvus:http://127.0.0.1:9")
    assert main([*data, "index", "rollback"]) == 6
    assert "is published, but Milvus at 127.0.0.1:9" in capsys.readouterr().err
    assert current_generation_id(layout) == OLDER


@pytest.mark.parametrize(
    ("uri", "error", "match"),
    [
        ("localhost", UsageError, "no address"),
        ("http://me:secret@127.0.0.1:9", NetworkError, "Milvus at 127.0.0.1:9 failed"),
    ],
)
def test_addresses(layout: Layout, uri: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as raised:
        export_index(layout, IndexSettings(), uri)
    assert "secret" not in str(raised.value)


def test_the_night_brings_milvus_up_to_date(layout: Layout, uri: str) -> None:
    settings = settings_of(layout, uri)
    stages = index_stages(layout, settings, lambda *_: 0)
    assert "milvus" not in {one.name for one in index_stages(layout, Settings(), lambda *_: 0)}
    last, report = stages[-1], StageReport("milvus")
    last.run(Night(None), report)
    assert report.counts == {"vectors": 16, "collections removed": 0}
    assert state(uri)[0] == collection_of(str(current_generation_id(layout)))
    again = StageReport("milvus")
    last.run(Night(None), again)
    assert (again.outcome, again.counts) == ("nothing new", {})
