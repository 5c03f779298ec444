"""A catalog of any size with synthetic vectors, indexed by the real build."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bench.figures import run_process
from indexer.embedding.embed import open_encoder, vector_rows
from indexer.vector_index.build import build_generation
from indexer.vector_index.generations import publish
from schemas.records import Author, Picture, Title
from schemas.settings import Settings
from schemas.storage.catalog import Catalog, rows_of
from schemas.storage.layout import Layout

PICTURES = 100_000
PICTURES_PER_TITLE = 20
TITLES_PER_AUTHOR = 4
GENRES = ("animals", "people", "food", "buildings", "plants")


def drawing(seed: int, side_px: int = 512) -> Image.Image:
    """A drawing-like picture: strokes and filled shapes on paper, different for each seed."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side_px, side_px * 3 // 4), (250, 247, 240))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        points = [tuple(p) for p in rng.integers(0, side_px, (3, 2)).tolist()]
        colour = tuple(int(v) for v in rng.integers(0, 200, 3))
        if rng.random() < 0.3:
            draw.polygon(points, fill=colour)
        draw.line(points, fill=(20, 20, 30), width=int(rng.integers(1, 6)), joint="curve")
    noise = rng.normal(0, 4, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@cache
def synthetic_index(pictures: int = PICTURES) -> Layout:
    """A data root with a published index, shared by all parts of one run and removed at its end."""
    folder = tempfile.mkdtemp(prefix="toonsearch-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print(f"bench: building an index of {pictures:,} synthetic vectors ...", file=sys.stderr)
    # In a process of its own: a child's peak memory counts its parent's size at the fork.
    run_process([sys.executable, "-m", "bench.catalog", folder, str(pictures)])
    return Layout(Path(folder))


def vectors_around(centres: np.ndarray, rng: np.random.Generator, noise: float = 0.9) -> np.ndarray:
    """Unit vectors around centres whose numbers have a deviation of 1; (N, D) -> (N, D)"""
    found = centres + noise * rng.standard_normal(centres.shape, dtype=np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def build_catalog(layout: Layout, pictures: int, seed: int = 1) -> str:
    """Fill a catalog with vectors around one centre per author, build and publish it.

    Returns the generation's id.
    """
    fill_catalog(layout, pictures, seed)
    report = build_generation(layout, Settings())
    assert report.generation_id is not None
    publish(layout, report.generation_id)
    return report.generation_id


def fill_catalog(layout: Layout, pictures: int, seed: int = 1, more_of: int = 0) -> None:
    """Fill a catalog with titles, pictures and vectors, some thousand at a time; `more_of` is the
    size of one that has its titles already and is to get more pictures of them."""
    encoder = open_encoder(Settings())
    titles = max(1, (more_of or pictures) // PICTURES_PER_TITLE)
    authors = max(1, titles // TITLES_PER_AUTHOR)
    shape = authors, encoder.dimension
    centres = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    rng = np.random.default_rng([seed, 1])
    catalog = Catalog(layout)
    if not more_of:
        catalog.append(
            "titles",
            rows_of(
                Title(
                    f"bench:{t}", "bench", f"Title {t}", (Author(f"Author {t % authors}"),),
                    (GENRES[t % len(GENRES)],), year=1980 + t % 40,
                )
                for t in range(titles)
            ),
        )  # fmt: skip
    for start in range(0, pictures, 20_000):
        part = range(start, min(start + 20_000, pictures))
        ids = [hashlib.sha256(f"{seed}-{n}".encode()).hexdigest() for n in part]
        title_of = np.asarray(part) % titles
        vectors = vectors_around(centres[title_of % authors], rng)
        catalog.append(
            "pictures",
            rows_of(
                Picture(
                    picture, f"bench:{title}", "picture", "bench", f"{n}.png", "1-1", "stored",
                    file=layout.picture_file(picture, "png"), width_px=512, height_px=384,
                )
                for n, picture, title in zip(part, ids, title_of, strict=True)
            ),
        )  # fmt: skip
        catalog.append(
            "vectors", vector_rows(ids, vectors, encoder.model_id, encoder.preprocessing_digest)
        )


if __name__ == "__main__":
    build_catalog(Layout(Path(sys.argv[1])), int(sys.argv[2]))
