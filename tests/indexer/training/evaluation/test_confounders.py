"""Content and colour: spaces that know one thing only, and find what they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("onnx", reason="training needs onnx")
pytest.importorskip("timm", reason="training needs timm")

from PIL import Image

from indexer.training.evaluation import confounders
from indexer.training.evaluation.confounders import TURNED, Shown, of_contents, of_folder
from indexer.training.features import FeatureStore
from indexer.vector_index.ranking import unit
from schemas.errors import InputError
from tests.drawings import drawing

STYLES, CONTENTS = ("flat", "ring", "ring-v2"), 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Coloured drawings in two styles, one of which has two versions."""
    lines = ["path,author,content"]
    for number, style in enumerate(STYLES):
        for content in range(CONTENTS):
            name = f"{style}-{content}.png"
            drawing((3, 2, 2)[number], 10 * number + content, 96).save(tmp_path / name)
            lines.append(f"{name},{style},thing {content}")
    drawing(0, 99, 96).save(tmp_path / "odd.png")
    lines.append("odd.png,flat,")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    return tmp_path


def test_content_is_asked_of_other_contents_and_versions_are_one_style(folder: Path) -> None:
    bench = of_contents(folder)
    assert len(bench) == 3 * CONTENTS and set(bench.authors) == {"flat", "ring"}
    assert set(bench.series) == {f"thing {number}" for number in range(CONTENTS)}
    shown = Shown.of(FeatureStore(bench))
    style = (shown.store.bench.authors == "flat").astype(float)
    thing = np.unique(shown.store.bench.series, return_inverse=True)[1]
    by_style = unit(np.stack([style, 1 - style], 1))
    by_content = unit(np.stack([np.cos(thing), np.sin(thing)], 1))
    assert shown.content("pixels", lambda rows: by_style) == (1.0, {"flat": 1.0, "ring": 1.0})
    # Where content is all that is seen, the first picture of the next content is by chance flat.
    share, styles = shown.content("pixels", lambda rows: by_content)
    assert styles == {"flat": 1.0, "ring": 0.0} and share == pytest.approx(1 / 3)


def test_a_manifest_without_contents_is_refused(folder: Path) -> None:
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("content", "motif"))
    with pytest.raises(InputError, match="no column 'content'"):
        of_contents(folder)
    manifest.write_text("path,author,content\nflat-0.png,flat,thing\n")
    with pytest.raises(InputError, match="two styles"):
        of_contents(manifest)


def test_fewer_pictures_are_whole_series(folder: Path) -> None:
    part = of_contents(folder, most=7)
    assert len(part) == 6 and len(set(part.series)) == 2
    assert len(of_folder(folder, most=4)) == 4
    assert set(of_folder(folder, learnt=frozenset({"flat"})).authors) == {"ring", "ring-v2"}
    with pytest.raises(InputError, match="every author"):
        of_folder(folder, learnt=frozenset({"flat", "ring"}))


def test_what_stays_when_hues_are_turned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confounders, "HITS", 3)
    shown = Shown.of(FeatureStore(of_contents(folder)))
    queries = shown.coloured(10)
    assert len(queries) == 10 and len(shown.coloured(100)) == 3 * CONTENTS
    kept = shown.colour("pixels", unit, 10)  # grey copies: hues are hardly there
    fooled = shown.colour("colors", unit, 10)
    assert kept is not None and fooled is not None
    assert kept.share > 0.8 > fooled.share and (kept.queries, kept.pictures) == (10, 15)


def test_pictures_without_colours_are_not_asked(tmp_path: Path) -> None:
    for number in range(2):
        grey = drawing(0, number, 96).convert("L")
        paper = np.asarray(grey)[..., None] / 255 * np.array([240, 225, 190])
        Image.fromarray(paper.astype(np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "manifest.csv").write_text("path,author,series\n0.png,a,x\n1.png,b,y\n")
    shown = Shown.of(FeatureStore(of_folder(tmp_path)))
    assert shown.colour("pixels", unit, 5) is None


def test_turning_hues_leaves_grey_and_brightness_alone() -> None:
    image = Image.new("RGB", (2, 1))
    image.putpixel((0, 0), (200, 30, 30))
    image.putpixel((1, 0), (90, 90, 90))
    turned = TURNED["hues turned by 120"](image)
    red, green, blue = turned.getpixel((0, 0))
    assert green > 190 and red < 40 and blue < 40 and turned.getpixel((1, 0)) == (90, 90, 90)
