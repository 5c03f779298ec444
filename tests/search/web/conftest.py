"""The page over the small index: in this process for the API, as a process for browsers."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra [web]")

from starlette.testclient import TestClient

from schemas.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
Opener = Callable[..., Any]


def with_web(settings: Settings, **web: Any) -> Settings:
    """The settings with some of the section web changed."""
    return replace(settings, web=replace(settings.web, **web))


@contextlib.contextmanager
def opened(settings: Settings, **web: Any) -> Iterator[TestClient]:
    """A client of a fresh application over these settings."""
    from search.web.app import create_app

    app = create_app(with_web(settings, **{"rate": 0, **web}))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def client(settings: Settings) -> Iterator[TestClient]:
    with opened(settings) as made:
        yield made


@contextlib.contextmanager
def served(root: Path, **web: str) -> Iterator[str]:
    """A real `toonsearch serve`; gives its address."""
    keys = {f"TOONSEARCH_WEB__{key.upper()}": value for key, value in {"rate": "0", **web}.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "search", "serve", "--data", str(root), "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **keys},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://[^/]+/", line)
        assert found, line + process.stderr.read()
        yield found[0]
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stderr is not None:
            process.stderr.close()


@pytest.fixture(scope="session")
def address(settings: Settings) -> Iterator[str]:
    with served(settings.store.root) as found:
        yield found


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that happens by itself."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
