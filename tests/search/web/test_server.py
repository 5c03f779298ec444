"""The listening socket of the page."""

from __future__ import annotations

import contextlib
import socket

import pytest

from indexer.vector_index.faiss_index import gpus_for
from schemas.errors import UsageError
from schemas.settings import EncoderSettings, IndexSettings, Settings
from search.engine import check_devices
from search.web.server import listen


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_one_line() -> None:
    with (
        contextlib.closing(listen("127.0.0.1", 0)) as listener,
        pytest.raises(UsageError, match="in use"),
    ):
        listen("127.0.0.1", listener.getsockname()[1])


@pytest.mark.skipif(gpus_for("auto") > 0, reason="there is a GPU")
def test_a_gpu_that_is_insisted_on_is_looked_for_before_anybody_waits() -> None:
    check_devices(Settings())
    for settings in (
        Settings(index=IndexSettings(device="cuda")),
        Settings(encoder=EncoderSettings(device="cuda")),
    ):
        with pytest.raises(UsageError, match="device is cuda"):
            check_devices(settings)
