"""What is computed once for each picture: the raw material of every row of the table.

facts       grey 32 x 32 copy and whether the picture is blank: what the protocol needs
pixels      that copy as a description: copies and layouts score, style does not
colours     a histogram of 4 x 4 x 4 colours
head        EfficientNet-Lite0's pooled last layer, 224 px: what it shows
gram        products of VGG16's channels (first four layers), 80 px, untrained weights
statistics  all statistics of the shipped network, raw
conditions  how often a picture was doubled in size for it, and how grey it is
seen        what the network of a model folder says, and in which condition the pictures are
vectors     that, with what the model puts back: what the catalog keeps
thumbnail-* small copies for the networks of earlier practice
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from indexer.embedding.encoder import Encoder
from indexer.embedding.models import ModelDescription, read_restoration
from indexer.embedding.preprocess import PixelSpec, prepare
from indexer.embedding.restoration import Seen, conditions
from indexer.training.augmentation import View, named
from indexer.training.cache import ArrayCache, digest_of
from indexer.training.data import Benchmark
from indexer.training.export import SHIPPED_SPEC, run_graph
from indexer.training.grey_parts import grey_part
from indexer.training.lite import LiteBackbone, load_backbone, published_weights
from indexer.training.model import PIXEL_CENTER, PIXEL_SCALE, STATISTICS_VERSION, StatisticsNetwork
from indexer.training.nuisances import part
from indexer.training.onnx_graph import export_graph, serialize
from schemas.errors import InputError
from schemas.images import PictureError, PictureLimits, decode_picture, grey_thumbnail, is_blank
from schemas.storage.fsio import digest_once

Progress = Callable[[str, int, int], None]
WINDOW = 64
HEAD_SPEC = PixelSpec(224, 224, 32)
GRAM_SIDE_PX = 80
VGG_LAYERS = (64, 64, 128, 128)
"""Channels of VGG16's first four convolutions; the second and the fourth are described."""


def pictures_of(
    bench: Benchmark, view: View | None, target_px: int | None
) -> Iterator[Image.Image]:
    """Every picture in order, decoded a bounded window ahead.

    Errors:  InputError at the first picture that cannot be used: a benchmark is whole or not
    """

    def read(name: str) -> Image.Image:
        try:
            data = (bench.manifest.root / name).read_bytes()
            # A view starts from the whole picture; otherwise JPEG may be reduced as it decodes.
            image = decode_picture(data, PictureLimits(), target_px=None if view else target_px)
        except (OSError, PictureError) as error:
            raise InputError(f"{name}: {error}") from error
        return view(image) if view else image

    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        ahead: deque[Future[Image.Image]] = deque()
        try:
            for name in bench.manifest.paths:
                ahead.append(pool.submit(read, name))
                if len(ahead) >= WINDOW:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _colours(image: Image.Image) -> np.ndarray:
    small = np.asarray(image.resize((64, 64), Image.Resampling.BOX)) // 64
    index = small[..., 0] * 16 + small[..., 1] * 4 + small[..., 2]
    return np.asarray(np.sqrt(np.bincount(index.ravel(), minlength=64) / index.size), np.float32)


def _facts(image: Image.Image) -> np.ndarray:
    return np.append(grey_thumbnail(image).ravel(), np.uint8(is_blank(image)))


class HeadNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """The backbone to its end: the pooled layer below ImageNet's classes.

    Shapes:  (B, H, W, 3) uint8 -> (B, 1280)
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone: LiteBackbone = load_backbone(stages=7)
        entries = torch.load(published_weights(), map_location="cpu", weights_only=True)
        self.last = nn.Conv2d(320, 1280, 1, bias=False)
        self.norm = nn.BatchNorm2d(1280, 1e-3)
        self.last.load_state_dict({"weight": entries["_conv_head.weight"]})
        self.norm.load_state_dict(
            {k.removeprefix("_bn1."): v for k, v in entries.items() if k.startswith("_bn1.")}
        )
        self.eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - PIXEL_CENTER) / PIXEL_SCALE
        x = functional.relu6(self.norm(self.last(self.backbone(x).stages[-1])))
        return x.mean((2, 3))


class GramNetwork(nn.Module):  # type: ignore[misc]  # mypy skips torch, so its base is Any
    """Products of channels over the picture, in the manner of neural style transfer.

    No ImageNet weights of VGG16 can be had from a package registry: the filters are random, the
    same at every run.

    Shapes:  (B, H, W, 3) uint8 -> (B, 64 * 65 / 2 + 128 * 129 / 2)
    Source:  Gatys et al. 2016; random filters: Ustyuzhaninov et al. 2016
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = zip((3, *VGG_LAYERS), VGG_LAYERS, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in sizes)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight)
        self.eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - PIXEL_CENTER) / PIXEL_SCALE
        parts = []
        for number, layer in enumerate(self.layers):
            if number == 2:
                x = functional.max_pool2d(x, 2)
            x = functional.relu(layer(x))
            if number % 2:
                flat = x.flatten(2)
                products = flat @ flat.transpose(1, 2) / flat.shape[2]
                row, column = torch.triu_indices(x.shape[1], x.shape[1])
                parts.append(products[:, row, column])
        return torch.cat(parts, 1)


def spec_of(view: View | None, spec: PixelSpec) -> PixelSpec:
    """How pictures in a view are brought to size: as anybody's, but that a part becomes as large
    as the whole, for how large it shows what is drawn is what the whitening is to ignore. Scanned
    parts show what becomes of a smaller picture otherwise."""
    return replace(spec, ease=0.0) if view in (part, grey_part) else spec


@dataclass
class FeatureStore:
    """Computes features of a benchmark, or finds them in the cache.

    `model` is the folder behind `vectors`.
    """

    bench: Benchmark
    cache: ArrayCache
    model: Path
    progress: Progress | None = None
    statistics: Callable[[np.ndarray], np.ndarray] | None = None
    """The shipped statistics as a function, where somebody has exported them already."""

    def key(self, rows: np.ndarray | None) -> dict[str, str]:
        """What every feature depends on: the pictures' names and bytes."""
        paths = self.bench.manifest.paths
        names = paths if rows is None else [paths[row] for row in rows.tolist()]
        try:
            files = [(name, digest_once(self.bench.manifest.root / name)) for name in names]
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}") from error
        return {"pictures": digest_of(files)}

    def get(
        self, kind: str, view: tuple[str, View] | None = None, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Features of all pictures, or of some rows, as they are or in a view.

        Shapes:  -> (N, F)
        """
        if kind == "vectors":
            return self.seen(view, rows).vectors
        bench = self.bench if rows is None else self.bench.part(rows)
        spec, version = self._spec(kind)
        spec = spec_of(view[1] if view else None, spec)
        key = {**self.key(rows), "kind": kind, "view": named(*view) if view else "",
               "spec": spec.digest, "version": version}  # fmt: skip
        return self.cache.get(kind, key, lambda: self._compute(kind, bench, view, spec))

    def seen(self, view: tuple[str, View] | None = None, rows: np.ndarray | None = None) -> Seen:
        """What the model says of all pictures, or of some rows; as `get`."""
        about = ModelDescription.read(self.model)
        found = self.get("seen", view, rows)
        plain, told = found[:, : about.dimension], found[:, about.dimension :]
        return Seen(plain.astype(np.float32), told, read_restoration(self.model, about))

    def version(self, kind: str) -> str:
        """Changes whenever a kind of feature would say something else of the same picture."""
        spec, version = self._spec(kind)
        return digest_of([kind, spec.digest, spec_of(part, spec).digest, version])

    def _spec(self, kind: str) -> tuple[PixelSpec, str]:
        if kind in ("vectors", "seen"):
            about = ModelDescription.read(self.model)
            return about.pixel_spec, about.model_id
        if kind == "statistics":
            return SHIPPED_SPEC, _statistics_version()
        if kind == "conditions":
            return SHIPPED_SPEC, "1"
        return HEAD_SPEC, "1"

    def _compute(
        self, kind: str, bench: Benchmark, view: tuple[str, View] | None, spec: PixelSpec
    ) -> np.ndarray:
        describe = self._describer(kind, spec)
        found: list[np.ndarray] = []
        what = f"{kind}, {view[0]}" if view else kind
        for image in pictures_of(bench, view[1] if view else None, spec.decode_px):
            found.append(describe(image))
            if self.progress:
                self.progress(what, len(found), len(bench))
        return np.stack(found)

    def _describer(self, kind: str, spec: PixelSpec) -> Callable[[Image.Image], np.ndarray]:
        if kind == "facts":
            return _facts
        if kind == "colours":
            return _colours
        if kind == "conditions":
            return lambda image: np.array(conditions(prepare(image, spec)))
        if kind == "seen":
            encoder = Encoder.open(self.model)

            def looked(image: Image.Image) -> np.ndarray:
                seen = encoder.look([prepare(image, spec)])
                return np.concatenate([seen.plain[0], seen.found[0]])  # float64

            return looked
        if kind == "statistics":
            if self.statistics is None:  # an export takes longer than many pictures
                self.statistics = run_graph(serialize(export_graph(StatisticsNetwork())))
            run = self.statistics
            return lambda image: run(prepare(image, spec).pixels[None])[0]
        if kind == "head":
            head = run_graph(serialize(export_graph(HeadNetwork())))
            return lambda image: head(prepare(image, spec).pixels[None])[0]
        if kind == "gram":
            gram, side = GramNetwork(), (GRAM_SIDE_PX, GRAM_SIDE_PX)
            return lambda image: _infer(gram, np.asarray(image.resize(side))).astype(np.float16)
        from indexer.training.evaluation.earlier import THUMBNAILS  # timm is needed for these alone

        return THUMBNAILS[kind].pixels

    def pixels(self) -> np.ndarray:
        """Grey copies without their mean; (N, 1024) float32."""
        flat = self.get("facts")[:, :-1].astype(np.float32)
        return np.asarray(flat - flat.mean(1, keepdims=True))


@functools.cache
def _statistics_version() -> str:
    shapes = [p.shape for p in StatisticsNetwork().parameters()]
    return digest_of([shapes, STATISTICS_VERSION])


def _infer(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(network(torch.from_numpy(pixels.copy())[None])[0].numpy())
