"""Whether neighbours follow what is shown, or its colours, and not the hand.

*Content*: pictures that show the same things in several styles. Where the pictures of a query's
own content are masked, the nearest one should be of its style: that is R@1 of the protocol with
contents in the place of series. *Colour*: a picture whose hues are turned is by the same hand, so
what it finds should stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from indexer.training.data import MANIFEST_FILE, Benchmark, benchmark_of_manifest
from indexer.training.evaluation.retrieval import Gallery, near_duplicates
from indexer.training.features import FeatureStore
from schemas.errors import InputError
from schemas.spreadsheets import Notes, read_cells

HITS = 10
MIN_CHROMA = 15.0
"""Pictures whose colours are spread further than this have colours: tones of paper and of ink
stay below."""
TURNS_DEGREES = (60, 120, 180, 240, 300)
CLIPART_QUERIES, DRAWING_QUERIES = 200, 100
MOST_PICTURES = 4000
VERSION = re.compile(r"-v\d+$")
SEED = 7
Embed = Callable[[np.ndarray], np.ndarray]
"""Features (N, F) to embeddings (N, D) of unit length."""


@dataclass(frozen=True)
class Kept:
    """What coloured pictures of one kind find again when their hues are turned."""

    share: float
    queries: int
    pictures: int


def _turned(degrees: int, image: Image.Image) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    steps = round(degrees / 360 * 256)
    turned = hue.point([(level + steps) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


TURNED = {f"hues turned by {degrees}": partial(_turned, degrees) for degrees in TURNS_DEGREES}


def plain_name(author: str) -> str:
    """A hand without its kind and version: `emoji:noto-v1` is `noto`."""
    return VERSION.sub("", author.rpartition(":")[2])


def of_folder(
    place: Path, most: int = MOST_PICTURES, learnt: frozenset[str] = frozenset()
) -> Benchmark:
    """The pictures of a manifest, or of the one in a folder, less those by authors whose plain
    names are in `learnt`; whole series drawn by chance when there are more than `most`.

    Errors:  InputError as of reading manifests, or when no author is left
    """
    file = place / MANIFEST_FILE if place.is_dir() else place
    bench = benchmark_of_manifest(file, training=True)
    rows = [n for n, author in enumerate(bench.authors) if plain_name(author) not in learnt]
    if not rows:
        raise InputError(f"{file}: the model was trained on every author")
    return _smaller(bench.part(np.array(rows)), most)


def of_contents(place: Path, most: int = MOST_PICTURES) -> Benchmark:
    """The same with what each picture shows, the column `content`, as its series; pictures
    without a content or a style (`author`) are left out. Versions are one style: `noto-v1` counts
    as `noto`.

    Errors:  InputError as of reading manifests, or when there are not two styles and two contents
    """
    file = place / MANIFEST_FILE if place.is_dir() else place
    bench = benchmark_of_manifest(file, training=True)
    content: dict[str, str] = {}

    def columns(names: Any) -> list[str]:
        known = [str(name).strip().casefold() for name in names]
        if "content" not in known:
            raise InputError(f"the manifest {file} has no column 'content'")
        return [name if name in ("path", "content") else "" for name in known]

    for _, found, cells in read_cells(file, columns, Notes()):
        row = dict(zip(found, cells, strict=False))
        content[str(row.get("path", ""))] = str(row.get("content") or "").strip()
    shown = np.array([content.get(path, "") for path in bench.paths], np.str_)
    rows = np.flatnonzero((shown != "") & (bench.authors != ""))
    styles = np.array([VERSION.sub("", name) for name in bench.authors.tolist()], np.str_)
    bench = replace(bench, series=shown, authors=styles).part(rows)
    if min(len(set(bench.authors)), len(set(bench.series))) < 2:
        raise InputError(f"{file}: two styles and two contents are needed")
    return _smaller(bench, most)


def _smaller(bench: Benchmark, most: int) -> Benchmark:
    names, sizes = np.unique(bench.series, return_counts=True)
    order = np.random.default_rng(SEED).permutation(len(names))
    taken = names[order[: max(2, int((np.cumsum(sizes[order]) <= most).sum()))]]
    return bench.part(np.flatnonzero(np.isin(bench.series, taken)))


class Shown:
    """Pictures that are asked, with their gallery, the pictures of `store` in its order; `known`
    has their features when they are computed already."""

    def __init__(
        self,
        store: FeatureStore,
        gallery: Gallery,
        known: Callable[[str], np.ndarray] | None = None,
    ) -> None:
        self.store, self.gallery = store, gallery
        self._rows = known or store.get

    @classmethod
    def of(cls, store: FeatureStore) -> Self:
        """The pictures of a store that are not blank."""
        store = store.part(np.flatnonzero(~store.blank()))
        copies = near_duplicates(store.get("pixels"))
        return cls(store, Gallery(store.bench.authors, store.bench.series, copies))

    def content(self, feature: str, embed: Embed) -> tuple[float, dict[str, float]]:
        """Share of pictures whose nearest neighbour of another content has their style, and the
        same by style.

        Errors:  InputError when no style has two contents
        """
        found = self.gallery.figures(embed(self._rows(feature)))
        if not len(found.rows):
            raise InputError("no style shows two contents")
        right = found.right_at_1
        styles = {
            str(style): float(right[found.authors == style].mean())
            for style in np.unique(found.authors)
        }
        return float(right.mean()), styles

    def coloured(self, count: int) -> np.ndarray:
        """At most `count` pictures that have colours, drawn by chance; (Q,) rows"""
        rows = np.flatnonzero(self.store.get("chroma")[:, 0] > MIN_CHROMA)
        return np.sort(np.random.default_rng(SEED).permutation(rows)[:count])

    def colour(self, feature: str, embed: Embed, count: int) -> Kept | None:
        """The share of the first HITS that stay when hues are turned, a fifth of the queries by
        each angle; None when no picture has colours."""
        rows = self.coloured(count)
        if not len(rows):
            return None
        vectors, kept = embed(self._rows(feature)), []
        turned = replace(self.store, views=TURNED)
        for number, view in enumerate(TURNED):
            own = rows[number :: len(TURNED)]
            if not len(own):
                continue
            queries = embed(turned.part(own).get(feature, view))
            for row, query in zip(own.tolist(), queries, strict=True):
                before = self.gallery.nearest(vectors, row, HITS)
                after = self.gallery.nearest(vectors, row, HITS, query)
                kept.append(len(np.intersect1d(before, after)) / max(1, len(before)))
        return Kept(float(np.mean(kept)), len(rows), len(vectors))
