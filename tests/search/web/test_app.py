"""The page's own files: small, complete in both languages, without ways to run other code."""

from __future__ import annotations

import gzip
import re

import pytest
from starlette.testclient import TestClient

from schemas.records import Labels
from search.results import notes_of
from search.web.app import PAGES, STATIC

SCRIPTS = sorted(path.name for path in STATIC.glob("*.js"))


def test_the_first_page_is_small(client: TestClient) -> None:
    files = [client.get("/").content, *(path.read_bytes() for path in STATIC.iterdir())]
    assert sum(map(len, files)) < 150_000, "without compression, all of it"
    assert sum(len(gzip.compress(data)) for data in files) < 50_000


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_the_shell(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200 and "<main" in answer.text
    assert not re.search(r"https?://|<script>|<style|style=| on\w+=", answer.text)
    for name in re.findall(r"/static/([\w.]+)", answer.text):
        assert client.get(f"/static/{name}").status_code == 200


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
        assert word not in text
    for address in re.findall(r"https?://[^\s\"'`]+", text):
        assert address.startswith(("http://www.w3.org/", "https://…")), address
    assert len(text.splitlines()) <= 300


def test_both_languages_say_everything() -> None:
    text = (STATIC / "strings.js").read_text("utf-8")
    english, korean = (
        set(re.findall(r"[{,]\s*(\w+): \"", text.split(f"const {name} = ")[1].split("};")[0]))
        for name in ("EN", "KO")
    )
    assert english == korean and len(english) > 80
    used = {
        key
        for name in SCRIPTS
        for key in re.findall(r"\bt\(\"(\w+)\"", (STATIC / name).read_text("utf-8"))
    }
    assert used <= english


def test_the_page_knows_the_notes_that_it_translates() -> None:
    """Their beginnings, as the page looks for them, are those of `search/results.py`."""
    script = (STATIC / "results.js").read_text("utf-8")
    beginnings = re.findall(r'note\.startsWith\("([^"]+)"\)', script)
    assert len(beginnings) >= 4
    labels = Labels(out_of_distribution=1.0)
    said = list(
        notes_of(
            labels,
            own={"t": "T"},
            same=["Ann"],
            wanted_others=True,
            left=1,
            total=2,
            expanded=False,
            shown=1,
            k=10,
            by="title",
        )
    )
    for beginning in beginnings:
        assert any(note.startswith(beginning) for note in said), beginning


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
                    assert set(schema) == {"$ref"}, (path, method)
