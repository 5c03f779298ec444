"""Strips on the page: their panels as small pictures, some of them alone, slices together."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from tests import strips
from tests.search.web.conftest import CHROMIUM, Open, ask, file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]
BOXES = [(20, 20, 360, 500), (20, 580, 360, 480), (20, 1120, 360, 460)]


def named(name: str, image: Image.Image) -> dict[str, Any]:
    data = io.BytesIO()
    image.save(data, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": data.getvalue()}


def strip() -> Image.Image:
    return strips.page((400, 1600), BOXES)


def drawn(page: Any) -> list[bool]:
    """Whether something is drawn on each small picture."""
    return list(
        page.evaluate("""() => [...document.querySelectorAll(".panels canvas")].map((one) => {
      const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
      return new Set(data).size > 20;
    })""")
    )


def wait_drawn(page: Any, count: int) -> None:
    page.locator(".panels canvas").nth(count - 1).wait_for(state="attached")
    for _ in range(50):
        if all(drawn(page)):
            return
        page.wait_for_timeout(100)
    raise AssertionError(drawn(page))


def test_panels_are_shown_and_chosen(page_of: Open) -> None:
    page = page_of()
    ask(page, named("strip.png", strip()))
    wait_drawn(page, 3)
    sides = page.evaluate(
        "[...document.querySelectorAll('.panels canvas')].map((c) => [c.width, c.height])"
    )
    assert [round(h / w, 1) for w, h in sides] == [round(h / w, 1) for _, _, w, h in BOXES]
    assert "Cut into 3 panels" in page.locator(".notes").inner_text()
    assert "too long" not in page.locator("main").inner_text()
    again = page.get_by_role("button", name="Ask with these")
    assert again.is_disabled()
    page.locator(".panels input").first.uncheck()
    with page.expect_response("**/v1/results/*panel=2&panel=3*") as answered:
        again.click()
    assert [one["asks"] for one in answered.value.json()["panels"]] == [False, True, True]
    page.wait_for_selector(".panels .all")
    wait_drawn(page, 3)
    assert page.locator(".panels input").evaluate_all("all => all.map((one) => one.checked)") == [
        False, True, True,
    ]  # fmt: skip
    with page.expect_response("**/v1/results/*panel=1*"):
        page.get_by_role("button", name="Ask with panel 1 alone").click()
    page.go_back()
    page.wait_for_url(lambda url: url.count("panel=") == 2)
    page.wait_for_selector(".answer:not([aria-busy])")
    with page.expect_response("**/v1/results/*"):
        page.get_by_role("button", name="All panels").click()
    page.locator(".panels input:checked").nth(2).wait_for(state="attached")


def test_the_whole_picture_and_its_panels_again(page_of: Open) -> None:
    page = page_of()
    ask(page, named("strip.png", strip()))
    page.wait_for_selector(".panels")
    with page.expect_response("**/v1/query?*panels=off*"):
        page.get_by_role("button", name="Whole picture").click()
    page.wait_for_selector(".cut")
    assert page.locator(".panels").count() == 0
    with page.expect_response("**/v1/query*"):
        page.locator(".cut").click()
    page.wait_for_selector(".panels")


def test_slices_dropped_together_are_one_strip(page_of: Open) -> None:
    page = page_of(locale="ko-KR")
    whole = strip()
    parts = [named(f"{n}.png", whole.crop((0, 800 * n, 400, 800 * n + 800))) for n in (0, 1)]
    ask(page, *parts)
    wait_drawn(page, 3)
    assert page.locator(".tile").count() == 2
    notes = page.locator(".notes").inner_text()
    assert "이어 붙였습니다" in notes and "컷 3개" in notes and "joined" not in notes
    with page.expect_response("**/v1/query*"):  # of one slice alone its own panels
        page.locator(".tile").first.get_by_role("button", name="빼기").click()
    page.wait_for_selector(".answer:not([aria-busy])")
    assert page.locator(".tile").count() == 1


def test_a_shared_link_of_some_panels_is_for_them(page_of: Open) -> None:
    page = page_of()
    ask(page, named("strip.png", strip()))
    page.wait_for_selector(".panels")
    page.get_by_role("button", name="Ask with panel 2 alone").click()
    page.wait_for_selector(".panels .all")
    before = page.locator(".near b").all_inner_texts()
    with page.expect_response("**/share?panel=2"):
        page.locator(".share").click()
    page.wait_for_selector(".shared input")
    link = page.locator(".shared input").input_value()
    assert "panel" not in link
    other = page_of(at=link)
    other.wait_for_selector(".cards .card")
    assert other.locator(".near b").all_inner_texts() == before


def test_a_single_drawing_has_no_panels(page_of: Open) -> None:
    page = page_of()
    ask(page, file())
    assert page.locator(".panels").count() == 0
