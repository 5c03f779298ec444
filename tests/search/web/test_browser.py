"""The page in a real browser: by mouse, by keyboard, on a phone, and under attack."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, unquote, urlsplit

import pytest

from tests.search.artists import HANDS
from tests.search.web.conftest import CHROMIUM, Open, ask, file, png, served
from tests.search.web.payloads import PAYLOADS, hostile_index

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]


def titles(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".cards h3 a").all_inner_texts()]


HAND_OVER = """([data, kind]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], "given.png", { type: "image/png" }));
  if (kind === "paste") {
    window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, bubbles: true }));
  } else {
    const given = { dataTransfer: held, bubbles: true, cancelable: true };
    for (const name of ["dragenter", "dragover", "drop"]) {
      window.dispatchEvent(new DragEvent(name, given));
    }
  }
}"""


def likeness(page: Any) -> list[str]:
    """What stands behind the i of each result."""
    return page.locator(".near .info p").all_text_contents()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_drop_and_paste(page_of: Open, kind: str) -> None:
    page = page_of()
    page.wait_for_selector("#drop")
    page.evaluate(HAND_OVER, [base64.b64encode(png(0, 99)).decode(), kind])
    page.wait_for_selector(".cards .card")
    assert HANDS[0] in page.locator(".cards .by").first.inner_text()
    assert HANDS[0] in page.locator(".labels dl").first.inner_text()
    labels = page.locator(".labels dl").first.locator("dt").all_inner_texts()
    assert len(set(labels)) == len(labels) and set(labels) <= {
        *HANDS,
        "nobody in this catalog",
        "others",
    }
    assert page.locator(".question").inner_text().strip().endswith("%")  # no group is empty
    shares = page.locator(".labels dl").first.locator("dd span").all_inner_texts()
    assert sum(int(share.split()[0]) for share in shares) == 100
    assert page.locator(".conclusion").inner_text() == f"Looks like {HANDS[0]}"
    cosines = [float(re.findall(r"cosine ([0-9.-]+)\.", text)[0]) for text in likeness(page)]
    assert len(cosines) > 3 and cosines == sorted(cosines, reverse=True)


def test_choose_then_crop_by_mouse_then_whole(page_of: Open) -> None:
    page = page_of()
    ask(page)
    before = likeness(page)
    page.get_by_role("button", name="Choose a part").click()
    frame = page.locator(".stage img").bounding_box()
    x, y, w, h = frame["x"], frame["y"], frame["width"], frame["height"]
    page.mouse.move(x + 0.1 * w, y + 0.1 * h)
    page.mouse.down()
    page.mouse.move(x + 0.6 * w, y + 0.6 * h, steps=5)
    page.mouse.up()
    with page.expect_response("**/v1/query*") as answered:
        page.get_by_role("button", name="Use this part").click()
    assert answered.value.status == 200
    page.wait_for_selector("canvas.query")
    page.wait_for_selector(".answer:not([aria-busy])")
    assert likeness(page) != before
    page.get_by_role("button", name="Choose a part").click()
    with page.expect_response("**/v1/query*"):
        page.get_by_role("button", name="Whole picture").click()
    page.wait_for_selector("img.query")
    page.wait_for_selector(".answer:not([aria-busy])")
    assert likeness(page) == before


def test_several_pictures_and_removing_one(page_of: Open) -> None:
    page = page_of()
    ask(page, file(0, 90, "a.png"), file(1, 91, "b.png"))
    assert page.locator(".tile").count() == 2
    with page.expect_response("**/v1/query*"):
        page.get_by_role("button", name="Remove: b.png").click()
    page.wait_for_selector(".answer:not([aria-busy])")
    assert page.locator(".tile").count() == 1


def test_filters(page_of: Open) -> None:
    page = page_of()
    ask(page)
    assert HANDS[0] in " ".join(page.locator(".cards .by").all_inner_texts())
    with page.expect_response("**/v1/results/*"):
        page.get_by_label("Someone else").check()
    page.wait_for_selector(".answer:not([aria-busy])")
    assert HANDS[0] not in " ".join(page.locator(".cards .by").all_inner_texts())
    with page.expect_response("**/v1/results/*"):
        page.locator("#f-by").select_option("picture")
    page.wait_for_selector(".answer:not([aria-busy])")
    assert page.locator(".cards .card").count() == 10
    with page.expect_response("**/v1/results/*"):
        page.get_by_role("button", name="Reset filters").click()
    page.wait_for_selector(".answer:not([aria-busy])")
    assert HANDS[0] in page.locator(".cards .by").first.inner_text()
    page.locator("#f-exclude_author").fill(HANDS[0])
    with page.expect_response("**/v1/results/*"):
        page.locator("#f-exclude_author").press("Enter")
    page.wait_for_selector(".chip")
    assert HANDS[0] not in " ".join(page.locator(".cards .by").all_inner_texts())


def test_more_like_this_title_author_browse_and_back(page_of: Open) -> None:
    page = page_of()
    ask(page)
    first = titles(page)
    page.locator(".actions .similar").first.click()
    page.wait_for_url("**/?like=*")
    page.wait_for_selector(".answer:not([aria-busy])")
    assert first[0] not in titles(page)  # its own work is left out
    page.locator(".cards h3 a").first.click()
    page.wait_for_selector(".work .grid li")
    page.locator(".work header .by a").click()
    page.wait_for_selector(".people li")
    page.go_back()
    page.wait_for_selector(".work .grid li")
    page.get_by_role("link", name="Browse").click()
    page.get_by_label("Find a title or an author").fill("linea")  # the index has Anna Línea
    page.wait_for_selector("h2:has-text('Authors (1)')")
    assert page.locator(".people .who").all_inner_texts() == [HANDS[0]]


def test_a_shared_link_opens_elsewhere(page_of: Open) -> None:
    page = page_of()
    ask(page)
    page.get_by_role("button", name="Share").click()
    page.wait_for_selector(".shared input")
    link = page.locator(".shared input").input_value()
    other = page_of("", at=link)
    other.wait_for_selector(".cards .card")
    assert titles(other) == titles(page)
    assert "not stored" in other.locator(".question").inner_text()
    with other.expect_download() as saved:
        other.get_by_role("link", name="HTML").click()
    assert "toonsearch.html" in saved.value.suggested_filename
    gone = page_of("?r=s-0000000000000000000000")
    gone.wait_for_selector("[role=alert]")
    assert "no longer stored" in gone.locator("[role=alert]").inner_text()


def test_language(page_of: Open) -> None:
    page = page_of(locale="ko-KR")
    assert "누가" in page.locator("h1").inner_text()
    assert page.locator("html").get_attribute("lang") == "ko"
    # The head is drawn again when the server has said who is signed in: no click may fall between.
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="View in English").click()
    page.wait_for_selector("h1:has-text('Who draws')")
    page.reload()  # the choice is kept
    page.wait_for_selector("h1:has-text('Who draws')")
    assert "Who draws" in page_of(locale="fr-FR").locator("h1").inner_text()


def test_by_keyboard_alone(page_of: Open) -> None:
    page = page_of()
    page.on("filechooser", lambda chooser: None)  # the browser is told now, and not too late
    page.wait_for_selector(".drop .button")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Choose pictures":
            break
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([file()])
    page.wait_for_selector(".cards .card")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(
            "document.activeElement.id || document.activeElement.textContent.trim()"))  # fmt: skip
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none" or page.evaluate("document.activeElement === document.body")
    assert {"Choose a part", "Remove", "f-by", "f-else", "Share", "More like this"} <= reached
    page.get_by_role("button", name="Choose a part").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog .part:focus")
    before = page.locator(".part").get_attribute("style")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert page.locator(".part").get_attribute("style") != before
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def transforms(page: Any) -> list[str]:
    shown = "[...document.querySelectorAll('.stage-large > *')].map((n) => n.style.transform)"
    return list(page.evaluate(shown))


def test_a_found_picture_opens_beside_the_query(page_of: Open) -> None:
    page = page_of(viewport={"width": 1200, "height": 800})
    ask(page)
    opener = page.locator(".cards .large").nth(1)
    opener.click()
    page.wait_for_selector(".lightbox .found-pane img")
    left, right = (page.locator(f".{one}-pane").bounding_box() for one in ("asked", "found"))
    assert left["x"] < right["x"] and abs(left["y"] - right["y"]) < 2
    assert abs(left["width"] - right["width"]) < 2 and left["height"] > 500
    title = page.locator("#look-title").inner_text()
    for key in ("+", "+", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    moved = transforms(page)
    assert len(moved) == 2 and moved[0] == moved[1] and "scale(2.25)" in moved[0]
    page.mouse.move(right["x"] + 100, right["y"] + 200)
    page.mouse.wheel(0, -300)
    page.mouse.down()
    page.mouse.move(right["x"] + 140, right["y"] + 220, steps=3)
    page.mouse.up()
    assert transforms(page)[0] == transforms(page)[1] != moved[0]
    place = page.locator(".place").inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(was) => document.querySelector('.place').textContent !== was", arg=place
    )
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".place").inner_text() == place
    assert page.locator("#look-title").inner_text() == title
    for _ in range(12):  # the focus stays inside
        page.keyboard.press("Tab")
        inside = (
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
        assert page.evaluate(inside)
    page.keyboard.press("Escape")
    page.wait_for_selector(".lightbox", state="detached")
    assert opener.evaluate("(one) => one === document.activeElement")
    page.keyboard.press("Enter")  # and opens again
    page.wait_for_selector(".lightbox")
    page.locator(".look-actions .similar").click()
    page.wait_for_url("**/?like=*")
    page.wait_for_selector(".lightbox", state="detached")


def test_two_fingers_and_a_swipe_in_the_lightbox(page_of: Open) -> None:
    page = page_of(viewport={"width": 390, "height": 780}, has_touch=True)
    ask(page)
    page.locator(".cards .large").first.click()
    page.wait_for_selector(".lightbox .found-pane img")
    upper, lower = (page.locator(f".{one}-pane").bounding_box() for one in ("asked", "found"))
    assert upper["y"] + upper["height"] <= lower["y"] + 2, "one above the other"
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    x, y = lower["x"] + lower["width"] / 2, lower["y"] + lower["height"] / 2
    fingers("touchStart", (x - 30, y), (x + 30, y))
    for far in (40, 55, 70, 90):
        fingers("touchMove", (x - far, y), (x + far, y))
    fingers("touchEnd")
    assert float(page.locator(".found-pane .stage-large").get_attribute("data-zoom")) > 1.5
    page.get_by_role("button", name="Whole picture").click()
    place = page.locator(".place").inner_text()
    fingers("touchStart", (x + 90, y))
    for at in (60, 20, -40, -90):
        fingers("touchMove", (x + at, y))
    fingers("touchEnd")
    page.wait_for_function(
        "(was) => document.querySelector('.place').textContent !== was", arg=place
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_results_keep_coming_and_nothing_comes_twice(page_of: Open) -> None:
    page = page_of(viewport={"width": 1000, "height": 700})
    ask(page)
    with page.expect_response("**/v1/results/*"):
        page.locator("#f-by").select_option("picture")
    page.wait_for_selector(".answer:not([aria-busy])")
    assert page.locator(".cards .card").count() == 10
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/v1/results/" in one.url else None)
    page.mouse.wheel(0, 9000)
    page.locator(".cards .card").nth(23).wait_for()  # all
    page.mouse.wheel(0, 9000)
    page.wait_for_timeout(400)
    assert len(asked) == len(set(asked)) == 1 and "k=30" in asked[0] and "k=30" in page.url
    shown = "[...document.querySelectorAll('.cards .large img')].map((one) => one.src)"
    pictures = page.evaluate(shown)
    assert len(set(pictures)) == len(pictures) == 24
    ranks = [text.strip() for text in page.locator(".cards .rank").all_inner_texts()]
    assert ranks == [str(n) for n in range(1, 25)]
    assert page.locator("button.more").count() == 0
    assert all(
        "k=30" in one.get_attribute("href") for one in page.locator(".saving a[download]").all()
    )


def test_keys_and_density(page_of: Open) -> None:
    page = page_of(viewport={"width": 1000, "height": 700})
    ask(page)
    focused = "document.activeElement.closest('.card')?.querySelector('.rank').textContent.trim()"
    page.locator("body").press("j")
    assert page.evaluate(focused) == "1"
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate(focused) == "2"
    page.keyboard.press("?")
    page.wait_for_selector("dialog.keys")
    page.get_by_label("Single keys act").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.evaluate(focused) == "2", "they can be turned off"
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Single keys act").check()
    page.keyboard.press("Escape")
    before = page.locator(".card").first.bounding_box()["height"]
    page.locator("#f-density").select_option("contactSheet")
    assert page.locator(".card").first.bounding_box()["height"] < 0.7 * before
    page.reload()
    page.wait_for_selector(".cards[data-density=contactSheet]")  # the choice is kept
    page.locator("body").press("/")
    page.wait_for_selector(".finder input:focus")
    page.keyboard.type("j/?")  # words, in a field
    assert page.locator(".finder input").input_value() == "j/?"


def test_marks_refine_and_are_taken_back(page_of: Open) -> None:
    page = page_of()
    ask(page)
    first = titles(page)
    mark = page.locator(".mark[id^=liked-]").last
    name = mark.get_attribute("aria-label")
    with page.expect_response("**/v1/results/*liked=*"):
        mark.click()
    page.wait_for_selector(".answer:not([aria-busy]) .chip:has-text('Remove the marks')")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == name
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert titles(page).index(first[-1]) < len(first) - 1
    page.reload()
    page.wait_for_selector(".mark[aria-pressed=true]")
    page.get_by_role("button", name="Remove the marks").click()
    page.wait_for_selector(".mark[aria-pressed=true]", state="detached")
    assert titles(page) == first


def test_an_error_leaves_the_results(page_of: Open) -> None:
    page = page_of()
    ask(page)
    first, address = titles(page), page.url
    page.route("**/v1/results/*", lambda route: route.fulfill(
        status=422, content_type="application/json",
        body='{"error": "There is no such artist.", "hint": "", "code": "input"}'))  # fmt: skip
    page.get_by_label("Someone else").check()
    page.wait_for_selector("#notice p:has-text('no such artist')")
    assert titles(page) == first and page.url == address
    page.unroute("**/v1/results/*")
    page.locator("input[type=file]").first.set_input_files(
        [{"name": "x.png", "mimeType": "image/png", "buffer": b"not a picture"}]
    )  # one that is refused, beside one that is not
    page.wait_for_selector("#notice p:has-text('x.png')")
    assert titles(page) == first


def test_a_result_is_dragged_to_the_question_and_weighed(page_of: Open) -> None:
    page = page_of()
    ask(page)
    first = titles(page)
    with page.expect_response("**/v1/results/*with=*"):
        page.locator(".card .evidence").last.drag_to(page.locator(".question .mat").first)
    page.wait_for_selector(".answer:not([aria-busy]) #counts-1")
    assert page.locator(".tile .query").count() == 2 and first[-1] not in titles(page)
    with page.expect_response("**/v1/results/*weights=*"):
        page.locator("#counts-1").fill("0")  # then it does not count at all
    page.wait_for_selector(".answer:not([aria-busy]) #counts-1:focus")
    assert titles(page) == [one for one in first if one != first[-1]]
    other = page_of("", at=page.url)  # the address has all of it, but not the picture itself
    other.wait_for_selector(".stranger #counts-0")
    assert other.locator("#counts-1").input_value() == "0"
    page.get_by_role("button", name=f"Remove: {first[-1]}").click()
    page.wait_for_selector(".counts", state="detached")
    assert titles(page) == first


def test_why_two_pictures_are_alike(page_of: Open) -> None:
    page = page_of()
    ask(page)
    page.locator(".card .look.large").first.click()
    page.wait_for_selector(".found-pane img[src*=large]")
    with page.expect_response("**/v1/why*") as sent:
        page.keyboard.press("w")
    assert sent.value.request.method == "POST" and sent.value.status == 200
    page.wait_for_selector(".asked-pane .heat")
    assert "pink" in page.locator(".why-note").inner_text()
    assert page.evaluate("""(heat) => {  // and lies on the picture
      const [a, b] = [heat, heat.parentElement.firstChild].map((one) => one.getBoundingClientRect());
      return Math.abs(a.left - b.left) + Math.abs(a.width - b.width); }""",
      page.query_selector(".asked-pane .heat")) < 1  # fmt: skip
    page.get_by_role("button", name="Why alike?").click()
    page.wait_for_selector(".heat", state="detached")
    page.get_by_role("button", name="Ask with this too").click()
    page.wait_for_selector("#counts-1")
    assert page.locator("dialog").count() == 0


def test_a_wrong_filter_is_told_beside_its_field(page_of: Open) -> None:
    page = page_of()
    ask(page)
    first, address = titles(page), page.url
    page.locator("#f-min_percentile").evaluate("(one) => { one.append(new Option('', '101')); }")
    page.locator("#f-min_percentile").select_option("101")  # as any wrong parameter
    page.wait_for_selector(".field:has(#f-min_percentile[aria-invalid=true]) .wrong")
    assert titles(page) == first and page.url == address
    with page.expect_response("**/v1/results/*min_percentile=50*"):
        page.locator("#f-min_percentile").select_option("50")
    page.wait_for_selector(".answer:not([aria-busy])")
    assert page.locator(".wrong").count() == 0 and page.locator("#f-palette").count() == 0


def test_more_like_this_keeps_share_and_says_whose(page_of: Open) -> None:
    page = page_of()
    ask(page)
    name, by = titles(page)[0], page.locator(".cards .by").first.inner_text()
    page.locator(".actions .similar").first.click()
    page.wait_for_selector(".whose")
    assert page.locator(".whose").inner_text() == name
    assert by in page.locator(".question .by").inner_text()
    found = titles(page)
    page.get_by_role("button", name="Share").click()
    page.wait_for_selector(".shared input")
    other = page_of("", at=page.locator(".shared input").input_value())
    other.wait_for_selector(".cards .card")
    assert titles(other) == found and name not in found


def test_the_map_names_finds_and_shows_the_query(page_of: Open) -> None:
    pytest.importorskip("openTSNE", reason="the map needs the extra [map]")
    page = page_of(viewport={"width": 1200, "height": 900})
    ask(page)
    page.locator(".on-map a").click()
    page.wait_for_selector(".asked-here img")
    page.wait_for_selector(".grid .look")
    assert page.locator(".legend li").count() == len(HANDS)
    assert "8" in page.locator(".legend li").first.inner_text()
    sky = page.locator(".sky")
    box = sky.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.wheel(0, 120)
    page.wait_for_timeout(500)
    assert page.evaluate("scrollY") > 50
    assert page.locator(".hint").is_visible()
    page.locator(".finder input").fill("linea")
    page.wait_for_selector(".finder [role=status]:has-text('8 found')")
    page.locator(".grid .look").nth(7).wait_for()
    page.get_by_label("Colour by").select_option("author")
    sky.focus()
    page.keyboard.press("Enter")  # the picture in the middle
    page.wait_for_selector(".lightbox .asked-pane img")
    assert HANDS[0] in page.locator(".look-about").inner_text()
    page.keyboard.press("Escape")
    assert sky.evaluate("(one) => one === document.activeElement")
    y = page.evaluate("scrollY")
    sky.click(position={"x": 8, "y": 8})  # in use, without a picture there
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == y, "the wheel is the map's now"


@pytest.mark.parametrize("path", ["", "browse", "map", "title?id=folder:x", "account"])
def test_nothing_is_wider_than_a_phone(page_of: Open, path: str) -> None:
    page = page_of(path, viewport={"width": 360, "height": 740}, has_touch=True)
    if not path:
        ask(page)
    page.wait_for_timeout(700)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_first_page_is_light_and_asks_nobody_else(page_of: Open, address: str) -> None:
    page = page_of()
    page.wait_for_selector(".drop .button")
    loaded = dict(page.evaluate(
        "performance.getEntriesByType('resource').map((e) => [e.name, e.decodedBodySize])"
    ))  # fmt: skip
    assert all(name.startswith(address) for name in loaded)
    files = {name: size for name, size in loaded.items() if "/static/" in name}
    assert f"{address}static/app.js" in files and all(files.values())
    assert sum(files.values()) < 120_000  # how fast it is, `python -m bench` measures


def test_a_bad_file_is_explained(page_of: Open) -> None:
    page = page_of()
    page.wait_for_selector("input[type=file]", state="attached")
    held = {"name": "x.png", "mimeType": "image/png", "buffer": b"not a picture"}
    page.locator("input[type=file]").first.set_input_files([held])
    page.wait_for_selector("[role=alert]")
    assert "not a picture" in page.locator("[role=alert]").inner_text()


def test_every_picture_of_a_result_is_shown(page_of: Open) -> None:
    page = page_of(viewport={"width": 1280, "height": 3000})
    ask(page)
    page.wait_for_load_state("networkidle")
    assert page.locator(".cards .card img").count() >= page.locator(".cards .card").count() > 1
    broken = "[...document.images].filter((i) => !i.complete || !i.naturalWidth).map((i) => i.src)"
    assert page.evaluate(broken) == []


# --- script in every place that holds text --------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = hostile_index(tmp_path_factory.mktemp("hostile"))
    with served(settings.store.root) as found:
        yield found


def test_no_payload_runs(page_of: Open, hostile: str, tmp_path: Path) -> None:
    assert len(PAYLOADS) >= 200
    page = page_of(at=hostile)
    name = "<img src=x onerror=window.__ran=1>.png"
    ask(page, file(0, 5, name))
    seen: set[str] = set()

    def visit(at: str, selector: str) -> None:
        page.goto(hostile + at)
        page.wait_for_selector(selector)
        page.wait_for_timeout(150)
        seen.update(page.locator("body").inner_text().split("\n"))
        assert page.evaluate("window.__ran") is None, at
        assert page.evaluate("[...document.scripts].map((one) => one.src)") == [
            f"{hostile}static/app.js"
        ]
        inside = "main script,main iframe,main object,main base,main meta,main form[action]"
        assert page.evaluate(f"document.querySelectorAll({inside!r}).length") == 0
        schemes = "[...document.links].map((a) => a.protocol)"
        assert set(page.evaluate(schemes)) <= {"http:", "https:"}

    assert page.evaluate("window.__ran") is None
    assert name in page.locator(".tile .name").inner_text()
    result = page.url.removeprefix(hostile)
    visit(result + "&k=200", ".cards .card >> nth=50")
    visit(result + "&by=picture&k=60", ".cards .card")
    visit("browse", ".grid li >> nth=20")
    page.locator("button:has-text('Show more')").click()
    page.wait_for_selector(".grid li >> nth=60")
    for number in (0, 1, 7, 40, 111, 199):
        title = quote(f"x:{PAYLOADS[number]}{number}")
        visit(f"title?id={title}", ".work .cards")
        visit(f"author?name={quote(f'{PAYLOADS[number]} a{number % 50}')}", ".work")
    for payload in PAYLOADS[::25]:
        visit(f"browse?q={quote(payload)}", ".finder")
        visit(f"?r={quote(payload)}", "[role=alert]")
    shown = sum(any(payload.strip() in line for line in seen) for payload in PAYLOADS[:8])
    assert shown, "the payloads are on the page, as text"
    saved = page.request.get(f"{hostile}v1/results/{result[3:]}?format=html&k=100")
    (tmp_path / "gallery.html").write_bytes(saved.body())
    page.goto((tmp_path / "gallery.html").as_uri())
    assert page.evaluate("window.__ran") is None


def test_the_api_is_tried_on_its_own_page(page_of: Open) -> None:
    page = page_of("docs")
    query = page.locator(".call").filter(has_text="/v1/query").first
    query.locator("summary").click()
    query.locator("input[type=file]").set_input_files(file())
    query.locator("[name=k]").fill("1")
    query.locator("[name=exclude_author]").fill(f"{HANDS[0]}, {HANDS[1]}")
    query.get_by_role("button", name="Send").click()
    query.locator("pre").first.wait_for()
    told, answer = query.locator("pre").all_inner_texts()
    assert "-F 'picture=@new.png'" in told and f"exclude_author={quote_plus(HANDS[0])}" in told
    [title] = json.loads(answer)["titles"]
    assert not {HANDS[0], HANDS[1]} & set(title["authors"])
    wrong = page.locator(".call").filter(has_text="/v1/titles/{title_id}")
    wrong.locator("summary").click()
    wrong.locator("[name=title_id]").fill("of/nothing?")
    wrong.get_by_role("button", name="Send").click()
    wrong.locator(".came-back strong").wait_for()
    assert wrong.locator(".came-back strong").inner_text().startswith("404 ")


def test_a_bookmark_sends_the_picture_that_is_clicked(page_of: Open) -> None:
    page = page_of()
    address = page.url
    assert page.locator("a[href^='javascript:']").count() == 0  # links are not opened here
    page.route(
        "**/v1/session", lambda to: to.fulfill(json={**to.fetch().json(), "url_queries": True})
    )
    page.reload()
    bookmark = page.locator("a[href^='javascript:']").get_attribute("href")
    # Pictures of another site, with something over them.
    page.goto("about:blank")
    drawn = "data:image/png;base64," + base64.b64encode(png(0, 99)).decode()
    page.set_content(
        f"<a href='/away'><img src='{drawn}#1' width=200></a><img src='{drawn}#2' width=200>"
        "<div style='position:absolute;inset:0'></div>"
    )
    page.evaluate(unquote(bookmark.removeprefix("javascript:")))
    with page.expect_popup() as opened:
        page.mouse.click(300, 100)
    assert parse_qs(urlsplit(opened.value.url).query) == {"url": [f"{drawn}#2"]}
    assert opened.value.url.startswith(address)
    assert page.url == "about:blank" and page.locator("style").count() == 0
