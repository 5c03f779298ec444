"""The rules of docs/architecture.md: who may import whom and what, no cycles, plain modules."""

from __future__ import annotations

import ast
import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = ("schemas", "crawler", "indexer", "search")
FASTAPI = ("fastapi", "starlette", "uvicorn")
TORCH = ("torch", "timm", "open_clip", "torchvision")

MAY_IMPORT = {
    "schemas": ("schemas",),
    "crawler": ("crawler", "schemas"),
    "indexer": ("indexer", "schemas"),
    "indexer/training": ("indexer", "schemas"),
    "search": ("search", "indexer", "schemas"),
    "search/cli/commands": ("search", "indexer", "schemas", "crawler"),
    "toonsearch.py": ("search", "indexer", "schemas"),
}
"""Folders of the program that each folder may import; the longest matching name decides."""
NEVER = {
    "schemas": (*TORCH, *FASTAPI, "faiss", "scrapy", "onnxruntime"),
    "crawler": (*TORCH, *FASTAPI, "faiss", "onnxruntime"),
    "indexer": (*TORCH, *FASTAPI, "faiss", "scrapy"),
    "indexer/vector_index/faiss_index.py": (*TORCH, *FASTAPI, "scrapy"),
    "indexer/training": (*FASTAPI, "faiss", "scrapy"),
    "search": (*TORCH, "faiss", "scrapy"),
    "toonsearch.py": (*TORCH, "faiss", "scrapy"),
}
"""Packages that each folder may not import, not even inside a function."""
LONG_LINES = 700
LONG: dict[str, str] = {}
"""Modules above LONG_LINES, each with its reason."""
MAX_BYTES = 40 * 1024**2
PICTURES = {"docs/gallery.png", "docs/page.png"}
TRACKED = {
    *(
        "",
        ".c",
        ".cron",
        ".css",
        ".dockerignore",
        ".html",
        ".in",
        ".j2",
        ".js",
        ".json",
        ".md",
        ".onnx",
        ".png",
    ),
    *(".py", ".safetensors", ".service", ".sql", ".svg", ".timer", ".toml", ".txt"),
}
"""Kinds of files that the repository holds: no pickles, no arrays, no pictures but PICTURES."""
ENGINES = {
    "pymilvus": "indexer/vector_index/milvus.py",
    "ray": "indexer/embedding/ray_data.py",
    "obstore": "indexer/object_storage.py",
    "chafa": "search/output/preview.py",
}
"""Packages that one module alone imports."""
DISTRIBUTIONS = {
    "argon2": "argon2-cffi",
    "chafa": "chafa-py",
    "cv2": "opencv-python-headless",
    "dicebear": "dicebear-core",
    "faiss": "faiss-cpu",
    "grpc": "grpcio",
    "open_clip": "open-clip-torch",
    "pil": "pillow",
    "sklearn": "scikit-learn",
}
"""Packages that are installed under another name than they are imported by."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the program by its dotted name; a package has the name of its folder."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    paths += [path for path in [ROOT / "toonsearch.py"] if path.exists()]
    assert len(paths) > 50
    return {
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path in paths
    }


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def rule(table: dict[str, tuple[str, ...]], path: Path) -> tuple[str, ...]:
    name = name_of(path)
    prefixes = [one for one in table if name == one or name.startswith(f"{one}/")]
    return table[max(prefixes, key=len)]


@cache
def imports(path: Path, *, module_level: bool = False) -> frozenset[str]:
    """Modules that a module imports: lazy and TYPE_CHECKING imports count unless `module_level`.

    `from a.b import c` is an import of `a.b.c` if that is a module of the program, else of `a.b`.
    """

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if module_level and (
                isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
            ):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield whole if whole in modules() else str(child.module)
            yield from walk(child)

    return frozenset(walk(ast.parse(path.read_text("utf-8"))))


def packages(path: Path, *, module_level: bool = False) -> set[str]:
    return {name.split(".")[0] for name in imports(path, module_level=module_level)}


def test_folders_import_only_what_they_may() -> None:
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in modules().values()
        for name in sorted(imports(path))
        if (name.split(".")[0] in FOLDERS and name.split(".")[0] not in rule(MAY_IMPORT, path))
        or name.split(".")[0] in rule(NEVER, path)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_engines_are_imported_in_one_module_each() -> None:
    found = {
        engine: {name_of(path) for path in modules().values() if engine in packages(path)}
        for engine in ENGINES
    }
    assert found == {engine: {where} for engine, where in ENGINES.items()}


def test_training_is_imported_inside_functions_only() -> None:
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in modules().values()
        if not name_of(path).startswith("indexer/training/")
        for name in imports(path, module_level=True)
        if name.startswith("indexer.training")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_heavy_packages_are_imported_inside_functions_only() -> None:
    """The same list as ruff's, which does not see `import_module` at the top of a module."""
    lint = PROJECT["tool"]["ruff"]["lint"]
    heavy = set(lint["flake8-tidy-imports"]["banned-module-level-imports"])
    free = [glob for glob, rules in lint["per-file-ignores"].items() if "TID253" in rules]
    files = {
        path
        for glob in free
        for pattern in ([glob] if "{" not in glob else braces(glob))
        for path in modules().values()
        if fnmatch.fnmatch(name_of(path), pattern)
    }
    outside = {name_of(path).split("/")[0] for path in files if "/training/" not in name_of(path)}
    assert outside <= {"crawler"}, "only Scrapy's own modules and training may start heavy"
    wrong = [
        f"{name_of(path)} imports {sorted(found)}"
        for path in modules().values()
        if path not in files
        if (found := packages(path, module_level=True) & heavy)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def braces(glob: str) -> list[str]:
    head, rest = glob.split("{")
    middle, tail = rest.split("}")
    return [f"{head}{one}{tail}" for one in middle.split(",")]


def test_no_import_cycles() -> None:
    """Imports inside functions and for type checkers count as well."""
    edges = {
        name: sorted(target for target in imports(path) if target in modules() and target != name)
        for name, path in modules().items()
    }
    found = [
        f"{name} imports {target}"
        for group in cycles(edges)
        for name in group
        for target in edges[name]
        if target in group
    ]
    assert not found, "\n" + "\n".join(found)


def cycles(edges: dict[str, list[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in edges[name]:
            if target not in index:
                visit(target)
            if target in stack:
                low[name] = min(low[name], low[target])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in edges:
        if name not in index:
            visit(name)
    return groups


def test_cycles_are_found() -> None:
    edges = {"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}
    assert cycles(edges) == [["b", "c"]]


def test_long_modules_have_a_reason() -> None:
    lines = {
        name_of(path): len(path.read_text("utf-8").splitlines()) for path in modules().values()
    }
    assert {name for name, count in lines.items() if count > LONG_LINES} == set(LONG)


def test_every_module_says_what_it_is() -> None:
    silent = [
        name_of(path)
        for path in modules().values()
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent, "\n" + "\n".join(silent)


def test_tests_mirror_the_tree() -> None:
    beside = {"e2e", "faults", "fuzz"}
    folders = {path.parent.relative_to(ROOT / "tests") for path in ROOT.glob("tests/**/test_*.py")}
    lost = [
        one.as_posix()
        for one in sorted(folders)
        if one.parts and one.parts[0] not in beside and not (ROOT / one).is_dir()
    ]
    assert lost == []


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout"
)
def test_tracked_files_are_of_known_kinds() -> None:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    files = [ROOT / one for one in names if one]
    assert len(files) > 100
    assert [name_of(one) for one in files if one.suffix not in TRACKED] == []
    assert [name_of(one) for one in files if one.exists() and one.stat().st_size > MAX_BYTES] == []
    assert {name_of(one) for one in files if one.suffix == ".png"} == PICTURES


def test_third_party_packages_are_declared() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    declared = {re.split(r"[^a-z0-9-]", one.lower())[0] for one in wanted}
    used = {package.lower() for path in modules().values() for package in packages(path)}
    used -= {*map(str.lower, sys.stdlib_module_names), *FOLDERS}
    names = {DISTRIBUTIONS.get(one, one.replace("_", "-")) for one in used}
    assert names <= declared, names - declared
