"""A new generation takes over between two queries; a broken one does not."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from indexer.embedding import encoder
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import (
    collect_garbage,
    current_generation_id,
    publish,
    read_manifest,
)
from schemas.settings import Settings
from tests.search.artists import draw
from tests.search.web.conftest import opened, wait_until

pytestmark = pytest.mark.slow
held = io.BytesIO()
draw(1, 77).save(held, "PNG")
PICTURE = held.getvalue()


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """A copy of the index that may be changed."""
    root = tmp_path / "data"
    shutil.copytree(settings.store.root, root)
    return replace(settings, store=replace(settings.store, root=root))


def rebuild(settings: Settings) -> str:
    report = build_generation(settings.layout, settings, force=True)
    assert report.generation_id is not None
    publish(settings.layout, report.generation_id)
    return report.generation_id


def generation_of(client: TestClient) -> str:
    answer = client.post("/v1/query", content=PICTURE)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["query"]["generation"])


def test_a_new_generation_is_picked_up_without_a_failed_request(own: Settings) -> None:
    with opened(own) as client:
        first = generation_of(client)
        statuses: list[int] = []
        stop = threading.Event()

        def asking() -> None:
            while not stop.is_set():
                statuses.append(client.post("/v1/query", content=PICTURE).status_code)

        thread = threading.Thread(target=asking)
        thread.start()
        try:
            second = rebuild(own)
            wait_until(lambda: generation_of(client) == second)
        finally:
            stop.set()
            thread.join()
        assert second != first and len(statuses) > 1 and set(statuses) == {200}
        third = rebuild(own)
        wait_until(lambda: generation_of(client) == third)
        # Nobody holds the first one any more: it can be cleared away.
        assert first in collect_garbage(own.layout, keep=1)


def test_one_picture_after_the_other_has_all_cores(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, busy, seen = encoder.start_onnxruntime, threading.Lock(), []

    def started(
        data: bytes, threads: int, spin: bool, outputs: Sequence[str], device: encoder.Device
    ) -> Callable[[np.ndarray], np.ndarray]:
        run = real(data, threads, spin, outputs, device=device)
        assert (threads, spin) == (len(os.sched_getaffinity(0)), False)

        def watched(batch: np.ndarray) -> np.ndarray:
            alone = busy.acquire(blocking=False)
            seen.append(alone)
            try:
                return run(batch)
            finally:
                if alone:
                    busy.release()

        return watched

    monkeypatch.setattr(encoder, "start_onnxruntime", started)
    with opened(own) as client, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.post, "/v1/query", content=PICTURE) for _ in range(8)]
        assert {one.result().status_code for one in asked} == {200}
    assert len(seen) >= 9 and all(seen)  # the first is asked when the index is opened


def test_a_broken_generation_is_refused_and_the_old_one_goes_on(own: Settings) -> None:
    with opened(own) as client:
        first = generation_of(client)
        second = rebuild(own)
        wait_until(lambda: generation_of(client) == second)
        third = build_generation(own.layout, own, force=True).generation_id
        assert third is not None
        vectors = own.layout.generation(third) / "vectors.faiss"
        data = bytearray(vectors.read_bytes())
        data[len(data) // 2] ^= 1
        vectors.write_bytes(bytes(data))
        digest = read_manifest(own.layout.generation(third))["digest"]
        own.layout.current.write_text(f"{third} {digest}\n")
        wait_until(lambda: client.get("/healthz").json()["refused"] is not None)
        state = client.get("/healthz")
        if state.json()["refused"] is None:
            pytest.skip("the new generation was opened before it was damaged")
        assert state.status_code == 200 and state.json()["status"] == "old index"
        assert generation_of(client) == second != first
        assert b"toonsearch_index_refused 1.0" in client.get("/metrics").content


def test_a_pointer_that_vanishes_or_lies_changes_nothing(own: Settings) -> None:
    with opened(own) as client:
        first = generation_of(client)
        for pointer in (
            "nonsense\n",
            f"{first} {'0' * 64}\n",
            "g20990101T000000000000-00000000 x\n",
        ):
            own.layout.current.write_text(pointer)
            wait_until(lambda: client.get("/healthz").json()["refused"] is not None)
            assert generation_of(client) == first
        own.layout.current.unlink()
        assert generation_of(client) == first
        assert current_generation_id(own.layout) is None
        publish(own.layout, first)
        wait_until(lambda: client.get("/healthz").json()["refused"] is None)


def test_an_index_that_comes_later_is_found(own: Settings) -> None:
    aside = own.layout.index.rename(own.layout.root / "aside")
    with opened(own) as client:
        assert client.get("/healthz").status_code == 503
        aside.rename(own.layout.index)
        wait_until(lambda: client.get("/healthz").status_code == 200)
        generation_of(client)
