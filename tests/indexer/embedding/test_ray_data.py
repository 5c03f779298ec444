"""Embedding by Ray: what its workers do, and a cluster of two on this machine that loses some."""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from crawler.importers.folder import import_folder
from indexer.embedding import ray_data
from indexer.embedding.embed import EmbedReport, embed_pending, encode_rows, open_encoder
from indexer.embedding.ray_data import Worker, encoded_by_ray, failure_table, outcomes_of
from indexer.monitoring import coverage
from schemas.errors import InputError, NetworkError, NoIndexError, ToonsearchError, UsageError
from schemas.images import PictureError
from schemas.progress import Progress
from schemas.settings import Settings, load_settings
from schemas.storage.catalog import Catalog
from tests.drawings import drawing
from tests.small_model import ENVIRON

PICTURES = 24
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs ray: make ray-env"
)

own_warnings = pytest.mark.filterwarnings("ignore")
"""Ray warns of itself."""


def settings_of(root: Path) -> Settings:
    """Two workers, blocks of two pictures."""
    return load_settings(
        {"store.root": str(root), "encoder.batch": 2, "encoder.threads": 2}, environ=ENVIRON
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(PICTURES):
        path = folder / f"author {n % 3}" / f"title {n % 4}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing(n % 4, n, 80 + n).save(path)
    return folder


@pytest.fixture
def settings(pictures: Path, tmp_path: Path) -> Settings:
    """A catalog of them, one of which is damaged."""
    made = settings_of(tmp_path / "root")
    import_folder(made.layout, made, pictures)
    row = min(stored(made), key=lambda row: row["picture_id"])
    path = made.layout.picture(row["file"])
    path.write_bytes(path.read_bytes()[:-1])
    return made


def stored(settings: Settings) -> list[dict[str, Any]]:
    return Catalog(settings.layout).read("pictures").to_pylist()


def vectors(settings: Settings) -> dict[str, Any]:
    return {row["picture_id"]: row for row in Catalog(settings.layout).read("vectors").to_pylist()}


def block(settings: Settings) -> pa.Table:
    rows = [
        {"number": n, "panel": None, **{name: row[name] for name in ("picture_id", "file")}}
        for n, row in enumerate(stored(settings)[:6])
    ]
    columns = [(name, pa.string()) for name in ("picture_id", "file", "panel")]
    return pa.Table.from_pylist(rows, pa.schema([("number", pa.int64()), *columns]))


def test_a_worker_answers_what_this_process_would(settings: Settings) -> None:
    encoder, asked = open_encoder(settings, bulk=True), block(settings)
    rows = asked.to_pylist()
    with ray_data._task(settings.layout, settings, encoder) as task:
        answered = Worker(task)(asked)
        found = outcomes_of(rows, answered)
    here = [
        one
        for batch in encode_rows(settings.layout, settings, encoder, None, rows)
        for one in batch
    ]
    assert [row for row, _ in found] == rows
    for (_, one), (_, other) in zip(found, here, strict=True):
        if isinstance(other, PictureError):
            assert isinstance(one, PictureError)
            assert (one.reason, one.message) == (other.reason, other.message)
        else:
            assert not isinstance(one, PictureError)
            assert one.vector.tobytes() == other.vector.tobytes()
            assert one.ood == pytest.approx(other.ood)
            assert one.subject is not None and other.subject is not None
            assert one.subject.tobytes() == other.subject.tobytes()
    assert not any(settings.layout.staging.iterdir())


def test_a_worker_that_lacks_the_data_folder_or_the_model_says_so(settings: Settings) -> None:
    encoder, asked = open_encoder(settings, bulk=True), block(settings)
    rows = asked.to_pylist()
    with ray_data._task(settings.layout, settings, encoder) as task:
        task.probe.write_bytes(b"of another run")
        with pytest.raises(InputError, match="does not see the data folder"):
            outcomes_of(rows, Worker(task)(asked))
    encoder.model_id = "another"
    with (
        ray_data._task(settings.layout, settings, encoder) as task,
        pytest.raises(NoIndexError, match="and not another"),
    ):
        outcomes_of(rows, Worker(task)(asked))
    with pytest.raises(ToonsearchError, match="RuntimeError: no kernel") as raised:
        outcomes_of(rows, failure_table(RuntimeError("no kernel")))
    assert raised.value.exit_code == 1


def test_addresses_that_cannot_be_used(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="client"):
        embed_pending(
            settings.layout, settings, encode=partial(encoded_by_ray, "ray://127.0.0.1:10001")
        )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"ray is not installed. .*toonsearch\[ray\]"):
        embed_pending(settings.layout, settings, encode=partial(encoded_by_ray, "local"))
    assert vectors(settings) == {}


@needs_ray
@own_warnings
def test_no_cluster_at_an_address(settings: Settings) -> None:
    with pytest.raises(NetworkError, match="cannot be reached"):
        embed_pending(settings.layout, settings, encode=partial(encoded_by_ray, "auto"))


@pytest.mark.slow
@needs_ray
@own_warnings
def test_a_worker_is_killed_and_nothing_is_lost(
    settings: Settings, pictures: Path, tmp_path: Path
) -> None:
    def kill_one(done: int, _total: int) -> None:
        if not killed and done >= 4:
            (victim, *others) = workers()
            assert others, "two workers were asked for"
            victim.kill()
            killed.append(victim.pid)

    killed: list[int] = []
    report = embed_locally(settings, kill_one)
    assert killed
    assert (report.counts["embedded"], report.counts["failed"]) == (PICTURES - 1, 1)
    assert coverage(settings.layout, settings).failed == {"store": 1}
    here = settings_of(tmp_path / "here")
    import_folder(here.layout, here, pictures)
    embed_pending(here.layout, here)
    found, expected = vectors(settings), vectors(here)
    assert len(expected) == PICTURES and found == {one: expected[one] for one in found}


@pytest.mark.slow
@needs_ray
@own_warnings
def test_ctrl_c_keeps_what_came_and_the_next_run_goes_on(settings: Settings) -> None:
    def stop(done: int, _total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_locally(settings, stop)
    assert 5 <= len(vectors(settings)) < PICTURES - 1
    assert workers() == []
    report = embed_pending(settings.layout, settings)
    assert len(vectors(settings)) == PICTURES - 1 and report.counts["already"] >= 5


@pytest.mark.slow
@needs_ray
@own_warnings
def test_a_picture_that_kills_every_worker_is_a_row_with_a_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = max(row["picture_id"] for row in stored(settings))

    class Dying(Worker):
        def __call__(self, block: pa.Table) -> pa.Table:
            if deadly in block["picture_id"].to_pylist():
                os._exit(1)
            return super().__call__(block)

    monkeypatch.setattr(ray_data, "Worker", Dying)
    report = embed_locally(settings)
    assert (report.counts["embedded"], report.counts["failed"]) == (PICTURES - 2, 2)
    assert coverage(settings.layout, settings).failed == {"store": 1, "unexpected": 1}


def embed_locally(settings: Settings, progress: Progress | None = None) -> EmbedReport:
    """Embed on a cluster of this machine. Ray gives up when its processes have not started after
    half a minute, which is no failure of ours."""
    encode = partial(encoded_by_ray, "local")
    try:
        return embed_pending(settings.layout, settings, encode=encode, progress=progress)
    except NetworkError as error:
        if "timed out during startup" not in error.message:
            raise
        pytest.skip("this machine is too busy to start Ray")


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    alive = [one for one in children if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in alive if any("MapWorker" in word for word in one.cmdline())]
