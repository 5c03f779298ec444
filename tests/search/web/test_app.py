"""The page's own files: small, complete in both languages, without ways to run other code."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from schemas.errors import StorageError, UsageError
from schemas.images import PictureError, Reason
from schemas.records import CLOSENESS, CONCLUSIONS
from schemas.settings import FIELDS, Settings
from search import web
from search.results import notes_of
from search.web.app import PAGES, STATIC
from search.web.errors import STATUSES, error_body
from tests.search.artists import draw
from tests.search.web.conftest import opened

SCRIPTS = sorted(path.name for path in STATIC.glob("*.js"))


def scripts_at_once(name: str = "app.js") -> set[str]:
    """A script with those that it imports, but for what is loaded when it is wanted."""
    found: set[str] = set()
    wanted = [name]
    while wanted:
        one = wanted.pop()
        if one not in found:
            found.add(one)
            text = (STATIC / one).read_text("utf-8")
            wanted += re.findall(r'^import (?:[^"]* from )?"\./([\w.]+)";$', text, re.M)
    return found


def test_the_first_page_is_small(client: TestClient) -> None:
    first = scripts_at_once()
    assert {"ask.js", "home.js", "keys.js"} < first
    later = {"results.js", "works.js", "lightbox.js", "map.js", "map_view.js", "strings_ko.js"}
    assert not first & later, "loaded when they are wanted"
    files = [client.get("/").content, (STATIC / "app.css").read_bytes()]
    files += [(STATIC / name).read_bytes() for name in first]
    assert sum(map(len, files)) < 120_000, "without compression"
    assert sum(len(gzip.compress(data)) for data in files) < 42_000
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < 220_000


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_zoom_lists_marks_and_colours(tmp_path: Path) -> None:
    """Functions of the page that need no page, in node."""
    for name in SCRIPTS:
        shutil.copy(STATIC / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    script = """
      globalThis.localStorage = { getItem: () => null, setItem: () => {} };
      Object.defineProperty(globalThis, "navigator", { value: { languages: ["en"] } });
      globalThis.location = { pathname: "/", search: "", hash: "" };
      globalThis.document = { addEventListener() {}, getElementById: () => null };
      const { strictEqual: is, deepStrictEqual: same, ok } = await import("node:assert");
      const at = (name) => import(`${process.argv[1]}/${name}`);
      const { fitted, room, zoomed } = await at("view.js");
      same(fitted([200, 100], [400, 400]), [400, 200]); // all of it
      same(fitted([100, 1000], [300, 500]), [200, 2000]); // a strip by its width, twice at most
      same(fitted([1000, 100], [500, 300]), [2000, 200]);
      same(fitted([4000, 400], [500, 300]), [3000, 300]);
      same(room([400, 200], [400, 400], 2), [200, 0]);
      let view = zoomed({ zoom: 1, x: 0, y: 0 }, 2, [50, -20]);
      same(view, { zoom: 2, x: -50, y: 20 });
      is((50 - view.x) / view.zoom, 50); // the place under the pointer stayed
      is(zoomed(view, 1e9).zoom, 24);
      same(zoomed({ zoom: 1, x: 3, y: 4 }, 0.5), { zoom: 1, x: 3, y: 4 });
      const { added } = await at("listing.js");
      const title = (id) => ({ title_id: id, pictures: [] });
      same(added([title("a"), title("b"), title("c")], [title("a"), title("b")]), [title("c")]);
      is(added([title("b"), title("c"), title("a")], [title("a"), title("b")]), null);
      const hit = (id, of) => ({ title_id: of, picture_id: id });
      same(added([hit("1", "x"), hit("1", "y")], [hit("1", "x")]), [hit("1", "y")]);
      is(added([hit("1", "y"), hit("2", "x")], [hit("1", "x")]), null);
      same(added([title("a")], [title("a")]), []);
      is(added([], [title("a")]), null);
      const { marked } = await at("marks.js");
      same(marked({ k: "5" }, "liked", "p"), { k: "5", liked: ["p"], disliked: [] });
      same(marked({ liked: ["p", "q"] }, "liked", "p"), { liked: ["q"], disliked: [] });
      same(marked({ liked: ["p"] }, "disliked", "p"), { liked: [], disliked: ["p"] });
      const { hueOf, nearestPoint } = await at("map_view.js");
      is(hueOf("era", 0, 5), "rgb(68 58 128)");
      is(hueOf("era", 4, 5), "rgb(240 180 40)");
      is(hueOf("author", 65535, 5), hueOf("era", 65535, 5));
      is(new Set(Array.from({ length: 12 }, (_, n) => hueOf("genre", n, 12))).size, 12);
      const points = { count: 3, x: [0, 0.5, 0.9], y: [0, 0.5, 0.9] };
      is(nearestPoint(points, 0.52, 0.5, 0.1), 1);
      is(nearestPoint(points, 0.3, 0.3, 0.1), -1);
      is(nearestPoint(points, 0.52, 0.5, 1, (n) => n !== 1), 2);
      const { nextPlace } = await at("view.js");
      is(nextPlace([-50, 20, 300], -1, 1), 1); // the first in view
      is(nextPlace([-50, 20, 300], 2, 1), 2);
      is(nextPlace([-50, 20, 300], 0, -1), 0);
    """
    told = subprocess.run(
        ["node", "--input-type=module", "-e", script, tmp_path.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_the_shell(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200 and "<main" in answer.text
    assert not re.search(r"https?://|<script>|<style|style=| on\w+=", answer.text)
    for name in re.findall(r"/static/([\w.]+)", answer.text):
        assert client.get(f"/static/{name}").status_code == 200


@pytest.mark.parametrize(
    ("given", "root"),
    [("", ""), ("/", ""), ("/toon", "/toon"), ("toon/", "/toon"), ("//a.b//c_d-e/", "/a.b/c_d-e")],
)
def test_the_page_lies_under_a_path_of_its_proxy(settings: Settings, given: str, root: str) -> None:
    with opened(settings, root_path=given) as client:
        for prefix in {"", root, f"/{root}"}:  # taken off by the proxy, left, left with a slash
            for path in ("/", "/browse", "/v1/facets", "/openapi.json", "/static/app.js"):
                answer = client.get(f"http://localhost{prefix}{path}")
                assert answer.status_code == 200, (prefix, path)
            again = client.get(f"http://localhost{prefix}/browse/?q=a", follow_redirects=False)
            assert again.headers["location"] == "../browse?q=a"  # whatever stands before it
        page = client.get("/").text
        start = f"{root}/" if root else ""
        assert f'"{start}static/app.js"' in page and 'href="./"' in page
        described = client.get("/openapi.json").json()
        assert described.get("servers") == ([{"url": root}] if root else None)
        assert client.get(f"{root}x/v1/facets").status_code == 404


@pytest.mark.parametrize(
    "given",
    ["https://a.example/toon", "/a b", "/..", "/a/../b", "/a?b", '/"', "/%2e", "/v1", "/map/x",
     "/static"],
)  # fmt: skip
def test_what_is_no_path_is_refused(settings: Settings, given: str) -> None:
    with pytest.raises(UsageError, match="root_path"), opened(settings, root_path=given):
        pass


def test_links_and_cookies_know_the_path(settings: Settings) -> None:
    held = io.BytesIO()
    draw(0, 99).save(held, "PNG")
    with opened(settings, root_path="/toon", accounts="open") as client:
        first = client.post("/toon/v1/query", content=held.getvalue()).json()
        shared = client.post(f"/toon/v1/results/{first['id']}/share").json()
        assert shared["link"].startswith("/toon/?r=s-")
        body = {"name": "Anna", "password": "correct horse battery"}
        made = client.post("/toon/v1/accounts", json=body)
        assert "; Path=/toon;" in made.headers["set-cookie"]
        gone = client.delete("/toon/v1/session")
        assert "; Path=/toon;" in gone.headers["set-cookie"]


def test_no_script_asks_at_the_top() -> None:
    for name in SCRIPTS:
        text = (STATIC / name).read_text("utf-8")
        assert re.findall(r"""["'`]/[\w?]""", text) == [], name


def test_files_are_sent_once(client: TestClient) -> None:
    first = client.get("/static/app.js")
    again = client.get("/static/app.js", headers={"if-none-match": first.headers["etag"]})
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["cache-control"] == "no-cache"
    assert again.status_code == 304 and not again.content
    assert b'requests_total{route="/static",status="304"}' in client.get("/metrics").content


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_never_parse_text_as_markup(name: str) -> None:
    text = (STATIC / name).read_text("utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                 "Function(", "srcdoc", "javascript:", "setTimeout(\""):  # fmt: skip
        assert word not in text or (word, name) == ("javascript:", "bookmarklet.js")
    for address in re.findall(r"https?://[^\s\"'`]+", text):
        assert address.startswith(("http://www.w3.org/", "https://…")), address
    assert len(text.splitlines()) <= 300


def words_of(language: str) -> str:
    """The table of the page's words in a language."""
    name = {"EN": "strings.js", "KO": "strings_ko.js"}[language]
    return (STATIC / name).read_text("utf-8").split(f"const {language} = ")[1].split("};")[0]


def test_both_languages_say_everything() -> None:
    english, korean = (
        set(re.findall(r"[{,]\s*(\w+): \"", words_of(language))) for language in ("EN", "KO")
    )
    assert english == korean and len(english) > 80
    used = {
        key
        for name in SCRIPTS
        for key in re.findall(r"\bt\(\"(\w+)\"", (STATIC / name).read_text("utf-8"))
    }
    assert used <= english


def test_the_page_says_the_four_conclusions_as_everything_else_does() -> None:
    english, korean = (
        dict(re.findall(r'"([a-z ]+)": "([^"]+)"', words_of(language))) for language in ("EN", "KO")
    )
    assert english.keys() == korean.keys()
    for name, sentence in CONCLUSIONS.items():
        assert english[f"concluded {name}"] == sentence
        assert re.search("[가-힣]", korean[f"concluded {name}"])
    for word in CLOSENESS:
        assert english[f"is {word}"] == word and re.search("[가-힣]", korean[f"is {word}"])


def test_every_error_has_a_korean_sentence_and_hint() -> None:
    text = (STATIC / "strings_ko.js").read_text("utf-8")
    korean = text.split("const ERRORS_KO = ")[1].split("\n};")[0]
    known = dict(re.findall(r'(\w+): \["[^"]+", ("[^"]*"|AGAIN_KO)\]', korean))
    said = {code for _, _, code, _ in STATUSES} - {"refused"}
    for path in sorted(Path(web.__file__).parent.rglob("*.py")):
        said |= set(re.findall(r'ApiError\(\s*\w+,\s*"(\w+)"', path.read_text("utf-8")))
    said |= {str(reason) for reason in (
        Reason.TOO_MANY_BYTES, Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL, Reason.FORMAT,
        Reason.TRUNCATED, Reason.DAMAGED, Reason.EMPTY, Reason.BLANK)}  # fmt: skip
    assert {"rate", "slow", "form", "origin", "not_found"} <= said
    assert said - known.keys() == set()
    assert [code for code, hint in known.items() if len(hint) < 4] == ["sign_in", "off"]


def test_no_hint_for_visitors_names_a_setting() -> None:
    for reason in Reason:
        for key in FIELDS:
            error = PictureError(reason, "it is too large", f"Raise {key} if you trust it.")
            assert key not in str(error_body(error)), key
    lost = StorageError("/var/lib/toonsearch/tables cannot be written", "Look at /var.")
    assert "/var" not in str(error_body(lost)) and error_body(lost)["code"] == "store"
    named = error_body(PictureError(Reason.FORMAT, "a.png: not a picture"), "a.png")
    assert named["error"] == "Not a picture."


def test_the_page_knows_the_notes_that_it_translates() -> None:
    """Their beginnings, as the page looks for them, are those of `search/results.py`."""
    script = (STATIC / "results.js").read_text("utf-8")
    beginnings = re.findall(r'note\.startsWith\("([^"]+)"\)', script)
    assert len(beginnings) >= 4
    said = [
        note
        for same, shown in ((["Ann"], 1), ([], 99))
        for note in notes_of(
            own={"t": "T"},
            same=same,
            wanted_others=True,
            left=1,
            total=2,
            shown=shown,
            k=100,
            by="title",
        )
    ]
    beginnings.remove("too long to be seen whole")  # of the engine
    for beginning in beginnings:
        assert any(note.startswith(beginning) for note in said), beginning


def test_the_page_knows_the_notes_about_panels() -> None:
    """Each pattern of the page fits a note as the code makes it."""
    script = (STATIC / "panels.js").read_text("utf-8").split("const NOTES")[1].split("];")[0]
    patterns = re.findall(r"\[/(\^.+?)/, ", script)
    assert len(patterns) == 9
    root = Path(web.__file__).parents[2]
    code = "".join(
        (root / name).read_text("utf-8")
        for name in ("search/panels.py", "indexer/panels/stitch.py")
    )
    made = [re.sub(r"\{[^}]*\}", "7", text) for text in re.findall(r'f?"([^"\n]+)"', code)]
    for pattern in patterns:
        assert any(re.search(pattern, text) for text in made), pattern


def test_the_description_names_a_model_for_every_answer(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    assert len(described) > 20
    for path, methods in described.items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                if status >= "400":
                    assert schema == {"$ref": "#/components/schemas/Error"}, (path, method, status)
                elif schema is not None:
                    one = schema.get("items", schema)  # or a list, of one kind or another
                    for kind in one.get("anyOf", [one]):
                        assert set(kind) == {"$ref"}, (path, method)
