"""Size: bytes of an index for each picture, bytes of the model, lines and modules of the code."""

from __future__ import annotations

from pathlib import Path

from bench.catalog import PICTURES, synthetic_index
from bench.figures import Figure
from indexer.embedding.models import shipped_model_dir
from indexer.vector_index.generations import Generation

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("schemas", "crawler", "indexer", "search")


def measure(*, pictures: int = PICTURES) -> list[Figure]:
    with Generation.open(synthetic_index(pictures)) as generation:
        folder = generation.directory
        vectors = (folder / "vectors.faiss").stat().st_size
        whole = bytes_of(folder) - bytes_of(folder / "model")
    modules = [
        path
        for path in [
            ROOT / "toonsearch.py",
            *(p for f in FOLDERS for p in (ROOT / f).rglob("*.py")),
        ]
        if path.exists() and path.name != "__init__.py"
    ]
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in modules)
    model = bytes_of(shipped_model_dir()) / 1e6
    return [
        Figure("vector_bytes", "vectors of an index, for each picture", vectors / pictures, "B"),
        Figure("index_bytes", "the whole index without its model, the same", whole / pictures, "B"),
        Figure("model_size", "shipped model", model, "MB", 20),
        Figure("code_lines", "lines of the program", lines, "lines", 25_000),
        Figure("code_modules", "modules of the program", len(modules), "files", 150),
    ]


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
