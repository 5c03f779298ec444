"""What a browser keeps by itself: galleries without an account, and what was asked lately."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from tests.search.web.conftest import CHROMIUM, Open, ask, file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]


def names(page: Any) -> list[str]:
    return [one.strip() for one in page.locator(".grid li > a").all_inner_texts()]


def put_first(page: Any, place: int, gallery: str, *, is_new: bool) -> str:
    """Put the picture at a place of the list into a gallery; gives its title's name."""
    card = page.locator(".cards .card").nth(place)
    card.locator(".save").click()
    dialog = page.locator("dialog")
    if is_new:
        dialog.locator("input").fill(gallery)
        page.keyboard.press("Enter")
    else:
        dialog.get_by_role("button", name=gallery, exact=True).click()
    page.wait_for_selector(f"#notice:has-text('Saved to {gallery}.')")
    return str(card.locator("h3 a").inner_text())


def test_a_gallery_without_an_account(page_of: Open) -> None:
    page = page_of(accept_downloads=True)
    ask(page)
    put = [put_first(page, n, "Inks", is_new=n == 0) for n in range(3)]
    put_first(page, 0, "Inks", is_new=False)  # twice is once
    page.get_by_role("link", name="Galleries").click()
    page.wait_for_selector(".grid a:has-text('Inks')")
    assert "3 pictures" in page.locator(".grid a", has_text="Inks").inner_text()
    page.reload()  # it stays
    page.locator(".grid a", has_text="Inks").click()
    page.wait_for_selector("h1:has-text('Inks')")
    assert names(page) == put
    page.locator("[id^=later-]").first.focus()  # by keyboard alone, and the focus stays
    page.keyboard.press("Enter")
    page.wait_for_selector(f".grid li:first-child > a:text-is({json.dumps(put[1])})")
    assert page.evaluate("document.activeElement.id").startswith("later-")
    put = [put[1], put[0], put[2]]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a folder").click()
    assert saved.value.suggested_filename == "Inks.zip"
    with zipfile.ZipFile(io.BytesIO(saved.value.path().read_bytes())) as archive:
        assert len(archive.namelist()) == 4 and archive.testzip() is None
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as a page").click()
    assert saved.value.path().read_text("utf-8").count("<img") == 3
    page.locator("[id^=remove-]").nth(1).click()
    page.wait_for_selector(".meta:has-text('2 pictures')")
    page.get_by_role("button", name="Rename").click()
    page.locator("dialog input").fill("Pens")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Pens')")
    assert names(page) == [put[0], put[2]]
    page.get_by_role("button", name="Delete").click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_selector("h2:has-text('In this browser')")
    assert page.locator(".grid a").count() == 0


def test_what_was_asked_stays_and_can_be_forgotten(page_of: Open) -> None:
    page = page_of()
    ask(page, file(0, 99, "first.png"))
    page.wait_for_timeout(600)  # it is kept after the answer is shown
    shown = page.url
    page.reload()
    page.wait_for_selector("img.query")
    assert page.locator(".tile .name").inner_text() == "first.png"
    page.goto(shown.split("?")[0])
    page.wait_for_selector("h2:has-text('Asked lately')")
    page.locator(".start a[href*='r=']").click()
    page.wait_for_selector(".cards .card")
    # The server has forgotten it: the pictures are asked again.
    page.route(
        "**/v1/results/*", lambda route: route.fulfill(status=404, json={"code": "not_found"})
    )
    with page.expect_response("**/v1/query*"):
        page.reload()
    page.wait_for_selector(".cards .card")
    assert page.locator(".tile .name").inner_text() == "first.png"
    page.goto(shown.split("?")[0])
    page.get_by_role("button", name="Forget recent queries").click()
    page.reload()
    page.wait_for_selector(".start .examples a")
    assert page.locator("h2:has-text('Asked lately')").count() == 0


def test_a_browser_that_is_full_or_keeps_nothing(page_of: Open) -> None:
    page = page_of()
    quota = {"origin": page.evaluate("location.origin"), "quotaSize": 100_000}
    page.context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", quota)
    large = file(name="large.png")
    ask(page, {**large, "buffer": large["buffer"] + bytes(3_000_000)})  # sent as it is
    page.wait_for_selector("#notice:has-text('is not kept')")
    assert "no room left. Nothing was lost" in page.locator("#notice").inner_text()
    title = put_first(page, 0, "Inks", is_new=True)
    refused = page.evaluate("""async () => {
      const keep = await import(new URL("static/keep.js", document.baseURI).href);
      const large = Array.from({ length: 999 }, (_, n) => ({ picture_id: `${n}`, title: "x".repeat(5000) }));
      return keep.newGallery("Large", large).then(() => "", (error) => error.message);
    }""")
    assert "no room left. Nothing was lost" in refused
    page.get_by_role("link", name="Galleries").click()
    page.locator(".grid a", has_text="Inks").click()
    page.wait_for_selector("h1:has-text('Inks')")
    assert names(page) == [title]
    private = page_of()
    private.add_init_script("IDBFactory.prototype.open = () => { throw new DOMException('no'); };")
    private.reload()
    ask(private)
    private.wait_for_selector("#notice:has-text('is not kept')")
    private.get_by_role("link", name="Galleries").click()
    private.wait_for_selector("[role=alert]:has-text('keeps nothing here')")
