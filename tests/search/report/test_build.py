"""The report: what is on it, and that a real browser draws it without a complaint."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.embedding.embed import embed_pending
from indexer.labels.judge import judge_pending
from indexer.palette import color_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.settings import Settings, load_settings
from search.cli.app import main
from tests.drawings import draw_folder
from tests.search.pages import elements

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECTIONS = ("size", "genres", "titles", "map", "drift", "palettes", "eras", "copies", "coverage")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Four artists over three years, with genres, colours and predictions."""
    from crawler.importers.manifest import import_manifest

    root = tmp_path_factory.mktemp("drawn")
    folder = draw_folder(root / "drawings", titles=3, pictures=4, side_px=96)
    lines = ["path,author,series,genre,year"]
    for file in sorted(folder.rglob("*.png")):
        hand, title = file.parts[-3], file.parts[-2]
        number = int(title[-1])
        genre = ("line </script>", "colour & shape")[int(hand[-1]) % 2]
        lines.append(f"{file},{hand},{title},{genre},{1990 + 7 * number}")
    manifest = root / "works.csv"
    manifest.write_text("\n".join(lines) + "\n")
    made = load_settings({"store.root": str(root / "data")}, environ={}, cwd=root)
    import_manifest(made.layout, made, manifest)
    embed_pending(made.layout, made)
    report = build_generation(made.layout, made)
    assert report.generation_id is not None
    publish(made.layout, report.generation_id)
    color_pending(made.layout, made)
    judge_pending(made.layout)
    return made


@pytest.fixture(scope="module")
def page(drawn: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["--data", str(drawn.store.root), "-q", "report", "--html", str(target)]) == 0
    return target


def test_every_part_is_there_and_nothing_is_fetched(page: Path) -> None:
    text = page.read_text("utf-8")
    assert len(text) < 15_000_000
    for name in SECTIONS:
        assert f'<section id="{name}">' in text
    assert "default-src 'none'" in text
    bare = re.sub(r'<script type="text/plain" id="plotly">.*?</script>', "", text, flags=re.S)
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", bare)
    assert "line </script>" not in bare
    data = re.search(r'id="data">(.*?)</script>', bare, re.S)
    assert data is not None
    told = json.loads(data[1])
    assert {author["name"] for author in told["authors"]} == {f"hand {n}" for n in range(4)}
    assert "genre · colour &amp; shape" in bare
    assert bare.count("data-chart=") >= 5
    assert ">None<" not in bare and "Undefined" not in bare
    found = elements(bare)
    assert not any(name.startswith("on") for _, said in found for name in said)
    assert {tag for tag, said in found if "src" in said} == {"img"}
    plots = {said["data-chart"] for _, said in found if "data-chart" in said}
    assert plots == set(told["charts"]), "each chart that is sent is shown"
    for figure in re.findall(r'<figure class="chart">.*?</figure>', bare, re.S):
        assert '<details class="sql">' in figure, "each chart has its SQL one click away"


def test_an_empty_catalog_has_a_report(tmp_path: Path) -> None:
    target = tmp_path / "empty.html"
    assert main(["--data", str(tmp_path / "data"), "-q", "report", "--html", str(target)]) == 0
    for name in SECTIONS:
        assert f'<section id="{name}">' in target.read_text("utf-8")
    assert main(["report", "--html", str(tmp_path / "no" / "where.html")]) == 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with driver.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield made
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_every_chart(browser: Any, page: Path, width: int, scheme: str) -> None:
    complaints: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda asked: complaints.append(asked.url)
           if asked.url.startswith("http") else None)  # fmt: skip
    tab.goto(page.as_uri())
    for _ in range(200):
        if tab.evaluate("() => !!window.reportReady"):
            break
        tab.wait_for_timeout(100)
    tab.evaluate("() => window.drawAll()")
    drawn, charts = tab.evaluate(
        "() => [document.querySelectorAll('.plot .main-svg').length > 0 &&"
        " [...document.querySelectorAll('.plot')].filter(p => p.querySelector('.main-svg')).length,"
        " document.querySelectorAll('.plot').length]"
    )
    assert drawn == charts > 8
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    tab.click("#theme")
    tab.wait_for_timeout(300)
    assert tab.evaluate("() => document.documentElement.dataset.theme") in ("light", "dark")
    tab.close()
    assert complaints == []
