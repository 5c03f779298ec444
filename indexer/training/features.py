"""What is computed once for each picture of a benchmark, and cached between runs.

facts       grey 32 x 32 copy and whether the picture is blank
pixels      that copy without its mean: copies and layouts score, style does not
colors      a histogram of 4 x 4 x 4 colors
chroma      how far the colors are spread: yellowed paper has colors, but one of them
letterboxed the picture in a small black square, for networks that are trained on such
gram        Gram matrices of VGG, 224 px, from a file of weights
head        EfficientNet-Lite0's pooled last layer, 224 px: what a picture shows
statistics  of the shipped backbone's middle
encoded     embedding and out-of-distribution score by a model folder
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from indexer.embedding.encoder import Encoder
from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.training.augmentation import VIEWS, View, hangul_font
from indexer.training.backbones import (
    DEFAULT,
    HUB,
    Statistics,
    lite0,
    load_statistics,
    pad_statically,
)
from indexer.training.branches import Branches, load_trained
from indexer.training.data import Benchmark
from indexer.training.evaluation.baselines import letterboxed, load_gram, sketch
from indexer.training.model import SHIPPED_SPEC, export_graph, run_graph
from schemas.attempt import in_order
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits, decode_picture, grey_thumbnail, is_blank
from schemas.progress import Progress
from schemas.storage.fsio import digest_once, replaced, storage_errors

FEATURES_VERSION = 1
"""Raise it when this package would compute other features of the same picture."""
WINDOW = 64
HEAD_SPEC = PixelSpec(224, 224, 32)
Describe = Callable[[Image.Image], np.ndarray]


def default_cache() -> Path:
    """Where features are cached: `$XDG_CACHE_HOME/toonsearch/features`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "toonsearch" / "features"


def pictures_of(
    bench: Benchmark, target_px: int | None, view: View | None = None
) -> Iterator[Image.Image]:
    """Every picture in order, decoded a bounded window ahead.

    Errors:  InputError at the first picture that cannot be used: a benchmark is whole or not
    """

    def read(name: str) -> Image.Image:
        try:
            data = (bench.root / name).read_bytes()
            # A view starts from the whole picture; otherwise JPEG may be reduced as it decodes.
            image = decode_picture(data, PictureLimits(), target_px=None if view else target_px)
        except (OSError, PictureError) as error:
            raise InputError(f"{name}: {error}") from error
        return view(image) if view else image

    for _, image in in_order(read, bench.paths, WINDOW):
        if isinstance(image, PictureError):
            raise image
        yield image


@dataclass(frozen=True)
class Backbone:
    """A backbone by name, with its weights: those of a file, HUB's, or random ones.

    `trained` is a file with the weights of its trained branch: then its statistics are those of
    both branches.
    """

    name: str = DEFAULT
    weights: str | None = None
    random: bool = False
    trained: Path | None = None

    def load(self) -> Statistics | Branches:
        """Errors: as of `load_statistics` and `load_trained`"""
        frozen = load_statistics(self.name, self.weights, self.random)
        return frozen if self.trained is None else load_trained(Branches(frozen), self.trained)

    @functools.cached_property
    def graph(self) -> bytes:
        """Its statistics as an ONNX graph, exported once for all views: that takes seconds."""
        return export_graph(self.load())

    def identity(self) -> list[Any]:
        """What its statistics depend on."""
        weights = self.weights
        if weights is not None and weights != HUB:
            weights = digest_once(Path(weights))
        return [self.name, self.random, weights, self.trained and digest_once(self.trained)]


@dataclass
class FeatureStore:
    """Computes features of a benchmark, or finds them in the cache.

    `model` is the folder behind `encoded`, `backbone` the network behind `statistics`, `vgg` the
    weights behind `gram`; `views` are changed copies by name. Without a `cache` nothing is stored.
    """

    bench: Benchmark
    cache: Path | None = None
    model: Path | None = None
    progress: Progress | None = None
    backbone: Backbone = field(default_factory=Backbone)
    vgg: Path | None = None
    views: Mapping[str, View] = field(default_factory=lambda: VIEWS)

    def part(self, rows: np.ndarray) -> FeatureStore:
        """The same of some pictures; (M,) rows"""
        return replace(self, bench=self.bench.part(rows))

    def get(self, kind: str, view: str | None = None) -> np.ndarray:
        """Features of all pictures, as they are or in one of the views.

        Shapes:  -> (N, F)
        Errors:  InputError when a picture cannot be used or the cache cannot be written
        """
        if kind == "pixels":
            flat = self.get("facts", view)[:, :-1].astype(np.float32)
            return np.asarray(flat - flat.mean(1, keepdims=True))
        key: dict[str, Any] = {
            "kind": kind,
            "view": view,
            "version": FEATURES_VERSION,
            "data": self.digest(),
        }
        if kind == "encoded":
            assert self.model is not None
            encoder = Encoder.open(self.model)
            key["model"] = [encoder.model_id, encoder.preprocessing_digest]
        if kind == "statistics":
            key["backbone"] = self.backbone.identity()
        if kind == "gram":
            assert self.vgg is not None
            key["weights"] = digest_once(self.vgg)
        if view == "lettering":
            key["font"] = Path(hangul_font() or "").name
        return cached(self.cache, kind, key, lambda: self._compute(kind, view))

    def blank(self) -> np.ndarray:
        """Which pictures show nothing; (N,) bool."""
        return np.asarray(self.get("facts")[:, -1] > 0)

    def digest(self) -> str:
        """Changes with the pictures' names and bytes."""
        root = self.bench.root
        try:
            files = [(name, digest_once(root / name)) for name in self.bench.paths]
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}") from error
        return digest_of(files)

    def _compute(self, kind: str, view: str | None) -> np.ndarray:
        describe, target_px = self._describer(kind)
        what = f"{kind}, {view}" if view else kind
        found: list[np.ndarray] = []
        images = pictures_of(self.bench, target_px, self.views[view] if view else None)
        # Each core describes its own picture.
        for _, row in in_order(describe, images, WINDOW):
            assert isinstance(row, np.ndarray)  # what is decoded can be described
            found.append(row)
            if self.progress:
                self.progress(len(found), len(self.bench), what)
        return np.stack(found)

    def _describer(self, kind: str) -> tuple[Describe, int]:
        """What describes one picture, and the longest side that it needs."""
        if kind == "facts":
            return _facts, HEAD_SPEC.decode_px
        if kind == "colors":
            return _colors, HEAD_SPEC.decode_px
        if kind == "chroma":
            return _chroma, HEAD_SPEC.decode_px
        if kind == "letterboxed":
            return letterboxed, HEAD_SPEC.decode_px
        if kind == "gram":
            assert self.vgg is not None
            gram = describer(run_graph(export_graph(load_gram(self.vgg)), 1), HEAD_SPEC)
            return lambda image: sketch(gram(image)), HEAD_SPEC.decode_px
        if kind == "head":
            return describer(run_graph(export_graph(_Head()), 1), HEAD_SPEC), HEAD_SPEC.decode_px
        if kind == "statistics":
            run = run_graph(self.backbone.graph, 1)
            return describer(run, SHIPPED_SPEC), SHIPPED_SPEC.decode_px
        assert kind == "encoded" and self.model is not None
        encoder = Encoder.open(self.model, threads=1, bulk=True)

        def encoded(image: Image.Image) -> np.ndarray:
            vectors, ood, _ = encoder.encode([prepare(image, encoder.pixel_spec)])
            return np.append(vectors[0], ood)

        return encoded, encoder.pixel_spec.decode_px


def describer(run: Callable[[np.ndarray], Any], spec: PixelSpec) -> Describe:
    """The first output of a graph for one picture."""
    return lambda image: np.asarray(run(prepare(image, spec)[None])[0][0])


def _facts(image: Image.Image) -> np.ndarray:
    return np.append(grey_thumbnail(image).ravel(), np.uint8(is_blank(image)))


def _colors(image: Image.Image) -> np.ndarray:
    small = np.asarray(image.resize((64, 64), Image.Resampling.BOX)) // 64
    index = small[..., 0] * 16 + small[..., 1] * 4 + small[..., 2]
    return np.asarray(np.sqrt(np.bincount(index.ravel(), minlength=64) / index.size), np.float32)


def _chroma(image: Image.Image) -> np.ndarray:
    """The deviations of red - green and of yellow - blue together, of 255; (1,)"""
    small = np.asarray(image.resize((64, 64), Image.Resampling.BOX), np.float32)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    deviations = (red - green).std(), ((red + green) / 2 - blue).std()
    return np.array([np.hypot(*deviations)], np.float32)


class _Head(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Pixels to the pooled layer below ImageNet's classes. Shapes: (B, H, W, 3) -> (B, 1280)"""

    def __init__(self) -> None:
        super().__init__()
        self.network = lite0()
        pad_statically(self.network)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - 127.5) / 127.5
        return self.network.forward_features(x).mean((2, 3))


def digest_of(parts: Any) -> str:
    """16 hex digits of anything that JSON can write."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cached(
    folder: Path | None, name: str, key: dict[str, Any], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """The array of this name and key, computed unless a readable one is there.

    Errors:  StorageError when the folder cannot be written
    """
    if folder is None:
        return compute()
    path = folder / f"{name}-{digest_of(key)}.npy"
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        pass
    value = compute()
    with storage_errors(f"the feature cache {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        with replaced(path) as file:
            np.save(file, value, allow_pickle=False)
    return value
