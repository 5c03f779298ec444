"""The README's pictures, taken by headless Chromium: the demo's gallery, and the page.

`make picture` runs it after `make demo`; it needs `chromium` on the PATH and playwright.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

QUERY = "a_boy_plays_soccer_01.png"  # of the demo's queries: any would do
WIDTH_PX, HEIGHT_PX = 1240, 1420
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


PAGE_PX = (1280, 880)


def gallery(file: Path, out: Path) -> None:
    """The top of a gallery."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            "chromium", *FLAGS, f"--user-data-dir={folder}/profile", f"--screenshot={shot}",
            f"--window-size={WIDTH_PX},{HEIGHT_PX}", file.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        _save(shot.read_bytes(), out)


def page(data: Path, query: Path, out: Path) -> None:
    """The page with one answer: a picture goes in as a person would give it."""
    from playwright.sync_api import sync_playwright

    from bench.web import served

    with served(data) as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        size = {"width": PAGE_PX[0], "height": PAGE_PX[1]}
        tab = browser.new_page(viewport=size, locale="en-US", color_scheme="light")
        tab.goto(f"http://127.0.0.1:{port}/")
        tab.wait_for_selector("input[type=file]", state="attached")
        tab.locator("input[type=file]").first.set_input_files(query)
        tab.wait_for_selector(".cards .card")
        seen = (
            "[...document.images].every((one) => one.complete"
            " || one.getBoundingClientRect().top > innerHeight + 400)"
        )
        for _ in range(100):  # the content policy forbids Playwright's own way of waiting
            if tab.evaluate(seen):
                break
            tab.wait_for_timeout(100)
        tab.wait_for_timeout(500)  # swatches come last
        _save(tab.screenshot(), out)
        browser.close()


def _save(data: bytes, out: Path) -> None:
    """A palette PNG, which is a third of the size of a full one."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)


def query_of(demo: Path, name: str) -> Path:
    """One of the pictures that the demo asks about and its index has never seen: the one of
    this name, else the first."""
    with (demo / "queries.csv").open(encoding="utf-8", newline="") as file:
        paths = [demo / row["path"] for row in csv.DictReader(file)]
    return next((path for path in paths if path.name == name), paths[0])


def main(demo: Path, docs: Path) -> int:
    """Take both."""
    gallery(demo / "gallery.html", docs / "gallery.png")
    page(demo / "data", query_of(demo, QUERY), docs / "page.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
