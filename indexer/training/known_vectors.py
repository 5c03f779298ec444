"""Vectors that the catalog holds already: a quick training need not open a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from indexer.embedding.models import ModelDescription
from indexer.training.data import Benchmark
from indexer.vector_index.rows import collect_rows
from schemas.storage.catalog import Catalog
from schemas.storage.layout import Layout


def catalog_vectors(layout: Layout, bench: Benchmark, model: Path) -> np.ndarray | None:
    """The model's vectors of a catalog's pictures, None unless all of them are there.

    Shapes:  -> (N, D), in the benchmark's order
    """
    about = ModelDescription.read(model)
    rows = collect_rows(Catalog(layout), about.model_id, about.pixel_spec.digest)
    place = {row["file"]: number for number, row in enumerate(rows.pictures)}
    chosen = [place.get(path, -1) for path in bench.manifest.paths]
    if not chosen or min(chosen) < 0:
        return None
    return np.asarray(rows.vectors[chosen])
