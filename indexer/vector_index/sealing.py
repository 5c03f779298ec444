"""Writes the files of a generation, and seals them with a manifest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import blake3

from indexer.vector_index.generations import FORMAT, MANIFEST, next_stamp
from indexer.vector_index.rows import IndexRows
from schemas.storage.fsio import digest_file, fsync_directory, fsync_file, signed_bytes, write_file
from schemas.storage.layout import Layout


def write_faiss(path: Path, rows: IndexRows) -> None:
    """Exact search over half floats: 100,000 x 256 scan in milliseconds, half the memory of
    float32, and no training whose result could drift between builds."""
    import faiss

    flat = faiss.IndexScalarQuantizer(
        rows.vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index = faiss.IndexIDMap(flat)
    index.add_with_ids(rows.vectors, rows.row_ids)
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # FAISS reports a full disk this way
        raise OSError(28 if "write error" in str(error) else 5, str(error)) from error
    fsync_file(path)


def copy_model(source: Path, target: Path) -> None:
    """The generation carries its own encoder, so that an upgrade cannot mix spaces."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        if file.is_file():
            write_file(target / file.name, file.read_bytes())
    fsync_directory(target)


def opened(aside: Path) -> Any:
    """The new FAISS index as a reader would map it."""
    import faiss

    return faiss.read_index(str(aside / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)


def seal(
    aside: Path,
    layout: Layout,
    counts: dict[str, int],
    inputs: dict[str, Any],
    parent: str | None,
    dimension: int,
) -> str:
    files = {
        str(path.relative_to(aside)): {"bytes": path.stat().st_size, "blake3": digest_file(path)}
        for path in sorted(aside.rglob("*"))
        if path.is_file()
    }
    created = datetime.now(UTC)
    mark = blake3.blake3(json.dumps([files, parent], sort_keys=True).encode()).hexdigest()[:8]
    name = f"g{next_stamp(layout, created)}-{mark}"
    body = {
        "format": FORMAT,
        "id": name,
        "created": created.isoformat(timespec="seconds"),
        "parent": parent,
        "model_id": inputs["model_id"],
        "preprocessing": inputs["preprocessing"],
        "dimension": dimension,
        "metric": "inner_product",
        "counts": counts,
        "inputs": inputs,
        "files": files,
    }
    write_file(aside / MANIFEST, signed_bytes(body))
    fsync_directory(aside)
    return name
