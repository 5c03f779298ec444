"""The public Python API."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import toonsearch

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"numpy", "faiss", "onnxruntime", "duckdb", "pyarrow", "PIL", "torch", "typer", "search"}


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, toonsearch; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_files_and_bytes_are_asked(small_root: Path) -> None:
    file = next((small_root / "drawings").rglob("*.png"))
    with toonsearch.open(small_root / "data") as index:
        answer = index.query(file, k=1)
        assert isinstance(answer.answer, toonsearch.Answer) and len(answer.titles) == 1
        assert index.query(file.read_bytes(), k=1).titles == answer.titles
        one = index.query(str(file), by="picture", filters=toonsearch.Filters(where="1 = 0"))
        assert one.pictures == ()
        mixed = index.query(file, k=1, subject=0.5)
        assert mixed.answer.subject == 0.5 and len(mixed.titles) == 1
        named = index.query(text="hand 2", k=1)
        assert named.titles[0].authors == ("hand 2",)
        assert index.query(file, text="hand 2", k=1).titles[0].authors == ("hand 2",)
        with pytest.raises(toonsearch.ToonsearchError, match="0 to 1"):
            index.query(file, subject=2.0)
        with pytest.raises(toonsearch.ToonsearchError, match="does not exist"):
            index.query("nowhere.png")
        with pytest.raises(toonsearch.ToonsearchError, match=r"query\.k"):
            index.query(file, k=0)
        for weights in ((1, 2), (-1,)):
            with pytest.raises(toonsearch.ToonsearchError, match="weight"):
                index.query(file, weights=weights)


def test_no_index_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(toonsearch.ToonsearchError):
        toonsearch.open(tmp_path)
    with pytest.raises(AttributeError):
        _ = toonsearch.nothing


def test_a_result_prints_shows_and_saves_itself(small_root: Path, tmp_path: Path) -> None:
    file = next((small_root / "drawings").rglob("*.png"))
    with toonsearch.open(small_root / "data") as index:
        result = index.query(file, k=2)
        assert "pictures" in repr(index)
    name = result.titles[0].name
    assert name in repr(result) and name in result.rows()[0]["title"]
    assert result.to_dict()["titles"] == result.rows()
    result.save(tmp_path / "page.html")
    shown = result._repr_html_()
    assert shown.startswith("<iframe sandbox=") and shown.endswith("</iframe>")
    page = re.search(r'srcdoc="([^"]*)"', shown)
    assert page is not None
    assert html.unescape(page[1]) == (tmp_path / "page.html").read_text("utf-8")
    assert "data:image/webp" in shown and "<script" not in html.unescape(page[1])


@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_the_docs_work_as_printed(
    page: str,
    small_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "data").symlink_to(small_root / "data")
    file = next((small_root / "drawings").rglob("*.png"))
    Image.open(file).convert("RGB").save(tmp_path / "picture.jpg", quality=95)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOONSEARCH_STORE__ROOT", str(small_root / "data"))
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})
    assert "hand " in capsys.readouterr().out
