"""Draws the map of styles in a process of its own: minutes of work that no query waits for.

`python -m search.web.map_worker ROOT GENERATION OUT` writes places (N, 2) float32 of the rows
that `mapped_rows` chooses.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np

MAX_POINTS = 30_000
"""More dots hide each other; a larger index is shown by rows spread evenly over it."""


def mapped_rows(row_ids: np.ndarray) -> np.ndarray:
    """Row ids that the map shows, ascending; (N,) int64 -> (M,) int64."""
    ordered = np.sort(row_ids)
    if len(ordered) <= MAX_POINTS:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MAX_POINTS).astype(np.int64)]


def main(root: str, generation_id: str, out: str) -> None:
    """Draw one generation."""
    from indexer.style_map import project
    from indexer.vector_index.generations import Generation
    from schemas.storage.fsio import replace_file
    from schemas.storage.layout import Layout

    os.nice(10)
    with Generation.open(Layout(Path(root)), generation_id) as generation:
        vectors = generation.vectors(mapped_rows(generation.row_ids))
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    held = io.BytesIO()
    np.save(held, project(vectors).astype(np.float32), allow_pickle=False)
    replace_file(Path(out), held.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:4])
