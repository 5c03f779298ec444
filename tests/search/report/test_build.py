"""The report: what is on it, and that a real browser draws it without a complaint."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.embedding.embed import embed_pending
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.settings import Settings, load_settings
from schemas.storage.locking import writing
from search.cli.app import main
from search.report import charts
from tests.drawings import draw_folder
from tests.search.pages import elements
from tests.small_model import ENVIRON

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECTIONS = ("size", "genres", "titles", "map", "drift", "palettes", "eras", "coverage")
"""Those with something in them: no two drawings are almost the same."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Four artists over three years, with genres."""
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
    made = load_settings({"store.root": str(root / "data")}, environ=ENVIRON, cwd=root)
    import_manifest(made.layout, made, manifest)
    embed_pending(made.layout, made)
    report = build_generation(made.layout, made)
    assert report.generation_id is not None
    publish(made.layout, report.generation_id)
    return made


@pytest.fixture(scope="module")
def page(drawn: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a catalog in which no colours were found and nothing was judged before."""
    target = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["--data", str(drawn.store.root), "-q", "report", "--html", str(target)]) == 0
    return target


def test_every_part_is_there_and_nothing_is_fetched(page: Path) -> None:
    text = page.read_text("utf-8")
    assert len(text) < 15_000_000
    found = re.findall(r'<section id="(\w+)">', text)
    assert found == [*SECTIONS, "missing"]
    assert list(SECTIONS) == re.findall(r'<a href="#(\w+)">', text)
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


def test_years_of_few_pictures_are_marked(page: Path) -> None:
    data = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    assert data is not None
    told = json.loads(data[1])["charts"]
    for name in ("genre_by_year", "pictures_by_year"):
        for trace in told[name]["data"]:
            for count, shape, opacity in zip(
                trace["customdata"], trace["marker"]["pattern"]["shape"],
                trace["marker"]["opacity"], strict=True,
            ):  # fmt: skip
                assert (shape, opacity) == (("/", 0.4) if count < charts.FEW else ("", 1.0))
    assert {"", "/"} == {
        trace.marker.pattern.shape[n] for trace in _few_and_many().data for n in range(len(trace.x))
    }


def _few_and_many() -> Any:
    from plotly import graph_objects as go

    rows = [{"year": 1990, "pictures_count": 3}, {"year": 1991, "pictures_count": 30}]
    return go.Figure(charts.pictures_by_year(rows)["data"])


def test_an_empty_catalog_has_a_report_that_names_commands(tmp_path: Path) -> None:
    target, data = tmp_path / "empty.html", tmp_path / "data"
    assert main(["--data", str(data), "-q", "report", "--html", str(target)]) == 0
    assert not data.exists(), "nothing is written where there is nothing"
    text = target.read_text("utf-8")
    assert re.findall(r'<section id="(\w+)">', text) == ["size", "missing"]
    assert "<code>toonsearch import folder DIR</code>" in text and "toonsearch judge" not in text
    assert main(["report", "--html", str(tmp_path / "no" / "where.html")]) == 3


def test_what_cannot_be_completed_is_left_as_it_is(
    drawn: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    for part in ("tables", "pictures"):
        without = shutil.ignore_patterns("colors", "predictions")
        shutil.copytree(drawn.store.root / part, root / part, ignore=without)
    own = load_settings({"store.root": str(root)}, environ=ENVIRON, cwd=tmp_path)
    arguments = ["--data", str(root), "report", "--html", str(tmp_path / "report.html")]
    with writing(own.layout, "a crawl"):
        process = subprocess.run(
            [sys.executable, "-m", "search", *arguments], capture_output=True, text=True
        )
    assert process.returncode == 0
    assert " colors` was left out: another run is writing" in process.stderr
    assert " judge` was left out: there is no index" in process.stderr
    text = (tmp_path / "report.html").read_text("utf-8")
    found = re.findall(r'<section id="(\w+)">', text)
    assert not {"palettes", "titles"} & set(found) and found[-1] == "missing"
    assert re.findall(r'<a href="#(\w+)">', text) == found[:-1]
    assert "<code>toonsearch colors</code>" in text and "<code>toonsearch judge</code>" in text
    assert main([*arguments, "--as-is"]) == 0
    assert "left out" not in capsys.readouterr().err
    assert "<code>toonsearch colors</code>" in (tmp_path / "report.html").read_text("utf-8")


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
