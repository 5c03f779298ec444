"""The page over the small index: in this process for the API, as a process for browsers."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
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
from tests.search.artists import draw

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


# --- browsers --------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium")
WAIT_MS = 20_000
Open = Callable[..., Any]


@pytest.fixture(scope="module")  # while it lives, asyncio.run fails in this thread
def browser() -> Iterator[Any]:
    playwright_sync = pytest.importorskip(
        "playwright.sync_api", reason="the package playwright is not installed"
    )
    with playwright_sync.sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield made
        made.close()


@pytest.fixture
def page_of(browser: Any, address: str) -> Iterator[Open]:
    """Opens pages; at the end none of them may have complained or run foreign script."""
    contexts: list[Any] = []
    said: list[str] = []

    def open_page(path: str = "", at: str = address, **options: Any) -> Any:
        context = browser.new_context(**{"locale": "en-US", **options})
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else 0)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("a dialog opened"), dialog.dismiss()))
        page.goto(at + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    refused = ("404 (Not Found)", "415 (Unsupported Media Type)", "422 (Unprocessable")
    assert [line for line in said if not any(word in line for word in refused)] == []


def png(hand: int, seed: int) -> bytes:
    held = io.BytesIO()
    draw(hand, seed).save(held, "PNG")
    return held.getvalue()


def file(hand: int = 0, seed: int = 99, name: str = "new.png") -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": png(hand, seed)}


def ask(page: Any, *files: dict[str, Any]) -> None:
    page.wait_for_selector("input[type=file]", state="attached")
    page.locator("input[type=file]").first.set_input_files(list(files) or [file()])
    page.wait_for_selector(".cards .card")
