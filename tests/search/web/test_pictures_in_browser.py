"""Pictures on their way into the page, in a real browser: dropped, large, tall, through proxies."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from schemas.settings import Settings
from tests.search.artists import draw
from tests.search.web.conftest import CHROMIUM, Open, ask, png, served, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]


DROP = """([files, texts]) => {
  const held = new DataTransfer();
  for (const [name, type, data] of files) {
    held.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
  }
  for (const [type, text] of texts) held.setData(type, text);
  const given = { dataTransfer: held, bubbles: true, cancelable: true };
  return ["dragenter", "dragover", "drop"].map((name) =>
    document.getElementById("footer").dispatchEvent(new DragEvent(name, given)));
}"""


def drop(page: Any, *files: tuple[str, str, bytes], texts: tuple[tuple[str, str], ...] = ()) -> str:
    """Drop these onto the foot of the page; gives what the page says, once it does."""
    page.wait_for_selector("input[type=file]", state="attached")
    given = [(name, kind, base64.b64encode(data).decode()) for name, kind, data in files]
    default = page.evaluate(DROP, [given, list(texts)])
    assert default == [False] * 3, "the browser would leave the page"
    page.wait_for_selector("#notice p")
    return " ".join(page.locator("#notice p").all_inner_texts())


PDF, ZIP = b"%PDF-1.7 ...", b"PK\x03\x04 ..."


@pytest.mark.parametrize(
    "given",
    [
        ("book.pdf", "application/pdf", PDF), ("one.cbz", "", ZIP), ("two.zip", "application/zip", ZIP),
        ("words.txt", "text/plain", b"words"), ("folder", "", b""), ("empty.png", "image/png", b""),
        ("three.cbr", "application/vnd.comicbook-rar", b"Rar!"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named(page_of: Open, given: tuple[str, str, bytes]) -> None:
    page = page_of()
    said = drop(page, given)
    assert given[0] in said and "JPEG, PNG, WebP or GIF" in said
    assert "JPEG, PNG, WebP, GIF" in drop(page_of(locale="ko-KR"), given)
    said = drop(page, given, ("a.png", "", png(0, 99)))  # the picture beside it is taken
    page.wait_for_selector(".cards .card")
    assert given[0] in said and "a.png" not in said and page.locator(".tile").count() == 1
    page.get_by_role("button", name="Close", exact=True).click()
    assert page.locator("#notice").inner_text() == ""


LINK = "https://comic.example/a.png"


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        ((("text/uri-list", LINK), ("text/plain", LINK)), "does not open links"),
        ((("text/plain", LINK),), "does not open links"),
        ((("text/plain", "some words"),), "no picture in that"),
        ((("text/uri-list", "javascript:window.__ran=1"),), "no picture in that"),
        ((("text/html", "<b>bold</b>"),), "no picture in that"),
    ],
)
def test_a_dropped_link_gets_a_word(
    page_of: Open, texts: tuple[tuple[str, str], ...], word: str
) -> None:
    assert word in drop(page_of(), texts=texts)


def test_links_are_fetched_where_that_is_on(page_of: Open, settings: Settings) -> None:
    with served(settings.store.root, url_queries="on") as at:
        page = page_of(at=at)
        page.wait_for_selector(".address")  # the page knows that it is on
        with page.expect_response("**/v1/fetched?*") as fetched:
            page.evaluate(DROP, [[], [("text/uri-list", "http://127.0.0.1/a.png")]])
        assert fetched.value.status == 422
        page.wait_for_selector("[role=alert]")
        assert "public internet" in page.locator("[role=alert]").inner_text()
        with page.expect_request("**/v1/fetched?*"):
            page.evaluate("""() => {
              const clipboardData = new DataTransfer();
              clipboardData.setData("text/plain", "http://127.0.0.1/b.png");
              window.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
            }""")
        page.goto("about:blank")  # it would say that the server is gone


def test_words_go_into_fields_as_ever(page_of: Open) -> None:
    page = page_of("browse")
    page.wait_for_selector(".finder input")
    left = page.evaluate("""() => {
      const held = new DataTransfer();
      held.setData("text/plain", "words");
      const given = { dataTransfer: held, bubbles: true, cancelable: true };
      const field = document.querySelector(".finder input");
      return ["dragover", "drop"].map((name) => field.dispatchEvent(new DragEvent(name, given)));
    }""")
    assert left == [True, True]


def test_of_many_pictures_64_are_taken_and_a_word_says_so(page_of: Open) -> None:
    """Beside what was bad, of which a few are named."""
    page = page_of()
    bad = [(f"bad{n}.png", "image/png", b"nothing") for n in range(50)]
    drop(page, *bad, *((f"{n}.png", "image/png", png(n % 3, 80 + n)) for n in range(16)))
    page.wait_for_selector(".cards .card")
    said = page.locator("#notice").inner_text()
    assert "At most 64" in said and "14.png, 15.png" in said
    assert "bad0.png" in said and "bad5.png and 44 more" in said and "bad6.png" not in said
    assert page.locator(".tile").count() == 14
    # They have a height of their own, so that the answer is not far below.
    box = page.locator(".asked.lots").bounding_box()
    assert box["height"] <= 0.6 * page.viewport_size["height"] + 1


@pytest.mark.parametrize(("locale", "word"), [("en-US", "Allowed are"), ("ko-KR", "보내 주세요")])
def test_one_bad_picture_does_not_lose_the_other(page_of: Open, locale: str, word: str) -> None:
    page = page_of(locale=locale)
    said = drop(page, ("bad.png", "image/png", b"nothing"), ("a.png", "image/png", png(0, 99)))
    page.wait_for_selector(".cards .card")
    assert "bad.png" in said and word in said
    assert page.locator(".tile .name").all_inner_texts() == ["a.png"]
    assert "bad.png" not in page.locator(".found").inner_text()
    page.get_by_role("link", name="toonsearch").click()
    page.wait_for_selector(".drop")
    assert page.locator("#notice").inner_text() == ""


# --- large and tall pictures --------------------------------------------------------------


SHRUNK = """async ([data, type, crop]) => {
  const { shrunk } = await import("./static/shrink.js");
  const file = new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "a", { type });
  const sent = await shrunk(file, URL.createObjectURL(file), crop);
  const bytes = new Uint8Array(await sent.blob.arrayBuffer());
  let text = "";
  for (let n = 0; n < bytes.length; n += 4096) text += String.fromCharCode(...bytes.slice(n, n + 4096));
  return [btoa(text), sent.crop];
}"""


def shrunk(page: Any, data: bytes, kind: str, crop: str | None = None) -> tuple[bytes, str | None]:
    """What the page sends of a picture, and the crop that it sends with it."""
    found, left = page.evaluate(SHRUNK, [base64.b64encode(data).decode(), kind, crop])
    return base64.b64decode(found), left


def noisy(width: int, height: int, form: str, **how: Any) -> bytes:
    """A picture whose quarters have colours, with grain: red, green, blue, white."""
    shade = np.random.default_rng(0).integers(0, 60, (height, width, 1), np.uint8)
    pixels = np.repeat(shade, 3, 2)
    for n, colour in enumerate(((190, 0, 0), (0, 190, 0), (0, 0, 190), (190, 190, 190))):
        y, x = divmod(n, 2)
        part = (
            slice(y * height // 2, (y + 1) * height // 2),
            slice(x * width // 2, (x + 1) * width // 2),
        )
        pixels[part] += np.array(colour, np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, form, **how)
    return held.getvalue()


def test_a_photograph_is_sent_small_and_upright(page_of: Open) -> None:
    page = page_of()
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    photo = noisy(2400, 1800, "JPEG", quality=95, exif=turned)
    assert len(photo) > 2_000_000
    sent, crop = shrunk(page, photo, "image/jpeg")
    image = Image.open(io.BytesIO(sent)).convert("RGB")
    assert image.size == (1280, 1707) and len(sent) < len(photo) / 2 and crop == ""
    assert np.argmax(image.getpixel((300, 300))) == 2  # blue, which was at the lower left
    assert np.argmax(image.getpixel((900, 300))) == 0
    sent, crop = shrunk(page, photo, "image/jpeg", "50%,0%,50%,50%")  # red
    part = Image.open(io.BytesIO(sent)).convert("RGB")
    assert part.size == (900, 1200) and crop == "" and np.argmax(part.getpixel((20, 20))) == 0


def test_a_strip_keeps_its_shape_or_is_sent_as_it_is(page_of: Open) -> None:
    page = page_of()
    for size, sent_size in (
        ((690, 30_000), (690, 30_000)),  # its width is small enough
        ((1400, 15_000), (1093, 11_706)),  # what a canvas can hold at a width of a panel
        ((20_000, 1400), (13_714, 960)),
        ((1400, 60_000), (1400, 60_000)),  # more than a canvas can hold
    ):
        held = io.BytesIO()
        Image.new("L", size, "white").save(held, "PNG")
        sent, _ = shrunk(page, held.getvalue(), "image/png")
        found = Image.open(io.BytesIO(sent)).size
        assert abs(found[0] / found[1] / (size[0] / size[1]) - 1) < 0.01
        if size == sent_size:
            assert sent == held.getvalue()
        else:
            assert min(found) >= 720 and max(found) <= 16_384 and found[0] * found[1] <= 4096**2


def test_other_pictures_are_sent_as_they_are(page_of: Open) -> None:
    page = page_of()
    small = noisy(300, 200, "PNG")
    large = noisy(1500, 1400, "PNG")
    frames = [Image.new("L", (1500, 1500), n) for n in (0, 99)]
    held = io.BytesIO()
    frames[0].save(held, "PNG", save_all=True, append_images=frames[1:])
    moving = held.getvalue() + bytes(1_600_000)
    for data, kind, crop in (
        (small, "image/png", None), (small, "image/png", "0%,0%,50%,50%"), (small, "", None),
        (moving, "image/png", None), (b"no picture" * 160_000, "image/jpeg", None),
    ):  # fmt: skip
        assert shrunk(page, data, kind, crop) == (data, crop)
    sent, _ = shrunk(page, large, "image/png")
    assert len(sent) < len(large) and Image.open(io.BytesIO(sent)).size == (1371, 1280)
    held = io.BytesIO()
    Image.open(io.BytesIO(small)).save(held, "BMP")  # the server does not read it, the browser does
    sent, _ = shrunk(page, held.getvalue(), "image/bmp")
    assert Image.open(io.BytesIO(sent)).format in ("JPEG", "WEBP")


def test_a_large_photograph_passes_a_small_limit(page_of: Open, settings: Settings) -> None:
    photo = noisy(2400, 1800, "JPEG", quality=95)
    with served(settings.store.root, max_bytes="1500000") as at:
        page = page_of(at=at)
        ask(page, {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo})
        page.goto("about:blank")


def strip(width: int = 345, height: int = 15_000) -> bytes:
    made = Image.new("RGB", (width, height), "white")
    for n, y in enumerate(range(0, height - 300, 300)):
        made.paste(draw(n % 3, n).resize((min(width, 345), 276)), (0, y))
    held = io.BytesIO()
    made.save(held, "PNG")
    return held.getvalue()


def test_one_panel_of_a_strip_is_chosen_by_mouse(page_of: Open) -> None:
    page = page_of(viewport={"width": 1280, "height": 800})
    ask(page, {"name": "s.png", "mimeType": "image/png", "buffer": strip()})
    shown = page.locator(".mat.tall .query").bounding_box()
    assert shown["width"] > 150
    page.get_by_role("button", name="Choose a part").click()
    page.wait_for_selector(".stage.tall")
    image = page.locator(".stage img").bounding_box()
    assert image["width"] == 345 and image["height"] == 15_000
    stage = page.locator(".stage").bounding_box()
    page.mouse.move(stage["x"] + 50, stage["y"] + 50)
    page.mouse.wheel(0, 6000)
    wait_until(lambda: scrolled(page) >= 5999)
    page.mouse.move(stage["x"] + 20, stage["y"] + 20)
    page.mouse.down()
    page.mouse.move(stage["x"] + 300, stage["y"] + 296, steps=4)
    page.mouse.up()
    assert box_of(page) == pytest.approx((20, 6020, 280, 276), abs=2)
    grip = page.locator(".grip.se").bounding_box()
    page.mouse.move(grip["x"] + 8, grip["y"] + 8)
    page.mouse.down()
    page.mouse.move(stage["x"] + 330, stage["y"] + stage["height"] - 5, steps=3)  # scrolls on
    wait_until(lambda: scrolled(page) >= 6200)
    page.mouse.up()
    x, y, w, h = box_of(page)
    assert (x, y) == pytest.approx((20, 6020), abs=2) and w == pytest.approx(310, abs=3) and h > 500
    for key in ("ArrowDown", "Shift+ArrowUp"):
        page.keyboard.press(key)
    assert box_of(page) == pytest.approx((x, y + 6.9, w, h - 6.9), abs=1)
    with page.expect_response("**/v1/query*") as answered:
        page.get_by_role("button", name="Use this part").click()
    assert answered.value.status == 200


def scrolled(page: Any) -> float:
    return float(page.evaluate("document.querySelector('.stage').scrollTop"))


def box_of(page: Any) -> tuple[float, ...]:
    """The frame in pixels of the picture."""
    return tuple(
        page.evaluate("""() => {
      const image = document.querySelector(".stage img");
      const [a, b] = [image, document.querySelector(".part")].map((n) => n.getBoundingClientRect());
      const scale = image.naturalWidth / a.width;
      return [b.left - a.left, b.top - a.top, b.width, b.height].map((value) => value * scale);
    }""")
    )


def test_one_panel_of_a_strip_is_chosen_by_finger(page_of: Open) -> None:
    page = page_of(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    ask(page, {"name": "s.png", "mimeType": "image/png", "buffer": strip()})
    page.get_by_role("button", name="Choose a part").tap()
    page.wait_for_selector(".stage.tall")
    image = page.locator(".stage img").bounding_box()
    assert image["width"] > 280, "it has the width of the dialog"
    touch = "document.querySelector('.stage.tall .sheet')"
    assert "pan-y" in page.evaluate(f"getComputedStyle({touch}).touchAction")
    page.evaluate("document.querySelector('.stage').scrollTop = 5000")
    stage = page.locator(".stage").bounding_box()
    page.touchscreen.tap(stage["x"] + 100, stage["y"] + 200)
    scale = 345 / image["width"]
    _, y, w, h = box_of(page)
    assert y + h / 2 == pytest.approx(5200 * scale, abs=3) and w == pytest.approx(345, abs=3)
    with page.expect_response("**/v1/query*") as answered:
        page.get_by_role("button", name="Use this part").tap()
    assert answered.value.status == 200


# --- proxies ----------------------------------------------------------------------------------


@contextlib.contextmanager
def proxied(upstream: str, prefix: str, strip_prefix: bool) -> Iterator[tuple[str, list[str]]]:
    """A proxy such as nginx: HTTP/1.0, its own name in Host, and one path that is passed on.

    Gives its address and what was asked of it.
    """
    place = urlsplit(upstream).netloc
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if not self.path.startswith(prefix):
                self.send_error(404)
                return
            path = self.path.removeprefix(prefix) if strip_prefix else self.path
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            link = http.client.HTTPConnection(place)
            link._http_vsn, link._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")
            }
            link.request(self.command, path or "/", body, {**headers, "Host": place})
            answer = link.getresponse()
            self.send_response(answer.status)
            data = answer.read()
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "content-length", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            link.close()

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}{prefix}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("strip_prefix", "root_path"), [(True, ""), (True, "/toon"), (False, "/toon")]
)
def test_under_a_path_of_a_proxy(
    page_of: Open, settings: Settings, strip_prefix: bool, root_path: str
) -> None:
    web = {"root_path": root_path, "accounts": "open"} if root_path else {"accounts": "open"}
    with (
        served(settings.store.root, **web) as upstream,
        proxied(upstream, "/toon", strip_prefix) as (at, asked),
    ):
        page = page_of("/", at=at)
        ask(page)
        assert f"{at}/?r=" in page.url
        page.get_by_role("button", name="Share").click()
        page.wait_for_selector(".shared input")
        link = page.locator(".shared input").input_value()
        assert link.startswith(f"{at}/?r=s-")
        with page.expect_download() as saved:
            page.get_by_role("link", name="HTML").click()
        assert "toonsearch.html" in saved.value.suggested_filename
        page.goto(link)
        page.wait_for_selector(".cards .card img")
        page.locator(".cards h3 a").first.click()
        page.wait_for_selector(".work .grid li")
        assert page.url.startswith(f"{at}/title?id=")
        for name, place in (("Browse", "browse"), ("Map", "map"), ("Sign in", "account")):
            page.get_by_role("link", name=name).first.click()
            page.wait_for_url(f"{at}/{place}")
            page.reload()
            page.wait_for_selector(f"nav a[href={place}][aria-current]")
        page.locator("#register-name").fill(f"Anna {strip_prefix}{root_path}")
        page.locator("#register-password").fill("correct horse battery")
        page.locator("form .main").last.click()
        page.wait_for_url(f"{at}/galleries")
        page.reload()
        page.wait_for_selector("nav a:has-text('Anna')")
        page.get_by_role("link", name="toonsearch").click()
        page.wait_for_url(f"{at}/")
        if root_path:  # also when the slash was forgotten, or the proxy
            for start in (at, f"{upstream.rstrip('/')}/browse"):
                page.goto(start)
                page.wait_for_selector("nav a[aria-current]")
                assert urlsplit(page.url).path.startswith("/toon/")
        page.goto("about:blank")
        assert [path for path in asked if not re.match("/toon(/|$)", path)] == []


def test_a_proxy_that_refuses_is_translated(page_of: Open) -> None:
    page = page_of()
    said = page.evaluate("""async () => {
      const { ApiError } = await import("./static/api.js");
      return [413, 502, 408, 418].map((status) => new ApiError(status, {}).full);
    }""")
    assert "smaller" in said[0] and "cannot be reached" in said[1] and "slowly" in said[2]
    assert all("." in one and "undefined" not in one for one in said)


NO_LABELS = """async () => {
  const { answerView } = await import("./static/results.js");
  const labels = { authors: [], genres: [], eras: [], conclusion: "", bars: { author: [], genre: [], era: [] } };
  const query = { notes: [], generation: "g", pictures_count: 1, candidates_count: 1, model: "m", by: "title" };
  const facets = { genres: [], platforms: [], years: { first: null, last: null } };
  const view = answerView({ id: null, query, titles: [], labels }, { filters: {}, facets, tiles: "TILES" });
  return view.querySelector(".question").textContent;
}"""


def test_without_labels_nothing_stands_in_their_place(page_of: Open) -> None:
    page = page_of()
    page.wait_for_selector(".drop")
    assert page.evaluate(NO_LABELS) == "TILESOn the map"
