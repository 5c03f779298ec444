"""Catalogs of known content for tests: random hands, no picture files."""

from __future__ import annotations

import hashlib

import numpy as np

from indexer.embedding.embed import open_encoder, vector_rows
from schemas.records import Author, Picture, Title
from schemas.settings import load_settings
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.layout import Layout
from tests.small_model import ENVIRON

SETTINGS = load_settings(environ=ENVIRON)


def fill_catalog(
    layout: Layout, *, authors: int = 6, titles: int = 3, pictures: int = 5, seed: int = 1
) -> np.ndarray:
    """Write titles, pictures and vectors around one centre for each author.

    Shapes:  returns (authors * titles * pictures, D), in the order of the picture numbers
    """
    encoder = open_encoder(SETTINGS)
    rng = np.random.default_rng(seed)
    dimension = encoder.dimension
    centre = rng.standard_normal((authors, 1, 1, dimension))
    noise = rng.standard_normal((authors, titles, pictures, dimension))
    vectors = (centre + 0.8 * noise).reshape(-1, dimension).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    title_rows, picture_rows = [], []
    for a in range(authors):
        for t in range(titles):
            title_id = f"test:{a}-{t}"
            title_rows.append(
                Title(
                    title_id,
                    "test",
                    f"Title {a}.{t}",
                    (Author(f"Author {a}"),),
                    (("animals", "people", "food")[a % 3],),
                    year=1990 + 5 * a + t,
                )
            )
            for p in range(pictures):
                number = (a * titles + t) * pictures + p
                picture_id = hashlib.sha256(f"{seed}-{number}".encode()).hexdigest()
                picture_rows.append(
                    Picture(
                        picture_id,
                        title_id,
                        "picture",
                        "test",
                        f"{number}.png",
                        "1-1",
                        "stored",
                        file=layout.picture_file(picture_id, "png"),
                        width_px=100,
                        height_px=80,
                    )
                )
    catalog = Catalog(layout)
    catalog.upsert("titles", rows_of(title_rows))
    catalog.upsert("pictures", rows_of(picture_rows))
    ids = [row.picture_id for row in picture_rows]
    catalog.append(
        "vectors", vector_rows(ids, vectors, encoder.model_id, encoder.preprocessing_digest)
    )
    return vectors
