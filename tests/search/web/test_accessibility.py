"""axe-core finds nothing to complain of: every page, light on a phone and dark on a wide screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from search.cli.app import main
from tests.search.web.conftest import CHROMIUM, Open, ask, file, png

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]
VIEWS = (("light", 320), ("dark", 2200))


def complaints(page: Any) -> list[str]:
    """What axe finds in both views, and whether the page is wider than its window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core").Axe()
    found = []
    for scheme, width_px in VIEWS:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width_px, "height": 900})
        page.wait_for_timeout(100)  # colours change at once, layout in the next frame
        if page.evaluate("document.documentElement.scrollWidth") > width_px:
            found.append(f"{scheme}: wider than {width_px} px")
        for violation in axe.run(page, options={"resultTypes": ["violations"]}).response[
            "violations"
        ]:
            nodes = "; ".join(node["html"][:200] for node in violation["nodes"])
            found.append(f"{scheme} {width_px} px: {violation['id']}: {nodes}")
    return found


@pytest.mark.parametrize(
    ("path", "selector"),
    [
        ("", ".examples a"),
        ("browse", ".grid li"),
        ("title", ".cards .card"),
        ("author", ".grid li"),
        ("map", "canvas, .message"),
        ("docs", ".call"),
        ("account", ".message"),
        ("?r=unknown", "[role=alert]"),
    ],
)
def test_pages(page_of: Open, path: str, selector: str) -> None:
    page = page_of()
    if path in ("title", "author"):
        page.goto(page.url + "browse")
        page.locator(f"a[href^='{path}?']").first.click()
    elif path:
        page.goto(page.url + path)
    page.wait_for_selector(selector)
    if path == "docs":
        page.locator(".call summary").first.click()
    assert complaints(page) == []
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_an_answer_and_what_opens_from_it(page_of: Open) -> None:
    page = page_of()
    ask(page, file(), file(1, 91, "b.png"))
    assert complaints(page) == []
    page.locator(".cards .large").first.click()
    page.wait_for_selector(".lightbox .found-pane img")
    assert complaints(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert complaints(page) == []
    page.keyboard.press("Escape")
    page.locator(".cards .save").first.click()
    page.wait_for_selector("dialog form")
    assert complaints(page) == []
    page.locator("dialog input").fill("Inks")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Galleries").click()
    page.wait_for_selector(".grid a")
    assert complaints(page) == []
    page.locator(".grid a").first.click()
    page.wait_for_selector("[id^=remove-]")
    assert complaints(page) == []
    page.goto(page.url.split("gallery?")[0])
    page.wait_for_selector(".start:not([hidden]) .plain")  # with recent queries
    assert complaints(page) == []


def test_pages_that_are_files(page_of: Open, settings: Settings, tmp_path: Path) -> None:
    query, gallery, report = (tmp_path / name for name in ("q.png", "gallery.html", "report.html"))
    query.write_bytes(png(0, 99))
    root = ["--data", str(settings.store.root)]
    assert main([*root, "query", str(query), "--html", str(gallery)]) == 0
    assert main([*root, "report", "--as-is", "--html", str(report)]) == 0
    page = page_of()
    for written in (gallery, report):
        page.goto(written.as_uri())
        assert complaints(page) == [], written.name
