"""For all tests: no network but loopback, and no deadlines on a shared machine."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.small_model import ENVIRON

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

# pytest-xdist starts one worker for each core: more threads in each would only wait for another.
# Read by OpenBLAS and OpenMP when they are loaded, so before anything imports numpy.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.update(ENVIRON)  # before anything reads the environment, and for what tests start

# A shell that runs this in the background has it ignore Ctrl-C, and so would every program that
# a test starts and then interrupts.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_loopback(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(address[0])
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse connections to anywhere else: nothing here may need another host."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if not _is_loopback(address):
            raise AssertionError(f"a test tried to reach {address}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    yield


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `drawings/` and, in `data/`, a catalog and a published index of them."""
    from crawler.importers.folder import import_folder
    from indexer.embedding.embed import embed_pending
    from indexer.vector_index.build import build_generation
    from indexer.vector_index.generations import publish
    from schemas.settings import load_settings
    from tests.drawings import draw_folder

    root = tmp_path_factory.mktemp("small")
    settings = load_settings({"store.root": str(root / "data")}, environ=ENVIRON, cwd=root)
    import_folder(settings.layout, settings, draw_folder(root / "drawings", titles=1))
    embed_pending(settings.layout, settings)
    report = build_generation(settings.layout, settings)
    assert report.generation_id is not None
    publish(settings.layout, report.generation_id)
    return root
